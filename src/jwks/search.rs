//! Looking for a key that is not known: how much says that it is not there, and what that may cost.
//!
//! Every answer is a draw from the issuer's endpoints, and nobody tells how many there are or which
//! of them answers. That they answered alike so far proves nothing: a rolling rotation begins so.
//! So a key counts as missing only when an endpoint that has it would almost surely have answered
//! since it was asked for.
//!
//! A token can name any key, so fetches on account of missing keys come out of a budget: a burst of
//! [`BURST`], and [`PER_COOLDOWN`] more in each `refetchCooldown`. A new key fills it up again: no
//! client can make one.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the VMs of a proxy have asked of one issuer lately, and what they may still ask.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Search {
    /// The latest answers, in the order in which their fetches began.
    answers: Vec<Answer>,
    /// When the budget will be full again (the theoretical arrival time of the algorithm GCRA).
    full_at: Timestamp,
    /// When fetches last began that look for keys, and how many at once.
    drawn_at: Timestamp,
    drawn: u32,
}

/// A set that an endpoint published.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Answer {
    /// When the fetch began.
    began: Timestamp,
    /// Tells this set from others.
    set: u64,
}

/// How an issuer is asked for a key that is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// `jwksEndpoints`, if the operator says how many there are.
    pub(super) endpoints: Option<u32>,
    /// `jwksWaitTimeout`: how long requests wait for the outcome.
    pub(super) wait: Duration,
    /// `refetchCooldown`.
    pub(super) cooldown: Duration,
}

/// What the answers since some moment say about a key that was in none of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Evidence {
    /// Nobody has answered yet.
    None,
    /// An endpoint may have been missed.
    Some,
    /// An endpoint that has it was missed with a probability below 1/1000; below 1/10,000 where more
    /// endpoints are known than usual, since there may be even more.
    Enough,
    /// The same with 1/100,000.
    Ample,
}

impl Search {
    pub(super) fn new() -> Self {
        Self {
            answers: Vec::new(),
            full_at: Timestamp::EPOCH,
            drawn_at: Timestamp::EPOCH,
            drawn: 0,
        }
    }

    /// Takes note of a set that was fetched; `is_found` if it holds a new key.
    pub(super) fn answer(&mut self, began: Timestamp, set: u64, is_found: bool, now: Timestamp) {
        let place = self.answers.partition_point(|answer| answer.began <= began);
        self.answers.insert(place, Answer { began, set });
        let excess = self.answers.len().saturating_sub(MAX_ANSWERS);
        self.answers.drain(..excess);
        if is_found {
            self.full_at = now;
        }
    }

    /// What is known of a key that has been missing since then.
    pub(super) fn evidence(&self, since: Timestamp, pace: Pace) -> Evidence {
        let (answers, endpoints) = self.draws(since, pace);
        match answers {
            0 => Evidence::None,
            _ if answers >= needed(Evidence::Ample, endpoints) => Evidence::Ample,
            _ if answers >= needed(Evidence::Enough, endpoints) => Evidence::Enough,
            _ => Evidence::Some,
        }
    }

    /// How many more answers it takes.
    pub(super) fn lacking(&self, aim: Evidence, since: Timestamp, pace: Pace) -> usize {
        let (answers, endpoints) = self.draws(since, pace);
        needed(aim, endpoints).saturating_sub(answers)
    }

    /// How many answers came of fetches that began after `since`, and how many endpoints there have
    /// to be if one of them has the key: so many sets were seen without it.
    fn draws(&self, since: Timestamp, pace: Pace) -> (usize, usize) {
        let from = self.answers.partition_point(|answer| answer.began <= since);
        let answers = self.answers.get(from..).unwrap_or_default();
        let mut sets = Vec::new();
        for answer in answers {
            if !sets.contains(&answer.set) {
                sets.push(answer.set);
            }
        }
        let sets = sets.len();
        let seen = sets.saturating_add(1);
        let endpoints = match pace.endpoints.and_then(|told| usize::try_from(told).ok()) {
            Some(told) if sets <= told => told,
            Some(_) => seen,
            None => seen.max(USUAL_ENDPOINTS),
        };
        (answers.len(), endpoints.min(MAX_ENDPOINTS))
    }

    /// When the next fetches may begin, and how many. One goes ahead: where all endpoints publish
    /// the same, it finds the key. Those after it go in pairs, which a balancer that looks for the
    /// least requests steers apart.
    pub(super) fn next(
        &self,
        since: Timestamp,
        pace: Pace,
        failures: u32,
        jitter: f64,
    ) -> (Timestamp, u32) {
        let is_first = self.drawn_at.saturating_add(LULL) <= since;
        let draws = if is_first { 1 } else { PAIR };
        // Each failure in a row doubles the pause: it is not for the lack of asking.
        let gap = self.gap(since, pace).saturating_mul(1 << failures.min(MAX_DOUBLINGS));
        let paused_until = self.drawn_at.saturating_add(
            gap.saturating_mul(self.drawn).mul_f64(1.0 + GAP_SPREAD * (jitter - 0.5)),
        );
        let unspent = BURST.saturating_sub(draws);
        let affordable_at = self.full_at.saturating_sub(interval(pace).saturating_mul(unspent));
        (paused_until.max(affordable_at), draws)
    }

