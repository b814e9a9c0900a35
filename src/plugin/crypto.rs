//! Signature checks by the host: Envoy's foreign function `verify_signature`, which uses BoringSSL
//! (source/extensions/common/wasm/foreign.cc and ext/verify_signature.proto).

use super::abi;
use crate::jose::{Crypto, PublicKey, Verifier};
use log::error;

/// The host's crypto if it offers any that gives the known answers, otherwise the module's.
pub(super) fn probe() -> Crypto {
    // Envoy logs a withheld function by itself.
    match Crypto::of_host(|key| verifier(key, |_| {})) {
        Crypto::Host(_) => Crypto::Host(|key| {
            verifier(key, |status| {
                error!("mesh-jwt: the host does not check a signature: status {status}");
            })
        }),
        Crypto::Module => Crypto::Module,
    }
}

/// A verifier that takes a call which fails for a bad signature, and reports its status.
fn verifier(key: &PublicKey, report: fn(u32)) -> Option<Verifier> {
    let key = HostKey::new(key)?;
    Some(Verifier::from_fn(move |signed, signature| {
        key.verifies(signed, signature).inspect_err(|status| report(*status)).unwrap_or(false)
    }))
}

/// A key in the host's format.
struct HostKey {
    /// The beginning of every request for this key.
    request: Vec<u8>,
}

impl HostKey {
    fn new(key: &PublicKey) -> Option<Self> {
        let spki = key.subject_public_key_info()?;
        let mut request = Vec::new();
        push_field(&mut request, HASH_FUNCTION, b"sha256");
        push_field(&mut request, PUBLIC_KEY, &spki);
        Some(Self { request })
    }

    /// Whether this key made `signature` over `signed`, according to the host; or the status of a
    /// failed call.
    fn verifies(&self, signed: &[u8], signature: &[u8]) -> Result<bool, u32> {
        let len = self.request.len().saturating_add(signature.len()).saturating_add(signed.len());
        let mut request = Vec::with_capacity(len.saturating_add(FRAMING));
        request.extend_from_slice(&self.request);
        push_field(&mut request, SIGNATURE, signature);
        push_field(&mut request, TEXT, signed);
        // The call succeeds even for a bad signature: only its result counts.
        let answer = abi::call_foreign_function("verify_signature", &request)?;
        Ok(answer.starts_with(&IS_GOOD))
    }
}

/// Adds a length-delimited Protocol Buffers field.
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
/// The most that tags and lengths of signature and text take.
const FRAMING: usize = 12;
/// The beginning of a `VerifySignatureResult` with a true `result`.
const IS_GOOD: [u8; 2] = [1 << 3, 1];
