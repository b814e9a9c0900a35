//! This VM's fetches, and the calls that each takes: one for the keys, and before it up to two for a
//! discovery document.

use super::discovery::{self, Discovered, JUST_NOW};
use super::exchange::Step;
use super::fetch::{FetchError, FetchId, JwksResponse};
use super::schedule::{Claim, MIN_TIMEOUT};
use crate::config::{Discovery, RemoteJwks, Source, Target};
use crate::jose::KeySet;
use crate::time::Timestamp;
use std::time::Duration;

/// The fetches in flight.
#[derive(Debug, Default)]
pub(super) struct Calls {
    fetches: Vec<Fetching>,
    /// Those whose next call is to be made.
    to_make: Vec<FetchId>,
    /// What discovery found, to the knowledge of this VM.
    discovered: Option<Discovered>,
    /// When the document could last not be had, though it was there before.
    missed_at: Option<Timestamp>,
}

/// A fetch, and the call that it has come to.
#[derive(Debug)]
struct Fetching {
    claim: Claim,
    stage: Stage,
    target: Target,
}

#[derive(Debug)]
enum Stage {
    FirstPlace,
    /// There was no document in the first place, but this.
    SecondPlace(FetchError),
    Keys,
}

/// A set with its `max-age`, or why there is none.
pub(super) type Answer = Result<(KeySet, Option<Duration>), FetchError>;

/// A fetch that has ended.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) claim: Claim,
    /// What was called last.
    pub(super) target: Target,
    pub(super) answer: Answer,
}

/// What the response to a call makes of a fetch.
pub(super) enum Progress {
    Ended(Answered),
    /// Its next call is to be made.
    GoesOn,
    /// The same, to where the keys were before: the document cannot be had.
    GoesOnWithoutDocument(FetchError),
}

impl Calls {
    /// The number of fetches in flight.
    pub(super) fn len(&self) -> usize {
        self.fetches.len()
    }

    /// Whether calls are to be made.
    pub(super) fn are_due(&self) -> bool {
        !self.to_make.is_empty()
    }

