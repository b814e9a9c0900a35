//! JWK Sets (RFC 7517): from JSON to keys that can verify RS256 signatures.

use super::json;
use super::public_key::PublicKey;
use super::rs256::{Crypto, Verifier};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::cell::OnceCell;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

/// The largest JWK Set document that is accepted, in bytes.
pub const MAX_JWKS_BYTES: usize = 1024 * 1024;
/// The most keys that one JWK Set may hold, usable or not.
pub(crate) const MAX_KEYS: usize = 1024;

/// An RSA public key that can verify RS256 signatures. Clones share one verifier.
#[derive(Clone)]
pub struct VerifyingKey(Rc<Parts>);

struct Parts {
    kid: Option<String>,
    thumbprint: String,
    fingerprint: u64,
    kid_fingerprint: Option<u64>,
    public_key: PublicKey,
    /// Created at the first check and kept, with what it computed from the key.
    verifier: OnceCell<Option<Verifier>>,
}

impl VerifyingKey {
    /// Parses a JWK, or returns why it cannot be used.
    pub(crate) fn parse(jwk: &Value) -> Result<Self, &'static str> {
        let Value::Object(members) = jwk else { return Err("it is not a JSON object") };
        let text = |name: &str| members.get(name).and_then(Value::as_str);

        if text("kty") != Some("RSA") {
            return Err("kty is not RSA");
        }
        if !matches!(members.get("use"), None | Some(Value::String(_)))
            || text("use").is_some_and(|usage| usage != "sig")
        {
            return Err("use is not sig");
        }
        if members.get("key_ops").is_some_and(|ops| {
            !ops.as_array().is_some_and(|ops| ops.iter().any(|op| op.as_str() == Some("verify")))
        }) {
            return Err("key_ops does not hold verify");
        }
        if members.get("alg").is_some_and(|alg| alg.as_str() != Some("RS256")) {
            return Err("alg is not RS256");
        }
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err("kid is not a string"),
        };
        Self::new(kid, text("n").unwrap_or_default(), text("e").unwrap_or_default())
    }

    /// Creates a key from modulus and exponent as Base64urlUInt (RFC 7518 §6.3.1).
    pub(crate) fn new(kid: Option<String>, n: &str, e: &str) -> Result<Self, &'static str> {
        let public_key = PublicKey::from_base64url(n, e)?;
        let thumbprint = public_key.thumbprint();
        let mut hasher = DefaultHasher::new();
        (&thumbprint, &kid).hash(&mut hasher);
        let fingerprint = hasher.finish();
        let kid_fingerprint = kid.as_deref().map(kid_fingerprint);
        let verifier = OnceCell::new();
        let parts = Parts { kid, thumbprint, fingerprint, kid_fingerprint, public_key, verifier };
        Ok(Self(Rc::new(parts)))
    }

    /// A hash of the key and its `kid`, for uses that tolerate collisions.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    /// A hash of the key's `kid`, if it has one, for uses that tolerate collisions.
    pub(crate) fn kid_fingerprint(&self) -> Option<u64> {
        self.0.kid_fingerprint
    }

    /// The key's `kid`; not unique, and not every key has one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.0.kid.as_deref()
    }

    /// The SHA-256 thumbprint (RFC 7638), base64url: the identity of the key.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.0.thumbprint
    }

    /// Modulus and exponent as Base64urlUInt (RFC 7518 §6.3.1).
    pub(crate) fn components(&self) -> [String; 2] {
        self.0.public_key.to_base64url()
    }

    /// Whether this is the same key under the same `kid`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
            || (self.0.thumbprint == other.0.thumbprint && self.0.kid == other.0.kid)
    }

    /// Whether this key made `signature` over `signed`. A key is used with one `crypto` only, that
    /// of its engine.
    pub(super) fn verifies(&self, signed: &[u8], signature: &Vec<u8>, crypto: Crypto) -> bool {
        let verifier = self.0.verifier.get_or_init(|| crypto.verifier(&self.0.public_key));
        verifier.as_ref().is_some_and(|verifier| verifier.verifies(signed, signature))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.0.kid)
            .field("thumbprint", &self.0.thumbprint)
            .finish_non_exhaustive()
    }
}

