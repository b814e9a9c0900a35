//! JOSE: from the bytes of a token and of a JWK Set to a verified token.
//!
//! Everything here is pure. A `Token` is what a client claims. Only a signature check makes a
//! `VerifiedToken`, so code that takes one needs no check of its own.

mod claims;
#[cfg(not(target_arch = "wasm32"))]
mod described;
mod header;
mod json;
mod jwk;
mod known_answer;
mod public_key;
mod rs256;

pub use claims::ClaimName;
pub(crate) use claims::Claims;
#[cfg(not(target_arch = "wasm32"))]
pub use described::{DescribedKey, describe};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use header::Header;
pub(crate) use json::parse as parse_json;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use json::parse_object;
pub use jwk::{JwkSetError, MAX_JWKS_BYTES, SkippedKey, VerifyingKey};
pub(crate) use jwk::{KeySet, MAX_KEYS, Shown, kid_fingerprint, shown_kid};
pub use public_key::PublicKey;
pub use rs256::{Crypto, Verifier};

use crate::reason::Reason;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(target_arch = "wasm32")]
use header::Header;
use std::fmt;
use std::ops::Range;

/// A well-formed JWS in compact serialization (RFC 7515 §7.1), not verified yet.
pub(crate) struct Token {
    text: String,
    /// Where the payload is in the text. The signed part ends with it.
    payload: Range<usize>,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

impl Token {
    /// Parses a token: three parts, each canonical base64url without padding, the first two of them
    /// JSON objects.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let text = str::from_utf8(bytes).map_err(|_| Reason::TokenMalformed)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::TokenMalformed)?;

        Ok(Self {
            header: Header::parse(&decode(header)?)?,
            claims: Claims::parse(&decode(payload)?)?,
            signature: decode(signature)?,
            payload: header.len().saturating_add(1)..signed.len(),
            text: text.to_owned(),
        })
    }

    /// The token as the client sent it.
    pub(crate) fn as_text(&self) -> &str {
        &self.text
    }

    /// The token as the client sent it, which is much smaller than the parsed one.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(crate) fn typ(&self) -> Option<&str> {
        self.header.typ.as_deref()
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks the signature with each key in turn, until one fits; returns the token if none does.
    ///
    /// Calls `attempted` once for each check, which is by far the most expensive step.
    pub(crate) fn verify<'k>(
        self,
        keys: impl Iterator<Item = &'k VerifyingKey>,
        crypto: Crypto,
        mut attempted: impl FnMut(),
    ) -> Result<VerifiedToken, Box<Self>> {
        let signed = self.text.get(..self.payload.end).unwrap_or_default();
        for key in keys {
            attempted();
            if key.verifies(signed.as_bytes(), &self.signature, crypto) {
                return Ok(VerifiedToken { token: self, key: key.clone() });
            }
        }
        Err(Box::new(self))
    }
}

/// Tokens are secrets: only the size may be printed.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.text.len())
    }
}

/// Proof that a key signed the token. The claims are the issuer's as long as the key is trusted.
pub(crate) struct VerifiedToken {
    token: Token,
    key: VerifyingKey,
}

impl VerifiedToken {
    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    pub(crate) fn key(&self) -> &VerifyingKey {
        &self.key
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.token.claims
    }

    /// The payload as the token holds it: base64url without padding.
    pub(crate) fn payload_segment(&self) -> &str {
        self.token.text.get(self.token.payload.clone()).unwrap_or_default()
    }

    /// About how much memory the parts of this take, in bytes.
    pub(crate) fn size(&self) -> usize {
        let Token { text, signature, claims, .. } = &self.token;
        text.len().saturating_add(signature.len()).saturating_add(claims.size())
    }
}

/// Decodes canonical base64url without padding (RFC 7515 §2). No part of a token is empty.
pub(crate) fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    match URL_SAFE_NO_PAD.decode(part) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Reason::TokenMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn refusal(token: &str) -> Option<Reason> {
        Token::parse(token.as_bytes()).err()
    }

    #[test]
    fn three_canonical_parts_are_a_token() {
        let text = format!("{}.{}.c2ln", segment(r#"{"alg":"RS256"}"#), segment("{}"));

        assert!(Token::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn every_other_form_is_malformed() {
        let (header, payload) = (segment(r#"{"alg":"RS256"}"#), segment("{}"));
        for token in [
            String::new(),
            ".".into(),
            "..".into(),
            header.clone(),
            format!("{header}.{payload}"),
            format!("{header}.{payload}."),
            format!(".{payload}.c2ln"),
            format!("{header}..c2ln"),
            format!("{header}.{payload}.c2ln."),
            format!("{header}.{payload}.c2ln.c2ln.c2ln"),
            format!("{header}.{payload}.c2ln="),
            format!("{header}.{payload}.c2lu+/"),
            format!("{header}.{payload}.c2l\n"),
            format!("{header}.{payload}. c2ln"),
            // The last character carries bits that no byte uses.
            format!("{header}.{payload}.YR"),
            format!("{header}=.{payload}.c2ln"),
            format!("{}.{payload}.c2ln", segment(r#"["RS256"]"#)),
            format!("{header}.{}.c2ln", segment("[]")),
            format!("{header}.{}.c2ln", segment("{}{}")),
        ] {
            assert_eq!(refusal(&token), Some(Reason::TokenMalformed), "{token}");
        }
        assert_eq!(Token::parse(b"\xff.\xff.\xff").err(), Some(Reason::TokenMalformed));
    }

    #[test]
    fn debug_output_holds_nothing_of_the_token() {
        let payload = segment(r#"{"sub":"alice"}"#);
        let text = format!("{}.{payload}.c2ln", segment(r#"{"alg":"RS256","kid":"k1"}"#));

        let shown = format!("{:?}", Token::parse(text.as_bytes()).unwrap());

        assert!(!shown.contains(&payload) && !shown.contains("alice") && !shown.contains("k1"));
    }
}
