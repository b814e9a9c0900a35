//! Names of the headers that the filter owns.

use crate::grammar::is_token;
use std::cmp::Ordering;
use std::rc::Rc;

/// The name of a header that the filter may remove and set, in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HeaderName(Rc<str>);

impl HeaderName {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if !is_token(&name) {
            return Err(format!("{text:?} is not a header name (RFC 9110 §5.1)"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!("the header {name:?} has a meaning of its own; choose another"));
        }
        Ok(Self(name.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Rc<str> {
        Rc::clone(&self.0)
    }
}

/// All headers that the filter sets.
#[derive(Clone, Debug)]
pub(crate) struct OwnedHeaders {
    /// Sorted by [`compare`].
    names: Vec<HeaderName>,
    /// A bit for each length that a name has: it rules out most others unread.
    lengths: u64,
}

impl OwnedHeaders {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Self {
        let mut owned = Self { names: Vec::new(), lengths: 0 };
        names.for_each(|name| owned.add(name));
        owned
    }

    pub(crate) fn add(&mut self, name: &HeaderName) {
        self.lengths |= bit_of_length(&name.0);
        if let Err(at) = self.find(&name.0) {
            self.names.insert(at, name.clone());
        }
    }

    /// Whether an upstream may take `other` for one of these.
    ///
    /// CGI-style servers treat `-` and `_` alike (RFC 3875 §4.1.18), and some treat everything but
    /// letters and digits alike. `X_User_Id` would otherwise reach them as a forged `X-User-Id`.
    pub(crate) fn resemble(&self, other: &str) -> bool {
        self.lengths & bit_of_length(other) != 0 && self.find(other).is_ok()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|owned| compare(&owned.0, name))
    }
}

/// Lengths that are as many modulo 64 have the same bit.
fn bit_of_length(name: &str) -> u64 {
    // The rotation takes the remainder.
    1_u64.rotate_left(u32::try_from(name.len()).unwrap_or(0))
}

/// Whether some servers take one name for the other (see [`OwnedHeaders::resemble`]).
pub(crate) fn is_same_to_lax_servers(a: &str, b: &str) -> bool {
    compare(a, b).is_eq()
}

/// Orders names so that two are equal if an upstream may take one for the other. Those of different
/// lengths never are.
fn compare(a: &str, b: &str) -> Ordering {
    let fold = |byte: u8| match byte {
        letter_or_digit if letter_or_digit.is_ascii_alphanumeric() => byte.to_ascii_lowercase(),
        _ => b'-',
    };
    a.len().cmp(&b.len()).then_with(|| a.bytes().map(fold).cmp(b.bytes().map(fold)))
}

/// Headers that frame or route the message: editing one would make it another request.
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
        let names = ["X-User-Id", "X-Tenant", "X-Scopes", "X-User_Id", "X-Aser-Id"]
            .map(|name| HeaderName::parse(name).unwrap());
        let owned = OwnedHeaders::new(names.iter());

        for other in ["x-user-id", "X_USER_ID", "x_user-id", "x.user~id", "x-tenant", "X_Scopes"] {
            assert!(owned.resemble(other), "{other}");
        }
        for other in ["", "x-user-i", "x-user-idd", "xxuser-id", "x-scopet"] {
            assert!(!owned.resemble(other), "{other}");
        }
        assert!(!OwnedHeaders::new([].into_iter()).resemble("x-user-id"));
    }
}
