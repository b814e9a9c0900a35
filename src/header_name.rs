//! Names of the headers that the filter owns.

use crate::config::{ConfigError, Object};

/// A header name in lower case that the filter may remove and set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderName(String);

impl HeaderName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if !is_token(&name) {
            return Err(format!("{text:?} is not a header name (RFC 9110 §5.1)"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("the header {name:?} has a meaning of its own; choose another"));
        }
        Ok(Self(name))
    }

    /// Reads a required member of a configuration object.
    pub(crate) fn read(object: &mut Object, member: &'static str) -> Result<Self, ConfigError> {
        let text = object.required_string(member, "name a header")?;
        Self::parse(&text).map_err(|problem| object.error(member, problem))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }

    /// Whether an upstream may take `other` for this header.
    ///
    /// CGI-style servers make `-` and `_` the same (RFC 3875 §4.1.18), and some of them everything
    /// that is no letter or digit, so that `X_User_Id` would otherwise reach them as a forged
    /// `X-User-Id`.
    pub(crate) fn is_taken_for(&self, other: &str) -> bool {
        let fold = |byte: u8| match byte {
            letter_or_digit if letter_or_digit.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
            _ => b'-',
        };
        self.0.len() == other.len()
            && self.0.bytes().zip(other.bytes()).all(|(a, b)| fold(a) == fold(b))
    }
}

/// Whether `text` is a token (RFC 9110 §5.6.2), as names of headers, cookies and methods are.
pub(crate) fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

/// Headers that frame or route the message: to edit them is to change another request.
const RESERVED: [&str; 8] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_checked() {
        assert_eq!(HeaderName::parse("X-User-Id").unwrap().as_str(), "x-user-id");
        for name in ["", ":path", "x y", "x\r\n", "é", "Host", "content-length", "Cookie"] {
            assert!(HeaderName::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn case_and_underscores_do_not_hide_a_forgery() {
        let name = HeaderName::parse("X-User-Id").unwrap();

        for other in ["x-user-id", "X_USER_ID", "x_user-id", "x.user~id"] {
            assert!(name.is_taken_for(other), "{other}");
        }
        for other in ["x-user-i", "x-user-idd", "xxuser-id"] {
            assert!(!name.is_taken_for(other), "{other}");
        }
    }
}
