//! RS256: RSASSA-PKCS1-v1_5 using SHA-256 (RFC 7518 §3.3), as a `jsonwebtoken` crypto provider.
//!
//! `jsonwebtoken` is built without any of its own back ends, because each of them draws in
//! algorithms, randomness and clocks that the filter must not have.

use super::pkcs1::PublicKey;
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, signature};
use sha2::{Digest as _, Sha256};

/// What computes signature checks.
#[derive(Clone, Copy, Debug)]
pub enum Crypto {
    /// The host, through this provider.
    Host(&'static CryptoProvider),
    /// The module itself.
    Module,
}

impl Crypto {
    pub(super) fn provider(self) -> &'static CryptoProvider {
        match self {
            Self::Host(provider) => provider,
            Self::Module => &PROVIDER,
        }
    }
}

/// Makes this module the crypto of `jsonwebtoken`; calling it again changes nothing.
pub(super) fn install() {
    // The only error is that a provider is installed already.
    let _ = PROVIDER.install_default();
}

/// The module's own verifier of one key.
pub(super) fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let exponent = exponent(e).ok_or(ErrorKind::InvalidKeyFormat)?;
            let key = PublicKey::new(n, exponent).ok_or(ErrorKind::InvalidKeyFormat)?;
            Ok(Box::new(Rs256Verifier(key)))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

fn exponent(octets: &[u8]) -> Option<u32> {
    octets.iter().try_fold(0_u32, |exponent, octet| {
        exponent.checked_mul(256)?.checked_add(u32::from(*octet))
    })
}

struct Rs256Verifier(PublicKey);

impl signature::Verifier<Vec<u8>> for Rs256Verifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        self.0.verify(message, signature).then_some(()).ok_or_else(signature::Error::new)
    }
}

impl JwtVerifier for Rs256Verifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

fn digest(data: &[u8], function: ThumbprintHash) -> Result<Vec<u8>> {
    match function {
        ThumbprintHash::SHA256 => Ok(Sha256::digest(data).to_vec()),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    }
}

/// What the filter never does (sign, read private keys, use other curves) is an error, not a panic.
pub(crate) const fn crypto_provider(verifier_factory: VerifierFactory) -> CryptoProvider {
    CryptoProvider {
        signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        verifier_factory,
        key_utils: KeyUtils {
            rsa_pub_components_from_private_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
            rsa_pub_components_from_public_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
            ec_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
            ed_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
            compute_digest: digest,
        },
    }
}

type VerifierFactory = fn(&Algorithm, &DecodingKey) -> Result<Box<dyn JwtVerifier>>;

static PROVIDER: CryptoProvider = crypto_provider(verifier);

/// The smallest modulus that RS256 may be used with (RFC 7518 §3.3).
pub(crate) const MIN_MODULUS_BITS: u32 = 2048;
/// The largest modulus that is taken, so that one check has a bounded cost.
pub(crate) const MAX_MODULUS_BITS: u32 = 8192;
