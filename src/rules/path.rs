//! Matches the path of a request, on a normalised copy.
//!
//! The upstream still gets the path as the client sent it, and servers disagree on dot segments,
//! repeated slashes and some characters. So a path has several readings, and the rules apply the
//! strictest of their results.

use percent_encoding::{percent_decode, percent_decode_str};
use std::borrow::Cow;
use std::fmt::Write as _;

/// A path with its readings: one for each way in which servers read it.
///
/// A reading is written as segments separated by slashes, without the leading slash; `/a/` ends
/// with an empty segment.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct RequestPath<'a> {
    /// Without the query and the first slash; needless escapes are decoded.
    decoded: Cow<'a, str>,
    /// What the laxest servers decode that to, if servers disagree.
    lax: Vec<String>,
    /// Whether it was in normal form already, as nearly all paths are.
    is_normal: bool,
    is_ambiguous: bool,
    is_too_long: bool,
    ignores_case: bool,
}

/// How a server reads the segments of a path.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Normalised as in RFC 3986 §6.2.2, and with repeated slashes merged.
    Normal,
    /// With dot segments kept.
    AsWritten,
    /// With repeated slashes kept.
    Unmerged,
}

impl<'a> RequestPath<'a> {
    /// Reads a request target in origin form (RFC 9112 §3.2.1).
    pub(crate) fn new(target: &'a [u8]) -> Self {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let whole = Self {
            decoded: Cow::Borrowed(""),
            lax: Vec::new(),
            is_normal: true,
            is_ambiguous: false,
            is_too_long: false,
            ignores_case: false,
        };
        if path.len() > MAX_PATH_BYTES {
            return Self { is_too_long: true, ..whole };
        }
        if let Some(normal) = as_normal(path) {
            return Self { decoded: normal.into(), ..whole };
        }
        let (mut decoded, is_ambiguous) = decode(path);
        // Only origin form and `OPTIONS *` name a path.
        let is_odd = match decoded.starts_with('/') {
            true => {
                decoded.remove(0);
                false
            }
            false => decoded != "*",
        };
        let is_ambiguous = is_ambiguous || is_odd;
        let lax = if is_ambiguous { decode_lax(&decoded) } else { Vec::new() };
        Self { lax, decoded: decoded.into(), is_normal: false, is_ambiguous, ..whole }
    }

    /// The same path, with readings in lower case if servers ignore the case of ASCII letters.
    pub(crate) fn ignoring_case(self, ignores_case: bool) -> Self {
        Self { ignores_case, ..self }
    }

    /// Whether it is longer than most servers accept, and therefore not parsed.
    pub(crate) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// Whether servers disagree on what the characters of this path mean.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Every reading; that of a server that follows the RFC comes first. Readings may be large, so
    /// each is made on demand.
    pub(crate) fn readings(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let texts = [&*self.decoded].into_iter().chain(self.lax.iter().map(String::as_str));
        texts.flat_map(move |text| {
            let has_dots_or_runs = !self.is_normal
                && (text.contains("..") || text.starts_with('/') || text.contains("//"));
            let others = [Reading::AsWritten, Reading::Unmerged];
            let others = others.into_iter().filter(move |_| has_dots_or_runs);
            [Reading::Normal].into_iter().chain(others).map(move |how| self.read(text, how))
        })
    }

    fn read<'t>(&self, text: &'t str, how: Reading) -> Cow<'t, str> {
        let read = match how {
            _ if self.is_normal => Cow::Borrowed(text),
            Reading::Normal => resolve(text, true).into(),
            Reading::AsWritten => {
                // No server keeps a single dot.
                joined(text.split('/').filter(|segment| *segment != ".")).into()
            }
            Reading::Unmerged => resolve(text, false).into(),
        };
        match self.ignores_case && read.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => read.to_ascii_lowercase().into(),
            false => read,
        }
    }
}

/// A path such as `/exact`, with `*` for one segment, and `/**` at the end for the path itself and
/// all below it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PathPattern {
    pub(super) segments: Vec<Segment>,
    pub(super) with_descendants: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Segment {
    Any,
    Literal(String),
}

