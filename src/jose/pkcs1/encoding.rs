//! EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §9.2).

use sha2::{Digest as _, Sha256};

/// What comes before the hash in the DER encoding of a `DigestInfo` (§9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
const HASH_LEN: usize = 32;
/// All but the padding, which has two octets before and one behind it.
const FIXED_LEN: usize = 3 + DIGEST_INFO.len() + HASH_LEN;
const MIN_PADDING_LEN: usize = 8;

/// The one encoding of `message` that is `len` octets long; `None` when it does not fit.
pub(super) fn encode(message: &[u8], len: usize) -> Option<Vec<u8>> {
    let padding_len = len.checked_sub(FIXED_LEN)?;
    if padding_len < MIN_PADDING_LEN {
        return None;
    }

    let mut encoded = Vec::with_capacity(len);
    encoded.extend([0x00, 0x01]);
    encoded.resize(padding_len.saturating_add(2), 0xff);
    encoded.push(0x00);
    encoded.extend(DIGEST_INFO);
    encoded.extend(Sha256::digest(message));
    Some(encoded)
}