    /// Fits enough draws into the first part of the wait, so that their answers come within it.
    fn gap(&self, since: Timestamp, pace: Pace) -> Duration {
        let (_, endpoints) = self.draws(since, pace);
        let draws = u32::try_from(needed(Evidence::Ample, endpoints)).unwrap_or(u32::MAX).max(1);
        let gap = pace.wait.mul_f64(SHARE_OF_WAIT).checked_div(draws).unwrap_or_default();
        gap.clamp(MIN_GAP, MAX_GAP)
    }

    /// Takes fetches that begin now out of the budget.
    pub(super) fn draw(&mut self, draws: u32, pace: Pace, now: Timestamp) {
        let cost = interval(pace).saturating_mul(draws);
        self.full_at = self.full_at.max(now).saturating_add(cost);
        self.drawn_at = now;
        self.drawn = draws;
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        for answer in &mut self.answers {
            answer.began = answer.began.saturating_sub(by);
        }
        for time in [&mut self.full_at, &mut self.drawn_at] {
            *time = time.saturating_sub(by);
        }
    }

    /// Leaves nothing in it that could not have come about by now.
    pub(super) fn make_plausible(&mut self, pace: Pace, latest: Timestamp) {
        if !self.answers.is_sorted_by_key(|answer| answer.began) {
            self.answers.clear();
        }
        self.answers.retain(|answer| answer.began <= latest);
        let excess = self.answers.len().saturating_sub(MAX_ANSWERS);
        self.answers.drain(..excess);
        self.full_at =
            self.full_at.min(latest.saturating_add(interval(pace).saturating_mul(BURST)));
        self.drawn_at = self.drawn_at.min(latest);
        self.drawn = self.drawn.min(PAIR);
    }
}

/// How many draws it takes until an endpoint out of so many is missed with too low a probability:
/// the least n with (1 - 1/endpoints)^n below it.
fn needed(evidence: Evidence, endpoints: usize) -> usize {
    let improbable: f64 = match evidence {
        Evidence::None => return 0,
        Evidence::Some => return 1,
        Evidence::Enough if endpoints <= USUAL_ENDPOINTS => 1e-3,
        Evidence::Enough => 1e-4,
        Evidence::Ample => 1e-5,
    };
    let missed = 1.0 - 1.0 / endpoints.max(1) as f64;
    // Of one endpoint, one draw tells all; `as` saturates.
    ((improbable.ln() / missed.ln()).floor() as usize).saturating_add(1)
}

/// In what time the budget grows by one fetch.
fn interval(pace: Pace) -> Duration {
    pace.cooldown.checked_div(PER_COOLDOWN).unwrap_or_default()
}

