//! An issuer's keys over time: which are trusted until when, and when to fetch them again.
//!
//! This is a state machine without I/O, in five parts: trust in keys (`keys`), when to fetch
//! (`schedule`, `survey`), the calls that a fetch takes (`calls`, `discovery`), the search for a
//! missing key (`search`, `evidence`), and what the VMs of a proxy share (`remote`).

mod calls;
mod discovery;
mod evidence;
mod exchange;
mod fetch;
mod keys;
mod remote;
mod schedule;
mod search;
mod snapshot;
mod survey;

pub use exchange::Written;
pub(crate) use exchange::{Outcome, Step};
pub use fetch::{DiscoveryError, FetchError, FetchId, JwksResponse};
#[cfg(not(target_arch = "wasm32"))]
pub use schedule::refresh_window;
pub(crate) use search::PER_COOLDOWN as SEARCHES_PER_COOLDOWN;
pub(crate) use snapshot::SHARED_DATA_VERSION;

use crate::config::KeySource;
use crate::jose::VerifyingKey;
use crate::time::Timestamp;
use evidence::Evidence;
pub(crate) use keys::MAX_CANDIDATES;
use keys::{Lifetime, TrustedKeys};
use remote::Remote;
use schedule::{Quest, Terms};
use search::Pace;
use std::time::Duration;

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: TrustedKeys,
    /// Absent if all keys are in the configuration.
    remote: Option<Remote>,
}

/// What a request whose key is unknown can expect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Prospect {
    /// No endpoint has the key, or all keys are in the configuration.
    Missing,
    /// The answer cannot come in time; the next fetch may begin after this long.
    Unavailable { retry_in: Duration },
    /// A fetch may bring the key in time.
    Waits,
}

impl Cache {
    /// `wait` is `jwksWaitTimeout`; `seed` makes the jitter reproducible.
    pub(crate) fn new(source: &KeySource, wait: Duration, seed: u64, now: Timestamp) -> Self {
        let (configured, remote) = match source {
            KeySource::Inline(set) => (Some(set), None),
            KeySource::Remote { jwks, initial } => {
                let (endpoints, cooldown) = (jwks.endpoints, jwks.refetch_cooldown);
                let pace = Pace { endpoints, wait, cooldown };
                let terms = Terms { jwks: jwks.as_ref().clone(), pace };
                (initial.as_ref(), Some(Remote::new(terms, seed, now)))
            }
        };
        Self { keys: TrustedKeys::new(configured, remote.is_some()), remote }
    }

