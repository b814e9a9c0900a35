//! A provider's keys over time: which are trusted until when, and when to fetch them again.
//!
//! This is a state machine without I/O. `Cache` says when a fetch is due; whoever drives it
//! carries the fetch out and hands the outcome back.
//!
//! Trust is per key, not per set: each key is trusted until `cacheDuration` after an endpoint last
//! published it. A withdrawn key so lives no longer than in a plain cache, and endpoints that
//! publish different sets do not evict each other's keys.

mod fetch;
mod refresh;
mod search;
mod survey;

pub use fetch::{FetchError, FetchId, JwksResponse};
pub(crate) use refresh::Prospect;
pub(crate) use search::MissId;

use crate::config::{KeySource, RemoteJwks};
use crate::jose::{JwkSetError, KeySet, MAX_KEYS, SkippedKey, VerifyingKey};
use crate::time::Timestamp;
use refresh::Refresh;
use std::time::Duration;
use survey::Observation;

/// The keys of one provider.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: Vec<TrustedKey>,
    /// Absent when all keys are configured.
    refresh: Option<Refresh>,
    /// Whether the keys in use are the configured ones, which the first fetched set replaces.
    has_initial_keys: bool,
    /// The thumbprints of the latest set, in order.
    last_set: Vec<String>,
}

#[derive(Debug)]
struct TrustedKey {
    key: VerifyingKey,
    /// `cacheDuration` after an endpoint last published it; [`Timestamp::MAX`] when configured.
    trusted_until: Timestamp,
}

/// What came of a fetch.
#[derive(Debug)]
pub(crate) enum Outcome {
    Failed {
        error: FetchError,
        retry_in: Duration,
        trusted_keys: usize,
    },
    Refreshed {
        keys: usize,
        new_keys: usize,
        skipped: Vec<SkippedKey>,
        /// The `kid`s in use, when endpoints have just turned out to publish different sets.
        disagreement: Option<Vec<String>>,
    },
}

impl Cache {
    pub(crate) fn new(source: &KeySource, now: Timestamp) -> Self {
        let (set, refresh) = match source {
            KeySource::Inline(set) => (Some(set), None),
            KeySource::Remote { jwks, initial } => {
                (initial.as_ref(), Some(Refresh::new(jwks.clone(), now)))
            }
        };
        let keys = set.into_iter().flat_map(|set| set.keys.iter().cloned());
        Self {
            keys: keys.map(|key| TrustedKey { key, trusted_until: Timestamp::MAX }).collect(),
            has_initial_keys: set.is_some() && refresh.is_some(),
            refresh,
            last_set: Vec::new(),
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

    /// When the next attempt begins to get any keys at all; `None` when there are some.
    pub(crate) fn awaits_keys(&self, now: Timestamp) -> Option<Timestamp> {
        let refresh = self.refresh.as_ref()?;
        self.trusted(now).next().is_none().then(|| refresh.attempt_at(now))
    }

    /// Tells a request whether to wait for a key that is not known. `begun` is what
    /// [`Self::fetches_begun`] was when it came.
    pub(crate) fn look_for(
        &mut self,
        miss: MissId,
        begun: u64,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Prospect {
        match &mut self.refresh {
            Some(refresh) => refresh.look_for(miss, begun, deadline, now),
            None => Prospect::Missing,
        }
    }

    pub(crate) fn fetches_begun(&self) -> u64 {
        self.refresh.as_ref().map_or(0, Refresh::begun)
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
        self.refresh.as_ref().map(Refresh::next_timeout)
    }

    /// Starts a fetch if one may begin now.
    pub(crate) fn start_fetch(&mut self, id: FetchId, now: Timestamp) -> Option<&RemoteJwks> {
        let refresh = self.refresh.as_mut()?;
        refresh.start(id, now).then_some(&refresh.jwks)
    }

    pub(crate) fn fetch_in_flight(&self) -> Option<FetchId> {
        self.refresh.as_ref()?.in_flight()
    }

    /// The fetch in flight if it should have been answered by now.
    pub(crate) fn overdue_fetch(&self, now: Timestamp) -> Option<FetchId> {
        self.refresh.as_ref()?.overdue(now)
    }

    /// Takes the result of the fetch in flight.
    ///
    /// `jitter` is a number in 0..1 that spreads what many proxies would do at the same moment.
    pub(crate) fn finish_fetch(
        &mut self,
        result: Result<JwksResponse<'_>, FetchError>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<Outcome> {
        let max_age = result.as_ref().ok().and_then(|response| response.max_age());
        match result.and_then(|response| response.key_set()) {
            Ok(set) => self.take_set(set, max_age, jitter, now),
            Err(error) => {
                // A set without a usable key is an answer, and withdraws the keys it lacks.
                let is_answer =
                    matches!(error, FetchError::Invalid(JwkSetError::NoUsableKey { .. }));
                self.refresh.as_mut()?.is_failing = !is_answer;
                let trusted_until = self.trusted_until(now);
                let retry_in = self.refresh.as_mut()?.fail(trusted_until, jitter, now);
                Some(Outcome::Failed { error, retry_in, trusted_keys: self.len(now) })
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
            refresh.clock_stepped_back(by);
        }
    }

    /// Takes up a set that was just published: it renews the keys that it holds, and leaves the
    /// others to their own time.
    fn take_set(
        &mut self,
        set: KeySet,
        max_age: Option<Duration>,
        jitter: f64,
        now: Timestamp,
    ) -> Option<Outcome> {
        let refresh = self.refresh.as_mut()?;
        let KeySet { keys, skipped } = set;
        if std::mem::take(&mut self.has_initial_keys) {
            self.keys.clear();
        }
        let is_same = |a: &VerifyingKey, b: &VerifyingKey| {
            a.thumbprint() == b.thumbprint() && a.kid() == b.kid()
        };
        let is_known = |key: &VerifyingKey| self.keys.iter().any(|old| is_same(&old.key, key));
        let new_keys = keys.iter().filter(|key| !is_known(key)).count();
        self.keys
            .retain(|old| now < old.trusted_until && !keys.iter().any(|k| is_same(k, &old.key)));

        let mut this_set: Vec<_> = keys.iter().map(|key| key.thumbprint().to_owned()).collect();
        this_set.sort_unstable();
        let seen = Observation {
            lacks_trusted_key: !self.keys.is_empty(),
            has_new_key: new_keys > 0,
            differs_from_last: this_set != self.last_set,
        };
        self.last_set = this_set;
        let trusted_until = now.saturating_add(refresh.jwks.cache_duration);
        let is_disagreement = refresh.succeed(seen, max_age, jitter, now);

        let count = keys.len();
        // The newest come first, and the oldest go when the union grows too large.
        let renewed = keys.into_iter().map(|key| TrustedKey { key, trusted_until });
        self.keys.splice(0..0, renewed);
        self.keys.truncate(MAX_KEYS);
        let disagreement = is_disagreement.then(|| {
            let kids = self.keys.iter().map(|trusted| trusted.key.kid().unwrap_or("(none)"));
            kids.map(str::to_owned).collect()
        });
        Some(Outcome::Refreshed { keys: count, new_keys, skipped, disagreement })
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
}

/// The most signatures that are checked for one token, when several keys share its `kid` or it
/// has none: a check is the dearest thing that a request without a valid token can cause.
const MAX_CANDIDATES: usize = 8;