    /// When each fetch is given up.
    pub(super) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.fetches.iter().map(|fetch| fetch.claim.until)
    }

    pub(super) fn start(&mut self, claims: Vec<Claim>, jwks: &RemoteJwks, now: Timestamp) {
        for claim in claims {
            let known = match &jwks.source {
                Source::Known(target) => Some(target.clone()),
                Source::Discovery(discovery) => self.discovered_place(&claim, discovery, jwks, now),
            };
            let (stage, target) = match known {
                Some(target) => (Stage::Keys, target),
                None => (Stage::FirstPlace, jwks.target().clone()),
            };
            self.to_make.push(claim.id);
            self.fetches.push(Fetching { claim, stage, target });
        }
    }

    /// Where this fetch finds the keys without the document: it was read lately, or could not be had
    /// a moment ago.
    fn discovered_place(
        &self,
        claim: &Claim,
        discovery: &Discovery,
        jwks: &RemoteJwks,
        now: Timestamp,
    ) -> Option<Target> {
        let is_search = claim.is_search();
        let current = self.discovered.as_ref().and_then(|discovered| {
            discovered.current(discovery, jwks.cache_duration, is_search, now)
        });
        let has_missed = |at: Timestamp| is_search && now < at.saturating_add(JUST_NOW);
        match current {
            None if self.missed_at.is_some_and(has_missed) => self.last_known(discovery, jwks, now),
            current => current,
        }
    }

    /// The next call to make.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Step> {
        let id = self.to_make.pop()?;
        let fetch = self.fetches.iter().find(|fetch| fetch.claim.id == id)?;
        let left = fetch.claim.time_left(now);
        let timeout = match fetch.stage {
            Stage::Keys => left,
            // A document that does not come must leave time to fetch keys from where they were.
            Stage::FirstPlace | Stage::SecondPlace(_) => left.mul_f64(0.5).max(MIN_TIMEOUT),
        };
        let is_search = fetch.claim.is_search();
        Some(Step::Call { id, target: fetch.target.clone(), timeout, is_search })
    }

    /// Handles the response to the call that a fetch has come to; `None` if this VM awaits none.
    pub(super) fn handle_response(
        &mut self,
        id: FetchId,
        result: &Result<JwksResponse<'_>, FetchError>,
        jwks: &RemoteJwks,
        now: Timestamp,
    ) -> Option<Progress> {
        let index = self.fetches.iter().position(|fetch| fetch.claim.id == id)?;
        let fetch = self.fetches.get_mut(index)?;
        let result = result.as_ref().map_err(Clone::clone);
        let stage = std::mem::replace(&mut fetch.stage, Stage::Keys);
        let (first_error, discovery) = match (stage, &jwks.source) {
            (Stage::Keys, _) | (_, Source::Known(_)) => {
                let answer = result.and_then(|r| Ok((r.key_set()?, r.max_age())));
                if let (Err(_), Some(discovered)) = (&answer, &mut self.discovered) {
                    discovered.doubt();
                }
                return Some(self.end(index, answer));
            }
            (Stage::FirstPlace, Source::Discovery(discovery)) => (None, discovery),
            (Stage::SecondPlace(error), Source::Discovery(discovery)) => (Some(error), discovery),
        };
        let error = match result.and_then(|response| discovery::read(response, discovery, now)) {
            Ok((discovered, target)) => {
                self.discovered = Some(discovered);
                fetch.target = target;
                self.to_make.push(id);
                return Some(Progress::GoesOn);
            }
            Err(error) => error,
        };
        let [first, second] = &discovery.places;
        if first_error.is_none() && discovery::may_be_elsewhere(&error) {
            fetch.target = second.clone();
            fetch.stage = Stage::SecondPlace(error);
            self.to_make.push(id);
            return Some(Progress::GoesOn);
        }
        let error = first_error.unwrap_or(error);
        let known = self.last_known(discovery, jwks, now);
        let fetch = self.fetches.get_mut(index)?;
        match known {
            Some(target) => {
                fetch.target = target;
                self.to_make.push(id);
                self.missed_at = Some(now);
                Some(Progress::GoesOnWithoutDocument(error))
            }
            None => {
                fetch.target = first.clone();
                Some(self.end(index, Err(error)))
            }
        }
    }

    /// Ends a fetch that was never answered.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Option<Answered> {
        let index = self.fetches.iter().position(|fetch| fetch.claim.until <= now)?;
        Some(self.take(index, Err(FetchError::Timeout)))
    }

    fn end(&mut self, index: usize, answer: Answer) -> Progress {
        Progress::Ended(self.take(index, answer))
    }

    fn take(&mut self, index: usize, answer: Answer) -> Answered {
        let Fetching { claim, target, .. } = self.fetches.swap_remove(index);
        self.to_make.retain(|id| *id != claim.id);
        Answered { claim, target, answer }
    }

    /// Where the keys were before, for as long as keys from there would be trusted.
    fn last_known(
        &self,
        discovery: &Discovery,
        jwks: &RemoteJwks,
        now: Timestamp,
    ) -> Option<Target> {
        let lifetime = jwks.cache_duration.saturating_add(jwks.stale_duration);
        self.discovered.as_ref()?.last_known(discovery, lifetime, now)
    }

    /// What discovery found, to share it.
    pub(super) fn discovered(&self) -> Option<&Discovered> {
        self.discovered.as_ref()
    }

    /// Learns what another VM discovered.
    pub(super) fn learn(&mut self, theirs: Option<Discovered>) {
        self.discovered = Discovered::newer(self.discovered.take(), theirs);
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        for fetch in &mut self.fetches {
            fetch.claim.clock_stepped_back(by);
        }
        if let Some(discovered) = &mut self.discovered {
            discovered.clock_stepped_back(by);
        }
        self.missed_at = self.missed_at.map(|missed_at| missed_at.saturating_sub(by));
    }
}
