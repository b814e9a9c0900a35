//! The grammar of HTTP messages, and of the URIs in them.

/// Whether `text` is a token (RFC 9110 §5.6.2), as names of headers, cookies and methods are.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Whether a token may hold it.
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether it reaches whoever parses the header as it is: spaces around a value are dropped.
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(is_visible_ascii) && text.trim_ascii() == text
}

/// What a header value may hold between its ends (RFC 9110 §5.5, without obs-text and tabs).
pub(crate) fn is_visible_ascii(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
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

/// Splits an authority at its last colon, unless that is part of an IPv6 address, as Envoy does
/// (source/common/http/header_utility.cc, `getPortStart`): what follows need not be a number.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}