/// The usable keys of a JWK Set, and the skipped ones.
#[derive(Clone, Debug)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<VerifyingKey>,
    pub(crate) skipped: Vec<SkippedKey>,
}

impl KeySet {
    /// Parses a JWK Set document. Skips keys that it cannot use, as RFC 7517 §5 asks.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JwkSetError> {
        let keys = unread_keys(bytes)?.into_iter();
        let keys = keys.map(|jwk| match json::parse(jwk.get().as_bytes()) {
            Ok(jwk) => read(&jwk),
            Err(error) => Err((kid_of_unreadable(jwk), error.into())),
        });
        Self::collect(keys)
    }

    /// Reads a parsed JWK Set.
    pub(crate) fn from_json(document: &Value) -> Result<Self, JwkSetError> {
        let Some(Value::Array(jwks)) = document.get("keys") else {
            return Err(JwkSetError::NotAJwkSet);
        };
        Self::collect(jwks.iter().map(read))
    }

    fn collect(
        jwks: impl ExactSizeIterator<Item = Result<VerifyingKey, (Option<String>, Unfit)>>,
    ) -> Result<Self, JwkSetError> {
        check_number(jwks.len())?;
        let mut set = Self { keys: Vec::with_capacity(jwks.len()), skipped: Vec::new() };
        for (index, jwk) in jwks.enumerate() {
            match jwk {
                Ok(key) => set.keys.push(key),
                Err((kid, reason)) => {
                    let kid = kid.as_deref().map(shown_kid);
                    set.skipped.push(SkippedKey { index, kid, reason });
                }
            }
        }
        if set.keys.is_empty() {
            return Err(JwkSetError::NoUsableKey { skipped: set.skipped });
        }
        Ok(set)
    }
}

/// Takes a JWK Set document apart, without a look at its keys.
pub(super) fn unread_keys(bytes: &[u8]) -> Result<Vec<&RawValue>, JwkSetError> {
    if bytes.len() > MAX_JWKS_BYTES {
        return Err(JwkSetError::TooLarge { bytes: bytes.len() });
    }
    /// The part that is parsed first. Serde refuses a second `keys`.
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    // Serde would accept an array for a structure.
    if bytes.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
        return Err(JwkSetError::NotAJwkSet);
    }
    let document = serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => JwkSetError::NotAJwkSet,
        _ => JwkSetError::NotJson { line: error.line(), column: error.column() },
    });
    let Document { keys } = document?;
    Ok(keys)
}

pub(super) fn check_number(keys: usize) -> Result<(), JwkSetError> {
    if keys > MAX_KEYS { Err(JwkSetError::TooManyKeys { keys }) } else { Ok(()) }
}

/// The key, or its `kid` and why it cannot be used.
fn read(jwk: &Value) -> Result<VerifyingKey, (Option<String>, Unfit)> {
    let kid = || jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    VerifyingKey::parse(jwk).map_err(|why| (kid(), why.into()))
}

/// The `kid` of a key that strict parsing refused.
pub(super) fn kid_of_unreadable(jwk: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        kid: String,
    }
    serde_json::from_slice(jwk.get().as_bytes()).ok().map(|Named { kid }| kid)
}

/// A `kid` shortened for logs: issuers may make them as long as they like.
pub(crate) fn shown_kid(kid: &str) -> String {
    kid.chars().take(SHOWN_KID_CHARS).collect()
}

/// A hash of a `kid`, for uses that tolerate collisions.
pub(crate) fn kid_fingerprint(kid: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    kid.hash(&mut hasher);
    hasher.finish()
}

/// A key of a JWK Set that cannot verify RS256 signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SkippedKey {
    index: usize,
    /// The beginning of its `kid`.
    kid: Option<String>,
    reason: Unfit,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Unfit {
    /// It is for another purpose, too weak or too large.
    Unusable(&'static str),
    /// The error, with its position counted from the beginning of the key.
    Unreadable { problem: String },
}

impl From<&'static str> for Unfit {
    fn from(why: &'static str) -> Self {
        Self::Unusable(why)
    }
}

impl From<serde_json::Error> for Unfit {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable { problem: error.to_string() }
    }
}

