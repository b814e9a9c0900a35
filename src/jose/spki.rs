//! A public key as the host's crypto takes it: DER of a SubjectPublicKeyInfo (RFC 5280 §4.1).

use jsonwebtoken::{DecodingKey, DecodingKeyKind};

/// Writes an RSA key (RFC 3279 §2.3.1); absent for any other.
pub(crate) fn subject_public_key_info(key: &DecodingKey) -> Option<Vec<u8>> {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else { return None };
    let key = element(SEQUENCE, &[&unsigned(n)?, &unsigned(e)?])?;
    // The octet before the bits says how many of the last one are unused.
    element(SEQUENCE, &[&RSA_ENCRYPTION, &element(BIT_STRING, &[&[0], &key])?])
}

/// An INTEGER that is not negative: its first bit is the sign.
fn unsigned(octets: &[u8]) -> Option<Vec<u8>> {
    let sign: &[u8] = if octets.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    element(INTEGER, &[sign, octets])
}

/// One element (X.690 §8.1): tag, length and content. No key is near 64 KiB, which is where two
/// octets of length end.
fn element(tag: u8, content: &[&[u8]]) -> Option<Vec<u8>> {
    let len = content.iter().map(|part| part.len()).sum::<usize>();
    let [high, low] = u16::try_from(len).ok()?.to_be_bytes();
    let head: &[u8] = match len {
        0..=0x7f => &[tag, low],
        0x80..=0xff => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    Some([head, &content.concat()].concat())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// The AlgorithmIdentifier of rsaEncryption, 1.2.840.113549.1.1.1, with its NULL parameters.
const RSA_ENCRYPTION: [u8; 15] =
    [SEQUENCE, 13, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::pkcs8::EncodePublicKey as _;
    use rsa::{BoxedUint, RsaPublicKey};

    #[test]
    fn it_is_what_a_library_writes() {
        for bytes in [256, 257, 384, 512, 1024] {
            for first in [0x01, 0x7f, 0x80, 0xff] {
                for e in [&[3][..], &[0x81], &[1, 0, 1], &[0xff, 0xff, 0xff, 0xff]] {
                    let mut n = vec![0xa5; bytes];
                    n[0] = first;
                    let number = |octets: &[u8]| BoxedUint::from_be_slice_vartime(octets);
                    let library = RsaPublicKey::new_unchecked(number(&n), number(e));

                    let ours =
                        subject_public_key_info(&DecodingKey::from_rsa_raw_components(&n, e));

                    let expected = library.to_public_key_der().unwrap();
                    assert_eq!(ours.as_deref(), Some(expected.as_bytes()), "{bytes} {first} {e:?}");
                }
            }
        }
    }

    #[test]
    fn other_keys_have_none() {
        assert_eq!(subject_public_key_info(&DecodingKey::from_secret(b"secret")), None);
    }
}
