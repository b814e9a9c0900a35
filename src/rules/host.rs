//! Matching the authority of a request.

use std::borrow::Cow;

/// `*`, `*.example.com` or an exact host; case and port are ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HostPattern {
    Any,
    Exact(String),
    /// With the leading dot.
    Suffix(String),
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        let (pattern, host) = match lower.strip_prefix('*') {
            Some("") => return Ok(Self::Any),
            Some(suffix) if suffix.starts_with('.') => {
                (Self::Suffix(suffix.to_owned()), suffix.get(1..).unwrap_or_default())
            }
            Some(_) => return Err("\"*\" stands for whole labels; write \"*.example.com\""),
            None => (Self::Exact(lower.clone()), lower.as_str()),
        };
        match without_port(host) {
            _ if is_host(host) => Ok(pattern),
            bare if bare != host && is_host(&bare) => {
                Err("ports and trailing dots are ignored when matching; remove it")
            }
            _ => Err("is not a host; write one such as \"api.example.com\" or \"*.example.com\", \
                 in ASCII"),
        }
    }

    /// `host` is in lower case and without a port, as [`without_port`] makes it.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => host == exact,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

/// Whether `text` is a host as it stands in a URI (RFC 3986 §3.2.2): a name in ASCII, or an IP
/// address, in brackets if it is one of IPv6. Names of containers may hold `_`.
pub(crate) fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => {
            address.contains(':')
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        }
        None => text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        }),
    }
}

/// Whether the host ends with the dot of the DNS root. Names with and without it are the same, but
/// proxies route them differently.
pub(super) fn is_rooted(authority: &str) -> bool {
    let (host, _) = split_port(authority);
    host.ends_with('.')
}

fn split_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    }
}

/// The host of an authority: lower case, no port, no trailing dot; IPv6 literals keep brackets.
pub(crate) fn without_port(authority: &str) -> Cow<'_, str> {
    let (host, _) = split_port(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, authority: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&without_port(authority))
    }

    #[test]
    fn case_port_and_trailing_dot_are_ignored() {
        assert!(matches("Api.example.com", "API.example.com:8443"));
        assert!(matches("api.example.com", "api.example.com."));
        assert!(matches("[::1]", "[::1]:8080"));
        assert!(matches("*", "anything"));
        assert!(!matches("api.example.com", "api.example.com.evil.org"));
    }

    #[test]
    fn a_wildcard_stands_for_one_or_more_whole_labels() {
        assert!(matches("*.example.com", "a.example.com"));
        assert!(matches("*.example.com", "a.b.example.com:80"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", ".example.com"));
        assert!(!matches("*.example.com", "badexample.com"));
    }

    #[test]
    fn other_patterns_are_refused() {
        for pattern in [
            "*x.com",
            "a.*.com",
            "*.",
            "*..com",
            "a..com",
            "a.com:80",
            "a.com.",
            "https://a.com",
            "u@a.com",
            "a b",
            "b\u{fc}cher.example",
            "::1",
            "[::1",
            "[]",
            "${HOST}",
        ] {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
