//! The library `crypto-bigint` says what each power is.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "arithmetic on paper; what goes wrong fails the test"
)]

use super::{MAX_BITS, Modulus};
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Resize as _};

const EXPONENTS: [u32; 7] = [1, 2, 3, 17, 65537, 0x8000_0000, u32::MAX];

fn expected(n: &[u8], base: &[u8], exponent: u32) -> Vec<u8> {
    let n = BoxedUint::from_be_slice_vartime(n).into_odd().unwrap();
    let params = BoxedMontyParams::new_vartime(n);
    let base = BoxedUint::from_be_slice_vartime(base).resize(params.bits_precision());
    let power = BoxedMontyForm::new(base, &params).pow(&BoxedUint::from(exponent)).retrieve();
    power.to_be_bytes().into_vec()
}

fn check(n: &[u8], base: &[u8], exponent: u32) {
    let modulus = Modulus::new(n).unwrap();

    let power = modulus.power(&modulus.number(base).unwrap(), exponent);

    let expected = modulus.number(&expected(n, base, exponent));
    assert!(power.is_some() && power == expected, "{} octets, {exponent}", n.len());
}

/// `n - 1`, the largest number there is.
fn before(n: &[u8]) -> Vec<u8> {
    let (last, rest) = n.split_last().unwrap();
    [rest, &[last - 1]].concat()
}

#[test]
fn powers_of_random_numbers_are_right_for_every_length() {
    let mut random = fastrand::Rng::with_seed(27);
    for bits in (2..140).chain([500, 512, 2047, 2048, 2049, 2052, 3072, 4097]) {
        let mut n = vec![0; usize::div_ceil(bits, 8)];
        random.fill(&mut n);
        let unused = n.len() * 8 - bits;
        n[0] = n[0] >> unused | 0x80 >> unused;
        *n.last_mut().unwrap() |= 1;
        let mut base = n.clone();
        random.fill(&mut base[1..]);
        base[0] = random.u8(..n[0]);

        for exponent in EXPONENTS {
            check(&n, &base, exponent);
            check(&n, &before(&n), exponent);
        }
    }
}

/// All limbs at their largest: the columns grow as far as they can.
#[test]
fn nothing_overflows() {
    for len in [1, 2, 27, 256, 257, 1024, MAX_BITS / 8] {
        let ones = vec![0xff; len];
        let sparse = [&[0x80], &vec![0; len.saturating_sub(2)][..], &[1]].concat();
        for n in [ones, sparse] {
            for exponent in [3, 65537] {
                check(&n, &before(&n), exponent);
                check(&n, &vec![0x7f; len], exponent);
            }
        }
    }
}

#[test]
fn numbers_are_below_the_modulus() {
    let modulus = Modulus::new(&[0xff; 256]).unwrap();

    assert!(modulus.number(&[]).is_some());
    assert!(modulus.number(&before(&[0xff; 256])).is_some());
    assert!(modulus.number(&[&[0; 300][..], &[1]].concat()).is_some());
    assert!(modulus.number(&[0xff; 256]).is_none());
    assert!(modulus.number(&[&[1][..], &[0; 256]].concat()).is_none());
    assert!(modulus.number(&[0xff; 300]).is_none());
}

#[test]
fn what_has_no_montgomery_form_is_no_modulus() {
    for n in [&[][..], &[0], &[1], &[2], &[0x80; 256], &[0, 3], &[0xff; MAX_BITS / 8 + 1]] {
        assert!(Modulus::new(n).is_none(), "{} octets", n.len());
    }
}

#[test]
fn nothing_is_raised_to_zero() {
    let modulus = Modulus::new(&[7]).unwrap();
    let three = modulus.number(&[3]).unwrap();

    assert!(modulus.power(&three, 0).is_none());
}
