//! The evidence that no endpoint publishes a key.
//!
//! Every fetch is a draw from the issuer's endpoints. Nothing says how many there are or which one
//! answered. Equal answers prove nothing: a rolling rotation begins with them. So a key counts as
//! missing only when an endpoint that has it would almost surely have answered since the request
//! came.
//!
//! A fetch that failed or is still pending may have reached just that endpoint, since restarted
//! pods are slow. So such a fetch counts in favour of the key. Load balancers avoid an endpoint
//! that keeps them waiting, so while a fetch hangs, no number of answers from the others is enough.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The latest completed fetches, in the order in which they began.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Draws(Vec<Draw>);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Draw {
    began: Timestamp,
    over: Timestamp,
    /// The fingerprint of the set that came back; absent if the fetch failed.
    set: Option<u64>,
}

/// The fetches in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) fetches: usize,
    /// When the oldest one began.
    pub(super) oldest: Timestamp,
    pub(super) now: Timestamp,
}

/// The draws since a request came; none of them held its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tally {
    answered: usize,
    failed: usize,
    pending: usize,
    /// Whether a fetch has been pending for much longer than the others took.
    is_one_hanging: bool,
    /// The assumed number of endpoints, one of which has the key.
    endpoints: usize,
}

/// How certain the answers make it that the key does not exist.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Evidence {
    /// No fetch was answered yet.
    None,
    /// An endpoint that has the key may not have answered yet.
    Some,
    /// The probability that the answers missed an endpoint that has the key is below 1/1000; below
    /// 1/10,000 if more endpoints than usual are known, since there may be more still; below
    /// 1/100,000 if a fetch failed.
    Enough,
    /// The probability is below 1/100,000.
    Ample,
}

impl Draws {
    /// Adds a completed fetch, and the fingerprint of the set that it brought.
    pub(super) fn add(&mut self, began: Timestamp, over: Timestamp, set: Option<u64>) {
        let place = self.0.partition_point(|draw| draw.began <= began);
        self.0.insert(place, Draw { began, over, set });
        self.forget_oldest();
    }

    /// Whether a recent fetch brought this set.
    pub(super) fn hold(&self, set: u64) -> bool {
        self.0.iter().any(|draw| draw.set == Some(set))
    }

    /// Counts the completed fetches that began after `since`, and all that are pending. `told` is
    /// `jwksEndpoints`, if the operator set it.
    pub(super) fn tally(
        &self,
        since: Timestamp,
        pending: Option<Pending>,
        told: Option<u32>,
    ) -> Tally {
        let from = self.0.partition_point(|draw| draw.began <= since);
        let (mut answered, mut sets) = (0_usize, Vec::new());
        let mut slowest = Duration::ZERO;
        let draws = self.0.get(from..).unwrap_or_default();
        for Draw { began, over, set } in draws {
            let Some(set) = set else { continue };
            answered = answered.saturating_add(1);
            slowest = slowest.max(over.saturating_since(*began));
            if !sets.contains(set) {
                sets.push(*set);
            }
        }
        // Each distinct set is an endpoint without the key. One more may have it.
        let seen = sets.len().saturating_add(1);
        let endpoints = match told.and_then(|told| usize::try_from(told).ok()) {
            Some(told) if sets.len() <= told => told,
            Some(_) => seen,
            None => seen.max(USUAL_ENDPOINTS),
        };
        let is_hanging = |pending: Pending| {
            let patience = slowest.saturating_mul(2).saturating_add(HESITATION);
            pending.now.saturating_since(pending.oldest) > patience
        };
        Tally {
            answered,
            failed: draws.len().saturating_sub(answered),
            pending: pending.map_or(0, |pending| pending.fetches),
            is_one_hanging: pending.is_some_and(is_hanging),
            endpoints: endpoints.min(MAX_ENDPOINTS),
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes what cannot be true now.
    pub(super) fn make_plausible(&mut self, latest: Timestamp) {
        if !self.0.is_sorted_by_key(|draw| draw.began) {
            self.0.clear();
        }
        self.0.retain(|draw| draw.began <= latest);
        self.forget_oldest();
    }

    fn forget_oldest(&mut self) {
        let excess = self.0.len().saturating_sub(MAX_DRAWS);
        self.0.drain(..excess);
    }
}

impl Tally {
    pub(super) fn evidence(self) -> Evidence {
        let missed = self.missed();
        match self.answered {
            0 => Evidence::None,
            _ if self.is_one_hanging => Evidence::Some,
            _ if missed < self.improbable(Evidence::Ample) => Evidence::Ample,
            _ if missed < self.improbable(Evidence::Enough) => Evidence::Enough,
            _ => Evidence::Some,
        }
    }

    /// How many more answers `aim` needs.
    pub(super) fn lacking(self, aim: Evidence) -> usize {
        let suffices = |more: &usize| {
            let answered = self.answered.saturating_add(*more);
            Self { answered, ..self }.evidence() >= aim
        };
        (0..MAX_DRAWS).find(suffices).unwrap_or(MAX_DRAWS)
    }

    /// How many answers `aim` needs in all, if no fetch fails or is pending.
    pub(super) fn needed(self, aim: Evidence) -> usize {
        let Self { endpoints, .. } = self;
        Self { answered: 0, failed: 0, pending: 0, is_one_hanging: false, endpoints }.lacking(aim)
    }

    /// The number of draws whose answer is unknown.
    fn unknown(self) -> usize {
        self.failed.saturating_add(self.pending)
    }

    /// The probability that no answer came from a given endpoint, if any of the unknown draws may
    /// have reached it: that at most [`Self::unknown`] of all draws did (a binomial tail).
    fn missed(self) -> f64 {
        let draws = self.answered.saturating_add(self.unknown());
        let others = self.endpoints.saturating_sub(1) as f64;
        if others == 0.0 {
            return if self.answered > 0 { 0.0 } else { 1.0 };
        }
        let mut term = (others / (others + 1.0)).powi(i32::try_from(draws).unwrap_or(i32::MAX));
        let (mut sum, draws) = (term, draws as f64);
        for reached in 1..=self.unknown().min(MAX_DRAWS) {
            let reached = reached as f64;
            term *= (draws - reached + 1.0) / reached / others;
            sum += term;
        }
        sum
    }

    fn improbable(self, evidence: Evidence) -> f64 {
        match evidence {
            Evidence::None | Evidence::Some => 1.0,
            Evidence::Enough if self.failed > 0 => 1e-5,
            Evidence::Enough if self.endpoints <= USUAL_ENDPOINTS => 1e-3,
            Evidence::Enough => 1e-4,
            Evidence::Ample => 1e-5,
        }
    }
}

/// How far another VM's times may be ahead of ours. A callback sees a single time, so this is how
/// long one may run.
pub(super) const TOLERANCE: Duration = Duration::from_secs(1);
/// The normal spread of answer times.
const HESITATION: Duration = Duration::from_millis(250);
/// Two pods, and a third while they are replaced. Distinct sets reveal more.
const USUAL_ENDPOINTS: usize = 3;
/// More endpoints would need more answers than fit into the wait.
const MAX_ENDPOINTS: usize = 16;
/// More than [`MAX_ENDPOINTS`] need.
const MAX_DRAWS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);
    const EARLIER: Timestamp = Timestamp::from_secs(999);

