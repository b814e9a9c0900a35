//! The header by which a service can tell that the filter stands before it: `verifiedHeader`.

use super::error::{ConfigError, Path};
use super::object::Object;
use crate::grammar::is_visible_ascii;
use crate::header_name::{HeaderName, OwnedHeaders};
use crate::request::HeaderEdit;
use std::fmt;
use std::rc::Rc;

/// What is configured of it.
pub(super) struct VerifiedHeader {
    name: HeaderName,
    secret: Option<String>,
}

impl VerifiedHeader {
    pub(super) fn read(object: &mut Object) -> Result<Option<Self>, ConfigError> {
        let Some(mut object) = object.object("verifiedHeader")? else { return Ok(None) };
        let name = object.header_name("name")?;
        let secret = object.string("secret")?;
        let is_good =
            |text: &String| text.len() >= MIN_SECRET_BYTES && text.bytes().all(is_unescaped);
        if !secret.as_ref().is_none_or(is_good) {
            // The error does not show it: whoever reads logs could forge the header.
            return Err(object.error(
                "secret",
                "write 16 characters or more of printable ASCII, without quotes and backslashes",
            ));
        }
        object.finish()?;
        Ok(Some(Self { name, secret }))
    }

    /// Adds it to the headers that hold what tokens say, unless it is one of them.
    pub(super) fn join(&self, owned: &mut OwnedHeaders, root: &Path) -> Result<(), ConfigError> {
        if owned.resemble(self.name.as_str()) {
            return Err(ConfigError::new(
                &root.member("verifiedHeader").member("name"),
                "is also the header of a claim or of the payload; choose another",
            ));
        }
        owned.add(&self.name);
        Ok(())
    }

    /// The mark on requests with a token of this provider, whose name needs no escapes.
    pub(super) fn mark(&self, provider: &str) -> VerifiedMark {
        let mut value = ["verified;provider=\"", provider, "\""].concat();
        if let Some(secret) = &self.secret {
            value.extend([";secret=\"", secret, "\""]);
        }
        VerifiedMark { header: self.name.shared(), value: value.into_bytes().into() }
    }
}

/// The header with its value, an item of RFC 8941 §3.3.
#[derive(Clone)]
pub(crate) struct VerifiedMark {
    header: Rc<str>,
    value: Rc<[u8]>,
}

impl VerifiedMark {
    /// Sets it, without a copy.
    pub(crate) fn edit(&self) -> HeaderEdit {
        HeaderEdit::Set(Rc::clone(&self.header), Rc::clone(&self.value))
    }
}

/// The value may hold a secret.
impl fmt::Debug for VerifiedMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedMark({})", self.header)
    }
}

/// Whether a string of RFC 8941 §3.3.3 holds this byte as it is.
fn is_unescaped(byte: u8) -> bool {
    is_visible_ascii(byte) && byte != b'"' && byte != b'\\'
}

/// 16 random letters and digits are 95 bits, and nobody can try them offline.
pub(super) const MIN_SECRET_BYTES: usize = 16;
