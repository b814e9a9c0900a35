//! A provider's keys over time: which are trusted until when, and when to fetch them again.
//!
//! This is a state machine without I/O, made of four: trust of keys (`keys`), when to fetch
//! (`schedule`, with `survey`), looking for a key that is missing (`search`, `evidence`), and what the
//! VMs of a proxy share of it (`remote`).

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
pub use fetch::{FetchError, FetchId, JwksResponse};
pub(crate) use snapshot::SHARED_DATA_VERSION;

use crate::config::KeySource;
use crate::jose::VerifyingKey;
use crate::time::Timestamp;
use evidence::Evidence;
use keys::{Lifetime, MAX_CANDIDATES, TrustedKeys};
use remote::Remote;
use schedule::{Quest, Terms};
use search::Pace;
use std::time::Duration;

/// The keys of one provider.
#[derive(Debug)]
pub(crate) struct Cache {
    keys: TrustedKeys,
    /// Absent when all keys are configured.
    remote: Option<Remote>,
}

/// What a request for a key that is not known may hope for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Prospect {
    /// It was looked for and is not there.
    Missing,
    /// Nobody can tell in time; the issuer is asked again after this long.
    Unavailable { retry_in: Duration },
    /// An answer that may bring it comes in time.
    Waits,
}

impl Cache {
    /// `wait` is how long requests wait for a key; `seed` takes the place of chance.
    pub(crate) fn new(source: &KeySource, wait: Duration, seed: u64, now: Timestamp) -> Self {
        let (configured, remote) = match source {
            KeySource::Inline(set) => (Some(set), None),
            KeySource::Remote { jwks, initial } => {
                let (endpoints, cooldown) = (jwks.endpoints, jwks.refetch_cooldown);
                let pace = Pace { endpoints, wait, cooldown };
                let terms = Terms { jwks: jwks.clone(), pace };
                (initial.as_ref(), Some(Remote::new(terms, seed, now)))
            }
        };
        Self { keys: TrustedKeys::new(configured, remote.is_some()), remote }
    }

    /// The trusted keys that a token with this `kid` may be signed with, at most
    /// [`MAX_CANDIDATES`]: those of the same `kid`, then those without any, since a `kid` is a hint
    /// (RFC 7515 §4.1.4). Without a `kid`, every key may be it.
    pub(crate) fn candidates(
        &self,
        kid: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        self.either(move |key| kid.is_none() || key.kid() == kid, kid.is_some(), now)
    }

    /// Whether there is a candidate that was not tried, unless enough were; `kid` stands for that of
    /// the token, as [`kid_fingerprint`](crate::jose::kid_fingerprint) has it.
    pub(crate) fn has_others(&self, kid: Option<u64>, tried: &[u64], now: Timestamp) -> bool {
        let is_named = move |key: &VerifyingKey| kid.is_none() || key.kid_fingerprint() == kid;
        let mut candidates = self.either(is_named, kid.is_some(), now);
        tried.len() < MAX_TRIED && candidates.any(|key| !tried.contains(&key.fingerprint()))
    }

    /// The first keys for which this holds, then, if they may be it as well, those without a `kid`.
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
        self.keys.is_stale(key, self.lifetime(), now)
    }

    /// When the next attempt begins to get any keys at all; `None` when there are some.
    pub(crate) fn awaits_keys(&self, now: Timestamp) -> Option<Timestamp> {
        let remote = self.remote.as_ref()?;
        let has_keys = self.trusted(now).next().is_some();
        (!has_keys).then(|| remote.schedule.next_attempt(None, &remote.terms))
    }

    /// Tells a request that came `since` whether to wait for a key that is not known.
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

    /// Whether an endpoint has answered that was asked after this time.
    pub(crate) fn has_answered_since(&self, since: Timestamp, now: Timestamp) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.evidence(since, now) > Evidence::None)
    }

    /// Takes note of who waits: whether any request does, and when the last of those came that wait
    /// for a key which is not among the known ones.
    pub(crate) fn set_waiting(&mut self, is_any: bool, last_miss: Option<Timestamp>) {
        let additions = self.keys.additions();
        let Some(remote) = &mut self.remote else { return };
        remote.has_waiting = is_any;
        match last_miss {
            Some(since) => remote.ask(since, additions),
            None => remote.forget_found(additions),
        }
    }

    /// When something is to be done next, and what.
    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<(Timestamp, &'static str)> {
        let has_keys = self.trusted(now).next().is_some();
        self.remote.as_ref().map(|remote| remote.next_timeout(has_keys))
    }

    /// Takes note of the time.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        let has_keys = self.trusted(now).next().is_some();
        if let Some(remote) = &mut self.remote {
            remote.handle_timeout(has_keys, now);
        }
    }

    /// Takes the answer to a fetch; tells whether it was one of these that is not over.
    pub(crate) fn handle_response(
        &mut self,
        id: FetchId,
        result: &Result<JwksResponse<'_>, FetchError>,
    ) -> bool {
        let Some(remote) = self.remote.as_mut().filter(|remote| remote.awaits(id)) else {
            return false;
        };
        let read = |response: &JwksResponse<'_>| Ok((response.key_set()?, response.max_age()));
        remote.handle_answer(id, result.as_ref().map_err(Clone::clone).and_then(read));
        true
    }

    /// What is to be done outside.
    pub(crate) fn poll_step(&mut self) -> Option<Step> {
        self.remote.as_mut()?.poll_step()
    }

    /// Takes what stands in the shared data. Whatever came of fetches, if that ends the exchange and
    /// brought any news.
    pub(crate) fn handle_shared(
        &mut self,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) -> Option<Vec<Outcome>> {
        self.remote.as_mut()?.handle_shared(&mut self.keys, shared, version, now)
    }

    /// Takes the outcome of a write. Whatever came of fetches, if that ends the exchange.
    pub(crate) fn handle_written(
        &mut self,
        written: Written,
        now: Timestamp,
    ) -> Option<Vec<Outcome>> {
        self.remote.as_mut()?.handle_written(&mut self.keys, written, now)
    }

    /// Moves every point in time by the same amount after the clock has stepped back, so that
    /// nothing lasts longer than it was meant to.
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

/// The most signatures that are checked for one token while it waits, whatever endpoints publish.
const MAX_TRIED: usize = 64;