    fn after(millis: u64) -> Timestamp {
        START.saturating_add(Duration::from_millis(millis))
    }

    fn tally(answered: usize, pending: usize, endpoints: usize) -> Tally {
        Tally { answered, failed: 0, pending, is_one_hanging: false, endpoints }
    }

    #[test]
    fn enough_answers_make_a_missed_endpoint_improbable() {
        let needed = |aim| [1, 2, 3, 4, 5, 6].map(|endpoints| tally(0, 0, endpoints).needed(aim));

        assert_eq!(needed(Evidence::Enough), [1, 10, 18, 33, 42, 51]);
        assert_eq!(needed(Evidence::Ample), [1, 17, 29, 41, 52, 64]);
        assert!(tally(0, 0, MAX_ENDPOINTS).needed(Evidence::Ample) < MAX_DRAWS);
    }

    #[test]
    fn a_draw_without_an_answer_may_have_reached_the_endpoint() {
        assert_eq!(tally(18, 0, 3).evidence(), Evidence::Enough);
        assert_eq!(tally(18, 1, 3).evidence(), Evidence::Some);
        assert_eq!(tally(25, 1, 3).evidence(), Evidence::Enough);
        // With one of three endpoints failing, no number of answers from the others is enough.
        assert_eq!(Tally { failed: 30, ..tally(60, 0, 3) }.evidence(), Evidence::Some);
        assert_eq!(Tally { failed: 1, ..tally(25, 0, 3) }.evidence(), Evidence::Some);
        assert_eq!(Tally { is_one_hanging: true, ..tally(60, 1, 3) }.evidence(), Evidence::Some);
        assert_eq!(tally(0, 5, 1).evidence(), Evidence::None);
        assert_eq!(tally(1, 5, 1).evidence(), Evidence::Ample);
        assert_eq!(tally(0, 1, 2).lacking(Evidence::Enough), 13);
    }

    #[test]
    fn only_fetches_that_began_later_count() {
        let mut draws = Draws::default();
        for millis in 0..30 {
            draws.add(after(millis), after(millis + 20), (millis != 29).then_some(7));
        }
        let counted = |since| {
            let Tally { answered, failed, .. } = draws.tally(after(since), None, None);
            (answered, failed)
        };

        assert_eq!([29, 28, 27, 9].map(counted), [(0, 0), (0, 1), (1, 1), (19, 1)]);
    }

    #[test]
    fn a_fetch_hangs_that_takes_much_longer_than_the_others() {
        let mut draws = Draws::default();
        draws.add(after(0), after(100), Some(7));
        let is_one_hanging = |age| {
            let pending = Pending { fetches: 1, oldest: after(0), now: after(age) };
            let since = EARLIER;
            draws.tally(since, Some(pending), None).is_one_hanging
        };

        assert_eq!([100, 450, 451].map(is_one_hanging), [false, false, true]);
    }

    #[test]
    fn every_set_without_the_key_makes_it_one_endpoint_more() {
        let mut draws = Draws::default();
        for millis in 1..=30 {
            draws.add(after(millis), after(millis), Some(millis % 4));
        }

        let endpoints = |told| draws.tally(START, None, told).endpoints;
        assert_eq!(endpoints(None), 5);
        assert_eq!(endpoints(Some(6)), 6);
        // The sets reveal more endpoints than the operator configured.
        assert_eq!(endpoints(Some(1)), 5);
        assert_eq!(draws.tally(after(29), None, Some(1)).endpoints, 1);
        assert_eq!(draws.tally(after(29), None, None).endpoints, 3);
    }

    #[test]
    fn only_the_latest_are_kept_and_nothing_from_the_future() {
        let mut draws = Draws::default();
        for millis in 0..500 {
            draws.add(after(millis), after(millis), Some(7));
        }
        assert_eq!(draws.0.len(), MAX_DRAWS);

        draws.make_plausible(after(400));

        assert_eq!(draws.0.len(), MAX_DRAWS - 99);
        draws.0.reverse();
        draws.make_plausible(after(400));
        assert_eq!(draws.0.len(), 0);
    }
}
