use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::rand_core::OsRng;
use serde::Serialize;

use crate::key_error::{KeyError, MIN_MODULUS_BITS};
use crate::pem;
use crate::public_key::{PublicKey, private_key};

/// An RSA key that signs tokens with RS256, and the public half that verifies them.
#[derive(Debug)]
pub struct SigningKey {
    private: EncodingKey,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a PKCS#8 or PKCS#1 key in PEM form, whose line breaks may be written as `\n`.
    pub fn from_pem(pem: &str, kid: Option<String>) -> Result<Self, KeyError> {
        let key = private_key(&pem::with_line_breaks(pem)).ok_or(KeyError::NoPrivateKey)?;

        Self::new(&key, kid)
    }

    /// Makes a key that nobody else has.
    pub fn generate(kid: Option<String>) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::new(&mut OsRng, MIN_MODULUS_BITS)
            .map_err(|error| KeyError::Unusable(error.to_string()))?;

        Self::new(&key, kid)
    }

    fn new(key: &RsaPrivateKey, kid: Option<String>) -> Result<Self, KeyError> {
        let public = PublicKey::new(&key.to_public_key(), kid)?;
        let der = key.to_pkcs1_der().map_err(|error| KeyError::Unusable(error.to_string()))?;

        Ok(Self { private: EncodingKey::from_rsa_der(der.as_bytes()), public })
    }

    /// Signs `claims` into a compact JWT.
    pub fn sign(&self, claims: &impl Serialize) -> jsonwebtoken::errors::Result<String> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.public.kid().to_owned());

        jsonwebtoken::encode(&header, claims, &self.private)
    }

    /// What verifies its tokens, under the `kid` that they name.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use rsa::pkcs1::LineEnding;
    use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn token_verifies_with_the_published_key() {
        let key = SigningKey::from_pem(ALPHA, None).unwrap();

        let token = key.sign(&json!({"sub": "alice", "exp": u32::MAX})).unwrap();

        let header = decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("JWT"));
        assert_eq!(header.kid.as_deref(), Some(key.public().kid()));
        let claims = decode::<Value>(
            &token,
            &DecodingKey::from_jwk(key.public().jwk()).unwrap(),
            &Validation::new(Algorithm::RS256),
        )
        .unwrap()
        .claims;
        assert_eq!(claims["sub"], "alice");
    }

    #[test]
    fn kid_may_be_given() {
        let key = SigningKey::from_pem(ALPHA, Some("k1".to_owned())).unwrap();

        let token = key.sign(&json!({})).unwrap();

        assert_eq!(decode_header(&token).unwrap().kid.as_deref(), Some("k1"));
        assert_eq!(key.public().jwk().common.key_id.as_deref(), Some("k1"));
    }

    #[test]
    fn kid_defaults_to_the_thumbprint_so_replicas_with_one_key_agree() {
        let one = SigningKey::from_pem(ALPHA, None).unwrap();
        let other = SigningKey::from_pem(ALPHA, None).unwrap();

        assert_eq!(one.public().kid(), other.public().kid());
        assert_eq!(one.public().kid(), ALPHA_THUMBPRINT);
    }

    #[test]
    fn generated_keys_differ() {
        let one = SigningKey::generate(None).unwrap();
        let other = SigningKey::generate(None).unwrap();

        assert_ne!(one.public().kid(), other.public().kid());
    }

    #[test]
    fn pkcs1_is_read_as_well() {
        let pem = RsaPrivateKey::from_pkcs8_pem(ALPHA).unwrap().to_pkcs1_pem(LineEnding::LF);

        let key = SigningKey::from_pem(&pem.unwrap(), None).unwrap();

        assert_eq!(key.public().kid(), ALPHA_THUMBPRINT);
    }

    #[test]
    fn line_breaks_may_be_written_as_backslash_n() {
        let key = SigningKey::from_pem(&ALPHA.replace('\n', "\\n"), None).unwrap();

        assert_eq!(key.public().kid(), ALPHA_THUMBPRINT);
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
            assert_eq!(SigningKey::from_pem(text, None).unwrap_err(), KeyError::NoPrivateKey);
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
