use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, Jwk, KeyAlgorithm, PublicKeyUse, RSAKeyParameters,
    RSAKeyType, ThumbprintHash,
};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};

use crate::key_error::{KeyError, MIN_MODULUS_BITS};
use crate::pem;

/// The public half of an RSA key, as a JWK Set holds it (RFC 7517).
#[derive(Clone, Debug)]
pub struct PublicKey {
    kid: String,
    jwk: Jwk,
}

impl PublicKey {
    /// Reads all keys of a text: PEM documents one after the other, or none. Of a private key, only
    /// the public half is kept.
    ///
    /// The error comes with the number of the document that it is about, counted from 1.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, (usize, KeyError)> {
        let documents = pem::documents(text);
        let read =
            |(number, pem): (usize, &String)| Self::from_pem(pem).map_err(|error| (number, error));
        (1..).zip(&documents).map(read).collect()
    }

    fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = RsaPublicKey::from_public_key_pem(pem)
            .or_else(|_| RsaPublicKey::from_pkcs1_pem(pem))
            .ok()
            .or_else(|| Some(private_key(pem)?.to_public_key()))
            .ok_or(KeyError::NoPublicKey)?;

        Self::new(&key, None)
    }

    /// The `kid` is the thumbprint (RFC 7638) unless it is given: replicas then agree on it.
    pub(crate) fn new(key: &RsaPublicKey, kid: Option<String>) -> Result<Self, KeyError> {
        let bits = key.n().bits();
        if bits < MIN_MODULUS_BITS {
            return Err(KeyError::TooShort(bits));
        }
        let [n, e] = [key.n(), key.e()].map(|number| URL_SAFE_NO_PAD.encode(number.to_bytes_be()));
        let parameters = RSAKeyParameters { key_type: RSAKeyType::RSA, n, e };
        let mut jwk = Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::RS256),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::RSA(parameters),
        };
        let kid = match kid {
            Some(kid) => kid,
            None => jwk
                .thumbprint(ThumbprintHash::SHA256)
                .map_err(|error| KeyError::Unusable(error.to_string()))?,
        };
        jwk.common.key_id = Some(kid.clone());

        Ok(Self { kid, jwk })
    }

    /// The name under which the key is published.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key as it is published.
    pub fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Whether both are the same key, whatever they are called.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.jwk.algorithm == other.jwk.algorithm
    }
}

/// Reads a PKCS#8 or PKCS#1 key.
pub(crate) fn private_key(pem: &str) -> Option<RsaPrivateKey> {
    RsaPrivateKey::from_pkcs8_pem(pem).or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem)).ok()
}

#[cfg(test)]
mod tests {
    use rsa::pkcs1::{EncodeRsaPrivateKey, EncodeRsaPublicKey};
    use rsa::pkcs8::{EncodePublicKey, LineEnding};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_form_of_a_key_is_read() {
        let private = private_key(ALPHA).unwrap();
        let public = private.to_public_key();
        let forms = [
            public.to_public_key_pem(LineEnding::LF).unwrap(),
            public.to_pkcs1_pem(LineEnding::LF).unwrap(),
            private.to_pkcs1_pem(LineEnding::LF).unwrap().to_string(),
            ALPHA.to_owned(),
        ];

        let keys = PublicKey::all_from_pem(&forms.join("\n")).unwrap();

        let kids: Vec<_> = keys.iter().map(PublicKey::kid).collect();
        assert_eq!(kids, [ALPHA_THUMBPRINT; 4]);
    }

    #[test]
    fn published_key_holds_public_members_only() {
        let keys = PublicKey::all_from_pem(ALPHA).unwrap();

        let mut jwk = serde_json::to_value(keys[0].jwk()).unwrap();

        assert!(jwk.as_object_mut().unwrap().remove("n").is_some());
        assert_eq!(
            jwk,
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": ALPHA_THUMBPRINT, "e": "AQAB",
            })
        );
        assert_eq!(Value::from(keys[0].kid()), jwk["kid"]);
    }

    #[test]
    fn no_text_is_no_key() {
        assert!(PublicKey::all_from_pem(" \n").unwrap().is_empty());
    }

    #[test]
    fn unusable_key_is_named_by_its_number() {
        let short = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap().to_public_key();
        let short = short.to_public_key_pem(LineEnding::LF).unwrap();
        let cut = ALPHA.split_once('\n').unwrap().1;
        for (text, error) in [
            (format!("{ALPHA}{short}"), (2, KeyError::TooShort(1024))),
            (format!("{ALPHA}{ALPHA}{cut}"), (3, KeyError::NoPublicKey)),
            ("-----BEGIN CERTIFICATE-----".to_owned(), (1, KeyError::NoPublicKey)),
            ("null".to_owned(), (1, KeyError::NoPublicKey)),
        ] {
            assert_eq!(PublicKey::all_from_pem(&text).unwrap_err(), error, "{text}");
        }
    }

    const ALPHA: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/alpha.pem"));
    const ALPHA_THUMBPRINT: &str = "hp36UWyaOlPB8hIFT-TzQR4LAg_1Lnvkb1ssreabk0w";
}
