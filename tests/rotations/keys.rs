//! Keys and tokens that cost nothing: here it does not matter how a signature is checked, so one is
//! good if it repeats what the modulus begins with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use mesh_jwt::jose::Crypto;
use serde_json::{Value, json};

/// Any number of them; no two are the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Key(pub(crate) u32);

/// How keys are called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming {
    NoKid,
    OwnKids,
    SharedKid,
}

impl Naming {
    fn kid(self, Key(number): Key) -> Option<String> {
        match self {
            Self::NoKid => None,
            Self::OwnKids => Some(format!("key-{number}")),
            Self::SharedKid => Some("main".to_owned()),
        }
    }

    /// The key as its issuer publishes it.
    pub(crate) fn jwk(self, key: Key) -> Value {
        let mut modulus = vec![0; 256];
        modulus[0] = 0x80;
        modulus[1..5].copy_from_slice(&key.0.to_be_bytes());
        modulus[255] = 1;
        let mut jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB"});
        if let Some(kid) = self.kid(key) {
            jwk["kid"] = kid.into();
        }
        jwk
    }

    /// A token that the key has signed.
    pub(crate) fn token(self, key: Key, issuer: &str) -> String {
        token(self.kid(key).as_deref(), key, issuer)
    }

    /// One that names it, and that it has not signed; `number` tells it from others.
    pub(crate) fn forgery(self, key: Key, number: u32, issuer: &str) -> String {
        token(self.kid(key).as_deref(), Key(FORGERIES + number), issuer)
    }
}

/// A token under a `kid` that nobody has.
pub(crate) fn junk(number: u32, issuer: &str) -> String {
    token(Some(&format!("junk-{number}")), Key(FORGERIES + number), issuer)
}

fn token(kid: Option<&str>, Key(number): Key, issuer: &str) -> String {
    let header = match kid {
        Some(kid) => json!({"alg": "RS256", "kid": kid}),
        None => json!({"alg": "RS256"}),
    };
    let claims = json!({"iss": issuer, "exp": 4_000_000_000_u64});
    let parts = [header.to_string().into_bytes(), claims.to_string().into_bytes()];
    let [header, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(number.to_be_bytes()))
}

/// No issuer has keys from here on.
const FORGERIES: u32 = 1 << 24;

/// What checks those signatures.
pub(crate) const fn crypto() -> Crypto {
    Crypto::Host(&PROVIDER)
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ec_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ed_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        compute_digest: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
};

fn verifier(_: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => Ok(Box::new(Beginning(n[1..5].to_vec()))),
        DecodingKeyKind::SecretOrDer(_) => Err(ErrorKind::InvalidKeyFormat.into()),
    }
}

struct Beginning(Vec<u8>);

impl Verifier<Vec<u8>> for Beginning {
    fn verify(&self, _: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        (self.0 == *signature).then_some(()).ok_or_else(Error::new)
    }
}

impl JwtVerifier for Beginning {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
