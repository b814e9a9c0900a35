//! Powers modulo an odd number by Montgomery multiplication, for WebAssembly.
//!
//! **For public numbers only**: how long it takes depends on them.
//!
//! Libraries are made for processors, with limbs as wide as a register and with carries. WebAssembly
//! has 64-bit products of 32-bit numbers at most and no carry flag, so here limbs have 27 bits: a
//! whole column of products then fits into 64 bits, and carries wait for the end. It is a crate of
//! its own because cargo knows one optimisation level for each, and this one is to be fast in a
//! module that is to be small.

#[cfg(test)]
mod tests;

/// An odd modulus, and what is derived from it once.
#[derive(Clone, Debug)]
pub struct Modulus {
    value: Number,
    /// The negated inverse of the lowest limb.
    inverse: u32,
    /// `R²`, which takes a number to its Montgomery form. `R` is two to the bits of all limbs but
    /// the highest, which is always zero, and more than twice the modulus.
    r_squared: Number,
}

/// A number below the modulus that made it, and of no use with another.
///
/// The lowest limb comes first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Number(Vec<u32>);

impl Modulus {
    /// `octets` is big-endian, without leading zeros; `None` when it is even, longer than
    /// [`MAX_BITS`], or no more than one.
    #[must_use]
    pub fn new(octets: &[u8]) -> Option<Self> {
        let (first, rest) = octets.split_first()?;
        if octets == [1] {
            return None;
        }
        let highest_bit = first.checked_ilog2()?;
        let bits = rest.len().checked_mul(8)?.checked_add(highest_bit as usize)?.checked_add(1)?;
        // An even number of limbs, since they are taken in pairs, and one bit to spare.
        let pairs = bits.checked_div(PAIR_BITS)?.checked_add(1)?;
        let limbs = pairs.checked_mul(2).filter(|limbs| *limbs <= MAX_LIMBS)?;
        let value = Number::new(octets, limbs.checked_add(1)?);
        let lowest = value.0.first().filter(|limb| *limb % 2 == 1)?;

        // Newton's iteration: each step doubles the bits that are right, from three on.
        let inverse = (0..4).fold(*lowest, |inverse, _| {
            inverse.wrapping_mul(2_u32.wrapping_sub(lowest.wrapping_mul(inverse)))
        });
        let inverse = inverse.wrapping_neg() & LIMB_MASK;
        let mut modulus = Self { value, inverse, r_squared: Number(Vec::new()) };

        // From the modulus' highest bit alone to 2R, which is the form of two. R² is the form of
        // R, a power of two.
        let r_bits = limbs.checked_mul(LIMB_BITS as usize)?;
        let highest = [&[1_u8.checked_shl(highest_bit)?], vec![0; rest.len()].as_slice()].concat();
        let mut two = Number::new(&highest, modulus.value.0.len());
        for _ in bits..=r_bits.checked_add(1)? {
            modulus.double(&mut two);
        }
        modulus.r_squared = modulus.form_to_the(&two, u32::try_from(r_bits).ok()?)?;
        Some(modulus)
    }

    /// Reads a big-endian number, with or without leading zeros; `None` when it is not below the
    /// modulus.
    #[must_use]
    pub fn number(&self, octets: &[u8]) -> Option<Number> {
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let number = Number::new(octets.get(zeros..)?, self.value.0.len());
        (number.0.len() == self.value.0.len() && !self.is_reached_by(&number)).then_some(number)
    }

    /// `base` to the power of `exponent`; `None` for an exponent of zero.
    #[must_use]
    pub fn power(&self, base: &Number, exponent: u32) -> Option<Number> {
        let form = self.form_to_the(&self.product(base, &self.r_squared), exponent)?;
        Some(self.product(&form, &Number::new(&[1], self.value.0.len())))
    }

    /// A power between Montgomery forms, bit by bit from the left: public exponents have few bits
    /// that are not zero, so there are no powers worth keeping at hand.
    fn form_to_the(&self, base: &Number, exponent: u32) -> Option<Number> {
        let mut power = base.clone();
        for bit in (0..exponent.checked_ilog2()?).rev() {
            power = self.product(&power, &power);
            if exponent.wrapping_shr(bit) % 2 == 1 {
                power = self.product(&power, base);
            }
        }
        Some(power)
    }