impl PathPattern {
    /// For paths that [ignore case](RequestPath::ignoring_case).
    pub(crate) fn parse_ignoring_case(text: &str) -> Result<Self, String> {
        if !text.is_ascii() || percent_decode_str(text).any(|byte| !byte.is_ascii()) {
            return Err(
                "holds a letter that is not ASCII, whose case `caseInsensitivePaths` does \
                        not ignore; guard the path above it"
                    .to_owned(),
            );
        }
        let mut pattern = Self::parse(text)?;
        for segment in &mut pattern.segments {
            if let Segment::Literal(literal) = segment {
                literal.make_ascii_lowercase();
            }
        }
        Ok(pattern)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err(format!("does not begin with a slash; write \"/{text}\""));
        }
        let (path, with_descendants) = match text.strip_suffix("/**") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.split('/').any(|segment| segment != "*" && segment.contains('*')) {
            return Err("\"*\" stands for one whole segment and \"/**\" for the rest at the end; \
                        nothing else may hold a \"*\""
                .to_owned());
        }
        let rooted = if path.is_empty() { "/" } else { path };
        let path_of_pattern = RequestPath::new(rooted.as_bytes());
        let normal = path_of_pattern.readings().next().unwrap_or_default();
        if path_of_pattern.is_ambiguous
            || text.contains(['?', '#'])
            || (with_descendants && path.ends_with('/'))
            || path_of_pattern.decoded != normal
        {
            return Err(
                "is not a normalised path, so no request would match it; write it without \
                        query, dot segments, \"//\", \";\", \"\\\" and escaped slashes"
                    .to_owned(),
            );
        }
        // An escaped asterisk is a literal one, so the text as written decides.
        let segments = path
            .split('/')
            .skip(1)
            .zip(normal.split('/'))
            .map(|(written, segment)| match written {
                "*" => Segment::Any,
                _ => Segment::Literal(segment.to_owned()),
            })
            .collect();
        Ok(Self { segments, with_descendants })
    }

    /// The same path with the slash at its end added or removed; `None` if it covers both.
    pub(super) fn with_other_end(&self) -> Option<Self> {
        let mut other = self.clone();
        match self.segments.split_last() {
            _ if self.with_descendants => return None,
            Some((Segment::Literal(last), above)) if last.is_empty() => {
                if above.is_empty() {
                    return None;
                }
                other.segments.pop();
            }
            _ => other.segments.push(Segment::Literal(String::new())),
        }
        Some(other)
    }
}

/// The path without its first slash, if it is in normal form already.
fn as_normal(path: &[u8]) -> Option<&str> {
    let (b'/', rest) = path.split_first()? else { return None };
    let mut before = b'/';
    let is_normal = rest.iter().all(|byte| {
        let is_segment_start = std::mem::replace(&mut before, *byte) == b'/';
        is_plain(*byte) && !(is_segment_start && matches!(byte, b'/' | b'.'))
    });
    is_normal.then(|| str::from_utf8(rest).ok())?
}

/// Whether every server reads this byte as itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'$' | b'&'..=b'/' | b':' | b'=' | b'@' | b'_' | b'~')
}

/// Decodes the escapes that mean the same in every reading, and writes all other bytes as escapes
/// in one way. Returns whether it kept a byte that servers read differently.
fn decode(path: &[u8]) -> (String, bool) {
    let mut decoded = String::with_capacity(path.len());
    let mut is_ambiguous = false;
    let mut rest = path.iter();
    while let Some(&byte) = rest.next() {
        let (byte, was_escaped) = match escaped_byte(rest.as_slice()) {
            Some(escaped) if byte == b'%' => {
                rest.nth(1);
                (escaped, true)
            }
            _ => {
                is_ambiguous |= byte == b'%';
                (byte, false)
            }
        };
        is_ambiguous |= match byte {
            // Some servers see a separator, or the end of the path, in these.
            b'\\' | b';' | b'#' | b'?' | 0..=0x1f | 0x7f => true,
            b'/' => was_escaped,
            _ => false,
        };
        match byte {
            b'/' if was_escaped => decoded.push_str("%2F"),
            plain if is_plain(plain) => decoded.push(char::from(plain)),
            // Writing to a string cannot fail.
            other => _ = write!(decoded, "%{other:02X}"),
        }
    }
    // Servers that decode overlong forms find other characters in invalid UTF-8.
    let bytes: Cow<'_, [u8]> = percent_decode(path).into();
    is_ambiguous |= str::from_utf8(&bytes).is_err();
    // An escaped percent sign before two digits becomes an escape if a server decodes twice.
    is_ambiguous |=
        decoded.split("%25").skip(1).any(|tail| escaped_byte(tail.as_bytes()).is_some());
    (decoded, is_ambiguous)
}

fn escaped_byte(bytes: &[u8]) -> Option<u8> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (high, low) = (bytes.first().and_then(digit)?, bytes.get(1).and_then(digit)?);
    Some(high << 4 | low)
}

/// Decodes again what [`decode`] left. Takes whatever may separate segments for a slash, and drops
/// whatever may be parameters of a segment. Returns the whole, and the part before whatever may end
/// a path.
fn decode_lax(decoded: &str) -> Vec<String> {
    let again: Cow<'_, [u8]> = percent_decode_str(decoded).into();
    let again: Cow<'_, [u8]> = percent_decode(&again).into();
    let text = String::from_utf8_lossy(&again).replace('\\', "/");
    let whole =
        joined(text.split('/').map(|segment| segment.split(';').next().unwrap_or_default()));
    let cut = whole.split_once(['\0', '#', '?']).map(|(path, _)| path.to_owned());
    [whole].into_iter().chain(cut).collect()
}

