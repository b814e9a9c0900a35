//! Where a token may be in a request (RFC 6750 §2), and how to find and remove it there.
//!
//! Finding is strict: the filter verifies only what every server would read as the token. Removal
//! is lax: whatever some server could take for a token in one of the places goes, unless it was
//! verified.

use crate::header_name::is_same_to_lax_servers;
use crate::request::{HeaderEdit, RequestHead};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::rc::Rc;

/// One place where a token may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Location {
    /// The value of a cookie.
    Cookie(String),
    /// The rest of a header after `prefix`.
    Header {
        /// In lower case.
        name: Rc<str>,
        /// Compared exactly, except for the Bearer scheme, whose case does not matter.
        prefix: String,
    },
    /// A query parameter.
    Param(String),
}

/// What one location holds.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found<'a> {
    Nothing,
    Several,
    Token(Cow<'a, [u8]>),
}

impl Location {
    /// Whether both are the same part of a request, whatever form they expect the token in.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { name: a, .. }, Self::Header { name: b, .. }) => a == b,
            _ => self == other,
        }
    }

    /// Whether lax servers may take the header `other` for this one.
    pub(crate) fn is_header(&self, other: &str) -> bool {
        matches!(self, Self::Header { name, .. } if is_same_to_lax_servers(name, other))
    }

    pub(crate) fn find<'a>(&self, request: &RequestHead<'a>) -> Found<'a> {
        match self {
            Self::Cookie(name) => one_of(
                cookies(request)
                    .filter_map(|cookie| value_of(cookie, name))
                    .filter(|value| !value.is_empty())
                    .map(Cow::Borrowed),
            ),
            Self::Header { name, prefix } => in_header(request, name, prefix),
            Self::Param(name) => one_of(
                params(request.path())
                    .filter_map(|param| param_value(param, name))
                    .filter(|value| !value.is_empty()),
            ),
        }
    }
}

/// The values of a query parameter.
pub(crate) fn param_values<'a>(
    request: &RequestHead<'a>,
    name: &'static str,
) -> impl Iterator<Item = Cow<'a, [u8]>> {
    params(request.path()).filter_map(move |param| param_value(param, name))
}

/// Adds the edits that remove from `locations` whatever a server could take for a token, except
/// what was verified in `kept`.
pub(crate) fn strip(
    locations: &[Location],
    kept: Option<&Location>,
    request: &RequestHead<'_>,
    edits: &mut Vec<HeaderEdit>,
) {
    let is_kept = |location: &Location| kept.is_some_and(|kept| kept.overlaps(location));
    let (mut cookie_names, mut param_names) = (Vec::new(), Vec::new());
    for location in locations {
        match location {
            Location::Cookie(name) => cookie_names.push((name.as_str(), is_kept(location))),
            Location::Header { name, .. } => {
                let holds_token = || location.find(request) != Found::Nothing;
                strip_header(name, is_kept(location), holds_token, request, edits);
            }
            Location::Param(name) => param_names.push((name.as_str(), is_kept(location))),
        }
    }
    if !cookie_names.is_empty() {
        edits.extend(without_cookies(request, &cookie_names));
    }
    if !param_names.is_empty() {
        edits.extend(without_params(request, &param_names));
    }
}

fn strip_header(
    location: &Rc<str>,
    is_kept: bool,
    holds_token: impl Fn() -> bool,
    request: &RequestHead<'_>,
    edits: &mut Vec<HeaderEdit>,
) {
    let mut remove = |name| {
        let edit = HeaderEdit::Remove(name);
        if !edits.contains(&edit) {
            edits.push(edit);
        }
    };
    // Names that some server takes for the same are equally long; most others are ruled out by that.
    for (name, value) in request.headers().filter(|(name, _)| name.len() == location.len()) {
        if *name == **location {
            if !is_kept && (may_hold_token(value) || holds_token()) {
                remove(Rc::clone(location));
            }
        } else if is_same_to_lax_servers(name, location) && may_hold_token(value) {
            remove(name.into());
        }
    }
}

/// Whether a server may find a token, in any form, in a header's value. Every JWT holds a dot, and
/// the bearer scheme announces a token. Basic and Negotiate credentials are Base64, without dots.
fn may_hold_token(value: &[u8]) -> bool {
    value.contains(&b'.') || schemes(value).next().is_some()
}

