use std::error::Error;
use std::fmt;

/// Why a key is of no use.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a PEM document with an RSA private key.
    NoPrivateKey,
    /// Not a PEM document with an RSA key.
    NoPublicKey,
    /// The modulus has only this many bits.
    TooShort(usize),
    /// The key was read or made, but the signing library does not take it.
    Unusable(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrivateKey => {
                f.write_str("not an unencrypted RSA private key in PEM form (PKCS#8 or PKCS#1)")
            }
            Self::NoPublicKey => write!(
                f,
                "not an unencrypted RSA key of at most {} bits in PEM form (PUBLIC KEY, \
                 RSA PUBLIC KEY, PRIVATE KEY or RSA PRIVATE KEY)",
                rsa::RsaPublicKey::MAX_SIZE
            ),
            Self::TooShort(bits) => {
                write!(f, "the RSA key has {bits} bits, RS256 needs at least {MIN_MODULUS_BITS}")
            }
            Self::Unusable(reason) => write!(f, "the RSA key cannot be used: {reason}"),
        }
    }
}

impl Error for KeyError {}

/// The bits that the modulus of a key for RS256 has at least (RFC 7518 §3.3).
pub const MIN_MODULUS_BITS: usize = 2048;