impl SkippedKey {
    /// A hash of `kid` and reason, whatever its place in the set; collisions are possible.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.kid, &self.reason).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether it is broken, and not just for another purpose.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self.reason, Unfit::Unreadable { .. })
    }
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}]", self.index)?;
        if let Some(kid) = &self.kid {
            write!(f, " (kid {kid:?})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why) => f.write_str(why),
            Self::Unreadable { problem } => {
                write!(f, "it cannot be read: {problem}, counted from where the key begins")
            }
        }
    }
}

/// Displays the first few skipped keys.
pub(crate) struct Shown<'a>(pub(crate) &'a [SkippedKey]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, key) in self.0.iter().take(SHOWN_SKIPPED_KEYS).enumerate() {
            write!(f, "{}{key}", if n == 0 { "" } else { "; " })?;
        }
        f.write_str(if self.0.len() > SHOWN_SKIPPED_KEYS { "; …" } else { "" })
    }
}

/// Why a document yields no keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum JwkSetError {
    /// A JWK Set, but none of its keys can verify RS256 signatures.
    NoUsableKey {
        /// The reason for each key; empty for a set without keys.
        skipped: Vec<SkippedKey>,
    },
    /// JSON, but without an array `keys`, or with two of them.
    NotAJwkSet,
    /// Not JSON.
    NotJson {
        /// Where parsing stopped, from 1.
        line: usize,
        /// Where parsing stopped, from 1; 0 if the line is empty.
        column: usize,
    },
    /// Larger than [`MAX_JWKS_BYTES`].
    TooLarge {
        /// The size of the document.
        bytes: usize,
    },
    /// More keys than are accepted.
    TooManyKeys {
        /// The number of keys.
        keys: usize,
    },
}

impl fmt::Display for JwkSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUsableKey { skipped } if skipped.is_empty() => {
                f.write_str("the JWK Set holds no keys")
            }
            Self::NoUsableKey { skipped } => {
                write!(f, "no key of the JWK Set can verify RS256 ({})", Shown(skipped))
            }
            Self::NotAJwkSet => {
                f.write_str("the document is JSON but has no array \"keys\", or two of them")
            }
            Self::NotJson { line, column } => {
                write!(f, "the document is not JSON (line {line}, column {column})")
            }
            Self::TooLarge { bytes } => {
                write!(f, "the document has {bytes} bytes, at most {MAX_JWKS_BYTES} are read")
            }
            Self::TooManyKeys { keys } => {
                write!(f, "the JWK Set holds {keys} keys, at most {MAX_KEYS} are taken")
            }
        }
    }
}