/// How many fetches may look for keys at once when none did for a while.
pub(super) const BURST: u32 = 30;
/// How many more may do so in each `refetchCooldown`: by default 240 in a minute.
pub(super) const PER_COOLDOWN: u32 = 40;
/// More endpoints than these would take more answers than there is time for.
const MAX_ENDPOINTS: usize = 16;
/// As many as it takes for the most endpoints.
const MAX_ANSWERS: usize = 192;
/// Two pods, and a third while they are replaced; that there are more is seen by their sets.
const USUAL_ENDPOINTS: usize = 3;
const MAX_DOUBLINGS: u32 = 6;
const PAIR: u32 = 2;
/// The share of the wait in which draws begin.
const SHARE_OF_WAIT: f64 = 0.75;
/// Spreads what many proxies do that were asked for the same key at the same moment.
const GAP_SPREAD: f64 = 0.5;
/// After so long without a draw the next one goes ahead alone.
const LULL: Duration = Duration::from_secs(1);
const MIN_GAP: Duration = Duration::from_millis(5);
const MAX_GAP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);
    const PACE: Pace =
        Pace { endpoints: None, wait: Duration::from_secs(3), cooldown: Duration::from_secs(10) };

    fn after(millis: u64) -> Timestamp {
        START.saturating_add(Duration::from_millis(millis))
    }

    /// The milliseconds after the start at which fetches begin while a key is asked for that is not
    /// there, all the time or only once.
    fn draws(search: &mut Search, from: u64, to: u64, keeps_asking: bool) -> Vec<u64> {
        let mut began = Vec::new();
        for millis in from..to {
            let now = after(millis);
            let asked = if keeps_asking { millis } else { from };
            let since = after(asked).saturating_sub(Duration::from_nanos(1));
            let (at, count) = search.next(since, PACE, 0, 0.5);
            if at <= now && search.lacking(Evidence::Ample, since, PACE) > 0 {
                search.draw(count, PACE, now);
                for _ in 0..count {
                    search.answer(now, 7, false, now);
                    began.push(millis);
                }
            }
        }
        began
    }

    #[test]
    fn so_many_draws_make_an_endpoint_improbable() {
        let enough = [1, 2, 3, 4, 5, 6].map(|endpoints| needed(Evidence::Enough, endpoints));
        let ample = [1, 2, 3, 4, 5, 6].map(|endpoints| needed(Evidence::Ample, endpoints));

        assert_eq!(enough, [1, 10, 18, 33, 42, 51]);
        assert_eq!(ample, [1, 17, 29, 41, 52, 64]);
        assert!(needed(Evidence::Ample, MAX_ENDPOINTS) <= MAX_ANSWERS);
    }

    #[test]
    fn evidence_comes_from_fetches_that_began_later() {
        let mut search = Search::new();
        for millis in 0..29 {
            search.answer(after(millis), 7, false, after(100));
        }

        assert_eq!(search.evidence(after(28), PACE), Evidence::None);
        assert_eq!(search.evidence(after(27), PACE), Evidence::Some);
        assert_eq!(search.evidence(after(10), PACE), Evidence::Enough);
        assert_eq!(search.evidence(after(11), PACE), Evidence::Some);
        assert_eq!(
            search.evidence(START.saturating_sub(Duration::from_nanos(1)), PACE),
            Evidence::Ample
        );
    }

    #[test]
    fn every_set_without_the_key_makes_it_one_endpoint_more() {
        let mut search = Search::new();
        for millis in 0..30 {
            search.answer(after(millis), millis % 4, false, after(100));
        }

        // Four sets, so the key would be at a fifth.
        assert_eq!(search.lacking(Evidence::Enough, EARLIER, PACE), 12);
        let told = Pace { endpoints: Some(6), ..PACE };
        assert_eq!(search.lacking(Evidence::Enough, EARLIER, told), 21);
        // There are more of them than the operator knows.
        let told = Pace { endpoints: Some(1), ..PACE };
        assert_eq!(search.lacking(Evidence::Enough, EARLIER, told), 12);
    }

    const EARLIER: Timestamp = Timestamp::from_secs(999);

    #[test]
    fn one_goes_ahead_and_all_of_them_come_within_the_wait() {
        let began = draws(&mut Search::new(), 1, 10_000, false);

        assert_eq!(began.len(), 29);
        assert!(began[1] - began[0] >= 50 && began[1] == began[2], "{began:?}");
        assert!(began[28] < 2_500, "{began:?}");
    }

    #[test]
    fn the_budget_bounds_what_is_asked_for_all_the_time() {
        let began = draws(&mut Search::new(), 1, 120_000, true);

        let most = |stretch| {
            let from = |begin: &u64| {
                began.iter().filter(|at| (*begin..begin + stretch).contains(at)).count()
            };
            began.iter().map(from).max().unwrap()
        };
        assert!((265..=30 + 240).contains(&most(60_000)), "{}", most(60_000));
        assert!(most(1_000) <= 30, "{}", most(1_000));
        // And later, when the burst is spent.
        let late = began.iter().filter(|at| (60_000..120_000).contains(*at)).count();
        assert!((236..=242).contains(&late), "{late}");
    }

    #[test]
    fn a_key_that_is_found_fills_the_budget() {
        let mut search = Search::new();
        draws(&mut search, 1, 60_000, true);
        let (empty, _) = search.next(after(60_000), PACE, 0, 0.5);
        assert!(empty > after(60_000));

        search.answer(after(60_000), 8, true, after(60_000));

        let again = draws(&mut search, 60_200, 63_200, true);
        assert!(again.len() > 35, "{again:?}");
    }

    #[test]
    fn failures_in_a_row_make_it_slower() {
        let mut search = Search::new();
        search.draw(1, PACE, START);

        let gaps = [0, 1, 2]
            .map(|failures| search.next(EARLIER, PACE, failures, 0.5).0.saturating_since(START));

        assert_eq!(gaps[1], gaps[0] * 2);
        assert_eq!(gaps[2], gaps[0] * 4);
    }

    #[test]
    fn what_anyone_else_wrote_becomes_plausible() {
        let mut search = Search::new();
        search.answer(after(10), 1, false, START);
        search.answer(Timestamp::MAX, 1, false, START);
        (search.full_at, search.drawn_at, search.drawn) = (Timestamp::MAX, Timestamp::MAX, 9);

        search.make_plausible(PACE, after(20));

        assert_eq!(search.answers.len(), 1);
        let (at, _) = search.next(after(20), PACE, 0, 0.5);
        assert!(at <= after(20_000), "{at:?}");
    }
}
