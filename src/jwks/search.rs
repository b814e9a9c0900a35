//! The budget and the pace of the search for a missing key.
//!
//! A token can name any key, so fetches for missing keys have a budget: a burst of [`BURST`], and
//! [`PER_COOLDOWN`] more in each `refetchCooldown`. A new key refills it, since no client can make
//! one.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The fetches for missing keys of one issuer, by all VMs of a proxy.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Search {
    /// How much of the budget was spent when the last fetches began. It is regained from then on,
    /// at the rate of the configuration that reads this: those that share it may differ.
    spent: f64,
    /// When fetches last began, and how many at once.
    drawn_at: Timestamp,
    drawn: u32,
    /// Failures since the last success.
    failures: u32,
}

/// What the configuration says about a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// `jwksEndpoints`, if the operator set it.
    pub(super) endpoints: Option<u32>,
    /// `jwksWaitTimeout`.
    pub(super) wait: Duration,
    /// `refetchCooldown`.
    pub(super) cooldown: Duration,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { spent: 0.0, drawn_at: Timestamp::EPOCH, drawn: 0, failures: 0 }
    }

    /// Records that a fetch brought a set.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Records that a fetch for a missing key failed.
    pub(super) fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Records a new key.
    pub(super) fn find(&mut self) {
        self.spent = 0.0;
    }

    /// When the next fetches may begin, and how many, if `needed` answers decide about a key that
    /// was asked for at `since`.
    ///
    /// The first goes alone: where all endpoints publish the same set, it is enough. The others go
    /// in pairs, which a least-request balancer sends to different endpoints.
    pub(super) fn next(
        &self,
        since: Timestamp,
        needed: usize,
        pace: Pace,
        jitter: f64,
    ) -> (Timestamp, u32) {
        let is_first = self.drawn_at.saturating_add(LULL) <= since;
        let draws = if is_first { 1 } else { PAIR };
        // Each failure in a row doubles the gap: more fetches would not help.
        let doublings = self.failures.min(MAX_DOUBLINGS);
        let gap = gap(needed, pace).saturating_mul(1 << doublings).saturating_mul(self.drawn);
        let spread = gap.mul_f64(1.0 + GAP_SPREAD * (jitter - 0.5));
        let excess = (self.spent + f64::from(draws) - f64::from(BURST)).max(0.0);
        let affordable_in = interval(pace).mul_f64(excess);
        (self.drawn_at.saturating_add(spread.max(affordable_in)), draws)
    }

    /// Charges fetches that begin now to the budget.
    pub(super) fn draw(&mut self, draws: u32, pace: Pace, now: Timestamp) {
        let elapsed = now.saturating_since(self.drawn_at).as_secs_f64();
        let regained = elapsed / interval(pace).as_secs_f64().max(f64::EPSILON);
        self.spent = (self.spent - regained).max(0.0) + f64::from(draws);
        self.drawn_at = now;
        self.drawn = draws;
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.drawn_at = self.drawn_at.saturating_sub(by);
    }

    /// Removes what cannot be true now.
    pub(super) fn make_plausible(&mut self, latest: Timestamp) {
        // A NaN becomes zero.
        self.spent = self.spent.max(0.0).min(f64::from(BURST));
        self.drawn_at = self.drawn_at.min(latest);
        self.drawn = self.drawn.min(PAIR);
    }
}

/// The gap that fits all draws into the first part of the wait, so that their answers come within
/// it.
fn gap(needed: usize, pace: Pace) -> Duration {
    let draws = u32::try_from(needed).unwrap_or(u32::MAX).max(1);
    let gap = pace.wait.mul_f64(SHARE_OF_WAIT).checked_div(draws).unwrap_or_default();
    gap.clamp(MIN_GAP, MAX_GAP)
}

/// How long it takes to regain one fetch.
fn interval(pace: Pace) -> Duration {
    pace.cooldown.checked_div(PER_COOLDOWN).unwrap_or_default()
}

