//! RS256: RSASSA-PKCS1-v1_5 using SHA-256 (RFC 7518 §3.3), as a `jsonwebtoken` crypto provider.
//!
//! `jsonwebtoken` is built without any of its own back ends, because each of them draws in
//! algorithms, randomness and clocks that the filter must not have.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, signature};
use rsa::{BoxedUint, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use std::ops::RangeInclusive;

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
pub(crate) fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    match (algorithm, key.kind()) {
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            let exponent = BoxedUint::from_be_slice_vartime(e);
            let modulus = BoxedUint::from_be_slice_vartime(n);
            let key = RsaPublicKey::new_with_size_limits(modulus, exponent, MODULUS_BITS).map_err(
                |_| ErrorKind::InvalidRsaKey("refused by the RSA implementation".into()),
            )?;
            Ok(Box::new(Rs256Verifier(rsa::pkcs1v15::VerifyingKey::new(key))))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Rs256Verifier(rsa::pkcs1v15::VerifyingKey<Sha256>);

impl signature::Verifier<Vec<u8>> for Rs256Verifier {
    fn verify(
        &self,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> std::result::Result<(), signature::Error> {
        let signature = rsa::pkcs1v15::Signature::try_from(signature.as_slice())
            .map_err(|_| signature::Error::new())?;
        rsa::signature::Verifier::verify(&self.0, message, &signature)
            .map_err(|_| signature::Error::new())
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

const MODULUS_BITS: RangeInclusive<usize> = MIN_MODULUS_BITS as usize..=MAX_MODULUS_BITS as usize;
