//! When the next fetch begins.

use super::fetch::FetchId;
use super::search::{MissId, Search};
use super::survey::{Finding, Observation, Survey};
use crate::config::RemoteJwks;
use crate::time::Timestamp;
use std::time::Duration;

/// The schedule of one provider's fetches; at most one is in flight.
#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) jwks: RemoteJwks,
    state: FetchState,
    /// Failures since the last success; drives the back-off.
    failures: u32,
    /// Whether the latest fetch brought no JWK Set. Only then do keys live on as stale: a set that
    /// was published without them withdraws them.
    pub(super) is_failing: bool,
    search: Search,
    /// Whether a request waits for a key that is not known.
    is_searching: bool,
    survey: Survey,
    /// How many fetches have begun.
    begun: u64,
    /// The number of the latest fetch that succeeded, counted as `begun`.
    succeeded: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FetchState {
    Due {
        at: Timestamp,
    },
    InFlight {
        id: FetchId,
        give_up_at: Timestamp,
        /// When the next refresh was due, if this fetch only looks for an unknown key.
        searches_before: Option<Timestamp>,
    },
}

/// What a request for a key that is not known may hope for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Prospect {
    /// It was looked for and is not there.
    Missing,
    /// It will not be looked for in time: the ration is spent, or it was looked for just now.
    Suppressed,
    /// The issuer cannot be asked before this long.
    Unavailable { retry_in: Duration },
    /// A fetch that may bring it comes in time.
    Waits,
}

impl Refresh {
    pub(super) fn new(jwks: RemoteJwks, now: Timestamp) -> Self {
        Self {
            search: Search::new(jwks.refetch_cooldown),
            jwks,
            state: FetchState::Due { at: now },
            failures: 0,
            is_failing: false,
            is_searching: false,
            survey: Survey::default(),
            begun: 0,
            succeeded: 0,
        }
    }

    /// How many fetches have begun; see [`Self::has_asked_since`].
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether a fetch has succeeded that began after `begun` fetches had.
    fn has_asked_since(&self, begun: u64) -> bool {
        self.succeeded > begun
    }

    /// When the next attempt begins, the present if one is under way.
    pub(super) fn attempt_at(&self, now: Timestamp) -> Timestamp {
        match self.state {
            FetchState::Due { at } => at,
            FetchState::InFlight { .. } => now,
        }
    }

    pub(super) fn next_timeout(&self) -> (Timestamp, &'static str) {
        match self.state {
            FetchState::Due { at } if self.may_search() && self.search.permitted_at() < at => {
                (self.search.permitted_at(), "an unknown key may be looked for")
            }
            FetchState::Due { at } => (at, "a fetch is due"),
            FetchState::InFlight { give_up_at, .. } => (give_up_at, "a fetch was never answered"),
        }
    }

    /// Starts a fetch if one may begin now.
    pub(super) fn start(&mut self, id: FetchId, now: Timestamp) -> bool {
        let FetchState::Due { at } = self.state else { return false };
        let searches_before = (now < at).then_some(at);
        if searches_before.is_some() {
            if !self.may_search() || now < self.search.permitted_at() {
                return false;
            }
            self.search.spend(now);
        }
        self.is_searching = false;
        self.begun = self.begun.saturating_add(1);
        let give_up_at = self.give_up_at(now);
        self.state = FetchState::InFlight { id, give_up_at, searches_before };
        true
    }