/// The most fetches for missing keys in a burst after a quiet time.
pub(super) const BURST: u32 = 30;
/// How many more are regained in each `refetchCooldown`: by default 240 a minute.
pub(crate) const PER_COOLDOWN: u32 = 40;
const MAX_DOUBLINGS: u32 = 6;
const PAIR: u32 = 2;
/// All draws begin within this share of the wait.
const SHARE_OF_WAIT: f64 = 0.75;
/// Spreads the fetches of proxies that all miss the same key at the same moment.
const GAP_SPREAD: f64 = 0.5;
/// After this long without a draw the next one goes alone.
const LULL: Duration = Duration::from_secs(1);
const MIN_GAP: Duration = Duration::from_millis(5);
const MAX_GAP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);
    const EARLIER: Timestamp = Timestamp::from_secs(999);
    const PACE: Pace =
        Pace { endpoints: None, wait: Duration::from_secs(3), cooldown: Duration::from_secs(10) };
    const AMPLE: usize = 29;

    fn after(millis: u64) -> Timestamp {
        START.saturating_add(Duration::from_millis(millis))
    }

    /// When each fetch begins, in milliseconds after the start, for a key that every request asks
    /// for, or only the first.
    fn draws(search: &mut Search, from: u64, to: u64, most: usize, keeps_asking: bool) -> Vec<u64> {
        let mut began = Vec::new();
        for millis in from..to {
            let now = after(millis);
            let since = if keeps_asking { now } else { after(from) };
            let (at, count) = search.next(since, AMPLE, PACE, 0.5);
            if at <= now && began.len() < most {
                search.draw(count, PACE, now);
                began.extend((0..count).map(|_| millis));
            }
        }
        began
    }

    #[test]
    fn one_goes_ahead_and_all_of_them_come_within_the_wait() {
        let began = draws(&mut Search::new(), 1, 10_000, AMPLE, false);

        assert_eq!(began.len(), AMPLE);
        assert!(began[1] - began[0] >= 50 && began[1] == began[2], "{began:?}");
        assert!(began[28] < 2_500, "{began:?}");
    }

    #[test]
    fn the_budget_bounds_a_search_that_goes_on_for_ever() {
        let began = draws(&mut Search::new(), 1, 120_000, usize::MAX, true);

        let most = |stretch| {
            let from = |begin: &u64| {
                began.iter().filter(|at| (*begin..begin + stretch).contains(at)).count()
            };
            began.iter().map(from).max().unwrap()
        };
        assert!((265..=30 + 240).contains(&most(60_000)), "{}", most(60_000));
        assert!(most(1_000) <= 30, "{}", most(1_000));
        // And once the burst is spent:
        let late = began.iter().filter(|at| (60_000..120_000).contains(*at)).count();
        assert!((236..=242).contains(&late), "{late}");
    }

    #[test]
    fn a_longer_cooldown_neither_blocks_nor_frees_other_configurations() {
        let slow = Pace { cooldown: Duration::from_hours(1), ..PACE };
        let mut search = Search::new();
        let (mut began, mut of_slow) = (0, 0);
        for millis in 1..60_000 {
            let now = after(millis);
            for pace in [slow, PACE] {
                let (at, count) = search.next(now, AMPLE, pace, 0.5);
                if at <= now {
                    search.draw(count, pace, now);
                    began += count;
                    of_slow += if pace.cooldown == slow.cooldown { count } else { 0 };
                }
            }
        }

        // The fast one's rate also regains what the slow one spends.
        assert!((200..=30 + 240 + of_slow).contains(&began), "{began}, {of_slow}");
    }

    #[test]
    fn a_key_that_is_found_fills_the_budget() {
        let mut search = Search::new();
        draws(&mut search, 1, 60_000, usize::MAX, true);
        let (empty, _) = search.next(after(60_000), AMPLE, PACE, 0.5);
        assert!(empty > after(60_000));

        search.find();

        let again = draws(&mut search, 60_200, 63_200, usize::MAX, true);
        assert!(again.len() > 35, "{again:?}");
    }

    #[test]
    fn failures_in_a_row_make_it_slower() {
        let mut search = Search::new();
        search.draw(1, PACE, START);
        let mut gap = || {
            let (at, _) = search.next(EARLIER, AMPLE, PACE, 0.5);
            search.fail();
            at.saturating_since(START)
        };

        let gaps = [gap(), gap(), gap()];

        assert_eq!(gaps[1..], [gaps[0] * 2, gaps[0] * 4]);
        search.succeed();
        assert_eq!(search.next(EARLIER, AMPLE, PACE, 0.5).0.saturating_since(START), gaps[0]);
    }

    #[test]
    fn implausible_values_are_corrected() {
        let mut search = Search::new();
        for spent in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            (search.spent, search.drawn_at, search.drawn) = (spent, Timestamp::MAX, 9);

            search.make_plausible(after(20));

            let (at, _) = search.next(after(20), AMPLE, PACE, 0.5);
            assert!(at <= after(1_000), "{at:?}");
        }
    }
}
