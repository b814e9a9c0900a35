//! Parses the URLs of the configuration (`jwksUri`, an issuer, `resourceMetadata`) and the `jwks_uri` of a
//! discovery document, into the parts that a dispatched call needs.

use crate::grammar::{is_host, split_port};

/// An absolute `http` or `https` URI (RFC 3986), without user information or fragment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HttpUri {
    pub(crate) is_https: bool,
    /// Host and port as written: the call's `:authority`.
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Path and query: the call's `:path`.
    pub(crate) path: String,
}

impl HttpUri {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("is not an https:// (or http://) URI"),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("holds a character that a URI may not hold");
        }
        if text.contains('#') {
            return Err("has a fragment; remove everything from '#'");
        }
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(authority_end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err("holds user information; remove everything up to '@'");
        }
        let (host, port) = split_port(authority);
        let port = match port.map(port_number) {
            None => None,
            Some(Some(number)) => Some(number),
            Some(None) => return Err("has a port that is not a number"),
        };
        if !is_host(host.strip_suffix('.').unwrap_or(host)) {
            return Err("has no host, or one that no server can have");
        }
        Ok(Self {
            is_https,
            authority: authority.to_owned(),
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            path: match path {
                path if path.starts_with('/') => path.to_owned(),
                query => format!("/{query}"),
            },
        })
    }
}

/// A port is a non-zero number of digits only; `parse` alone would accept a sign.
pub(super) fn port_number(port: &str) -> Option<u16> {
    let number = port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)?;
    number.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_a_call_needs_are_found() {
        for (text, authority, host, port, path) in [
            ("https://a.example/jwks?x=1", "a.example", "a.example", 443, "/jwks?x=1"),
            ("http://A.example:8080", "A.example:8080", "a.example", 8080, "/"),
            ("HTTPS://a.example?x", "a.example", "a.example", 443, "/?x"),
            ("https://a_b.example./k", "a_b.example.", "a_b.example.", 443, "/k"),
            ("http://[::1]:81/k", "[::1]:81", "[::1]", 81, "/k"),
            ("http://[::1]/k", "[::1]", "[::1]", 80, "/k"),
        ] {
            let uri = HttpUri::parse(text).unwrap();
            assert_eq!(
                (uri.authority.as_str(), uri.host.as_str(), uri.port, uri.path.as_str()),
                (authority, host, port, path),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_says_why() {
        for text in [
            "",
            "a.example/jwks",
            "ftp://a/",
            "https://",
            "https:///jwks",
            "https://u@a/",
            "https://a/#x",
            "https://a:x/",
            "https://a:0/",
            "https://a:70000/",
            "https://a:+443/",
            "https://a:/",
            "https://::1/",
            "https://${HOST}/",
            "https://a..example/",
            "https://a/ b",
            "https://é.example/",
        ] {
            assert!(HttpUri::parse(text).is_err(), "{text}");
        }
    }
}
