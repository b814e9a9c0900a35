//! RSASSA-PKCS1-v1_5 signature verification with SHA-256 (RFC 8017 §8.2.2).
//!
//! Only what it takes to verify. The crate `rsa` is made for private keys as well: it raises to a
//! public exponent as if it were a secret one, and derives the constants of the modulus each time.

mod encoding;

#[cfg(test)]
mod tests;

use montgomery::Modulus;

/// An RSA public key (RFC 8017 §3.1).
pub(super) struct PublicKey {
    /// As long as a signature.
    octets: usize,
    modulus: Modulus,
    exponent: u32,
}

impl PublicKey {
    /// `modulus` is big-endian, without leading zero octets; `None` when it is even or far too
    /// large.
    pub(super) fn new(modulus: &[u8], exponent: u32) -> Option<Self> {
        Some(Self { octets: modulus.len(), modulus: Modulus::new(modulus)?, exponent })
    }

    /// Whether `signature` is this key's over `message`.
    ///
    /// All of it is public, so nothing here has to take the same time for every input.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.is_valid(message, signature).unwrap_or(false)
    }

    /// `None` where RFC 8017 §8.2.2 stops before the comparison.
    fn is_valid(&self, message: &[u8], signature: &[u8]) -> Option<bool> {
        if signature.len() != self.octets {
            return None;
        }
        // RSAVP1 (§5.2.2): only for representatives below the modulus.
        let signature = self.modulus.number(signature)?;
        let message_representative = self.modulus.power(&signature, self.exponent)?;

        // Encoding the hash and comparing leaves nothing to parse, and so nothing to be lenient
        // about: every octet of the padding counts.
        let encoded = encoding::encode(message, self.octets)?;
        Some(message_representative == self.modulus.number(&encoded)?)
    }
}