/// Whether to remove a cookie or parameter.
fn is_unwanted(names: &[(&str, bool)], found: &[u8], value: &[u8], is_exact: bool) -> bool {
    names.iter().any(|(name, is_kept)| match is_exact && found == name.as_bytes() {
        true => !is_kept && !value.is_empty(),
        false => value.contains(&b'.') && is_same_name(found, name),
    })
}

/// Whether some server takes one name of a cookie or parameter for the other. ASP.NET folds case.
/// PHP and others decode escapes, trim names, end them at a zero byte, write `_` for what a
/// variable name cannot hold, and read `name[]` as a list.
fn is_same_name(found: &[u8], name: &str) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_graphic() && !b"\"'+".contains(byte);
    let found: Cow<'_, [u8]> = percent_decode(found).into();
    let found = found.split(|byte| *byte == 0).next().unwrap_or_default();
    let begin = found.iter().position(is_part).unwrap_or(found.len());
    let end = found.iter().rposition(is_part).map_or(begin, |last| last.saturating_add(1));
    let found = found.get(begin..end).unwrap_or_default();
    let list = found.split(|byte| *byte == b'[').next().unwrap_or_default();
    let mut readings = [found, list].into_iter().filter_map(|found| str::from_utf8(found).ok());
    readings.any(|found| is_same_to_lax_servers(found, name))
}

/// Looks for a token in one header.
///
/// Envoy joins repeated `Authorization` headers with a comma, depending on its build and its
/// configuration, and no token holds a comma. So commas and repetitions are treated alike: anything
/// beside a token counts as a second one.
fn in_header<'a>(request: &RequestHead<'a>, name: &str, prefix: &str) -> Found<'a> {
    let mut values = request.values(name);
    if let (Some(value), None) = (values.next(), values.next())
        && !value.contains(&b',')
    {
        return match strip_prefix(value.trim_ascii(), prefix) {
            None | Some(b"") => Found::Nothing,
            Some(token) => Found::Token(Cow::Borrowed(token)),
        };
    }
    let elements = || {
        request
            .values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
    };
    match elements().find_map(|element| strip_prefix(element, prefix)) {
        None => Found::Nothing,
        Some(_) if elements().nth(1).is_some() => Found::Several,
        Some(b"") => Found::Nothing,
        Some(token) => Found::Token(Cow::Borrowed(token)),
    }
}

/// The token of one element of a header; empty if only the scheme is there.
fn strip_prefix<'a>(element: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    if prefix.eq_ignore_ascii_case(BEARER) {
        return bearer(element);
    }
    let token = element.strip_prefix(prefix.as_bytes())?.trim_ascii_start();
    (!token.is_empty()).then_some(token)
}

/// What follows the scheme. Many servers trim and split at more than ASCII white space, so
/// characters other than letters and digits may precede the scheme. The result then includes the
/// scheme, so that it is refused as no JWT.
fn bearer(element: &[u8]) -> Option<&[u8]> {
    let at = schemes(element).next()?;
    match element.split_at_checked(at)? {
        ([], scheme) => scheme.get(BEARER.trim_end().len()..).map(<[u8]>::trim_ascii_start),
        (before, scheme) => {
            before.iter().all(|byte| !byte.is_ascii_alphanumeric()).then_some(scheme)
        }
    }
}

/// The positions of the scheme: some servers look for it anywhere.
fn schemes(element: &[u8]) -> impl Iterator<Item = usize> {
    let scheme = BEARER.trim_end().as_bytes();
    element.windows(scheme.len()).enumerate().filter_map(|(at, word)| {
        let end = element.get(at.saturating_add(scheme.len()));
        let is_end = end.is_none_or(|end| !end.is_ascii_alphanumeric() && *end != b'-');
        (is_end && word.eq_ignore_ascii_case(scheme)).then_some(at)
    })
}

fn one_of<'a>(mut values: impl Iterator<Item = Cow<'a, [u8]>>) -> Found<'a> {
    match (values.next(), values.next()) {
        (None, _) => Found::Nothing,
        (Some(value), None) => Found::Token(value),
        (Some(_), Some(_)) => Found::Several,
    }
}

/// The `name=value` pairs of all cookie headers (RFC 6265 §4.2.1).
fn cookies<'a>(request: &RequestHead<'a>) -> impl Iterator<Item = &'a [u8]> {
    request
        .values("cookie")
        .flat_map(|value| value.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|cookie| !cookie.is_empty())
}