const SHOWN_SKIPPED_KEYS: usize = 3;
const SHOWN_KID_CHARS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Token;
    use crate::jose::known_answer::{N, SIGNATURE, SIGNED};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn rfc7515_set() -> KeySet {
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{N}","e":"AQAB"}}]}}"#);
        KeySet::parse(set.as_bytes()).unwrap()
    }

    fn verifies(token: &str) -> bool {
        let set = rfc7515_set();
        let token = Token::parse(token.as_bytes()).unwrap();
        token.verify(set.keys.iter(), Crypto::Module, || ()).is_ok()
    }

    #[test]
    fn the_example_of_rfc_7515_verifies() {
        assert!(verifies(&format!("{SIGNED}.{SIGNATURE}")));
    }

    #[test]
    fn a_signature_changed_in_any_byte_or_length_does_not_verify() {
        let good = URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();

        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(!verifies(&format!("{SIGNED}.{}", URL_SAFE_NO_PAD.encode(&bad))));
        }
        for bad in [&good[1..], &good[..255], &[&[0], &good[..]].concat(), &[0; 256], &[255; 256]] {
            assert!(!verifies(&format!("{SIGNED}.{}", URL_SAFE_NO_PAD.encode(bad))));
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // RFC 7638 §3.1: the example key and its thumbprint.
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB","kid":"x"}}]}}"#);

        let set = KeySet::parse(set.as_bytes()).unwrap();

        assert_eq!(set.keys[0].thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn leading_zeros_do_not_make_another_key() {
        let n = URL_SAFE_NO_PAD.decode(N).unwrap();
        let padded = URL_SAFE_NO_PAD.encode([&[0], &n[..]].concat());
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{padded}","e":"AAEAAQ"}}]}}"#);

        let set = KeySet::parse(set.as_bytes()).unwrap();

        assert_eq!(set.keys[0].thumbprint(), rfc7515_set().keys[0].thumbprint());
    }

    #[test]
    fn keys_for_something_else_are_skipped_and_the_rest_is_used() {
        let key = |extra: &str| format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB"{extra}}}"#);
        let keys = [
            key(""),
            key(r#","use":"sig","key_ops":["verify"],"alg":"RS256","kid":"full","x5c":7"#),
            key(r#","use":"enc""#),
            key(r#","use":null"#),
            key(r#","key_ops":["encrypt"]"#),
            key(r#","key_ops":"verify""#),
            key(r#","alg":"RS512""#),
            key(r#","kid":1"#),
            r#"{"kty":"EC","crv":"P-256"}"#.to_owned(),
            r#"{"kty":"RSA","n":"AQAB==","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"RSA","n":1}"#.to_owned(),
            "7".to_owned(),
        ];
        let text = format!(r#"{{"keys":[{}]}}"#, keys.join(","));

        let set = KeySet::parse(text.as_bytes()).unwrap();

        assert_eq!(set.keys.len(), 2);
        assert_eq!(set.keys[1].kid(), Some("full"));
        assert_eq!(set.skipped.len(), keys.len() - 2);
    }

    #[test]
    fn an_unreadable_key_does_not_affect_the_others() {
        let good = format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","kid":"good"}}"#);
        let deep = format!(r#"{{"kid":"deep","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for (bad, told) in [
            (
                r#"{"kid":"twice","alg":"RS256","alg":"RS256"}"#,
                r#"keys[1] (kid "twice"): it cannot be read: duplicate member name at line 1 column"#,
            ),
            (
                r#"{"kid":"far","x":1e999}"#,
                r#"keys[1] (kid "far"): it cannot be read: number out of range at line 1 column"#,
            ),
            (
                &deep,
                r#"keys[1] (kid "deep"): it cannot be read: nested too deeply at line 1 column"#,
            ),
            (r#"{"kid":"a","kid":"b"}"#, "keys[1]: it cannot be read: duplicate member name"),
            (r#"{"kid":"\ud800"}"#, "keys[1]: it cannot be read: "),
            (r#"{"kid":"ec","kty":"EC"}"#, r#"keys[1] (kid "ec"): kty is not RSA"#),
        ] {
            let text = format!(r#"{{"a":1,"keys":[{good},{bad},{good}],"a":2}}"#);

            let set = KeySet::parse(text.as_bytes()).unwrap();

            assert_eq!(set.keys.len(), 2);
            let [skipped] = set.skipped.as_slice() else { panic!("{bad}") };
            assert!(skipped.to_string().starts_with(told), "{skipped}");
            assert_eq!(skipped.is_unreadable(), told.contains("read"));
        }
    }

    #[test]
    fn errors_say_little_about_each_key() {
        let kid = "\u{1}".repeat(100_000);
        let set =
            serde_json::json!({"keys": [{"kid": kid}, {"kid": kid}, {"kid": kid}, {"kid": kid}]});

        let error = KeySet::parse(set.to_string().as_bytes()).err().unwrap();

        assert!(error.to_string().len() < 2000, "{error}");
    }

    #[test]
    fn documents_that_are_no_jwk_set_say_why() {
        let error = |text: &str| KeySet::parse(text.as_bytes()).err().unwrap().to_string();

        assert_eq!(error("<html>"), "the document is not JSON (line 1, column 1)");
        assert_eq!(error(""), "the document is not JSON (line 1, column 0)");
        assert_eq!(error("[]"), "the document is JSON but has no array \"keys\", or two of them");
        assert_eq!(
            error(r#"{"keys":{}}"#),
            "the document is JSON but has no array \"keys\", or two of them"
        );
        assert_eq!(error(r#"{"keys":[]}"#), "the JWK Set holds no keys");
        assert_eq!(
            error(r#"{"keys":[1,{"kty":"oct"},2,3]}"#),
            "no key of the JWK Set can verify RS256 (keys[0]: it is not a JSON object; keys[1]: \
             kty is not RSA; keys[2]: it is not a JSON object; …)"
        );
        assert!(
            error(&format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(MAX_KEYS))).contains("1025 keys")
        );
        assert!(error(&" ".repeat(MAX_JWKS_BYTES + 1)).contains("1048577 bytes"));
    }
}
