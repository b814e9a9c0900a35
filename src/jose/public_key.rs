//! An RSA public key: checked numbers and their encodings.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs1::UintRef;
use pkcs1::der::Encode as _;
use pkcs1::der::asn1::BitStringRef;
use sha2::{Digest as _, Sha256};
use spki::SubjectPublicKeyInfo;

/// The modulus and exponent of a key that RS256 allows.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Big-endian, without leading zero octets; so is the exponent.
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// Requires what RFC 7518 §3.3 and NIST SP 800-56B do: a modulus of 2048 bits or more, and an
    /// odd exponent above 1. Upper bounds keep a signature check cheap.
    pub(super) fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, &'static str> {
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        match bits(modulus) {
            0..MIN_MODULUS_BITS => return Err("the modulus is shorter than 2048 bits"),
            MIN_MODULUS_BITS..=MAX_MODULUS_BITS => {}
            _ => return Err("the modulus is longer than 8192 bits"),
        }
        if !is_odd(modulus) {
            return Err("the modulus is even");
        }
        if !is_odd(exponent) || !(2..=MAX_EXPONENT_BITS).contains(&bits(exponent)) {
            return Err("the exponent is not an odd number from 3 to 2^32");
        }
        Ok(Self { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    /// Decodes modulus and exponent from Base64urlUInt (RFC 7518 §6.3.1).
    pub(super) fn from_base64url(n: &str, e: &str) -> Result<Self, &'static str> {
        let n = decode(n).ok_or("n is not base64url without padding")?;
        let e = decode(e).ok_or("e is not base64url without padding")?;
        Self::new(&n, &e)
    }

    /// The modulus: big-endian, without leading zero octets.
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The exponent: big-endian, without leading zero octets.
    #[must_use]
    pub fn exponent(&self) -> &[u8] {
        &self.exponent
    }

    /// Modulus and exponent as Base64urlUInt (RFC 7518 §6.3.1).
    pub(super) fn to_base64url(&self) -> [String; 2] {
        [&self.modulus, &self.exponent].map(|number| URL_SAFE_NO_PAD.encode(number))
    }

    /// The SHA-256 thumbprint (RFC 7638), base64url.
    pub(super) fn thumbprint(&self) -> String {
        let [n, e] = self.to_base64url();
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    /// The DER of the key's SubjectPublicKeyInfo (RFC 5280 §4.1), which crypto libraries take;
    /// `None` only if the encoder fails.
    #[must_use]
    pub fn subject_public_key_info(&self) -> Option<Vec<u8>> {
        let key = pkcs1::RsaPublicKey {
            modulus: UintRef::new(&self.modulus).ok()?,
            public_exponent: UintRef::new(&self.exponent).ok()?,
        };
        let key = key.to_der().ok()?;
        let info = SubjectPublicKeyInfo {
            algorithm: pkcs1::ALGORITHM_ID,
            subject_public_key: BitStringRef::from_bytes(&key).ok()?,
        };
        info.to_der().ok()
    }
}

/// The bit length of a modulus as Base64urlUInt (RFC 7518 §6.3.1), whether it may be used or not.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn modulus_bits(n: &str) -> Option<u32> {
    decode(n).map(|n| bits(without_zeros(&n)))
}

/// An empty string is not a number (RFC 7518 §2).
fn decode(number: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(number).ok().filter(|octets| !octets.is_empty())
}

fn without_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

/// The bit length of a big-endian number without leading zero octets.
fn bits(octets: &[u8]) -> u32 {
    let unused = octets.first().map_or(0, |octet| octet.leading_zeros());
    u32::try_from(octets.len()).unwrap_or(u32::MAX).saturating_mul(8).saturating_sub(unused)
}

fn is_odd(octets: &[u8]) -> bool {
    octets.last().is_some_and(|octet| octet % 2 == 1)
}

/// The smallest modulus that RS256 may be used with (RFC 7518 §3.3).
const MIN_MODULUS_BITS: u32 = 2048;
/// The largest modulus that is accepted: it bounds the cost of a signature check.
const MAX_MODULUS_BITS: u32 = 8192;
const MAX_EXPONENT_BITS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs8::EncodePublicKey as _;
    use rsa::{BoxedUint, RsaPublicKey};

    #[test]
    fn numbers_out_of_bounds_make_a_key_unusable() {
        let modulus = |bytes: usize| [vec![0x80], vec![0; bytes - 2], vec![1]].concat();
        let refusal = |n: &[u8], e: &[u8]| PublicKey::new(n, e).err();

        assert_eq!(refusal(&modulus(256), &[3]), None);
        assert_eq!(refusal(&modulus(1024), &[0xff, 0xff, 0xff, 0xff]), None);
        assert!(refusal(&modulus(255), &[3]).is_some());
        assert!(refusal(&modulus(1025), &[3]).is_some());
        assert!(refusal(&[vec![0x80], vec![0; 255]].concat(), &[3]).is_some());
        assert!(refusal(&[], &[3]).is_some());
        for e in [&[][..], &[0], &[1], &[2], &[4], &[1, 0, 0, 0, 1]] {
            assert!(refusal(&modulus(256), e).is_some(), "{e:?}");
        }
    }

    #[test]
    fn der_is_what_another_encoder_writes() {
        for bytes in [256, 257, 384, 512, 1024] {
            for first in [0x01, 0x7f, 0x80, 0xff] {
                for e in [&[3][..], &[0x81], &[1, 0, 1], &[0xff, 0xff, 0xff, 0xff]] {
                    let mut n = vec![0xa5; bytes];
                    n[0] = first;
                    let Ok(key) = PublicKey::new(&n, e) else { continue };
                    let number = |octets: &[u8]| BoxedUint::from_be_slice_vartime(octets);
                    let library = RsaPublicKey::new_unchecked(number(&n), number(e));

                    let expected = library.to_public_key_der().unwrap();

                    let ours = key.subject_public_key_info();
                    assert_eq!(ours.as_deref(), Some(expected.as_bytes()), "{bytes} {first} {e:?}");
                }
            }
        }
    }
}
