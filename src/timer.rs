//! When the host's timer is due, and what may move it.

use crate::time::Timestamp;
use std::time::Duration;

/// The host's timer. It is periodic, and setting it restarts it.
///
/// What comes with a tick sets it anew, however late that is. A request only has it come sooner: at
/// once, or within [`TELL_WITHIN`]. That is twice at most between two ticks, so no stream of requests
/// puts it off. Whether it comes soon enough for the counters is seen from its period alone, since a
/// clock may be moved.
#[derive(Debug)]
pub(crate) struct Timer {
    period: Duration,
    due: Timestamp,
}

impl Timer {
    /// A timer that is not set.
    pub(crate) const fn new() -> Self {
        Self { period: Duration::MAX, due: Timestamp::MAX }
    }

    /// Whether it cannot come sooner.
    pub(crate) fn is_urgent(&self) -> bool {
        self.period <= MIN_TIMEOUT
    }

    /// Returns what to set it to after a tick, so that another comes at `next`.
    pub(crate) fn set(
        &mut self,
        next: Option<Timestamp>,
        longest: Duration,
        now: Timestamp,
    ) -> Duration {
        let delay = next.map_or(longest, |at| at.saturating_since(now));
        self.restart(delay.clamp(MIN_TIMEOUT, longest), now)
    }

    /// Returns what to set it to after a request, which counted something, and may have caused work
    /// that is due at `next`; `None` if it comes soon enough.
    pub(crate) fn hasten(&mut self, next: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
        if self.is_urgent() {
            return None;
        }
        let is_late = self.period > TELL_WITHIN;
        let due = if is_late { now.saturating_add(TELL_WITHIN) } else { self.due };
        // A clock that was moved ahead makes the timer seem due.
        if next.is_some_and(|next| next < due || due <= now) {
            return Some(self.restart(MIN_TIMEOUT, now));
        }
        is_late.then(|| self.restart(TELL_WITHIN, now))
    }

    fn restart(&mut self, period: Duration, now: Timestamp) -> Duration {
        *self = Self { period, due: now.saturating_add(period) };
        period
    }
}

/// The longest time until the host is told what was counted.
const TELL_WITHIN: Duration = Duration::from_millis(500);
/// The shortest timer that hosts offer; zero switches the timer off.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_request_after_a_tick_sets_it() {
        let mut timer = Timer::new();
        assert_eq!(timer.set(None, MINUTE, at(0)), MINUTE);

        assert_eq!(timer.hasten(None, at(10_000)), Some(TELL_WITHIN));
        for millis in 10_000..10_500 {
            assert_eq!(timer.hasten(None, at(millis)), None);
        }

        assert_eq!(timer.set(None, MINUTE, at(10_500)), MINUTE);
        assert_eq!(timer.hasten(None, at(10_500)), Some(TELL_WITHIN));
    }

    #[test]
    fn it_stays_where_it_is_due_soon_anyway() {
        let mut timer = Timer::new();
        assert_eq!(timer.set(Some(at(400)), MINUTE, at(0)), Duration::from_millis(400));

        assert_eq!(timer.hasten(None, at(0)), None);
        assert_eq!(timer.hasten(Some(at(400)), at(399)), None);
    }

    #[test]
    fn work_that_is_due_before_it_makes_it_urgent_once() {
        let mut timer = Timer::new();
        timer.set(None, MINUTE, at(0));
        assert_eq!(timer.hasten(Some(at(3_000)), at(0)), Some(TELL_WITHIN));
        assert!(!timer.is_urgent());

        assert_eq!(timer.hasten(Some(at(300)), at(200)), Some(MIN_TIMEOUT));
        assert!(timer.is_urgent());
        assert_eq!(timer.hasten(Some(at(200)), at(200)), None);
    }

    #[test]
    fn no_clock_puts_it_off() {
        let mut timer = Timer::new();
        timer.set(None, MINUTE, at(100_000));
        assert_eq!(timer.hasten(None, at(159_900)), Some(TELL_WITHIN), "it may be ahead");

        for millis in [0, 50_000, 200_000, 100] {
            assert_eq!(timer.hasten(None, at(millis)), None);
        }

        let moved = at(500_000);
        assert_eq!(timer.hasten(Some(moved), moved), Some(MIN_TIMEOUT), "nor work that is due");
    }

    /// However requests come, whatever is due next, and wherever somebody moves the clock.
    #[test]
    fn a_tick_follows_each_request_within_half_a_second() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut timer = Timer::new();
            let (mut real, mut ahead) = (0, 1_000_000);
            let mut tick = timer.set(None, MINUTE, at(ahead)).as_millis();
            let mut waits_since = None;
            for _ in 0..2_000 {
                real += [0, 1, 20, 450, 5_000][random.usize(..5)];
                if random.u8(..20) == 0 {
                    ahead = random.u64(..2_000_000);
                }
                let now = ahead + u64::try_from(real).expect("not so far");
                let next = random.bool().then(|| at(now + random.u64(..1_000)));
                if tick <= real {
                    let late = tick.saturating_sub(waits_since.take().unwrap_or(tick));
                    assert!(late <= 501, "{late} ms, seed {seed}");
                    tick = real + timer.set(next, MINUTE, at(now)).as_millis();
                } else {
                    waits_since.get_or_insert(real);
                    if let Some(delay) = timer.hasten(next, at(now)) {
                        tick = real + delay.as_millis();
                    }
                }
            }
        }
    }

    #[test]
    fn it_is_never_off() {
        let mut timer = Timer::new();
        assert_eq!(timer.set(Some(at(0)), MINUTE, at(5)), MIN_TIMEOUT);
        assert_eq!(timer.set(Some(Timestamp::MAX), MINUTE, at(5)), MINUTE);
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::EPOCH.saturating_add(Duration::from_millis(millis))
    }

    const MINUTE: Duration = Duration::from_mins(1);
}