/// Removes dot segments (RFC 3986 §5.2.4) and, if slashes are merged, empty segments other than
/// the last.
fn resolve(path: &str, merge_slashes: bool) -> String {
    // Here a slash follows every segment.
    let mut resolved = String::with_capacity(path.len().saturating_add(1));
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." => {}
            ".." => {
                resolved.pop();
                let parent = resolved.rfind('/').map_or(0, |slash| slash.saturating_add(1));
                resolved.truncate(parent);
            }
            "" if !is_last && merge_slashes => {}
            other => {
                resolved.push_str(other);
                resolved.push('/');
                continue;
            }
        }
        if is_last {
            // A dot segment at the end names a directory.
            resolved.push('/');
        }
    }
    resolved.pop();
    resolved
}

fn joined<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push_str(segment);
        path.push('/');
    }
    path.pop();
    path
}

/// Reading a path takes about 30 ns a byte, and most servers accept at most 8 or 16 KB.
const MAX_PATH_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(path: &str) -> Vec<String> {
        let path = RequestPath::new(path.as_bytes());
        path.readings().map(|reading| format!("/{reading}")).collect()
    }

    fn normal(path: &str) -> String {
        assert!(!RequestPath::new(path.as_bytes()).is_ambiguous(), "{path:?}");
        readings(path).remove(0)
    }

    #[test]
    fn paths_in_normal_form_have_one_reading() {
        for path in ["/", "/a/b", "/a/b/", "/a/b?c=/../d", "/100%25", "/./a/./b", "/caf%C3%A9"] {
            assert_eq!(readings(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn every_reading_that_a_server_may_have_is_there() {
        for (path, reading) in [
            ("/admin/../public/x", "/admin/../public/x"),
            ("//public/admin", "//public/admin"),
            ("/public/../admin//../public/x", "/admin/public/x"),
            ("/admin%2Fusers", "/admin/users"),
            ("/admin%5cusers", "/admin/users"),
            ("/admin\\users", "/admin/users"),
            ("/admin%252Fusers", "/admin/users"),
            ("/admin;x/users", "/admin/users"),
            ("/x/..;/admin/users", "/admin/users"),
            ("/x%2F..%2Fadmin/users", "/admin/users"),
            ("/;/admin/users", "/admin/users"),
            ("/admin%00x", "/admin"),
            ("/admin%3Fx", "/admin"),
            // Decoded, and dot segments or repeated slashes kept.
            ("/admin%2f..%2fx", "/admin/../x"),
            ("/%61dmin%2F.%2F..%2Fx", "/admin/../x"),
            ("/admin%2f%2f..%2fx", "/admin/x"),
            ("/admin%252f..%252fx", "/admin/../x"),
            ("/admin\\..\\x", "/admin/../x"),
            ("/admin;a=/..%2fx", "/admin/../x"),
            ("/%2fadmin/x", "//admin/x"),
            // Decoded, and not cut off.
            ("/x%00%2f..%2fadmin", "/admin"),
            ("/x%23%2f..%2fadmin/y", "/admin/y"),
        ] {
            assert!(readings(path).iter().any(|found| found == reading), "{path}");
        }
    }

    #[test]
    fn equivalent_paths_become_one() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b?c=%2F", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/x/../b", "/a/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/%61/%2e/b/x/%2E%2e", "/a/b/"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%3Ab%20c", "/a:b%20c"),
            ("/100%25", "/100%25"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_ambiguous() {
        for path in [
            "",
            "a",
            "http://x/a",
            "/a%2Fb",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a;b",
            "/a%3bb",
            "/a%00",
            "/%0a",
            "/a#b",
            "/a%3Fb",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%252Fb",
            "/a%25%32%66",
            "/%2e%2e%2fa",
        ] {
            assert!(RequestPath::new(path.as_bytes()).is_ambiguous(), "{path}");
        }
        assert!(!RequestPath::new(b"/a?x=%2F;\\#").is_ambiguous());
        assert!(!RequestPath::new(b"*").is_ambiguous());
        assert!(RequestPath::new(b"/\xff").is_ambiguous());
        assert!(RequestPath::new(b"/%c0%ae%c0%ae/admin").is_ambiguous());
    }

    #[test]
    fn patterns_that_could_never_match_are_refused() {
        for pattern in [
            "", "a", "**", "/a*", "/**/a", "/a/***", "/a//b", "/a/../b", "/a?b", "/a#b", "/a;b",
            "/a%2Fb", "/a\\b", "/./a", "//**", "/a/.", "/a/%2e", "/.", "/a/./**",
        ] {
            assert!(PathPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
