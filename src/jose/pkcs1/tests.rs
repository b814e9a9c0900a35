//! The crate `rsa` says what each signature check must come to.
//!
//! Its own keys take long to make, above all large ones, and only come in whole octets. The keys
//! here are products of many small primes instead: worthless, but of any length at once.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "arithmetic on paper; what goes wrong fails the test"
)]

use super::PublicKey;
use super::encoding::encode;
use rsa::signature::Verifier as _;
use rsa::{BoxedUint, RsaPublicKey};
use sha2::Sha256;

const MESSAGE: &[u8] = b"header.payload";
/// Multiples of 8, 27, 32, 54 and 64 and their neighbours, up to the longest that is taken.
const LENGTHS: [usize; 17] = [
    2048, 2049, 2051, 2052, 2053, 2055, 2056, 2079, 2080, 2081, 2106, 2112, 3071, 3072, 4097, 8191,
    8192,
];
const EXPONENTS: [u32; 3] = [3, 65537, u32::MAX];

struct Key {
    primes: Vec<u64>,
    exponent: u32,
    modulus: Vec<u8>,
    ours: PublicKey,
    theirs: rsa::pkcs1v15::VerifyingKey<Sha256>,
}

impl Key {
    fn new(bits: usize, exponent: u32, random: &mut fastrand::Rng) -> Self {
        let (primes, modulus) = product(bits, exponent, random);
        let modulus: Vec<u8> = modulus.into_iter().rev().collect();
        let theirs = RsaPublicKey::new_with_size_limits(
            BoxedUint::from_be_slice_vartime(&modulus),
            BoxedUint::from(exponent),
            2048..=8192,
        );
        Self {
            ours: PublicKey::new(&modulus, exponent).unwrap(),
            theirs: rsa::pkcs1v15::VerifyingKey::new(theirs.unwrap()),
            primes,
            exponent,
            modulus,
        }
    }

    /// The number whose power is `encoded` (RSASP1), put together from its remainders (Garner).
    fn sign(&self, encoded: &[u8]) -> Vec<u8> {
        let encoded: Vec<u8> = encoded.iter().rev().copied().collect();
        let (mut signature, mut modulus) = (vec![0; self.modulus.len()], vec![1]);
        for p in self.primes.iter().copied() {
            let d = inverse(u64::from(self.exponent) % (p - 1), p - 1);
            let goal = power(remainder(&encoded, p), d, p);
            let step = power(remainder(&modulus, p), p - 2, p);
            let lacking = (goal + p - remainder(&signature, p)) * step % p;
            add(&mut signature, &times(&modulus, lacking));
            modulus = times(&modulus, p);
        }
        signature.reverse();
        signature
    }

    /// What both make of `signature`.
    fn verifies(&self, signature: &[u8]) -> bool {
        let ours = self.ours.verify(MESSAGE, signature);
        let theirs = rsa::pkcs1v15::Signature::try_from(signature)
            .is_ok_and(|signature| self.theirs.verify(MESSAGE, &signature).is_ok());
        let (bits, exponent) = (bits_of_be(&self.modulus), self.exponent);
        assert_eq!(ours, theirs, "{bits} bits, {exponent}: {signature:02x?}");
        ours
    }
}

fn keys(random: &mut fastrand::Rng) -> Vec<Key> {
    let pairs = LENGTHS.iter().flat_map(|bits| EXPONENTS.map(|exponent| (*bits, exponent)));
    pairs.map(|(bits, exponent)| Key::new(bits, exponent, random)).collect()
}

#[test]
fn good_signatures_verify_and_changed_ones_do_not() {
    let mut random = fastrand::Rng::with_seed(8017);
    for key in keys(&mut random) {
        let len = key.modulus.len();
        let good = key.sign(&encode(MESSAGE, len).unwrap());
        assert!(key.verifies(&good));
        assert!(!key.ours.verify(b"header.payloae", &good));

        for _ in 0..8 {
            let mut bad = good.clone();
            bad[random.usize(..len)] ^= 1 << random.u32(..8);
            assert!(!key.verifies(&bad));
        }
        for bad in [
            &[][..],
            &good[1..],
            &good[..len - 1],
            &[&[0], &good[..]].concat(),
            &[&good[..], &[0]].concat(),
        ] {
            assert!(!key.verifies(bad));
        }
    }
}

#[test]
fn only_numbers_below_the_modulus_are_signatures() {
    let mut random = fastrand::Rng::with_seed(5);
    for key in keys(&mut random) {
        let len = key.modulus.len();
        let little = |octets: &[u8]| octets.iter().rev().copied().collect::<Vec<_>>();
        let one = [vec![0; len - 1], vec![1]].concat();
        let mut last = little(&key.modulus);
        last[0] -= 1;
        for number in [&vec![0; len], &one, &little(&last), &key.modulus, &vec![0xff; len]] {
            assert!(!key.verifies(number));
        }

        // The same remainder, by adding the modulus; in most lengths it takes no octet more.
        let good = key.sign(&encode(MESSAGE, len).unwrap());
        let mut above = [little(&good), vec![0]].concat();
        add(&mut above, &little(&key.modulus));
        let above = little(&above);
        assert!(!key.verifies(&above));
        if let [0, above @ ..] = above.as_slice() {
            assert!(!key.verifies(above));
        }
    }
}

