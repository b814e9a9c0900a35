//! Matches the authority of a request.
//!
//! Envoy routes by the authority as it is, or, if told to ignore ports, without the port. Servers
//! behind it also drop the dot of the DNS root. So an authority with either has several readings,
//! and the rules apply the strictest of their results.

use crate::grammar::{is_host, split_port};

/// `*`, `*.example.com` or an exact host; the latter two may have a port, or `:*` for any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostPattern {
    host: Name,
    port: Port,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    Any,
    Exact(String),
    /// With the leading dot.
    Suffix(String),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Port {
    /// Any port, or none.
    Any,
    /// No port, or one that the reader ignores.
    None,
    /// Exactly this port.
    Number(String),
}

impl HostPattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self { host: Name::Any, port: Port::Any });
        }
        let (host, port) = match split_port(&lower) {
            (host, None) => (host, Port::None),
            (host, Some("*")) => (host, Port::Any),
            (host, Some(port)) if port.parse::<u16>().is_ok_and(|n| n.to_string() == port) => {
                (host, Port::Number(port.to_owned()))
            }
            (_, Some(_)) => return Err(NO_HOST),
        };
        let (host, name) = match host.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => {
                (suffix.get(1..).unwrap_or_default(), Name::Suffix(suffix.to_owned()))
            }
            Some(_) => return Err("\"*\" stands for whole labels; write \"*.example.com\""),
            None => (host, Name::Exact(host.to_owned())),
        };
        match host.strip_suffix('.') {
            _ if is_host(host) => Ok(Self { host: name, port }),
            Some(bare) if is_host(bare) => Err("ends with a dot; remove it"),
            _ => Err(NO_HOST),
        }
    }

    pub(super) fn matches(&self, reading: Authority<'_>) -> bool {
        let is_host = match &self.host {
            Name::Any => true,
            Name::Exact(exact) => reading.host == exact,
            Name::Suffix(suffix) => {
                reading.host.len() > suffix.len() && reading.host.ends_with(suffix.as_str())
            }
        };
        is_host
            && match &self.port {
                Port::Any => true,
                Port::None => reading.port.is_none() || !reading.port_counts,
                Port::Number(number) => reading.port == Some(number.as_str()),
            }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl HostPattern {
    /// Whether it matches all that `other` matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let is_host = match (&self.host, &other.host) {
            (Name::Any, _) => true,
            (Name::Exact(own), Name::Exact(other)) => own == other,
            (Name::Suffix(own), Name::Exact(other)) => {
                other.len() > own.len() && other.ends_with(own)
            }
            (Name::Suffix(own), Name::Suffix(other)) => other.ends_with(own),
            (Name::Exact(_) | Name::Suffix(_), _) => false,
        };
        is_host && (self.port == Port::Any || self.port == other.port)
    }
}

/// One way to read the authority of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Authority<'a> {
    /// In lower case, if [`readings`] got it so; IPv6 literals keep their brackets.
    host: &'a str,
    /// The text after the last colon.
    port: Option<&'a str>,
    /// Whether the reader distinguishes authorities by the port.
    port_counts: bool,
}

/// Every reading of an authority in lower case; the unchanged one comes first.
pub(super) fn readings(authority: &str) -> impl Iterator<Item = Authority<'_>> + Clone {
    let (host, port) = split_port(authority);
    let bare = host.strip_suffix('.');
    let of = |host, port_counts| Authority { host, port, port_counts };
    let without_port = port.map(|_| of(host, false));
    let without_dot = bare.map(|bare| of(bare, false));
    [Some(of(host, true)), without_port, without_dot].into_iter().flatten()
}

const NO_HOST: &str = "is not a host; write one such as \"api.example.com\" or \"*.example.com\", in \
                       ASCII, with \":8443\" or \":*\" after it if it comes with a port";

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the pattern matches every reading of the authority, and whether it matches any.
    fn matches(pattern: &str, authority: &str) -> (bool, bool) {
        let pattern = HostPattern::parse(pattern).unwrap();
        let authority = authority.to_ascii_lowercase();
        let mut all = readings(&authority);
        (all.clone().all(|reading| pattern.matches(reading)), all.any(|r| pattern.matches(r)))
    }

    const YES: (bool, bool) = (true, true);
    const PERHAPS: (bool, bool) = (false, true);
    const NO: (bool, bool) = (false, false);

    #[test]
    fn what_may_be_routed_elsewhere_may_be_another_host() {
        for (pattern, authority, expected) in [
            ("Api.example.com", "API.example.com", YES),
            ("api.example.com", "api.example.com:8443", PERHAPS),
            ("api.example.com", "api.example.com:80", PERHAPS),
            ("api.example.com", "api.example.com:", PERHAPS),
            ("api.example.com", "api.example.com:99999999", PERHAPS),
            ("api.example.com", "api.example.com:x", PERHAPS),
            ("api.example.com", "api.example.com.", PERHAPS),
            ("api.example.com", "api.example.com.:80", PERHAPS),
            ("api.example.com", "api.example.com:80:80", NO),
            ("api.example.com", "u@api.example.com", NO),
            ("api.example.com", "api.example.com.evil.org", NO),
            ("[::1]", "[::1]", YES),
            ("[::1]", "[::1]:8080", PERHAPS),
            ("*", "anything.:80", YES),
            ("*", "", YES),
        ] {
            assert_eq!(matches(pattern, authority), expected, "{pattern} {authority}");
        }
    }

    #[test]
    fn a_port_in_a_pattern_makes_the_match_certain() {
        for (pattern, authority, expected) in [
            ("api.example.com:8443", "api.example.com:8443", YES),
            ("api.example.com:8443", "api.example.com:8444", NO),
            ("api.example.com:8443", "api.example.com", NO),
            ("*.example.com:8443", "api.example.com:8443", YES),
            ("api.example.com:*", "api.example.com:1", YES),
            ("api.example.com:*", "api.example.com", YES),
            ("api.example.com:*", "api.example.com.", PERHAPS),
            ("[::1]:80", "[::1]:80", YES),
        ] {
            assert_eq!(matches(pattern, authority), expected, "{pattern} {authority}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_or_more_whole_labels() {
        for (authority, expected) in [
            ("a.example.com", YES),
            ("a.b.example.com", YES),
            ("a.example.com:80", PERHAPS),
            ("example.com", NO),
            (".example.com", NO),
            ("badexample.com", NO),
        ] {
            assert_eq!(matches("*.example.com", authority), expected, "{authority}");
        }
    }

    #[test]
    fn other_patterns_are_refused() {
        for pattern in [
            "*x.com",
            "a.*.com",
            "*.",
            "*..com",
            "a..com",
            "a.com:",
            "a.com:http",
            "a.com:99999",
            "a.com:080",
            "a.com.",
            "*:80",
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
