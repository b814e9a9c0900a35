//! Time in the core: a point on the wall clock that the caller passes in.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Nanoseconds since the Unix epoch, as proxy-wasm hosts tell the time.
///
/// The clock behind it may step back or jump ahead, so arithmetic saturates and never panics. The
/// range ends in the year 2554, which therefore stands for "never" as well.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The earliest representable point.
    pub const EPOCH: Self = Self(0);
    /// The latest representable point; reads as "never".
    pub const MAX: Self = Self(u64::MAX);

    /// A point given in nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A point given in whole seconds since the epoch.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// A point given in seconds with a fraction; what lies before the epoch becomes the epoch.
    #[must_use]
    pub fn from_secs_f64(secs: f64) -> Self {
        // `as` saturates at both ends and maps NaN to zero.
        Self((secs * NANOS_PER_SEC as f64) as u64)
    }

    /// The nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The whole seconds since the epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / NANOS_PER_SEC
    }

    /// This point moved later.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// This point moved earlier.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// The time from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The milliseconds of a duration as a `u64`: printing the `u128` of [`Duration::as_millis`] takes
/// another kilobyte of code.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1000).saturating_add(duration.subsec_millis().into())
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_SEC: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.saturating_sub(Duration::MAX), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.saturating_since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::MAX);
    }

    #[test]
    fn fractions_of_a_second_are_kept_and_odd_floats_are_harmless() {
        assert_eq!(Timestamp::from_secs_f64(1.5), Timestamp::from_nanos(1_500_000_000));
        assert_eq!(Timestamp::from_secs_f64(-1.0), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_secs_f64(f64::NAN), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_secs_f64(1e300), Timestamp::MAX);
    }
}