    /// The Montgomery product `abR⁻¹`.
    ///
    /// Row by row as on paper, two rows at once to load and store each column half as often. To
    /// each row belongs the multiple of the modulus that makes its lowest column zero, which then
    /// is behind. No column overflows: see [`MAX_LIMBS`].
    fn product(&self, a: &Number, b: &Number) -> Number {
        let (b, n) = (b.0.as_slice(), self.value.0.as_slice());
        let mut columns = vec![0_u64; a.0.len().wrapping_mul(2)];
        let mut rest = columns.as_mut_slice();
        let ([b0, b1, b_tail @ ..], [n0, n1, n_tail @ ..]) = (b, n) else {
            return Number(Vec::new());
        };
        for [x, y] in a.0.as_chunks::<2>().0 {
            let [c0, c1, behind @ ..] = std::mem::take(&mut rest) else { break };
            let low = add_products(*c0, [(*x, *b0)]);
            let u = self.factor(low);
            let carry = add_products(low, [(u, *n0)]) >> LIMB_BITS;
            let low = add_products(c1.wrapping_add(carry), [(*x, *b1), (u, *n1), (*y, *b0)]);
            let v = self.factor(low);
            let carry = add_products(low, [(v, *n0)]) >> LIMB_BITS;

            if let Some(next) = behind.first_mut() {
                *next = next.wrapping_add(carry);
            }
            let (x, y, u, v) = (u64::from(*x), u64::from(*y), u64::from(u), u64::from(v));
            let (mut b_before, mut n_before) = (u64::from(*b1), u64::from(*n1));
            for ((column, b), n) in behind.iter_mut().zip(b_tail).zip(n_tail) {
                let (b, n) = (u64::from(*b), u64::from(*n));
                *column = column
                    .wrapping_add(x.wrapping_mul(b))
                    .wrapping_add(y.wrapping_mul(b_before))
                    .wrapping_add(u.wrapping_mul(n))
                    .wrapping_add(v.wrapping_mul(n_before));
                (b_before, n_before) = (b, n);
            }
            rest = behind;
        }

        let mut carry = 0;
        let mut product = Number(Vec::with_capacity(n.len()));
        product.0.extend(rest.iter().take(n.len()).map(|column| {
            let column = column.wrapping_add(carry);
            carry = column >> LIMB_BITS;
            low_limb(column)
        }));
        self.reduce(&mut product);
        product
    }

    /// How many times the modulus makes the lowest limb of `column` zero.
    fn factor(&self, column: u64) -> u32 {
        low_limb(column).wrapping_mul(self.inverse) & LIMB_MASK
    }

    fn double(&self, number: &mut Number) {
        let mut carry = 0;
        for limb in &mut number.0 {
            let doubled = (*limb << 1) | carry;
            carry = doubled >> LIMB_BITS;
            *limb = doubled & LIMB_MASK;
        }
        self.reduce(number);
    }

    /// Brings a number below twice the modulus below the modulus.
    fn reduce(&self, number: &mut Number) {
        if !self.is_reached_by(number) {
            return;
        }
        let mut borrow = 0;
        for (limb, n) in number.0.iter_mut().zip(&self.value.0) {
            let difference = limb.wrapping_sub(*n).wrapping_sub(borrow);
            borrow = difference >> (u32::BITS - 1);
            *limb = difference & LIMB_MASK;
        }
    }

    fn is_reached_by(&self, number: &Number) -> bool {
        number.0.iter().rev().ge(self.value.0.iter().rev())
    }
}

impl Number {
    /// Reads a big-endian number of at most `len` limbs; a longer one comes out longer.
    fn new(octets: &[u8], len: usize) -> Self {
        let mut limbs = Vec::with_capacity(len);
        let (mut pending, mut bits) = (0_u64, 0_u32);
        for octet in octets.iter().rev() {
            pending |= u64::from(*octet).wrapping_shl(bits);
            bits = bits.wrapping_add(8);
            if bits >= LIMB_BITS {
                limbs.push(low_limb(pending));
                pending >>= LIMB_BITS;
                bits = bits.wrapping_sub(LIMB_BITS);
            }
        }
        limbs.push(low_limb(pending));
        let len = len.max(limbs.len());
        limbs.resize(len, 0);
        Self(limbs)
    }
}

fn add_products<const N: usize>(column: u64, factors: [(u32, u32); N]) -> u64 {
    factors.iter().fold(column, |column, (a, b)| {
        column.wrapping_add(u64::from(*a).wrapping_mul(u64::from(*b)))
    })
}

#[expect(clippy::cast_possible_truncation, reason = "a limb fits, once it is masked")]
fn low_limb(column: u64) -> u32 {
    column as u32 & LIMB_MASK
}

/// The longest modulus.
pub const MAX_BITS: usize = MAX_LIMBS * LIMB_BITS as usize - 1;

const LIMB_BITS: u32 = 27;
const PAIR_BITS: usize = 2 * LIMB_BITS as usize;
const LIMB_MASK: u32 = (1 << LIMB_BITS) - 1;
/// Each limb adds two products to a column, of which 1024 fit; the rest is for the carry.
const MAX_LIMBS: usize = 510;
