//! Encoded messages as a signer never makes them, and as careless verifiers have taken them.

use rsa::BoxedUint;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// From the length of the modulus and what the signature is over to what the private key is applied
/// to, and what is to become of a token with such a signature.
pub type Encoding = (&'static str, &'static str, fn(usize, &str) -> Vec<u8>);

pub const ENCODINGS: [Encoding; 24] = [
    // That it passes shows that the others differ from it by nothing but what they say.
    ("200 allowed", "the right encoding", |size, text| padded(size, &sha256_info(text))),
    (INVALID, "garbage after the digest", |size, text| {
        padded_by(8, &[sha256_info(text), garbage(size - 8 - 3 - SHA256_INFO)].concat())
    }),
    (INVALID, "short padding, garbage after the digest", |size, text| {
        padded_by(7, &[sha256_info(text), garbage(size - 7 - 3 - SHA256_INFO)].concat())
    }),
    (INVALID, "no padding, garbage after the digest", |size, text| {
        padded_by(0, &[sha256_info(text), garbage(size - 3 - SHA256_INFO)].concat())
    }),
    (INVALID, "one octet after the digest", |size, text| {
        padded(size, &[sha256_info(text), vec![0]].concat())
    }),
    (INVALID, "garbage before the digest", |size, text| {
        padded_by(8, &[garbage(size - 8 - 3 - SHA256_INFO), sha256_info(text)].concat())
    }),
    (INVALID, "garbage in the padding", |size, text| {
        altered(size, text, |encoded| encoded[size / 2] = 0xfe)
    }),
    (INVALID, "a zero in the padding", |size, text| {
        altered(size, text, |encoded| encoded[size / 2] = 0)
    }),
    (INVALID, "no zero after the padding", |size, text| {
        altered(size, text, |encoded| encoded[size - SHA256_INFO - 1] = 0xff)
    }),
    (INVALID, "block type 0", |size, text| {
        altered(size, text, |encoded| encoded[1..size - SHA256_INFO].fill(0))
    }),
    (INVALID, "block type 0 with the padding of type 1", |size, text| {
        altered(size, text, |encoded| encoded[1] = 0)
    }),
    (INVALID, "block type 2", |size, text| {
        altered(size, text, |encoded| {
            encoded[1] = 2;
            encoded[2..size - SHA256_INFO - 1].fill(0x5a);
        })
    }),
    (INVALID, "block type 2 with the padding of type 1", |size, text| {
        altered(size, text, |encoded| encoded[1] = 2)
    }),
    (INVALID, "no zero at the start", |size, text| altered(size, text, |encoded| encoded[0] = 1)),
    (INVALID, "digest of another text", |size, text| {
        padded(size, &sha256_info(&format!("{text} ")))
    }),
    (INVALID, "digest cut short", |size, text| {
        padded(size, &info(&SHA256, &NULL, &Sha256::digest(text)[..31]))
    }),
    (INVALID, "digest alone", |size, text| padded(size, &Sha256::digest(text))),
    (INVALID, "SHA-1", |size, text| padded(size, &info(&SHA1, &NULL, &Sha1::digest(text)))),
    (INVALID, "SHA-384", |size, text| padded(size, &info(&SHA384, &NULL, &Sha384::digest(text)))),
    (INVALID, "SHA-512", |size, text| padded(size, &info(&SHA512, &NULL, &Sha512::digest(text)))),
    (INVALID, "SHA-256 in the name of SHA-512", |size, text| {
        padded(size, &info(&SHA512, &NULL, &Sha256::digest(text)))
    }),
    (INVALID, "no parameters", |size, text| {
        padded(size, &info(&SHA256, &[], &Sha256::digest(text)))
    }),
    (INVALID, "garbage as parameters", |size, text| {
        let parameters = [&[0x04, 100][..], &garbage(100)].concat();
        padded(size, &long_info(&SHA256, &parameters, &Sha256::digest(text)))
    }),
    (INVALID, "lengths in their long form", |size, text| {
        padded(size, &long_info(&SHA256, &NULL, &Sha256::digest(text)))
    }),
];

/// The sum of two numbers of the same length, unless it is longer.
pub fn add(left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let sum = number(left).wrapping_add(number(right)).to_be_bytes();
    let (overflow, sum) = sum.split_at(sum.len() - left.len());
    overflow.iter().all(|octet| *octet == 0).then(|| sum.to_vec())
}

/// The difference of two numbers of the same length, of which the first is larger.
pub fn subtract(left: &[u8], right: &[u8]) -> Vec<u8> {
    let difference = number(left).wrapping_sub(number(right)).to_be_bytes();
    difference[difference.len() - left.len()..].to_vec()
}

/// With room for a carry.
fn number(octets: &[u8]) -> BoxedUint {
    BoxedUint::from_be_slice_vartime(&[&[0; 8], octets].concat())
}

/// EMSA-PKCS1-v1_5 (RFC 8017 §9.2) of any content.
fn padded(size: usize, content: &[u8]) -> Vec<u8> {
    padded_by(size - content.len() - 3, content)
}

fn padded_by(padding: usize, content: &[u8]) -> Vec<u8> {
    [&[0, 1], vec![0xff; padding].as_slice(), &[0], content].concat()
}

fn altered(size: usize, text: &str, alter: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut encoded = padded(size, &sha256_info(text));
    alter(&mut encoded);
    encoded
}

fn sha256_info(text: &str) -> Vec<u8> {
    info(&SHA256, &NULL, &Sha256::digest(text))
}

/// A DigestInfo.
fn info(oid: &[u8], parameters: &[u8], digest: &[u8]) -> Vec<u8> {
    wrap_info(oid, parameters, digest, |tag, content| {
        let len = u8::try_from(content.len()).expect("less than 128 octets");
        [&[tag, len], content].concat()
    })
}

/// The same in BER: two octets tell each length, whether they need to or not.
fn long_info(oid: &[u8], parameters: &[u8], digest: &[u8]) -> Vec<u8> {
    wrap_info(oid, parameters, digest, |tag, content| {
        let len = u8::try_from(content.len()).expect("less than 256 octets");
        [&[tag, 0x81, len], content].concat()
    })
}

fn wrap_info(
    oid: &[u8],
    parameters: &[u8],
    digest: &[u8],
    element: impl Fn(u8, &[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, oid), parameters].concat());
    element(SEQUENCE, &[algorithm, element(OCTET_STRING, digest)].concat())
}

/// EMSA-PSS (RFC 8017 §9.1) with SHA-256, for a modulus of so many bits.
pub fn pss(bits: usize, text: &str) -> Vec<u8> {
    let size = (bits - 1).div_ceil(8);
    let salt = [0x5a; 32];
    let hash = Sha256::digest([&[0; 8], Sha256::digest(text).as_slice(), &salt].concat());
    let mut block = vec![0; size - hash.len() - 1];
    let start = block.len() - salt.len();
    block[start - 1] = 1;
    block[start..].copy_from_slice(&salt);
    for (counter, chunk) in (0_u32..).zip(block.chunks_mut(32)) {
        let mask = Sha256::digest([hash.as_slice(), &counter.to_be_bytes()].concat());
        chunk.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    }
    block[0] &= 0xff >> (8 * size - (bits - 1));
    [block.as_slice(), &hash, &[0xbc]].concat()
}

fn garbage(len: usize) -> Vec<u8> {
    vec![0xa7; len]
}

const INVALID: &str = "401 signature_invalid";

/// The length of a DigestInfo of SHA-256.
const SHA256_INFO: usize = 51;

const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const NULL: [u8; 2] = [0x05, 0];

const SHA1: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
