//! A provider's keys over time: which are trusted until when, and when to fetch them again.
//!
//! This is a state machine without I/O. `Cache` says when a fetch is due; whoever drives it
//! carries the fetch out and hands the outcome back.

mod fetch;

pub use fetch::{FetchError, FetchId, JwksResponse};

use crate::config::{KeySource, RemoteJwks};
use crate::jose::{JwkSetError, KeySet, MAX_KEYS, SkippedKey, VerifyingKey};
use crate::time::Timestamp;
use std::time::Duration;

/// The keys of one provider.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: Vec<TrustedKey>,
    refresh: Option<Refresh>,
}

#[derive(Debug)]
struct TrustedKey {
    key: VerifyingKey,
    /// `cacheDuration` after an endpoint last published it; [`Timestamp::MAX`] when configured.
    trusted_until: Timestamp,
}

/// The part of a cache that only fetched keys need.
#[derive(Debug)]
struct Refresh {
    jwks: RemoteJwks,
    /// Whether the keys in use are the configured ones, which the first fetched set replaces.
    has_initial_keys: bool,
    state: FetchState,
    /// Failures since the last success; drives the back-off.
    failures: u32,
    /// Whether the latest fetch brought no JWK Set. Only then do keys live on as stale: a set that
    /// was published without them withdraws them.
    is_failing: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FetchState {
    Due { at: Timestamp },
    InFlight { id: FetchId, give_up_at: Timestamp },
}

/// What came of a fetch.
#[derive(Debug)]
pub(crate) enum Outcome {
    Failed { error: FetchError, retry_in: Duration, trusted_keys: usize },
    Refreshed { keys: usize, new_keys: usize, skipped: Vec<SkippedKey>, refresh_in: Duration },
}

/// Whether there are keys to verify with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Availability {
    /// None. An attempt to get some is under way, or begins at this point.
    Awaited {
        attempt_at: Timestamp,
    },
    Ready,
}

impl Cache {
    pub(crate) fn new(source: &KeySource, now: Timestamp) -> Self {
        let trusted = |set: &KeySet| {
            let keys = set.keys.iter().cloned();
            keys.map(|key| TrustedKey { key, trusted_until: Timestamp::MAX }).collect()
        };
        match source {
            KeySource::Inline(set) => Self { keys: trusted(set), refresh: None },
            KeySource::Remote { jwks, initial } => Self {
                keys: initial.as_ref().map(trusted).unwrap_or_default(),
                refresh: Some(Refresh {
                    jwks: jwks.clone(),
                    has_initial_keys: initial.is_some(),
                    state: FetchState::Due { at: now },
                    failures: 0,
                    is_failing: false,
                }),
            },
        }
    }

