//! The methods that servers may read in a request.

use crate::grammar::is_tchar;
use crate::location::param_values;
use crate::request::RequestHead;
use std::borrow::Cow;

/// Every method that a server behind the proxy may act on; the request's own comes first. Of those
/// that no rule names (see `is_named`), one stands for all.
///
/// Methods are case-sensitive (RFC 9110 §9.1) and Envoy passes them on unchanged, but servers fold
/// case. A HEAD runs what a GET runs (§9.3.2). An upgrade of any method becomes a CONNECT on an
/// HTTP/2 hop and a GET behind it (RFC 8441 §4). Frameworks take the method from a header or
/// parameter, each from another part of its value.
pub(super) fn readings<'a>(
    request: &RequestHead<'a>,
    is_named: impl Fn(&[u8]) -> bool,
) -> Vec<Cow<'a, [u8]>> {
    let method = request.method();
    let mut readings = vec![Cow::Borrowed(method)];
    let mut add = |reading: Cow<'a, [u8]>| {
        let is_new = !readings.contains(&reading)
            && (is_named(&reading) || readings.iter().skip(1).all(|other| is_named(other)));
        if is_new {
            readings.push(reading);
        }
    };
    if method.iter().any(u8::is_ascii_lowercase) {
        add(method.to_ascii_uppercase().into());
    }
    if method.eq_ignore_ascii_case(b"HEAD") || request.is_upgrade() {
        add(Cow::Borrowed(b"GET"));
    }
    let mut add_words = |value: &[u8]| {
        let words = value.split(|byte| !is_tchar(*byte)).filter(|word| !word.is_empty());
        words.for_each(|word| add(word.to_ascii_uppercase().into()));
    };
    request.method_overrides().for_each(&mut add_words);
    param_values(request, METHOD_PARAM).for_each(|value| add_words(&value));
    readings
}

/// The parameter that overrides the method in Rails, Symfony and Spring. A body may hold it as
/// well, which the filter does not see.
const METHOD_PARAM: &str = "_method";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Vec<String> {
        let head = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let named = [&b"GET"[..], b"PUT", b"DELETE"];
        let readings = readings(&head, |method| named.contains(&method));
        readings.iter().map(|method| String::from_utf8_lossy(method).into_owned()).collect()
    }

    #[test]
    fn every_method_that_a_server_may_see_is_there() {
        for (headers, expected) in [
            (&[(":method", "GET")][..], &["GET"][..]),
            (&[(":method", "delete")], &["delete", "DELETE"]),
            (&[(":method", "HEAD")], &["HEAD", "GET"]),
            (&[(":method", "POST"), ("upgrade", "websocket")], &["POST", "GET"]),
            (&[(":method", "CONNECT"), (":protocol", "websocket")], &["CONNECT", "GET"]),
            (&[(":method", "POST"), ("x-http-method-override", " delete")], &["POST", "DELETE"]),
            (&[(":method", "POST"), ("x_http_method", "PUT")], &["POST", "PUT"]),
            (&[(":method", "PUT"), ("x-method-override", "put")], &["PUT"]),
            (&[(":method", "POST"), ("x-http-method", "x,DELETE ")], &["POST", "X", "DELETE"]),
            (&[(":method", "POST"), ("x-http-method", "\u{a0}put\u{85}")], &["POST", "PUT"]),
            (&[(":method", "POST"), (":path", "/?a=b&%5Fmethod=delete")], &["POST", "DELETE"]),
        ] {
            assert_eq!(of(headers), expected);
        }
    }

    #[test]
    fn overrides_that_rules_name_count_however_many_there_are() {
        let overrides = ["a", "b", "PUT", "c", "DELETE", "put"];
        let mut headers = vec![(":method", "POST")];
        headers.extend(overrides.map(|method| ("x-http-method", method)));

        assert_eq!(of(&headers), ["POST", "A", "PUT", "DELETE"]);
    }
}
