//! Keys and tokens that cost nothing: here it does not matter how a signature is checked, so one is
//! good if it repeats what the modulus begins with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_jwt::jose::{Crypto, Verifier};
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
pub(crate) fn crypto() -> Crypto {
    Crypto::Host(|key| {
        let beginning = key.modulus()[1..5].to_vec();
        Some(Verifier::from_fn(move |_, signature| signature == beginning))
    })
}
