//! The part of a request that decisions are made on, as the host hands it over.

use std::borrow::Cow;
use std::rc::Rc;

/// The headers of one request, HTTP/2 pseudo-headers among them.
///
/// Values are bytes, because clients may send bytes that are no text; names are in lower case, as
/// Envoy keeps them.
pub struct RequestHead<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().copied()
    }

    /// Every value of one header, in order; a header may be repeated.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    pub(crate) fn method(&self) -> &'a [u8] {
        self.values(":method").next().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &'a [u8] {
        self.values(":path").next().unwrap_or_default()
    }

    pub(crate) fn authority(&self) -> Cow<'a, str> {
        let authority = self.values(":authority").next().unwrap_or_default();
        String::from_utf8_lossy(authority)
    }

    /// A CORS preflight as the Fetch standard defines it: sent by the browser itself, which adds
    /// no credentials to it.
    pub(crate) fn is_cors_preflight(&self) -> bool {
        self.method() == b"OPTIONS"
            && self.values("origin").next().is_some()
            && self.values("access-control-request-method").next().is_some()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for RequestHead<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        Self { headers: headers.into_iter().collect() }
    }
}

/// One change to the headers of a request on its way upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderEdit {
    /// Removes every header of this name.
    Remove(Rc<str>),
    /// Replaces every header of this name by one.
    Set(Rc<str>, Rc<[u8]>),
}
