//! Matching the path of a request, on a copy that is normalised first.
//!
//! The upstream still gets the path as the client sent it. So wherever servers disagree on what a
//! path means, the copy is marked ambiguous, and no rule that loosens access may match it.

use std::fmt::Write as _;

/// A path as RFC 3986 §6.2.2 normalises it: no query, needless escapes decoded, dot segments
/// removed, runs of slashes made one.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct NormalPath {
    /// What stands between the slashes; `/a/` ends with an empty segment.
    segments: Vec<String>,
    is_ambiguous: bool,
}

impl NormalPath {
    /// Normalises a request target in origin form (RFC 9112 §3.2.1).
    pub(crate) fn new(target: &[u8]) -> Self {
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let (decoded, mut is_ambiguous) = decode(path);
        let absolute = decoded.strip_prefix('/');
        // Nothing but origin form and `OPTIONS *` names a path.
        is_ambiguous |= absolute.is_none() && decoded != "*";
        Self { segments: resolve(absolute.unwrap_or(&decoded)), is_ambiguous }
    }

    /// Whether another server may see another path here.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }
}

/// `/exact`, with `*` for one segment, and `/**` at the end for the path itself and all below it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PathPattern {
    segments: Vec<Segment>,
    with_descendants: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Any,
    Literal(String),
}

impl PathPattern {
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
        let normal = NormalPath::new(rooted.as_bytes());
        let (decoded, _) = decode(rooted.as_bytes());
        if normal.is_ambiguous
            || text.contains(['?', '#'])
            || (with_descendants && path.ends_with('/'))
            || !decoded.split('/').skip(1).eq(&normal.segments)
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
            .zip(normal.segments)
            .map(|(written, segment)| match written {
                "*" => Segment::Any,
                _ => Segment::Literal(segment),
            })
            .collect();
        Ok(Self { segments, with_descendants })
    }

    pub(crate) fn matches(&self, path: &NormalPath) -> bool {
        let Some((head, tail)) = path.segments.split_at_checked(self.segments.len()) else {
            return false;
        };
        (tail.is_empty() || self.with_descendants)
            && self.segments.iter().zip(head).all(|(pattern, segment)| match pattern {
                Segment::Any => !segment.is_empty(),
                Segment::Literal(literal) => literal == segment,
            })
    }
}

/// Decodes the escapes that mean the same in every reading, writes all other bytes as escapes in
/// one way, and tells whether a byte is left that servers treat differently.
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
            b'\\' | b';' | b'#' | 0..=0x1f | 0x7f => true,
            b'/' => was_escaped,
            _ => false,
        };
        match byte {
            b'/' if was_escaped => decoded.push_str("%2F"),
            b'!'
            | b'$'
            | b'&'..=b'/'
            | b'0'..=b'9'
            | b':'
            | b'='
            | b'@'
            | b'A'..=b'Z'
            | b'_'
            | b'a'..=b'z'
            | b'~' => decoded.push(char::from(byte)),
            // Writing to a string cannot fail.
            other => _ = write!(decoded, "%{other:02X}"),
        }
    }
    // An escaped percent sign before two digits becomes an escape when decoded once more.
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

/// Removes dot segments (RFC 3986 §5.2.4) and empty segments other than the last.
fn resolve(path: &str) -> Vec<String> {
    let mut segments = Vec::new();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." => {}
            ".." => _ = segments.pop(),
            "" if !is_last => {}
            other => {
                segments.push(other.to_owned());
                continue;
            }
        }
        if is_last {
            // A dot segment at the end names a directory.
            segments.push(String::new());
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        let path = NormalPath::new(path.as_bytes());
        assert!(!path.is_ambiguous(), "{path:?}");
        format!("/{}", path.segments.join("/"))
    }

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(&NormalPath::new(path.as_bytes()))
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
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%252Fb",
            "/a%25%32%66",
            "/%2e%2e%2fa",
        ] {
            assert!(NormalPath::new(path.as_bytes()).is_ambiguous(), "{path}");
        }
        assert!(!NormalPath::new(b"/a?x=%2F;\\#").is_ambiguous());
        assert!(!NormalPath::new(b"*").is_ambiguous());
        assert!(!NormalPath::new(b"/\xff").is_ambiguous());
    }

    #[test]
    fn patterns_match_on_segment_borders() {
        for (pattern, path) in [
            ("/", "/"),
            ("/healthz", "/healthz"),
            ("/healthz", "/x/../healthz"),
            ("/public/**", "/public"),
            ("/public/**", "/public/"),
            ("/public/**", "/public/a/b"),
            ("/**", "/"),
            ("/**", "/a"),
            ("/users/*/avatar", "/users/7/avatar"),
            ("/users/*", "/users/7"),
            ("/a/*/**", "/a/b"),
            ("/caf\u{e9}", "/caf%c3%a9"),
            ("/a/", "/a/"),
            ("/a/%2A", "/a/*"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("/healthz", "/healthz/"),
            ("/healthz", "/Healthz"),
            ("/public/**", "/publicity"),
            ("/public/**", "/public/../admin"),
            ("/users/*/avatar", "/users//avatar"),
            ("/users/*/avatar", "/users/7/8/avatar"),
            ("/users/*", "/users/"),
            ("/a/*/**", "/a"),
            ("/a/", "/a"),
            ("/a/%2A", "/a/b"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
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
