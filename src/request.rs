//! The part of a request that decisions are based on, as the host hands it over.

use crate::grammar::is_token;
use crate::header_name::is_same_to_lax_servers;
use std::borrow::Cow;
use std::rc::Rc;

/// The headers of one request, HTTP/2 pseudo-headers among them, and where it came to.
///
/// Values are bytes, because clients may send invalid UTF-8; names are in lower case, as Envoy
/// keeps them.
pub struct RequestHead<'a> {
    headers: Vec<(&'a str, &'a [u8])>,
    pseudo: PseudoHeaders<'a>,
    has_body: bool,
    destination_port: Option<u16>,
}

/// The first value of each pseudo-header that decisions ask for, some of them several times.
#[derive(Default)]
struct PseudoHeaders<'a> {
    authority: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
}

impl<'a> PseudoHeaders<'a> {
    fn add(&mut self, name: &str, value: &'a [u8]) {
        let field = match name {
            ":authority" => &mut self.authority,
            ":method" => &mut self.method,
            ":path" => &mut self.path,
            _ => return,
        };
        _ = field.get_or_insert(value);
    }
}

impl<'a> RequestHead<'a> {
    /// A head without a body, on a connection to a port that nobody knows.
    #[must_use]
    pub fn new(headers: Vec<(&'a str, &'a [u8])>) -> Self {
        let mut pseudo = PseudoHeaders::default();
        for (name, value) in &headers {
            if name.as_bytes().first() == Some(&b':') {
                pseudo.add(name, value);
            }
        }
        Self { headers, pseudo, has_body: false, destination_port: None }
    }

    /// The same head, with or without a body after it.
    #[must_use]
    pub fn with_body(self, has_body: bool) -> Self {
        Self { has_body, ..self }
    }

    /// The same head, on a connection to this port; `None` if nobody knows.
    #[must_use]
    pub fn with_destination_port(self, destination_port: Option<u16>) -> Self {
        Self { destination_port, ..self }
    }

    /// The port that the connection came to, which no header can say.
    pub(crate) fn destination_port(&self) -> Option<u16> {
        self.destination_port
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.headers.iter().copied()
    }

    /// Every value of a header, in order; a header may be repeated.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().filter(move |(other, _)| *other == name).map(|(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    pub(crate) fn method(&self) -> &'a [u8] {
        self.pseudo.method.unwrap_or_default()
    }

    /// The methods that override headers ask for: some servers obey them.
    pub(crate) fn method_overrides(&self) -> impl Iterator<Item = &'a [u8]> {
        let is_override = |name: &str| {
            name.starts_with('x')
                && METHOD_OVERRIDES.iter().any(|other| is_same_to_lax_servers(name, other))
        };
        self.headers().filter(move |(name, _)| is_override(name)).map(|(_, value)| value)
    }

    /// Whether it asks for another protocol on this connection (RFC 9110 §7.8) or stream (RFC 8441
    /// §4).
    pub(crate) fn is_upgrade(&self) -> bool {
        self.has("upgrade") || self.has(":protocol")
    }

    pub(crate) fn path(&self) -> &'a [u8] {
        self.pseudo.path.unwrap_or_default()
    }

    pub(crate) fn authority(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.pseudo.authority.unwrap_or_default())
    }

    /// Whether this is a CORS preflight as the Fetch standard defines it. The browser itself sends
    /// it, without credentials or anything else that a server might act on.
    pub(crate) fn is_cors_preflight(&self) -> bool {
        let asked_for = || self.values("access-control-request-method").next();
        self.method() == b"OPTIONS"
            && asked_for().is_some_and(|method| str::from_utf8(method).is_ok_and(is_token))
            && self.has("origin")
            && !self.has_body
            && !self.is_upgrade()
            && !self.has("authorization")
            && self.method_overrides().next().is_none()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for RequestHead<'a> {
    /// See [`Self::new`].
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(headers: I) -> Self {
        Self::new(headers.into_iter().collect())
    }
}

/// Identifies a request of an engine.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

/// A change to the headers of a request on its way upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HeaderEdit {
    /// Removes every header of this name.
    Remove(Rc<str>),
    /// Replaces every header of this name by one.
    Set(Rc<str>, Rc<[u8]>),
}

/// The headers that override the method: in Rails and Symfony, ASP.NET, Express.
const METHOD_OVERRIDES: [&str; 3] =
    ["x-http-method-override", "x-http-method", "x-method-override"];
