//! RS256: RSASSA-PKCS1-v1_5 using SHA-256 (RFC 7518 §3.3).
//!
//! All signature checks go through `jsonwebtoken`'s trait, which only this file uses. The crate is
//! built without back ends, since each brings algorithms, randomness and clocks that the filter
//! must not have. No back end is installed for the process either: the engine chooses one, and keys
//! keep it.

use super::public_key::PublicKey;
use jsonwebtoken::Algorithm;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{self, Error};
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::{BoxedUint, RsaPublicKey};
use sha2::Sha256;

/// The back end that checks signatures.
#[derive(Clone, Copy, Debug)]
pub enum Crypto {
    /// The host. The function makes a verifier for a key, unless the host cannot use the key.
    Host(fn(&PublicKey) -> Option<Verifier>),
    /// The crate `rsa`, in the module itself.
    Module,
}

impl Crypto {
    pub(super) fn verifier(self, key: &PublicKey) -> Option<Verifier> {
        match self {
            Self::Host(make) => make(key),
            Self::Module => Verifier::in_module(key),
        }
    }
}

/// Checks the signatures of one key.
pub struct Verifier(Box<dyn JwtVerifier>);

impl Verifier {
    /// Checks with `verifies(signed, signature)`, which returns whether the key made the signature.
    #[must_use]
    pub fn from_fn(verifies: impl Fn(&[u8], &[u8]) -> bool + 'static) -> Self {
        Self(Box::new(Check(verifies)))
    }

    fn in_module(key: &PublicKey) -> Option<Self> {
        let [n, e] = [key.modulus(), key.exponent()].map(BoxedUint::from_be_slice_vartime);
        let key = VerifyingKey::<Sha256>::new(RsaPublicKey::new(n, e).ok()?);
        Some(Self::from_fn(move |signed, signature| {
            let signature = Signature::try_from(signature);
            signature.is_ok_and(|signature| {
                rsa::signature::Verifier::verify(&key, signed, &signature).is_ok()
            })
        }))
    }

    /// Whether the key made `signature` over `signed`.
    pub(super) fn verifies(&self, signed: &[u8], signature: &Vec<u8>) -> bool {
        self.0.algorithm() == Algorithm::RS256 && self.0.verify(signed, signature).is_ok()
    }
}

struct Check<F>(F);

impl<F: Fn(&[u8], &[u8]) -> bool> signature::Verifier<Vec<u8>> for Check<F> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        (self.0)(message, signature).then_some(()).ok_or_else(Error::new)
    }
}

impl<F: Fn(&[u8], &[u8]) -> bool> JwtVerifier for Check<F> {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}
