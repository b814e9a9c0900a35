//! Tokens of any shape, signed with the keys of `tests/keys`.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::hazmat::rsa_decrypt;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::rand_core::TryCryptoRng;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::Sha256;

pub const ISSUER: &str = "https://auth.example.com";
pub const AUDIENCE: &str = "wealist-api";

/// A key pair; its `kid` is its name unless a test says otherwise.
pub struct Key {
    name: &'static str,
    signing: SigningKey<Sha256>,
    modulus: String,
    exponent: String,
}

impl Key {
    pub fn alpha() -> &'static Self {
        static ALPHA: OnceLock<Key> = OnceLock::new();
        ALPHA.get_or_init(|| Self::load("alpha", include_str!("../../keys/alpha.pem")))
    }

    pub fn beta() -> &'static Self {
        static BETA: OnceLock<Key> = OnceLock::new();
        BETA.get_or_init(|| Self::load("beta", include_str!("../../keys/beta.pem")))
    }

    pub fn gamma() -> &'static Self {
        static GAMMA: OnceLock<Key> = OnceLock::new();
        GAMMA.get_or_init(|| Self::load("gamma", include_str!("../../keys/gamma.pem")))
    }

    /// Those that issuers' pods come and go with.
    pub fn pods() -> &'static [Self] {
        static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
        KEYS.get_or_init(|| {
            [
                ("pod-1", include_str!("../../keys/pod-1.pem")),
                ("pod-2", include_str!("../../keys/pod-2.pem")),
                ("pod-3", include_str!("../../keys/pod-3.pem")),
                ("pod-4", include_str!("../../keys/pod-4.pem")),
                ("pod-5", include_str!("../../keys/pod-5.pem")),
                ("pod-6", include_str!("../../keys/pod-6.pem")),
                ("pod-7", include_str!("../../keys/pod-7.pem")),
                ("pod-8", include_str!("../../keys/pod-8.pem")),
                ("pod-9", include_str!("../../keys/pod-9.pem")),
                ("pod-10", include_str!("../../keys/pod-10.pem")),
                ("pod-11", include_str!("../../keys/pod-11.pem")),
                ("pod-12", include_str!("../../keys/pod-12.pem")),
            ]
            .map(|(name, pem)| Self::load(name, pem))
            .into()
        })
    }

    /// One of other sizes and exponents than issuers usually have: `exponent-3`, say.
    pub fn unusual(name: &str) -> &'static Self {
        let key = Self::all_unusual().iter().find(|key| key.name == name);
        key.expect("a key in tests/keys")
    }

    pub fn all_unusual() -> &'static [Self] {
        static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
        KEYS.get_or_init(|| {
            [
                ("bits-2050", include_str!("../../keys/bits-2050.pem")),
                ("bits-3072", include_str!("../../keys/bits-3072.pem")),
                ("bits-4096", include_str!("../../keys/bits-4096.pem")),
                ("bits-8192", include_str!("../../keys/bits-8192.pem")),
                ("exponent-3", include_str!("../../keys/exponent-3.pem")),
                ("exponent-4294967291", include_str!("../../keys/exponent-4294967291.pem")),
            ]
            .map(|(name, pem)| Self::load(name, pem))
            .into()
        })
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

    pub fn jwk(&self) -> Value {
        self.jwk_named(self.name)
    }

    pub fn jwk_named(&self, kid: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "alg": "RS256",
            "kid": kid, "n": self.modulus, "e": self.exponent,
        })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn modulus(&self) -> Vec<u8> {
        self.private().n_bytes().into()
    }

    pub fn bits(&self) -> usize {
        self.private().n().bits().try_into().expect("not many")
    }

    /// The signature of an RS256 token.
    pub fn sign(&self, input: &str) -> Vec<u8> {
        self.signing.sign(input.as_bytes()).to_vec()
    }

    /// What only the owner of the key can do, with a message that need not be an encoded digest
    /// (RSASP1, RFC 8017 §5.2.1); both are as long as the modulus.
    pub fn exponentiate(&self, message: &[u8]) -> Vec<u8> {
        let key = self.private();
        let message = BoxedUint::from_be_slice(message, key.n_bits_precision());
        let unblinded = None::<&mut dyn TryCryptoRng<Error = Infallible>>;
        let message = message.expect("a message as long as the modulus");
        let power = rsa_decrypt(unblinded, key, &message).expect("a message below the modulus");
        // There are leading zeros to fill up whole words.
        let octets = power.to_be_bytes();
        octets[octets.len() - key.size()..].to_vec()
    }

    fn private(&self) -> &RsaPrivateKey {
        self.signing.as_ref()
    }
}

/// A token in the making, good until told otherwise.
#[derive(Clone)]
pub struct Token {
    header: Value,
    claims: Value,
    key: &'static Key,
}

impl Token {
    /// A token of `alpha` that the default configuration allows.
    pub fn good() -> Self {
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
    pub fn signed_by(mut self, key: &'static Key) -> Self {
        self.header["kid"] = json!(key.name);
        self.key = key;
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub fn without_claim(mut self, name: &str) -> Self {
        remove(&mut self.claims, name);
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        remove(&mut self.header, name);
        self
    }

    pub fn compact(&self) -> String {
        self.compact_with(|input| self.key.sign(input))
    }

    /// With any signature over what is signed.
    pub fn compact_with(&self, signature: impl FnOnce(&str) -> Vec<u8>) -> String {
        let input = signing_input(&self.header.to_string(), &self.claims.to_string());
        let signature = URL_SAFE_NO_PAD.encode(signature(&input));
        format!("{input}.{signature}")
    }

    /// The header as it would be sent, for tests that tamper with its text.
    pub fn header_text(&self) -> String {
        self.header.to_string()
    }

    /// The payload as it would be sent, for tests that tamper with its text.
    pub fn payload_text(&self) -> String {
        self.claims.to_string()
    }
}

/// A correctly signed token over any header and payload text, JSON or not.
pub fn sign_parts(header: &str, payload: &str, key: &Key) -> String {
    let input = signing_input(header, payload);
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&input));
    format!("{input}.{signature}")
}

fn signing_input(header: &str, payload: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

fn remove(object: &mut Value, name: &str) {
    let removed = object.as_object_mut().and_then(|members| members.remove(name));
    assert!(removed.is_some(), "there is no {name} to leave out");
}

/// The middle part of a compact token.
pub fn payload_part(token: &str) -> &str {
    token.split('.').nth(1).expect("a compact token")
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970").as_secs()
}
