//! Tokens and JWK Sets of three keys, signed once for all cases: signing is slow.

use crate::world::{PROVIDERS, START};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::RsaPrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use rsa::traits::PublicKeyParts as _;
use serde_json::json;
use sha2::Sha256;
use std::sync::OnceLock;

pub(crate) const KEYS: usize = 3;

/// What a request may bring; keys count from zero.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    /// Names a key that it is not signed with.
    Forged {
        key: usize,
    },
    Good {
        key: usize,
    },
    /// Names a key that nobody has.
    Junk {
        number: u32,
    },
    /// Good, but for every key to try.
    WithoutKid {
        key: usize,
    },
}

impl Token {
    /// The key that it is really signed with.
    pub(crate) fn signer(self) -> Option<usize> {
        match self {
            Self::Good { key } | Self::WithoutKid { key } => Some(key),
            Self::Forged { .. } | Self::Junk { .. } => None,
        }
    }

    pub(crate) fn compact(self, provider: usize) -> String {
        let signed = &signed()[provider];
        match self {
            Self::Forged { key } => {
                let (input, _) = split(&signed.named[key]);
                let (_, signature) = split(&signed.named[(key + 1) % KEYS]);
                format!("{input}.{signature}")
            }
            Self::Good { key } => signed.named[key].clone(),
            Self::Junk { number } => {
                format!("{}.c2lnbmF0dXJl", input(provider, Some(&format!("junk-{number}"))))
            }
            Self::WithoutKid { key } => signed.nameless[key].clone(),
        }
    }
}

/// What must not be printed: every part of the tokens of a provider.
pub(crate) fn secrets(provider: usize) -> impl Iterator<Item = &'static str> {
    let signed = &signed()[provider];
    signed.named.iter().chain(&signed.nameless).flat_map(|token| token.split('.'))
}

/// The JWK Set of the keys whose bits are set.
pub(crate) fn jwk_set(keys: u8) -> String {
    let jwks = members(keys).map(|key| &signed()[0].jwks[key]);
    format!(r#"{{"keys":[{}]}}"#, jwks.cloned().collect::<Vec<_>>().join(","))
}

pub(crate) fn members(keys: u8) -> impl Iterator<Item = usize> {
    (0..KEYS).filter(move |key| keys & 1 << key != 0)
}

struct Signed {
    jwks: [String; KEYS],
    named: [String; KEYS],
    nameless: [String; KEYS],
}

fn signed() -> &'static [Signed; PROVIDERS] {
    static SIGNED: OnceLock<[Signed; PROVIDERS]> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let pems = [
            include_str!("../keys/alpha.pem"),
            include_str!("../keys/beta.pem"),
            include_str!("../keys/gamma.pem"),
        ];
        let keys = pems.map(|pem| RsaPrivateKey::from_pkcs8_pem(pem).expect("a PKCS#8 key"));
        std::array::from_fn(|provider| Signed {
            jwks: std::array::from_fn(|key| {
                let [n, e] = [keys[key].n_bytes(), keys[key].e_bytes()];
                let [n, e] = [n, e].map(|number| URL_SAFE_NO_PAD.encode(number));
                json!({"kty": "RSA", "kid": kid(key), "n": n, "e": e}).to_string()
            }),
            named: std::array::from_fn(|key| sign(&input(provider, Some(kid(key))), &keys[key])),
            nameless: std::array::from_fn(|key| sign(&input(provider, None), &keys[key])),
        })
    })
}

fn kid(key: usize) -> &'static str {
    ["alpha", "beta", "gamma"][key]
}

/// What is signed of a token that is good for a year of virtual time.
fn input(provider: usize, kid: Option<&str>) -> String {
    let header = match kid {
        Some(kid) => json!({"alg": "RS256", "kid": kid}),
        None => json!({"alg": "RS256"}),
    };
    let payload = json!({"iss": issuer(provider), "sub": "user-4711", "exp": START + 31_536_000});
    [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

pub(crate) fn issuer(provider: usize) -> String {
    format!("https://issuer-{provider}.example.com")
}

fn sign(input: &str, key: &RsaPrivateKey) -> String {
    let signature = SigningKey::<Sha256>::new(key.clone()).sign(input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

fn split(token: &str) -> (&str, &str) {
    token.rsplit_once('.').expect("a compact token")
}
