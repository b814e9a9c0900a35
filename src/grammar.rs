//! The grammar of HTTP messages, and of the URIs in them.

/// Whether `text` is a token (RFC 9110 §5.6.2), as names of headers, cookies and methods are.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Whether a token may hold this byte.
pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether parsers read this value unchanged: they drop spaces around a value.
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(is_visible_ascii) && text.trim_ascii() == text
}

/// Whether a header value may hold this byte (RFC 9110 §5.5, without obs-text and tabs).
pub(crate) fn is_visible_ascii(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Whether `text` is a host in a URI (RFC 3986 §3.2.2): an ASCII name, an IPv4 address, or an IPv6
/// address in brackets. Container names may hold `_`.
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
/// (source/common/http/header_utility.cc, `getPortStart`). The port need not be a number.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let colon = authority.bytes().rposition(|byte| byte == b':');
    match colon.and_then(|colon| authority.split_at_checked(colon)) {
        Some((host, port)) if !port.contains(']') => (host, port.get(1..)),
        _ => (authority, None),
    }
}
