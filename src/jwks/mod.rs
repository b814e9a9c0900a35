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
mod snapshot;
mod survey;

pub use fetch::{FetchError, FetchId, JwksResponse};
pub(crate) use refresh::Prospect;
pub(crate) use search::MissId;

use crate::config::{KeySource, RemoteJwks};
use crate::jose::{JwkSetError, KeySet, MAX_KEYS, SkippedKey, VerifyingKey};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use refresh::Refresh;
use snapshot::{PublishedKey, Snapshot, TOLERANCE};
use std::time::Duration;
use survey::{Finding, Observation};

/// The keys of one provider.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: Vec<TrustedKey>,
    /// Absent when all keys are configured.
    refresh: Option<Refresh>,
    /// Whether the keys in use are the configured ones, which the first fetched set replaces.
    has_initial_keys: bool,
    /// The thumbprints of the latest set.
    last_set: SortedMap<String, ()>,
    /// The latest success and the latest failure that this VM knows of, its own or another's.
    fetched_at: Timestamp,
    failed_at: Timestamp,
    /// How often keys were added.
    additions: u64,
    /// What this VM wrote of its latest lease.
    lease_until: Timestamp,
}

#[derive(Debug)]
struct TrustedKey {
    key: VerifyingKey,
    /// When an endpoint last published it; [`Timestamp::MAX`] when it is configured.
    published_at: Timestamp,
    /// Whether all endpoints have stopped publishing it: then an outage does not prolong its time.
    is_withdrawn: bool,
}

