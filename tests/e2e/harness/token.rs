//! Tokens of any shape, signed with the keys of `tests/keys`.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const AUDIENCE: &str = "wealist-api";

/// A key pair; its `kid` is its name unless a test says otherwise.
pub(crate) struct Key {
    name: &'static str,
    signing: SigningKey<Sha256>,
    modulus: String,
    exponent: String,
}

impl Key {
    pub(crate) fn alpha() -> &'static Self {
        static ALPHA: OnceLock<Key> = OnceLock::new();
        ALPHA.get_or_init(|| Self::load("alpha", include_str!("../../keys/alpha.pem")))
    }

    pub(crate) fn beta() -> &'static Self {
        static BETA: OnceLock<Key> = OnceLock::new();
        BETA.get_or_init(|| Self::load("beta", include_str!("../../keys/beta.pem")))
    }

    pub(crate) fn gamma() -> &'static Self {
        static GAMMA: OnceLock<Key> = OnceLock::new();
        GAMMA.get_or_init(|| Self::load("gamma", include_str!("../../keys/gamma.pem")))
    }

    fn load(name: &'static str, pem: &str) -> Self {
        let private = RsaPrivateKey::from_pkcs8_pem(pem).expect("a PKCS#8 key in tests/keys");
        Self {
            name,
            modulus: URL_SAFE_NO_PAD.encode(private.n_bytes()),
            exponent: URL_SAFE_NO_PAD.encode(private.e_bytes()),
            signing: SigningKey::new(private),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        self.jwk_named(self.name)
    }

    pub(crate) fn jwk_named(&self, kid: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256",
            "kid": kid, "n": self.modulus, "e": self.exponent,
        })
    }

    fn sign(&self, input: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.signing.sign(input.as_bytes()).to_bytes())
    }
}

/// A token in the making, good until told otherwise.
#[derive(Clone)]
pub(crate) struct Token {
    header: Value,
    claims: Value,
    key: &'static Key,
}

impl Token {
    /// A token of `alpha` that the default configuration allows.
    pub(crate) fn good() -> Self {
        let now = now();
        let claims = json!({
            "iss": ISSUER,
            "sub": "user-4711",
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 300,
            "scope": "users:read users:write",
            "tenant": "acme",
        });
        Self { header: json!({ "alg": "RS256", "typ": "JWT" }), claims, key: Key::alpha() }
            .signed_by(Key::alpha())
    }

    /// Signed with this key and carrying its `kid`.
    pub(crate) fn signed_by(mut self, key: &'static Key) -> Self {
        self.header["kid"] = json!(key.name);
        self.key = key;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub(crate) fn without_claim(mut self, name: &str) -> Self {
        let removed = self.claims.as_object_mut().and_then(|claims| claims.remove(name));
        assert!(removed.is_some(), "there is no claim {name} to leave out");
        self
    }

    pub(crate) fn compact(&self) -> String {
        sign_parts(&self.header.to_string(), &self.claims.to_string(), self.key)
    }

    /// The header as it would be sent, for tests that tamper with its text.
    pub(crate) fn header_text(&self) -> String {
        self.header.to_string()
    }

    /// The payload as it would be sent, for tests that tamper with its text.
    pub(crate) fn payload_text(&self) -> String {
        self.claims.to_string()
    }
}

/// A correctly signed token over any header and payload text, JSON or not.
pub(crate) fn sign_parts(header: &str, payload: &str, key: &Key) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = key.sign(&input);
    format!("{input}.{signature}")
}

/// The middle part of a compact token.
pub(crate) fn payload_part(token: &str) -> &str {
    token.split('.').nth(1).expect("a compact token")
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_secs()
}
