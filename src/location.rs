//! Where a token may be in a request (RFC 6750 §2), how it is found there and how it is removed.

use crate::request::{HeaderEdit, RequestHead};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::rc::Rc;

/// One place where a token may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Location {
    /// The value of a cookie.
    Cookie(String),
    /// What follows `prefix` in a header.
    Header {
        /// In lower case.
        name: Rc<str>,
        /// Compared exactly, but for the Bearer scheme, whose case does not matter.
        prefix: String,
    },
    /// A parameter of the query.
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
    /// Whether both are the same part of a request, in whatever form the token is expected there.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { name: a, .. }, Self::Header { name: b, .. }) => a == b,
            _ => self == other,
        }
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

/// Adds the edits that take the tokens out of `locations`, all of which hold one, and nothing else.
pub(crate) fn remove<'l>(
    locations: impl Iterator<Item = &'l Location>,
    request: &RequestHead<'_>,
    edits: &mut Vec<HeaderEdit>,
) {
    let mut cookie_names = Vec::new();
    let mut param_names = Vec::new();
    for location in locations {
        match location {
            Location::Cookie(name) => cookie_names.push(name.as_str()),
            Location::Header { name, .. } => edits.push(HeaderEdit::Remove(Rc::clone(name))),
            Location::Param(name) => param_names.push(name.as_str()),
        }
    }
    if !cookie_names.is_empty() {
        edits.push(without_cookies(request, &cookie_names));
    }
    if !param_names.is_empty() {
        let path = without_params(request.path(), &param_names);
        edits.push(HeaderEdit::Set(":path".into(), path.into()));
    }
}

/// Looks for a token in one header.
///
/// Envoy joins repeated `Authorization` headers with a comma, depending on its build and its
/// configuration, and no token holds one. So a comma and a repetition are treated alike: beside a
/// token, anything else makes it more than one.
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

/// The token of one element of a header; an empty one where the scheme is there without any.
fn strip_prefix<'a>(element: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    if !prefix.eq_ignore_ascii_case(BEARER) {
        let token = element.strip_prefix(prefix.as_bytes())?.trim_ascii_start();
        return (!token.is_empty()).then_some(token);
    }
    // Whatever ends the scheme for the laxest of servers ends it here.
    let (scheme, token) = element.split_at_checked(BEARER.trim_end().len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER.trim_end().as_bytes())
        && token
            .first()
            .is_none_or(|end| end.is_ascii() && !end.is_ascii_alphanumeric() && *end != b'-');
    is_bearer.then(|| token.trim_ascii_start())
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

fn without_cookies(request: &RequestHead<'_>, names: &[&str]) -> HeaderEdit {
    let kept: Vec<&[u8]> = cookies(request)
        .filter(|cookie| !names.iter().any(|name| value_of(cookie, name).is_some()))
        .collect();
    match kept.as_slice() {
        [] => HeaderEdit::Remove("cookie".into()),
        kept => HeaderEdit::Set("cookie".into(), kept.join(&b"; "[..]).into()),
    }
}

fn value_of<'a>(cookie: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = cookie.iter().position(|byte| *byte == b'=')?;
    let (found, value) = cookie.split_at_checked(at)?;
    (found.trim_ascii() == name.as_bytes()).then(|| value.skip_first())
}

/// The parameters of the query of a request target.
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

/// The value of a parameter if this is it; names are compared as the upstream would read them.
fn param_value<'a>(param: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let at = param.iter().position(|byte| *byte == b'=');
    let (found, value) = at.and_then(|at| param.split_at_checked(at)).unwrap_or((param, b"="));
    let found: Cow<'_, [u8]> = percent_decode(found).into();
    (*found == *name.as_bytes()).then(|| percent_decode(value.skip_first()).into())
}

fn without_params(path: &[u8], names: &[&str]) -> Vec<u8> {
    let (before, query) = split_query(path);
    let mut kept = before.to_vec();
    let mut separator = b'?';
    // Each piece ends with the separator that follows it.
    for piece in query.unwrap_or_default().split_inclusive(is_param_separator) {
        let (param, next) = match piece.split_last() {
            Some((last, param)) if is_param_separator(last) => (param, *last),
            _ => (piece, b'&'),
        };
        if names.iter().any(|name| param_value(param, name).is_some()) {
            continue;
        }
        kept.push(separator);
        kept.extend_from_slice(param);
        separator = next;
    }
    if query.is_some_and(|query| query.last().is_some_and(is_param_separator)) {
        kept.push(separator);
    }
    kept
}

/// Besides `&`, some servers take `;` for the end of a parameter, as HTML 4 once proposed.
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
        let request = head(headers);
        let holding = locations.iter().filter(|l| l.find(&request) != Found::Nothing);
        remove(holding, &request, &mut edits);
        edits
    }

    #[test]
    fn the_bearer_scheme_is_matched_in_any_case() {
        for value in ["Bearer t", "bearer t", "BEARER   t", " Bearer t ", "Bearer\tt"] {
            assert_eq!(found(&header(BEARER), &[("authorization", value)]), token("t"), "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "Bearert", "Basic dXNlcg==", "t"] {
            let found = found(&header(BEARER), &[("authorization", value)]);
            assert_eq!(found, Found::Nothing, "{value}");
        }
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
        let headers = [("authorization", "Basic x"), ("cookie", "a=1;  b=2"), (":path", "/a?b&&c")];

        assert_eq!(removed(&locations, &headers), []);
    }
}