fn without_cookies(request: &RequestHead<'_>, names: &[(&str, bool)]) -> Option<HeaderEdit> {
    let is_unwanted = |cookie: &[u8]| {
        let is_pair_unwanted = |pair: &[u8], is_exact| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at_checked(at).unwrap_or_default();
            let value: Cow<'_, [u8]> = percent_decode(value.skip_first()).into();
            is_unwanted(names, name.trim_ascii(), &value, is_exact)
        };
        // Some servers also split cookies at commas or white space.
        let is_separator = |byte: &u8| *byte == b',' || byte.is_ascii_whitespace();
        is_pair_unwanted(cookie, true)
            || cookie.split(is_separator).skip(1).any(|pair| is_pair_unwanted(pair, false))
    };
    if !cookies(request).any(is_unwanted) {
        return None;
    }
    let mut kept = Vec::new();
    for cookie in cookies(request).filter(|cookie| !is_unwanted(cookie)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(cookie);
    }
    Some(match kept.is_empty() {
        true => HeaderEdit::Remove("cookie".into()),
        false => HeaderEdit::Set("cookie".into(), kept.into()),
    })
}

fn value_of<'a>(cookie: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = cookie.iter().position(|byte| *byte == b'=')?;
    let (found, value) = cookie.split_at_checked(at)?;
    (found.trim_ascii() == name.as_bytes()).then(|| value.skip_first())
}

/// The query parameters of a request target.
fn params(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (_, query) = split_query(path);
    query.unwrap_or_default().split(is_param_separator)
}

fn split_query(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'?').and_then(|at| path.split_at_checked(at)) {
        Some((path, query)) => (path, Some(query.skip_first())),
        None => (path, None),
    }
}

/// The value of a parameter if it has this name, compared decoded, as the upstream would.
fn param_value<'a>(param: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let at = param.iter().position(|byte| *byte == b'=');
    let (found, value) = at.and_then(|at| param.split_at_checked(at)).unwrap_or((param, b"="));
    let found: Cow<'_, [u8]> = percent_decode(found).into();
    (*found == *name.as_bytes()).then(|| percent_decode(value.skip_first()).into())
}

