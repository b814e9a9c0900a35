//! How much says that a key is not there.
//!
//! Every fetch is a draw from the issuer's endpoints, and nobody tells how many there are or which
//! of them answers. That they answered alike so far proves nothing: a rolling rotation begins so.
//! So a key counts as missing only when an endpoint that has it would almost surely have answered
//! since it was asked for.
//!
//! A fetch that failed, or is not answered yet, may have reached just that endpoint: pods that have
//! restarted are slow. It speaks for the key. And balancers avoid an endpoint that keeps them waiting:
//! as long as one does, no number of answers from the others is enough.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The latest fetches that are over, in the order in which they began.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Draws(Vec<Draw>);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Draw {
    began: Timestamp,
    over: Timestamp,
    /// Tells the set that came back from others; absent when the fetch failed.
    set: Option<u64>,
}

/// The fetches that are not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) fetches: usize,
    /// When the first of them began.
    pub(super) oldest: Timestamp,
    pub(super) now: Timestamp,
}

/// The draws since a key was asked for; it was in none of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Tally {
    answered: usize,
    failed: usize,
    pending: usize,
    /// Whether one is pending for much longer than the others took.
    is_one_hanging: bool,
    /// How many endpoints there have to be if one of them has the key.
    endpoints: usize,
}

/// What a tally says of a key.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Evidence {
    /// Nobody has answered yet.
    None,
    /// An endpoint may have been missed.
    Some,
    /// An endpoint that has it was missed with a probability below 1/1000. Below 1/10,000 where more
    /// endpoints are known than usual, since there may be even more; and as for `Ample` where one fails.
    Enough,
    /// The same with 1/100,000.
    Ample,
}

impl Draws {
    /// Takes note of a fetch that is over, and of the set that came back.
    pub(super) fn add(&mut self, began: Timestamp, over: Timestamp, set: Option<u64>) {
        let place = self.0.partition_point(|draw| draw.began <= began);
        self.0.insert(place, Draw { began, over, set });
        self.forget_oldest();
    }

    /// Whether this set came back lately.
    pub(super) fn hold(&self, set: u64) -> bool {
        self.0.iter().any(|draw| draw.set == Some(set))
    }

    /// Counts the fetches that began after `since`, and those that are pending, whenever they began.
    /// `told` is how many endpoints there are if the operator says so.
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
        // So many endpoints have shown that they do not have it.
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

    /// Leaves nothing in it that could not have come about by now.
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

    /// How many more answers it takes.
    pub(super) fn lacking(self, aim: Evidence) -> usize {
        let suffices = |more: &usize| {
            let answered = self.answered.saturating_add(*more);
            Self { answered, ..self }.evidence() >= aim
        };
        (0..MAX_DRAWS).find(suffices).unwrap_or(MAX_DRAWS)
    }

    /// How many answers it takes in all, where none is missing.
    pub(super) fn needed(self, aim: Evidence) -> usize {
        let Self { endpoints, .. } = self;
        Self { answered: 0, failed: 0, pending: 0, is_one_hanging: false, endpoints }.lacking(aim)
    }

    /// How many draws there were of which nobody knows what the endpoint would have said.
    fn unknown(self) -> usize {
        self.failed.saturating_add(self.pending)
    }

    /// The probability that none of the answers came from one of the endpoints, however many of the
    /// unknown draws reached it: that of at most so many draws in all.
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

/// How much later than ours the time of another VM may be: how long a callback may last, which
/// sees one time only.
pub(super) const TOLERANCE: Duration = Duration::from_secs(1);
/// Answers differ by so much in the time that they take.
const HESITATION: Duration = Duration::from_millis(250);
/// Two pods, and a third while they are replaced; that there are more is seen by their sets.
const USUAL_ENDPOINTS: usize = 3;
/// More endpoints than these would take more answers than there is time for.
const MAX_ENDPOINTS: usize = 16;
/// More than it takes for the most endpoints.
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
    fn so_many_answers_make_an_endpoint_improbable() {
        let needed = |aim| [1, 2, 3, 4, 5, 6].map(|endpoints| tally(0, 0, endpoints).needed(aim));

        assert_eq!(needed(Evidence::Enough), [1, 10, 18, 33, 42, 51]);
        assert_eq!(needed(Evidence::Ample), [1, 17, 29, 41, 52, 64]);
        assert!(tally(0, 0, MAX_ENDPOINTS).needed(Evidence::Ample) < MAX_DRAWS);
    }

    #[test]
    fn a_draw_of_which_nobody_knows_may_have_reached_the_endpoint() {
        assert_eq!(tally(18, 0, 3).evidence(), Evidence::Enough);
        assert_eq!(tally(18, 1, 3).evidence(), Evidence::Some);
        assert_eq!(tally(25, 1, 3).evidence(), Evidence::Enough);
        // One of three endpoints fails: then no number of answers from the others is enough.
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
        // There are more of them than the operator knows.
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