    /// The trusted keys that a token with this `kid` may be signed with, at most
    /// [`MAX_CANDIDATES`]; without a `kid`, every key may be it.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        self.trusted(now)
            .filter(move |key| kid.is_none_or(|kid| key.kid() == Some(kid)))
            .take(MAX_CANDIDATES)
    }

    pub(crate) fn availability(&self, now: Timestamp) -> Availability {
        match &self.refresh {
            Some(refresh) if self.trusted(now).next().is_none() => {
                let attempt_at = match refresh.state {
                    FetchState::Due { at } => at,
                    FetchState::InFlight { .. } => now,
                };
                Availability::Awaited { attempt_at }
            }
            _ => Availability::Ready,
        }
    }

    /// The number of keys that are trusted.
    pub(crate) fn len(&self, now: Timestamp) -> usize {
        self.trusted(now).count()
    }

    /// Whether a key is in use only because refreshes fail.
    pub(crate) fn is_stale(&self, key: &VerifyingKey, now: Timestamp) -> bool {
        self.keys
            .iter()
            .filter(|trusted| trusted.key.thumbprint() == key.thumbprint())
            .all(|trusted| trusted.trusted_until <= now)
    }

    /// When something is to be done next, and what.
    pub(crate) fn next_timeout(&self) -> Option<(Timestamp, &'static str)> {
        self.refresh.as_ref().map(|refresh| match refresh.state {
            FetchState::Due { at } => (at, "fetch is due"),
            FetchState::InFlight { give_up_at, .. } => (give_up_at, "fetch was never answered"),
        })
    }

    /// Starts the fetch that is due; at most one is in flight.
    pub(crate) fn start_fetch(&mut self, id: FetchId, now: Timestamp) -> Option<&RemoteJwks> {
        let refresh = self.refresh.as_mut()?;
        match refresh.state {
            FetchState::Due { at } if at <= now => {
                let give_up_at = now.saturating_add(refresh.jwks.timeout).saturating_add(GRACE);
                refresh.state = FetchState::InFlight { id, give_up_at };
                Some(&refresh.jwks)
            }
            _ => None,
        }
    }

    /// The fetch in flight if it should have been answered by now, whatever the host promised.
    pub(crate) fn overdue_fetch(&self, now: Timestamp) -> Option<FetchId> {
        match self.refresh.as_ref()?.state {
            FetchState::InFlight { id, give_up_at } if give_up_at <= now => Some(id),
            _ => None,
        }
    }

    /// Whether this is the fetch in flight.
    pub(crate) fn holds_fetch(&self, id: FetchId) -> bool {
        let state = self.refresh.as_ref().map(|refresh| refresh.state);
        matches!(state, Some(FetchState::InFlight { id: in_flight, .. }) if in_flight == id)
    }

    /// Takes the result of a fetch; `None` when it is not the one in flight.
    ///
    /// `jitter` is a number in 0..1 that spreads what many proxies would do at the same moment.
    pub(crate) fn finish_fetch(
        &mut self,
        id: FetchId,
        result: Result<JwksResponse<'_>, FetchError>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<Outcome> {
        if !self.holds_fetch(id) {
            return None;
        }
        let refresh = self.refresh.as_mut()?;
        let max_age = result.as_ref().ok().and_then(|response| response.max_age());
        match result.and_then(|response| response.key_set()) {
            Ok(set) => {
                let trusted_until = now.saturating_add(refresh.jwks.cache_duration);
                let refresh_in = refresh.succeed(max_age, jitter, now);
                if std::mem::take(&mut refresh.has_initial_keys) {
                    self.keys.clear();
                }
                let KeySet { keys, skipped } = set;
                let count = keys.len();
                let new_keys = self.publish(keys, trusted_until, now);
                Some(Outcome::Refreshed { keys: count, new_keys, skipped, refresh_in })
            }
            Err(error) => {
                refresh.is_failing =
                    !matches!(error, FetchError::Invalid(JwkSetError::NoUsableKey { .. }));
                let trusted_keys = self.len(now);
                let trusted_until = self.trusted_until(now);
                let retry_in = self.refresh.as_mut()?.fail(trusted_until, jitter, now);
                Some(Outcome::Failed { error, retry_in, trusted_keys })
            }
        }
    }

    /// Moves every point in time by the same amount after the clock has stepped back, so that
    /// nothing lasts longer than it was meant to.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration) {
        for trusted in &mut self.keys {
            if trusted.trusted_until != Timestamp::MAX {
                trusted.trusted_until = trusted.trusted_until.saturating_sub(by);
            }
        }
        if let Some(refresh) = &mut self.refresh {
            match &mut refresh.state {
                FetchState::Due { at } | FetchState::InFlight { give_up_at: at, .. } => {
                    *at = at.saturating_sub(by);
                }
            }
        }
    }

    fn trusted(&self, now: Timestamp) -> impl Iterator<Item = &VerifyingKey> {
        let stale_for = self.stale_for();
        self.keys
            .iter()
            .filter(move |trusted| now < trusted.trusted_until.saturating_add(stale_for))
            .map(|trusted| &trusted.key)
    }

    /// When the last of the keys ends that are trusted now.
    fn trusted_until(&self, now: Timestamp) -> Option<Timestamp> {
        let stale_for = self.stale_for();
        let ends = self.keys.iter().map(|key| key.trusted_until.saturating_add(stale_for));
        ends.filter(|end| now < *end).max()
    }

    fn stale_for(&self) -> Duration {
        match &self.refresh {
            Some(refresh) if refresh.is_failing => refresh.jwks.stale_duration,
            _ => Duration::ZERO,
        }
    }

    /// Takes up a set that was just published; tells how many of its keys were not known before.
    ///
    /// Trust is per key: a set renews the keys it holds and leaves the others to their own time,
    /// so that pods which publish different sets do not evict each other's keys.
    fn publish(
        &mut self,
        keys: Vec<VerifyingKey>,
        trusted_until: Timestamp,
        now: Timestamp,
    ) -> usize {
        let is_same = |a: &VerifyingKey, b: &VerifyingKey| {
            a.thumbprint() == b.thumbprint() && a.kid() == b.kid()
        };
        let is_known = |key: &&VerifyingKey| self.keys.iter().any(|old| is_same(&old.key, key));
        let new_keys = keys.iter().filter(|key| !is_known(key)).count();

        self.keys
            .retain(|old| now < old.trusted_until && !keys.iter().any(|k| is_same(k, &old.key)));
        // The newest come first, and the oldest go when the union grows too large.
        let renewed = keys.into_iter().map(|key| TrustedKey { key, trusted_until });
        self.keys.splice(0..0, renewed);
        self.keys.truncate(MAX_KEYS);
        new_keys
    }
}

impl Refresh {
    /// Schedules the next refresh, ahead of the end of trust.
    fn succeed(&mut self, max_age: Option<Duration>, jitter: f64, now: Timestamp) -> Duration {
        self.failures = 0;
        self.is_failing = false;
        let interval = max_age
            .map_or(self.jwks.cache_duration, |max_age| max_age.max(MIN_MAX_AGE))
            .min(self.jwks.cache_duration);
        let refresh_in = interval.mul_f64(REFRESH_AT - REFRESH_SPREAD * jitter);
        self.state = FetchState::Due { at: now.saturating_add(refresh_in) };
        refresh_in
    }

    /// Schedules the next attempt: exponential back-off with equal jitter.
    ///
    /// Without keys every request fails, so the cap is lower then, and the moment at which the
    /// last key ends is not slept through.
    fn fail(&mut self, trusted_until: Option<Timestamp>, jitter: f64, now: Timestamp) -> Duration {
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
}

/// How much longer than the call's own timeout an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// The longest pause between attempts while keys are trusted.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The longest pause between attempts while there are none.
const MAX_BACKOFF_WITHOUT_KEYS: Duration = Duration::from_secs(10);
/// The most signatures that are checked for one token, when several keys share its `kid` or it
/// has none: a check is the dearest thing that a request without a valid token can cause.
const MAX_CANDIDATES: usize = 8;
const MAX_DOUBLINGS: u32 = 16;
/// The first pause after a failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The least that `Cache-Control: max-age` can shorten the refresh interval to.
const MIN_MAX_AGE: Duration = Duration::from_secs(30);
/// A refresh comes at the latest when this share of the interval has passed, and up to
/// [`REFRESH_SPREAD`] earlier.
const REFRESH_AT: f64 = 0.9;
const REFRESH_SPREAD: f64 = 0.2;