/// What the shared data says about a fetch that is about to begin.
#[derive(Debug)]
pub enum Consultation {
    /// Another VM has answered it; there is nothing to fetch.
    Answered,
    /// Another VM is fetching; to be asked again in a moment.
    Busy,
    /// It is for this VM to fetch, once it has written this in place of what it read.
    Lead(Vec<u8>),
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
            keys: keys
                .map(|key| TrustedKey { key, published_at: Timestamp::MAX, is_withdrawn: false })
                .collect(),
            has_initial_keys: set.is_some() && refresh.is_some(),
            refresh,
            last_set: SortedMap::new(),
            fetched_at: Timestamp::EPOCH,
            failed_at: Timestamp::EPOCH,
            additions: 0,
            lease_until: Timestamp::EPOCH,
        }
    }

    /// The trusted keys that a token with this `kid` may be signed with, at most
    /// [`MAX_CANDIDATES`]: those of the same `kid`, then those without any, since a `kid` is a hint
    /// (RFC 7515 §4.1.4). Without a `kid`, every key may be it.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let named = self.trusted(now).filter(move |key| kid.is_none() || key.kid() == kid);
        let unnamed = self.trusted(now).filter(move |key| kid.is_some() && key.kid().is_none());
        named.chain(unnamed).take(MAX_CANDIDATES)
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

    /// A number that changes whenever there are more keys to try.
    pub(crate) fn additions(&self) -> u64 {
        self.additions
    }

    pub(crate) fn fetches_begun(&self) -> u64 {
        self.refresh.as_ref().map_or(0, Refresh::begun)
    }

    /// The number of keys that are trusted.
    pub(crate) fn len(&self, now: Timestamp) -> usize {
        self.trusted(now).count()
    }

    /// Whether this very key, under the same `kid`, is trusted.
    pub(crate) fn trusts(&self, key: &VerifyingKey, now: Timestamp) -> bool {
        self.trusted(now).any(|trusted| trusted.is_same(key))
    }

    /// Whether a key that is trusted is so only because refreshes fail.
    pub(crate) fn is_stale(&self, key: &VerifyingKey, now: Timestamp) -> bool {
        let times = self.times();
        !times.stale_for.is_zero()
            && self
                .keys
                .iter()
                .filter(|trusted| trusted.key.thumbprint() == key.thumbprint())
                .all(|trusted| times.fresh_until(trusted) <= now)
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
                self.begin_failing(!is_answer, now);
                self.failed_at = now;
                let trusted_until = self.trusted_until(now);
                let retry_in = self.refresh.as_mut()?.fail(trusted_until, jitter, now);
                Some(Outcome::Failed { error, retry_in, trusted_keys: self.len(now) })
            }
        }
    }

    /// Moves every point in time by the same amount after the clock has stepped back to `now`, so
    /// that nothing lasts longer than it was meant to.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration, now: Timestamp) {
        for trusted in &mut self.keys {
            if trusted.published_at != Timestamp::MAX {
                trusted.published_at = trusted.published_at.saturating_sub(by);
            }
        }
        // The shared data keeps the times that it has: what is in it from before stays known, and is
        // no news that would undo what was just moved.
        self.fetched_at = self.fetched_at.min(now);
        self.failed_at = self.failed_at.min(now);
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
        let times = self.times();
        let refresh = self.refresh.as_mut()?;
        let KeySet { mut keys, skipped } = set;
        // A key that is known already has its verifier, and need not be told from itself.
        for key in &mut keys {
            if let Some(old) = self.keys.iter().find(|old| old.key.is_same(key)) {
                *key = old.key.clone();
            }
        }
        if std::mem::take(&mut self.has_initial_keys) {
            self.keys.clear();
        }
        let is_known = |key: &VerifyingKey| {
            self.keys.iter().any(|old| now < times.end(old) && old.key.is_same(key))
        };
        let new_keys = keys.iter().filter(|key| !is_known(key)).count();
        self.additions = self.additions.saturating_add(u64::from(new_keys > 0));
        self.keys.retain(|old| {
            now < times.fresh_until(old) && !keys.iter().any(|key| key.is_same(&old.key))
        });

        let mut this_set = SortedMap::new();
        for key in &keys {
            this_set.insert(key.thumbprint().to_owned(), ());
        }
        let seen = Observation {
            lacks_trusted_key: !self.keys.is_empty(),
            has_new_key: new_keys > 0,
            differs_from_last: this_set != self.last_set,
        };
        self.last_set = this_set;
        self.fetched_at = now;
        let finding = refresh.succeed(seen, max_age, jitter, now);
        for lacking in &mut self.keys {
            lacking.is_withdrawn |= finding == Some(Finding::Withdrawal);
        }

        let count = keys.len();
        // The newest come first, and the oldest go when the union grows too large.
        let renewed =
            keys.into_iter().map(|key| TrustedKey { key, published_at: now, is_withdrawn: false });
        self.keys.splice(0..0, renewed);
        self.keys.truncate(MAX_KEYS);
        let disagreement = (finding == Some(Finding::Disagreement)).then(|| {
            let kids = self.keys.iter().map(|trusted| trusted.key.kid().unwrap_or("(none)"));
            kids.map(str::to_owned).collect()
        });
        Some(Outcome::Refreshed { keys: count, new_keys, skipped, disagreement })
    }

    /// Looks whether another VM has got keys while this one has none and is backing off; tells
    /// whether it has.
    pub(crate) fn learn(&mut self, shared: &[u8], jitter: f64, now: Timestamp) -> bool {
        if self.awaits_keys(now).is_none() || self.fetch_in_flight().is_some() {
            return false;
        }
        let mut snapshot = Snapshot::parse(shared, now);
        if snapshot.fetched_at <= self.fetched_at {
            return false;
        }
        self.merge(&mut snapshot, now);
        self.fetched_at = snapshot.fetched_at;
        let refresh = self.refresh.as_mut();
        refresh.is_some_and(|refresh| refresh.learn_success(snapshot.fetched_at, jitter, now))
    }

    /// Asks the shared data about the fetch in flight. `jitter` is as for [`Self::finish_fetch`].
    pub(crate) fn consult(
        &mut self,
        shared: Option<&[u8]>,
        jitter: f64,
        now: Timestamp,
    ) -> Consultation {
        let mut snapshot = shared.map(|bytes| Snapshot::parse(bytes, now)).unwrap_or_default();
        let is_news = snapshot.fetched_at > self.fetched_at;
        let is_bad_news = snapshot.failed_at > self.failed_at.max(snapshot.fetched_at);
        if is_bad_news {
            self.begin_failing(snapshot.is_failing, now);
        }
        self.merge(&mut snapshot, now);
        self.fetched_at = self.fetched_at.max(snapshot.fetched_at);
        self.failed_at = self.failed_at.max(snapshot.failed_at);
        let trusted_until = self.trusted_until(now);
        let Some(refresh) = &mut self.refresh else { return Consultation::Answered };

        if is_bad_news {
            refresh.fail(trusted_until, jitter, now);
            return Consultation::Answered;
        }
        if is_news && refresh.learn_success(snapshot.fetched_at, jitter, now) {
            return Consultation::Answered;
        }
        let lease = refresh.give_up_at(now);
        // A lease that lasts longer than any is from before the clock stepped back.
        let longest_lease = lease.saturating_add(TOLERANCE);
        if now < snapshot.lease_until && snapshot.lease_until <= longest_lease {
            return Consultation::Busy;
        }
        if refresh.is_search() {
            let cooldown = refresh.jwks.refetch_cooldown;
            snapshot.searches.retain(|at| *at <= now && now < at.saturating_add(cooldown));
            if let [.., since, _, _] = snapshot.searches.as_slice() {
                refresh.postpone_search(*since);
                return Consultation::Answered;
            }
            snapshot.searches.push(now);
        }
        refresh.restart(now);
        snapshot.lease_until = lease;
        self.lease_until = lease;
        Consultation::Lead(snapshot.encode())
    }

    /// What to write to the shared data after a fetch, in place of what is there.
    pub(crate) fn publication(&mut self, shared: Option<&[u8]>, now: Timestamp) -> Vec<u8> {
        let mut snapshot = shared.map(|bytes| Snapshot::parse(bytes, now)).unwrap_or_default();
        self.merge(&mut snapshot, now);
        snapshot.fetched_at = snapshot.fetched_at.max(self.fetched_at);
        snapshot.failed_at = snapshot.failed_at.max(self.failed_at);
        snapshot.is_failing = self.refresh.as_ref().is_some_and(|refresh| refresh.is_failing);
        // An answer may come so late that another fetch has begun since, here or elsewhere.
        if self.fetch_in_flight().is_none() && snapshot.lease_until == self.lease_until {
            snapshot.lease_until = Timestamp::EPOCH;
        }
        snapshot.encode()
    }

    /// Makes the keys of both sides the union, each with the later time of publication. When there
    /// is nothing new in the shared data, it just takes over what this VM knows.
    fn merge(&mut self, snapshot: &mut Snapshot, now: Timestamp) {
        let Some(Refresh { jwks, .. }) = &self.refresh else { return };
        if snapshot.fetched_at <= self.fetched_at {
            snapshot.keys.clear();
        }
        let times = Times {
            fresh_for: jwks.cache_duration,
            stale_for: if snapshot.is_failing { jwks.stale_duration } else { Duration::ZERO },
        };
        for PublishedKey { key, published_at, is_withdrawn } in snapshot.keys.drain(..) {
            let shared = TrustedKey { key, published_at, is_withdrawn };
            if now >= times.end(&shared) {
                continue;
            }
            if std::mem::take(&mut self.has_initial_keys) {
                self.keys.clear();
            }
            match self.keys.iter_mut().find(|known| known.key.is_same(&shared.key)) {
                None => {
                    self.additions = self.additions.saturating_add(1);
                    self.keys.push(shared);
                }
                Some(known) if known.published_at < shared.published_at => {
                    let is_addition = times.end(known) <= now;
                    self.additions = self.additions.saturating_add(u64::from(is_addition));
                    known.published_at = shared.published_at;
                    known.is_withdrawn = shared.is_withdrawn;
                }
                Some(known) => {
                    known.is_withdrawn |=
                        shared.is_withdrawn && known.published_at == shared.published_at;
                }
            }
        }
        self.keys.truncate(MAX_KEYS);
        let fetched = self.keys.iter().filter(|known| known.published_at != Timestamp::MAX);
        snapshot.keys = fetched
            .map(|known| PublishedKey {
                key: known.key.clone(),
                published_at: known.published_at,
                is_withdrawn: known.is_withdrawn,
            })
            .collect();
    }

    /// Takes note that the latest fetch failed. Keys whose time was up by then stay so.
    fn begin_failing(&mut self, is_failing: bool, now: Timestamp) {
        let times = self.times();
        self.keys.retain(|key| now < times.end(key));
        if let Some(refresh) = &mut self.refresh {
            refresh.is_failing = is_failing;
        }
    }

    fn trusted(&self, now: Timestamp) -> impl Iterator<Item = &VerifyingKey> {
        let times = self.times();
        self.keys.iter().filter(move |key| now < times.end(key)).map(|trusted| &trusted.key)
    }

    /// When the last of the keys ends that are trusted now.
    fn trusted_until(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.times();
        self.keys.iter().map(|key| times.end(key)).filter(|end| now < *end).max()
    }

    /// How long keys are trusted, as things are.
    fn times(&self) -> Times {
        match &self.refresh {
            Some(Refresh { jwks, is_failing, .. }) => Times {
                fresh_for: jwks.cache_duration,
                stale_for: if *is_failing { jwks.stale_duration } else { Duration::ZERO },
            },
            None => Times { fresh_for: Duration::MAX, stale_for: Duration::ZERO },
        }
    }
}

/// How long keys are trusted after they were published, and how much longer in an outage.
#[derive(Clone, Copy)]
struct Times {
    fresh_for: Duration,
    stale_for: Duration,
}

impl Times {
    fn end(self, key: &TrustedKey) -> Timestamp {
        let stale_for = if key.is_withdrawn { Duration::ZERO } else { self.stale_for };
        self.fresh_until(key).saturating_add(stale_for)
    }

    fn fresh_until(self, key: &TrustedKey) -> Timestamp {
        key.published_at.saturating_add(self.fresh_for)
    }
}

/// The most signatures that are checked for one token, when several keys share its `kid` or it
/// has none: a check is the dearest thing that a request without a valid token can cause.
const MAX_CANDIDATES: usize = 8;
