//! Signature checks by the host: Envoy's foreign function `verify_signature`, which is BoringSSL
//! (source/extensions/common/wasm/foreign.cc and ext/verify_signature.proto).

use super::abi;
use crate::jose::{crypto_provider, is_known_by, subject_public_key_info};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey};
use log::error;

/// The host's crypto, if it offers any that gives the known answers.
pub(super) fn probe() -> Option<&'static CryptoProvider> {
    let verifies = |key: &DecodingKey, signed: &[u8], signature: &[u8]| {
        HostKey::new(key).is_some_and(|key| key.verifies(signed, signature) == Ok(true))
    };
    is_known_by(verifies).then_some(&HOST)
}

static HOST: CryptoProvider = crypto_provider(|algorithm, key| match algorithm {
    Algorithm::RS256 => Ok(Box::new(HostKey::new(key).ok_or(ErrorKind::InvalidKeyFormat)?)),
    _ => Err(ErrorKind::InvalidAlgorithm.into()),
});

impl Verifier<Vec<u8>> for HostKey {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        let is_good = self.verifies(message, signature).unwrap_or_else(|status| {
            // It did when it was probed.
            error!("mesh-jwt: the host does not check a signature: status {status}");
            false
        });
        is_good.then_some(()).ok_or_else(Error::new)
    }
}

impl JwtVerifier for HostKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

/// A key as the host takes it.
struct HostKey {
    /// What every request for this key begins with.
    request: Vec<u8>,
}

impl HostKey {
    fn new(key: &DecodingKey) -> Option<Self> {
        let spki = subject_public_key_info(key)?;
        let mut request = Vec::new();
        push_field(&mut request, HASH_FUNCTION, b"sha256");
        push_field(&mut request, PUBLIC_KEY, &spki);
        Some(Self { request })
    }

    /// Whether the host finds that this key made `signature` over `signed`, or the status of the
    /// call.
    fn verifies(&self, signed: &[u8], signature: &[u8]) -> Result<bool, u32> {
        let len = self.request.len().saturating_add(signature.len()).saturating_add(signed.len());
        let mut request = Vec::with_capacity(len.saturating_add(FRAMING));
        request.extend_from_slice(&self.request);
        push_field(&mut request, SIGNATURE, signature);
        push_field(&mut request, TEXT, signed);
        // The call succeeds for a bad signature too: only what it returns counts.
        let answer = abi::call_foreign_function("verify_signature", &request)?;
        Ok(answer.starts_with(&IS_GOOD))
    }
}

/// Adds a field with a length, as Protocol Buffers encode it.
fn push_field(message: &mut Vec<u8>, field: u8, content: &[u8]) {
    message.push(field);
    let mut len = content.len();
    while len >= 0x80 {
        message.push(len.to_le_bytes()[0] | 0x80);
        len >>= 7;
    }
    message.push(len.to_le_bytes()[0]);
    message.extend_from_slice(content);
}

// Fields of `VerifySignatureArguments`, each with its wire type.
const HASH_FUNCTION: u8 = 1 << 3 | 2;
const PUBLIC_KEY: u8 = 2 << 3 | 2;
const SIGNATURE: u8 = 3 << 3 | 2;
const TEXT: u8 = 4 << 3 | 2;
/// What tags and lengths of signature and text take at most.
const FRAMING: usize = 12;
/// How a `VerifySignatureResult` begins whose `result` is true.
const IS_GOOD: [u8; 2] = [1 << 3, 1];