    /// When a fetch that begins now is given up.
    pub(super) fn give_up_at(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.jwks.timeout).saturating_add(GRACE)
    }

    /// Gives the fetch in flight its full time from now on, after it has waited for another VM.
    pub(super) fn restart(&mut self, now: Timestamp) {
        let restarted = self.give_up_at(now);
        if let FetchState::InFlight { give_up_at, .. } = &mut self.state {
            *give_up_at = restarted;
        }
    }

    /// Whether the fetch in flight only looks for an unknown key.
    pub(super) fn is_search(&self) -> bool {
        matches!(self.state, FetchState::InFlight { searches_before: Some(_), .. })
    }

    /// Puts off a search, because other VMs have spent the ration that began at `since`.
    pub(super) fn postpone_search(&mut self, since: Timestamp) {
        if let FetchState::InFlight { searches_before: Some(due), .. } = self.state {
            self.state = FetchState::Due { at: due };
        }
        self.search.exhaust(since);
    }

    /// Takes over that another VM fetched a set; tells whether that makes a fetch needless now.
    pub(super) fn learn_success(
        &mut self,
        fetched_at: Timestamp,
        jitter: f64,
        now: Timestamp,
    ) -> bool {
        let due = fetched_at.saturating_add(refresh_in(self.jwks.cache_duration, jitter));
        if due <= now {
            return false;
        }
        self.failures = 0;
        self.is_failing = false;
        self.is_searching = false;
        self.succeeded = self.begun;
        self.state = FetchState::Due { at: due };
        true
    }

    pub(super) fn in_flight(&self) -> Option<FetchId> {
        match self.state {
            FetchState::InFlight { id, .. } => Some(id),
            FetchState::Due { .. } => None,
        }
    }

    /// The fetch in flight if it should have been answered by now, whatever the host promised.
    pub(super) fn overdue(&self, now: Timestamp) -> Option<FetchId> {
        match self.state {
            FetchState::InFlight { id, give_up_at, .. } if give_up_at <= now => Some(id),
            _ => None,
        }
    }

    /// Takes note of a set, and schedules the next refresh ahead of the end of trust; tells what
    /// that brings to light about the endpoints.
    pub(super) fn succeed(
        &mut self,
        seen: Observation,
        max_age: Option<Duration>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<Finding> {
        self.failures = 0;
        self.is_failing = false;
        if seen.has_new_key {
            self.search.found();
        }
        // Who still waits for a key says so again.
        self.is_searching = false;
        self.succeeded = self.begun;
        let interval = max_age
            .map_or(self.jwks.cache_duration, |max_age| max_age.max(MIN_MAX_AGE))
            .min(self.jwks.cache_duration);
        let finding = self.survey.observe(seen, self.jwks.cache_duration, now);
        let refresh_in = match self.survey.is_under_way() {
            // Where there is one new key there may be more, and requests wait for them.
            true if seen.has_new_key => Duration::ZERO,
            // All proxies see a withdrawal at once, and none is in a hurry to be sure of it.
            true => interval.mul_f64(SURVEY_SPREAD * jitter),
            false => refresh_in(interval, jitter),
        };
        self.state = FetchState::Due { at: now.saturating_add(refresh_in) };
        finding
    }

    /// Schedules the next attempt: exponential back-off with equal jitter.
    ///
    /// Without keys every request fails, so the cap is lower then, and the moment at which the
    /// last key ends is not slept through.
    pub(super) fn fail(
        &mut self,
        trusted_until: Option<Timestamp>,
        jitter: f64,
        now: Timestamp,
    ) -> Duration {
        self.survey.abandon();
        let doubled = MIN_BACKOFF.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        let spread = |backoff: Duration| backoff.mul_f64(1.0 - 0.5 * jitter);
        let soon = spread(doubled.min(MAX_BACKOFF_WITHOUT_KEYS));
        let retry_in = match trusted_until {
            Some(end) => spread(doubled.min(MAX_BACKOFF)).min(end.saturating_since(now).max(soon)),
            None => soon,
        };
        self.state = FetchState::Due { at: now.saturating_add(retry_in) };
        retry_in
    }

    /// Tells a request whether to wait for a key that is not known. `begun` is the number of
    /// fetches that had begun when it came.
    pub(super) fn look_for(
        &mut self,
        miss: MissId,
        begun: u64,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Prospect {
        self.search.renew(now);
        let was_asked = self.has_asked_since(begun);
        if !was_asked && self.search.has_missed(miss) {
            return Prospect::Suppressed;
        }
        let next = match self.state {
            FetchState::InFlight { .. } => now,
            FetchState::Due { at } if self.failures > 0 => at,
            FetchState::Due { at } => at.min(self.search.permitted_at()),
        };
        // When much is asked for in vain, one answer is enough.
        let patience = if was_asked && self.search.is_spread() { now } else { deadline };
        if now < deadline && next <= patience {
            // The fetch in flight may bring it.
            self.is_searching |= self.in_flight().is_none();
            return Prospect::Waits;
        }
        if was_asked {
            self.search.remember(miss);
            return Prospect::Missing;
        }
        // Whether the key exists is for the issuer to say, and the issuer does not answer.
        if self.failures > 0 || self.in_flight().is_some() {
            return Prospect::Unavailable { retry_in: next.saturating_since(now) };
        }
        Prospect::Suppressed
    }

    /// Moves every point in time by the same amount after the clock has stepped back.
    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        match &mut self.state {
            FetchState::Due { at } | FetchState::InFlight { give_up_at: at, .. } => {
                *at = at.saturating_sub(by);
            }
        }
        self.search.clock_stepped_back(by);
        self.survey.clock_stepped_back(by);
    }

    /// While fetches fail, the back-off alone decides.
    fn may_search(&self) -> bool {
        self.is_searching && self.failures == 0
    }
}

/// Spreads refreshes over the time before the end of an interval.
fn refresh_in(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(REFRESH_AT - REFRESH_SPREAD * jitter)
}

/// How much longer than the call's own timeout an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// The longest pause between attempts while keys are trusted.
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// The longest pause between attempts while there are none.
const MAX_BACKOFF_WITHOUT_KEYS: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 16;
/// The first pause after a failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The least that `Cache-Control: max-age` can shorten the refresh interval to.
const MIN_MAX_AGE: Duration = Duration::from_secs(30);
/// A refresh comes at the latest when this share of the interval has passed, and up to
/// [`REFRESH_SPREAD`] earlier.
const REFRESH_AT: f64 = 0.9;
const REFRESH_SPREAD: f64 = 0.2;
/// The share of the interval within which the next fetch of a survey comes.
const SURVEY_SPREAD: f64 = 0.01;