    /// The candidate keys for a token with this `kid`, at most [`MAX_CANDIDATES`]: the trusted keys
    /// with the same `kid`, then those without one, since a `kid` is only a hint (RFC 7515 §4.1.4).
    /// Every trusted key is a candidate for a token without a `kid`.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        self.either(move |key| kid.is_none() || key.kid() == kid, kid.is_some(), now)
    }

    /// Whether a candidate key is still untried; never once [`MAX_TRIED`] keys were tried. `kid` is
    /// the [fingerprint](crate::jose::kid_fingerprint) of the token's `kid`.
    pub(crate) fn has_others(&self, kid: Option<u64>, tried: &[u64], now: Timestamp) -> bool {
        let is_named = move |key: &VerifyingKey| kid.is_none() || key.kid_fingerprint() == kid;
        let mut candidates = self.either(is_named, kid.is_some(), now);
        tried.len() < MAX_TRIED && candidates.any(|key| !tried.contains(&key.fingerprint()))
    }

    /// The trusted keys that `is_named` accepts, then, with `or_unnamed`, those without a `kid`.
    fn either(
        &self,
        is_named: impl Fn(&VerifyingKey) -> bool,
        or_unnamed: bool,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let named = self.trusted(now).filter(move |key| is_named(key));
        let unnamed = self.trusted(now).filter(move |key| or_unnamed && key.kid().is_none());
        named.chain(unnamed).take(MAX_CANDIDATES)
    }

    /// The number of trusted keys.
    pub(crate) fn len(&self, now: Timestamp) -> usize {
        self.trusted(now).count()
    }

    /// When a fetch last brought a set, in whichever VM; [`Timestamp::EPOCH`] if none did.
    pub(crate) fn fetched_at(&self) -> Timestamp {
        self.remote.as_ref().map_or(Timestamp::EPOCH, |remote| remote.schedule.fetched_at())
    }

    /// Whether this key, under the same `kid`, is trusted.
    pub(crate) fn trusts(&self, key: &VerifyingKey, now: Timestamp) -> bool {
        self.trusted(now).any(|trusted| trusted.is_same(key))
    }

    /// Whether a trusted key is stale: trusted only because refreshes fail.
    pub(crate) fn is_stale(&self, key: &VerifyingKey, now: Timestamp) -> bool {
        self.keys.is_stale(key, self.lifetime(), now)
    }

    /// When the next attempt to get any keys begins; `None` if a key is trusted or all are
    /// configured.
    pub(crate) fn awaits_keys(&self, now: Timestamp) -> Option<Timestamp> {
        let remote = self.remote.as_ref()?;
        let has_keys = self.trusted(now).next().is_some();
        (!has_keys).then(|| remote.schedule.next_attempt(None, &remote.terms))
    }

    /// Whether a request that came at `since` should wait for its unknown key.
    pub(crate) fn look_for(
        &self,
        since: Timestamp,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Prospect {
        let Some(remote) = &self.remote else { return Prospect::Missing };
        let evidence = remote.evidence(since, now);
        if evidence == Evidence::Ample {
            return Prospect::Missing;
        }
        let quest = Quest { since, aim: Evidence::Ample };
        let attempt = remote.schedule.next_attempt(Some(quest), &remote.terms);
        match evidence {
            _ if now < deadline && attempt < deadline => Prospect::Waits,
            Evidence::Enough => Prospect::Missing,
            _ => Prospect::Unavailable { retry_in: attempt.saturating_since(now) },
        }
    }

    /// Whether a fetch that began after `since` was answered.
    pub(crate) fn has_answered_since(&self, since: Timestamp, now: Timestamp) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.evidence(since, now) > Evidence::None)
    }

    /// Whether any request waits for them.
    pub(crate) fn has_waiting(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.has_waiting)
    }

    /// Lets searches go on, or holds them up.
    pub(crate) fn allow_searches(&mut self, may_search: bool) {
        if let Some(remote) = &mut self.remote {
            remote.may_search = may_search;
        }
    }

    /// Records whether any request waits, and, if the newest one waits for an unknown key, when it
    /// came.
    pub(crate) fn set_waiting(&mut self, is_any: bool, last_miss: Option<Timestamp>) {
        let additions = self.keys.additions();
        let Some(remote) = &mut self.remote else { return };
        remote.has_waiting = is_any;
        match last_miss {
            Some(since) => remote.ask(since, additions),
            None => remote.forget_found(additions),
        }
    }

    /// The time of the next action, and its reason.
    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<(Timestamp, &'static str)> {
        let has_keys = self.trusted(now).next().is_some();
        self.remote.as_ref().map(|remote| remote.next_timeout(has_keys))
    }

    /// Advances the time.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        let has_keys = self.trusted(now).next().is_some();
        if let Some(remote) = &mut self.remote {
            remote.handle_timeout(has_keys, now);
        }
    }

    /// Handles the answer to a fetch; returns whether this issuer still awaited it.
    pub(crate) fn handle_response(
        &mut self,
        id: FetchId,
        result: &Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) -> bool {
        self.remote.as_mut().is_some_and(|remote| remote.handle_response(id, result, now))
    }

    /// The next step for the host.
    pub(crate) fn poll_step(&mut self, now: Timestamp) -> Option<Step> {
        self.remote.as_mut()?.poll_step(now)
    }

    /// Handles a read of the shared data. Returns whether another VM wrote news and this VM has
    /// nothing to write.
    pub(crate) fn handle_shared(
        &mut self,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) -> bool {
        let Some(remote) = &mut self.remote else { return false };
        remote.handle_shared(&mut self.keys, shared, version, now)
    }

    /// Handles the result of a write. Returns the outcomes of this VM's fetches once they take
    /// effect.
    pub(crate) fn handle_written(
        &mut self,
        written: Written,
        now: Timestamp,
    ) -> Option<Vec<Outcome>> {
        self.remote.as_mut()?.handle_written(&mut self.keys, written, now)
    }

    /// Moves every time back after the clock has stepped back, so that nothing lasts longer than it
    /// should.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration, now: Timestamp) {
        self.keys.clock_stepped_back(by);
        if let Some(remote) = &mut self.remote {
            remote.clock_stepped_back(by, now);
        }
    }

    fn trusted(&self, now: Timestamp) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.trusted(self.lifetime(), now)
    }

    fn lifetime(&self) -> Lifetime {
        self.remote.as_ref().map_or(Lifetime::FOREVER, Remote::lifetime)
    }
}

/// A waiting token that was checked with this many keys is not checked again, whatever endpoints
/// publish.
const MAX_TRIED: usize = 64;
