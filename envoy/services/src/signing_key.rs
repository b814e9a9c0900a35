use std::error::Error;
use std::fmt;

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs8::DecodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts;
use serde::Serialize;

/// An RSA key that signs tokens with RS256, and the JWK under which others find its public half.
#[derive(Debug)]
pub struct SigningKey {
    private: EncodingKey,
    public: Jwk,
    kid: String,
}

impl SigningKey {
    /// Reads a PKCS#8 or PKCS#1 key in PEM form.
    ///
    /// A literal `\n` counts as a line break: that is how keys arrive through `.env` files and
    /// manifests that can only hold one line.
    pub fn from_pem(pem: &str, kid: Option<String>) -> Result<Self, KeyError> {
        let pem = pem.replace("\\n", "\n");
        let pem = pem.trim();
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem))
            .map_err(|_| KeyError::Unreadable)?;

        Self::new(&key, kid)
    }

    /// Makes a key that nobody else has.
    pub fn generate(kid: Option<String>) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::new(&mut OsRng, MIN_MODULUS_BITS)
            .map_err(|error| KeyError::Unusable(error.to_string()))?;

        Self::new(&key, kid)
    }

    fn new(key: &RsaPrivateKey, kid: Option<String>) -> Result<Self, KeyError> {
        let bits = key.n().bits();
        if bits < MIN_MODULUS_BITS {
            return Err(KeyError::TooShort(bits));
        }

        let der = key.to_pkcs1_der().map_err(|error| KeyError::Unusable(error.to_string()))?;
        let private = EncodingKey::from_rsa_der(der.as_bytes());
        let mut public = Jwk::from_encoding_key(&private, Algorithm::RS256)
            .map_err(|error| KeyError::Unusable(error.to_string()))?;
        let kid = match kid {
            Some(kid) => kid,
            None => public
                .thumbprint(ThumbprintHash::SHA256)
                .map_err(|error| KeyError::Unusable(error.to_string()))?,
        };
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);

        Ok(Self { private, public, kid })
    }

    /// Signs `claims` into a compact JWT.
    pub fn sign(&self, claims: &impl Serialize) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());

        jsonwebtoken::encode(&header, claims, &self.private)
    }

    /// The `kid` of the tokens and of the published key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The JWK Set to publish.
    pub fn jwk_set(&self) -> JwkSet {
        JwkSet { keys: vec![self.public.clone()] }
    }
}

/// Why a key cannot sign tokens.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The modulus has only this many bits.
    TooShort(usize),
    /// Not a PEM document with an RSA private key.
    Unreadable,
    /// The key was read or made, but the signing library does not take it.
    Unusable(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(bits) => {
                write!(f, "the RSA key has {bits} bits, RS256 needs at least {MIN_MODULUS_BITS}")
            }
            Self::Unreadable => {
                f.write_str("not an unencrypted RSA private key in PEM form (PKCS#8 or PKCS#1)")
            }
            Self::Unusable(reason) => write!(f, "the RSA key cannot be used: {reason}"),
        }
    }
}

impl Error for KeyError {}

/// RFC 7518 §3.3.
const MIN_MODULUS_BITS: usize = 2048;

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use rsa::pkcs1::LineEnding;
    use rsa::pkcs8::EncodePrivateKey;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn token_verifies_with_the_published_key() {
        let key = SigningKey::from_pem(ALPHA, None).unwrap();

        let token = key.sign(&json!({"sub": "alice", "exp": u32::MAX})).unwrap();

        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        let set = key.jwk_set();
        let jwk = set.find(&header.kid.unwrap()).unwrap();
        let claims = decode::<Value>(
            &token,
            &DecodingKey::from_jwk(jwk).unwrap(),
            &Validation::new(Algorithm::RS256),
        )
        .unwrap()
        .claims;
        assert_eq!(claims["sub"], "alice");
    }

    #[test]
    fn published_key_holds_public_members_only() {
        let key = SigningKey::from_pem(ALPHA, Some("k1".to_owned())).unwrap();

        let mut set = serde_json::to_value(key.jwk_set()).unwrap();

        let jwk = set["keys"][0].as_object_mut().unwrap();
        assert!(jwk.remove("n").is_some());
        assert_eq!(
            Value::from(jwk.clone()),
            json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "e": "AQAB"})
        );
    }

    #[test]
    fn kid_defaults_to_the_thumbprint_so_replicas_with_one_key_agree() {
        let one = SigningKey::from_pem(ALPHA, None).unwrap();
        let other = SigningKey::from_pem(ALPHA, None).unwrap();

        assert_eq!(one.kid(), other.kid());
        assert_eq!(one.kid(), ALPHA_THUMBPRINT);
    }

    #[test]
    fn generated_keys_differ() {
        let one = SigningKey::generate(None).unwrap();
        let other = SigningKey::generate(None).unwrap();

        assert_ne!(one.kid(), other.kid());
    }

    #[test]
    fn pkcs1_is_read_as_well() {
        let pem = RsaPrivateKey::from_pkcs8_pem(ALPHA).unwrap().to_pkcs1_pem(LineEnding::LF);

        let key = SigningKey::from_pem(&pem.unwrap(), None).unwrap();

        assert_eq!(key.kid(), ALPHA_THUMBPRINT);
    }

    #[test]
    fn line_breaks_may_be_written_as_backslash_n() {
        let key = SigningKey::from_pem(&ALPHA.replace('\n', "\\n"), None).unwrap();

        assert_eq!(key.kid(), ALPHA_THUMBPRINT);
    }

    #[test]
    fn short_key_is_refused_with_its_size() {
        let pem = RsaPrivateKey::new(&mut OsRng, 1024).unwrap().to_pkcs8_pem(LineEnding::LF);

        let error = SigningKey::from_pem(&pem.unwrap(), None).unwrap_err();

        assert_eq!(error, KeyError::TooShort(1024));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----\nAAAA"] {
            assert_eq!(SigningKey::from_pem(text, None).unwrap_err(), KeyError::Unreadable);
        }
    }

    #[test]
    fn debug_output_does_not_show_the_private_key() {
        let key = SigningKey::from_pem(ALPHA, None).unwrap();

        assert!(format!("{key:?}").contains("redacted"), "{key:?}");
    }

    const ALPHA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/alpha.pem"));
    const ALPHA_THUMBPRINT: &str = "hp36UWyaOlPB8hIFT-TzQR4LAg_1Lnvkb1ssreabk0w";
}