fn without_params(request: &RequestHead<'_>, names: &[(&str, bool)]) -> Option<HeaderEdit> {
    let is_unwanted = |param: &[u8]| {
        let at = param.iter().position(|byte| *byte == b'=').unwrap_or(param.len());
        let (name, value) = param.split_at_checked(at).unwrap_or_default();
        let [name, value]: [Cow<'_, [u8]>; 2] =
            [name, value.skip_first()].map(|text| percent_decode(text).into());
        is_unwanted(names, &name, &value, true)
    };
    let path = request.path();
    if !params(path).any(is_unwanted) {
        return None;
    }
    let (before, query) = split_query(path);
    let mut kept = before.to_vec();
    let mut separator = b'?';
    // Each piece ends with the separator that follows it.
    for piece in query.unwrap_or_default().split_inclusive(is_param_separator) {
        let (param, next) = match piece.split_last() {
            Some((last, param)) if is_param_separator(last) => (param, *last),
            _ => (piece, b'&'),
        };
        if is_unwanted(param) {
            continue;
        }
        kept.push(separator);
        kept.extend_from_slice(param);
        separator = next;
    }
    if query.is_some_and(|query| query.last().is_some_and(is_param_separator)) {
        kept.push(separator);
    }
    Some(HeaderEdit::Set(":path".into(), kept.into()))
}

/// Besides `&`, some servers end a parameter at `;`, as HTML 4 once proposed.
fn is_param_separator(byte: &u8) -> bool {
    matches!(byte, b'&' | b';')
}

trait SkipFirst {
    /// The slice without its first byte.
    fn skip_first(&self) -> &Self;
}

impl SkipFirst for [u8] {
    fn skip_first(&self) -> &Self {
        self.split_first().map_or(&[], |(_, rest)| rest)
    }
}

/// The prefix of the bearer scheme (RFC 6750 §2.1); scheme names are case-insensitive (RFC 9110
/// §11.1).
pub(crate) const BEARER: &str = "Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn header(prefix: &str) -> Location {
        Location::Header { name: "authorization".into(), prefix: prefix.into() }
    }

    fn head<'a>(headers: &[(&'a str, &'a str)]) -> RequestHead<'a> {
        headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    fn found(location: &Location, headers: &[(&str, &str)]) -> Found<'static> {
        match location.find(&head(headers)) {
            Found::Nothing => Found::Nothing,
            Found::Several => Found::Several,
            Found::Token(token) => Found::Token(Cow::Owned(token.into_owned())),
        }
    }

    fn token(text: &str) -> Found<'static> {
        Found::Token(Cow::Owned(text.into()))
    }

    fn removed(locations: &[Location], headers: &[(&str, &str)]) -> Vec<HeaderEdit> {
        let mut edits = Vec::new();
        strip(locations, None, &head(headers), &mut edits);
        edits
    }

    #[test]
    fn the_bearer_scheme_is_matched_in_any_case() {
        for value in ["Bearer t", "bearer t", "BEARER   t", " Bearer t ", "Bearer\tt"] {
            assert_eq!(found(&header(BEARER), &[("authorization", value)]), token("t"), "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "Bearert", "Bearer-x t", "Basic dXNlcg==", "t"] {
            let found = found(&header(BEARER), &[("authorization", value)]);
            assert_eq!(found, Found::Nothing, "{value}");
        }
    }

    #[test]
    fn what_lax_servers_take_for_a_bearer_token_is_one_that_no_key_verifies() {
        for value in [
            "Bearer\u{a0}t",
            "Bearer\u{85}t",
            "Bearer\u{3000}t",
            "Bearer \u{a0}t",
            "\u{feff}Bearer t",
            "\u{a0}bearer t",
            "\"Bearer t\"",
            "Bearer:t",
            "Bearer=t",
        ] {
            let Found::Token(token) = found(&header(BEARER), &[("authorization", value)]) else {
                panic!("{value:?}");
            };
            assert!(crate::jose::Token::parse(&token).is_err());
            assert_ne!(*token, *b"t", "{value:?}");
            assert_eq!(
                removed(&[header(BEARER)], &[("authorization", value)]),
                [HeaderEdit::Remove("authorization".into())]
            );
        }
    }

    #[test]
    fn what_may_be_a_token_goes_in_whatever_form() {
        let everywhere =
            [header(BEARER), Location::Cookie("at".into()), Location::Param("a_t".into())];
        let is_removed =
            |name: &str, value: &str| !removed(&everywhere, &[(name, value)]).is_empty();

        for value in
            ["e.e.e", "e.e", "JWT e.e.e", "Basic e.e.e", "Digest a=\"e.e.e\"", "Token Bearer t"]
        {
            assert!(is_removed("authorization", value), "{value}");
        }
        for value in [
            "AT=e.e.e",
            "\u{a0}at=e.e",
            "%61t=e.e",
            "at[]=e.e",
            "a=1, at=e.e",
            "at=e",
            "a=b at=e.e",
            "a=\"b\"\tat=e%2Ee",
            "At=e%2Ee",
            "a=1,at=e%2Ee",
            "at%00x=e.e",
        ] {
            assert!(is_removed("cookie", value), "{value}");
        }
        for value in ["A_T=e.e", "a.t=e%2Ee", "a_t[]=e.e", "+a+t=e.e", "a%5Ft%5B0%5D=e.e", "a_t=e"]
        {
            assert!(is_removed(":path", &format!("/?x=1&{value}")), "{value}");
        }
        let custom = [Location::Header { name: "x-token".into(), prefix: "jwt:".into() }];
        for (name, value) in [("x-token", "e.e.e"), ("x-token", "JWT:e.e.e"), ("x_token", "e.e.e")]
        {
            let edit = HeaderEdit::Remove(name.into());
            assert_eq!(removed(&custom, &[(name, value)]), [edit], "{name}: {value}");
        }
    }

    #[test]
    fn what_was_verified_may_be_kept_and_nothing_beside_it() {
        let locations = [
            header(BEARER),
            Location::Header { name: "authorization".into(), prefix: "JWT ".into() },
            Location::Cookie("at".into()),
        ];
        let request =
            head(&[("authorization", "Bearer t.t.t"), ("cookie", "at=u.u.u; AT=e.e.e; b=1")]);
        let stripped = |kept| {
            let mut edits = Vec::new();
            strip(&locations, Some(kept), &request, &mut edits);
            edits
        };
        let cookie = |cookies: &str| HeaderEdit::Set("cookie".into(), cookies.as_bytes().into());

        assert_eq!(stripped(&locations[0]), [cookie("b=1")]);
        assert_eq!(
            stripped(&locations[2]),
            [HeaderEdit::Remove("authorization".into()), cookie("at=u.u.u; b=1")]
        );
    }

    #[test]
    fn other_prefixes_are_matched_exactly() {
        assert_eq!(found(&header("JWT "), &[("authorization", "JWT t")]), token("t"));
        assert_eq!(found(&header("JWT "), &[("authorization", "jwt t")]), Found::Nothing);
        assert_eq!(found(&header(""), &[("authorization", "t")]), token("t"));
    }

    #[test]
    fn anything_beside_a_token_in_its_header_is_too_much() {
        for values in [
            &["Bearer t", "Bearer u"][..],
            &["Bearer t,Bearer u"],
            &["Bearer t, u"],
            &["Bearer t,"],
            &["Bearer,t"],
            &["", "Bearer t"],
            &["Basic x", "Bearer t"],
            &["Basic x,Bearer t"],
        ] {
            let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            assert_eq!(found(&header(BEARER), &headers), Found::Several, "{values:?}");
        }
        assert_eq!(found(&header(BEARER), &[("authorization", "Basic x,y")]), Found::Nothing);
    }

    #[test]
    fn one_cookie_of_many_is_found_and_removed() {
        let location = Location::Cookie("at".into());
        let headers = [("cookie", "a=1; at=t ;b=x=y"), ("cookie", "xat=2; AT=3; at")];

        assert_eq!(found(&location, &headers), token("t"));
        assert_eq!(
            removed(&[location], &headers),
            [HeaderEdit::Set("cookie".into(), b"a=1; b=x=y; xat=2; AT=3; at"[..].into())]
        );
    }

    #[test]
    fn a_cookie_header_left_empty_is_removed() {
        let location = Location::Cookie("at".into());

        let edits = removed(std::slice::from_ref(&location), &[("cookie", "at=t")]);

        assert_eq!(edits, [HeaderEdit::Remove("cookie".into())]);
        assert_eq!(found(&location, &[("cookie", "at=t; at=u")]), Found::Several);
        assert_eq!(found(&location, &[("cookie", "at=")]), Found::Nothing);
    }

    #[test]
    fn one_parameter_of_many_is_found_and_removed() {
        let location = Location::Param("access_token".into());
        for (path, rest) in [
            ("/a?access_token=t", "/a"),
            ("/a?x=%41&access_token=t&&y&", "/a?x=%41&&y&"),
            ("/a?x=1;access_token=t;y=2", "/a?x=1;y=2"),
            ("/a?access%5Ftoken=%74", "/a"),
            ("/?z=?&access_token=t", "/?z=?"),
        ] {
            assert_eq!(found(&location, &[(":path", path)]), token("t"), "{path}");
            assert_eq!(
                removed(std::slice::from_ref(&location), &[(":path", path)]),
                [HeaderEdit::Set(":path".into(), rest.as_bytes().into())],
                "{path}"
            );
        }
        assert_eq!(found(&location, &[(":path", "/a?access_token")]), Found::Nothing);
        assert_eq!(found(&location, &[(":path", "/access_token=t")]), Found::Nothing);
        let twice = "/a?access_token=t&access%5ftoken=u";
        assert_eq!(found(&location, &[(":path", twice)]), Found::Several);
        assert_eq!(
            removed(&[location], &[(":path", twice)]),
            [HeaderEdit::Set(":path".into(), b"/a"[..].into())]
        );
    }

    #[test]
    fn what_holds_no_token_is_left_alone() {
        let locations =
            [header(BEARER), Location::Cookie("at".into()), Location::Param("access_token".into())];
        for headers in [
            [("authorization", "Basic x"), ("cookie", "a=1;  b=2"), (":path", "/a?b&&c")],
            [
                ("authorization", "Negotiate YII="),
                ("cookie", "At=3; xat=e.e"),
                (":path", "/a.b?x=c.d"),
            ],
        ] {
            assert_eq!(removed(&locations, &headers), []);
        }
    }
}
