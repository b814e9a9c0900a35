//! The tokens that are sent, signed or spoilt after that.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lab::token::{Key, Token, now};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::load::Load;

/// Files of tokens, one on each line.
pub(super) struct Tokens {
    directory: PathBuf,
}

impl Tokens {
    /// Signs so many tokens of each of these sizes that no cache of verified tokens holds them.
    pub(super) fn sign(directory: &Path, sizes: &[usize]) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let tokens = Self { directory: directory.to_owned() };
        for size in sizes {
            let signed = signed(*size);
            tokens.write("hot", *size, signed.get(..1).unwrap_or_default())?;
            if *size == SMALL {
                let spoilt: Vec<_> = signed.iter().map(|token| spoilt(token)).collect();
                tokens.write("rejected", *size, &spoilt)?;
            }
            tokens.write("cold", *size, &signed)?;
        }
        Ok(tokens)
    }

    /// Those that the systems are compared under.
    pub(super) fn loads(&self) -> [Load; 3] {
        let rejected = Load {
            name: "rejected".to_owned(),
            tokens: self.file("rejected", SMALL),
            path: REJECTED_PATH.to_owned(),
            status: 401,
            headers: 0,
        };
        [self.cold(), self.hot(), rejected]
    }

    /// Many tokens in turn.
    pub(super) fn cold(&self) -> Load {
        self.good("cold", SMALL, PATH)
    }

    /// The same token again and again.
    pub(super) fn hot(&self) -> Load {
        self.good("hot", SMALL, PATH)
    }

    pub(super) fn good(&self, kind: &str, bytes: usize, path: &str) -> Load {
        let (name, path) = (load_name(kind, bytes), path.to_owned());
        Load { name, tokens: self.file(kind, bytes), path, status: 200, headers: 0 }
    }

    fn write(&self, kind: &str, bytes: usize, tokens: &[String]) -> Result<()> {
        let path = self.file(kind, bytes);
        fs::write(&path, tokens.join("\n") + "\n").with_context(|| path.display().to_string())
    }

    fn file(&self, kind: &str, bytes: usize) -> PathBuf {
        self.directory.join(format!("{kind}-{bytes}.txt"))
    }
}

/// What a load of so long tokens is called.
pub(super) fn load_name(kind: &str, bytes: usize) -> String {
    if bytes == SMALL { kind.to_owned() } else { format!("{kind}, {bytes} bytes") }
}

/// A set of so many keys, of which the last has signed the tokens.
pub(super) fn keys(count: usize) -> Value {
    let other = |number| {
        let (kid, modulus) = (format!("key-{number}"), modulus(number));
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": modulus, "e": "AQAB" })
    };
    let mut keys: Vec<_> = (1..count).map(other).collect();
    keys.push(Key::alpha().jwk());
    json!({ "keys": keys })
}

/// Of 2048 bits. Its factors are nobody's, but no verifier looks for them.
fn modulus(number: usize) -> String {
    let part = |part: u8| Sha256::digest(format!("{number} {part}"));
    let mut modulus: Vec<u8> = (0..8).flat_map(part).collect();
    if let [first, .., last] = &mut *modulus {
        *first |= 0x80;
        *last |= 1;
    }
    BASE64_URL_SAFE_NO_PAD.encode(modulus)
}

/// Signing takes its time, on each of the processors.
fn signed(bytes: usize) -> Vec<String> {
    let padding = padding(bytes);
    let users: Vec<_> = (0..COUNT).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let sign_all = |users: &[usize]| users.iter().map(|user| sign(*user, padding)).collect();
        let chunks = users.chunks(COUNT.div_ceil(threads));
        let signers: Vec<_> =
            chunks.map(|users| scope.spawn(move || -> Vec<String> { sign_all(users) })).collect();
        // They do not panic.
        signers.into_iter().flat_map(|signer| signer.join().unwrap_or_default()).collect()
    })
}

/// All tokens with the same padding are of the same size, whoever the user.
fn sign(user: usize, padding: usize) -> String {
    let token = Token::good()
        .claim("sub", format!("user-{user:06}"))
        .claim("exp", now() + LIFETIME_SECONDS);
    if padding == 0 { token } else { token.claim(PADDING, "x".repeat(padding)) }.compact()
}

/// How long the claim has to be that makes a token so large. One without it is larger than the smallest
/// sizes.
fn padding(bytes: usize) -> usize {
    let missing = bytes.saturating_sub(sign(0, 0).len());
    // Four characters of base64url hold three bytes, and the claim is more than its value.
    (missing * 3 / 4).saturating_sub(format!(r#","{PADDING}":"""#).len())
}

/// With another signature that is as well-formed: neither its first bits change, which could make it
/// larger than the modulus, nor its last, which have to be zero.
fn spoilt(token: &str) -> String {
    let signature = token.rfind('.').map_or(0, |dot| dot + 1);
    let middle = (signature + token.len()) / 2;
    let change = |(at, letter)| match letter {
        'A' if at == middle => 'B',
        _ if at == middle => 'A',
        _ => letter,
    };
    token.char_indices().map(change).collect()
}

/// More than any cache of verified tokens holds.
pub(super) const COUNT: usize = 2500;
/// In bytes. The smallest that there is, which has a little more.
pub(super) const SMALL: usize = 512;
pub(super) const PATH: &str = "/service-1/orders";
/// Where even the Envoy without a check answers 401 by itself: a rejected request does not get to the
/// upstream, so nothing that does could be compared with it.
pub(super) const REJECTED_PATH: &str = "/service-1/rejected";
const PADDING: &str = "padding";
/// Longer than any run.
const LIFETIME_SECONDS: u64 = 365 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_as_long_as_asked_for() {
        let token = sign(7, padding(2048));

        assert!(token.len().abs_diff(2048) < 8, "{}", token.len());
    }

    #[test]
    fn spoilt_token_differs_in_one_letter_of_its_signature() {
        let token = sign(7, 0);

        let spoilt = spoilt(&token);

        let differences =
            token.bytes().zip(spoilt.bytes()).enumerate().filter(|(_, (a, b))| a != b);
        let places: Vec<_> = differences.map(|(at, _)| at).collect();
        assert_eq!((token.len(), places.len()), (spoilt.len(), 1));
        assert!(places.first() > token.rfind('.').as_ref());
    }
}