#[test]
fn every_other_encoding_is_refused() {
    let mut random = fastrand::Rng::with_seed(2313);
    for bits in [2048, 2049, 3071] {
        for exponent in EXPONENTS {
            let key = Key::new(bits, exponent, &mut random);
            let len = key.modulus.len();
            let good = encode(MESSAGE, len).unwrap();
            let hash = &good[len - 32..];
            let info = &good[len - 51..len - 32];
            let padded = |tail: &[u8]| {
                [&[0, 1], vec![0xff; len - 3 - tail.len()].as_slice(), &[0], tail].concat()
            };
            // Bleichenbacher's forgery: short padding, and anything behind the hash.
            let garbage = |padding: usize| {
                let head = [&[0, 1], vec![0xff; padding].as_slice(), &[0], info, hash].concat();
                [head.as_slice(), &vec![0x5a; len - head.len()]].concat()
            };
            let changed = |index: usize, octet: u8| {
                let mut encoded = good.clone();
                encoded[index] = octet;
                encoded
            };
            let sha512 = [&info[..14], &[3], &info[15..]].concat();
            let without_null =
                [&[0x30, 0x2f, 0x30, 0x0b], &info[4..15], &info[17..], hash].concat();
            let long_form = [&[0x30, 0x81, 0x31], &info[2..], hash].concat();

            assert_eq!(padded(&[info, hash].concat()), good);
            assert!(key.verifies(&key.sign(&good)));
            for encoded in [
                padded(&[&sha512, hash].concat()),
                padded(&without_null),
                padded(&long_form),
                padded(hash),
                padded(&[info, hash, &[0]].concat()),
                padded(&[info, &hash[1..]].concat()),
                padded(&[info, &[0; 32]].concat()),
                garbage(0),
                garbage(7),
                garbage(8),
                garbage(len - 3 - 51 - 1),
                changed(1, 0),
                changed(1, 2),
                changed(2, 0xfe),
                changed(9, 0),
                changed(len - 53, 0),
                changed(len - 52, 0xff),
                changed(len - 52, 1),
                changed(len - 1, hash[31] ^ 1),
            ] {
                assert!(!key.verifies(&key.sign(&encoded)), "{encoded:02x?}");
            }
        }
    }
}

#[test]
fn a_short_or_even_modulus_verifies_nothing() {
    for modulus in [&[][..], &[1], &[3], &[0xff; 61], &[0xfe; 256]] {
        let Some(key) = PublicKey::new(modulus, 3) else { continue };
        for signature in [vec![], vec![0; modulus.len()], vec![1; modulus.len()]] {
            assert!(!key.verify(MESSAGE, &signature));
        }
    }
}

/// Distinct primes that suit `exponent`, and their product of `bits` bits, its least octet first.
fn product(bits: usize, exponent: u32, random: &mut fastrand::Rng) -> (Vec<u64>, Vec<u8>) {
    let is_prime =
        |n: u64| (3..n).step_by(2).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
    let suits = |p: u64| is_prime(p) && gcd(u64::from(exponent), p - 1) == 1;
    let (mut primes, mut modulus) = (Vec::new(), vec![1]);
    loop {
        let lacking = bits - bits_of(&modulus);
        let prime_bits = match lacking {
            35.. => 17,
            18.. => lacking / 2,
            _ => lacking + 1,
        };
        let p = random.u64(3..1 << prime_bits) | 1;
        let next = times(&modulus, p);
        if !suits(p) || primes.contains(&p) || lacking < 18 && bits_of(&next) != bits {
            continue;
        }
        primes.push(p);
        modulus = next;
        if bits_of(&modulus) == bits {
            return (primes, modulus);
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `a⁻¹` modulo `m`, for `a` below `m` and without a common factor.
fn inverse(a: u64, m: u64) -> u64 {
    if a == 1 { 1 } else { (m * (a - inverse(m % a, a)) + 1) / a }
}

fn power(base: u64, exponent: u64, modulus: u64) -> u64 {
    let bits = (0..64).rev().map(|bit| exponent >> bit & 1);
    bits.fold(1, |power, bit| {
        let square = power * power % modulus;
        if bit == 1 { square * base % modulus } else { square }
    })
}

// Numbers by the octet, the least first, as on paper: nothing of what is tested.

fn remainder(number: &[u8], p: u64) -> u64 {
    number.iter().rev().fold(0, |rest, octet| (rest * 256 + u64::from(*octet)) % p)
}

fn times(number: &[u8], factor: u64) -> Vec<u8> {
    let mut carry = 0;
    let mut product: Vec<u8> = number
        .iter()
        .map(|octet| {
            carry += u64::from(*octet) * factor;
            let low = carry as u8;
            carry >>= 8;
            low
        })
        .collect();
    while carry > 0 {
        product.push(carry as u8);
        carry >>= 8;
    }
    product
}

fn add(number: &mut [u8], summand: &[u8]) {
    let mut carry = 0;
    for (index, octet) in number.iter_mut().enumerate() {
        carry += u16::from(*octet) + u16::from(*summand.get(index).unwrap_or(&0));
        *octet = carry as u8;
        carry >>= 8;
    }
}

fn bits_of(number: &[u8]) -> usize {
    let unused = number.last().map_or(0, |octet| octet.leading_zeros() as usize);
    number.len() * 8 - unused
}

fn bits_of_be(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |octet| octet.leading_zeros() as usize);
    number.len() * 8 - unused
}
