//! The one type a driver talks to.

use crate::authn::Authenticated;
use crate::config::{Config, RemoteJwks};
use crate::event::Event;
use crate::jose::{Crypto, Token, Verification, kid_fingerprint};
use crate::jwks::{self, FetchError, FetchId, JwksResponse, Outcome, Prospect, Step, Written};
use crate::reason::Reason;
use crate::request::{HeaderEdit, RequestHead};
use crate::screen::{Bearer, Candidate, Case, Screened, edits, screen};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::{Allow, Verdict};
use crate::waiting::{Miss, Paused, Room, Waiting};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Decides requests and keeps the keys to do so, without doing any I/O itself.
///
/// The methods are of two kinds:
///
/// * `handle_*` tell the engine what happened outside; each takes the time it happened at.
/// * `poll_*` take out what is to be done outside.
///
/// **After every input, carry out what [`Self::poll_output`] says until it says nothing more, drain
/// [`Self::poll_event`], and then arrange to call [`Self::handle_timeout`] at [`Self::poll_timeout`],
/// or after [`MAX_TIMEOUT`] if that is earlier.** Outputs may be left for later: then the timeout is
/// due at once. [`crate::driver::Driver`] does all that.
///
/// The same inputs give the same outputs; the seed takes the place of chance.
pub struct Engine {
    config: Rc<Config>,
    crypto: Crypto,
    /// From `iss` to the index of its provider.
    issuers: SortedMap<String, usize>,
    /// The keys of each provider, in the order of the configuration.
    caches: Vec<jwks::Cache>,
    verified: TokenCache,
    waiting: Waiting,
    verdicts: VecDeque<(StreamId, Verdict)>,
    events: VecDeque<Event>,
    /// The latest time any input carried.
    latest: Timestamp,
}

/// Names one request among those of an engine.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

/// What becomes of a request for now.
#[derive(Debug)]
pub enum Disposition {
    /// The verdict is there.
    Decided(Verdict),
    /// The verdict comes out of [`Engine::poll_output`], within `jwksWaitTimeout`. These edits are to
    /// be made at once: they are due whatever it is, and nobody keeps them till then.
    Paused(Vec<HeaderEdit>),
}

/// What is to be done outside. Providers are told by their index in the configuration.
#[derive(Debug)]
pub enum Output {
    /// Fetch this; hand the outcome to [`Engine::handle_response`].
    Fetch(Fetch),
    /// Read what the VMs of the proxy share for this provider; hand it to
    /// [`Engine::handle_shared`].
    ReadShared {
        /// The index of the provider.
        provider: usize,
    },
    /// Carry out the verdict on a request that was paused.
    Settle(StreamId, Verdict),
    /// Write what the VMs of the proxy share, if it still has the version that was read; hand the
    /// outcome to [`Engine::handle_written`].
    WriteShared {
        /// The index of the provider.
        provider: usize,
        /// What to write.
        bytes: Vec<u8>,
        /// What it replaces.
        version: u32,
    },
}

/// A JWK Set that is to be fetched.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// To be handed back with the response.
    pub id: FetchId,
    /// What to call, and how long to wait.
    pub jwks: RemoteJwks,
}

/// How long a request may wait, and since when.
struct Patience {
    since: Timestamp,
    deadline: Timestamp,
    is_new: bool,
    /// See [`Miss::tried`].
    tried: Vec<u64>,
}

enum Judged {
    Decided(Verdict),
    /// The key is not there, but may come in time.
    Waits(Paused),
}

impl Engine {
    /// An engine that wants to fetch the keys of every provider right away.
    #[must_use]
    pub fn new(config: Config, crypto: Crypto, seed: u64, now: Timestamp) -> Self {
        let mut issuers = SortedMap::new();
        for (index, provider) in config.providers.iter().enumerate() {
            issuers.insert(provider.issuer.clone(), index);
        }
        let skipped = config.providers.iter().enumerate().filter_map(|(provider, of)| {
            let skipped = of.configured_keys()?.skipped.clone();
            (!skipped.is_empty()).then_some(Event::ConfiguredKeysSkipped { provider, skipped })
        });
        let events = skipped.collect();
        let wait = config.jwks_wait_timeout;
        let mut chance = fastrand::Rng::with_seed(seed);
        let caches = config.providers.iter();
        let caches = caches.map(|p| jwks::Cache::new(&p.keys, wait, chance.u64(..), now)).collect();
        Self {
            issuers,
            caches,
            crypto,
            verified: TokenCache::new(config.token_cache_entries, seed),
            waiting: Waiting::new(config.providers.len(), config.max_paused_requests),
            config: Rc::new(config),
            verdicts: VecDeque::new(),
            events,
            latest: now,
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this request waits for a verdict: nothing of it may go on meanwhile.
    #[must_use]
    pub fn is_paused(&self, stream: StreamId) -> bool {
        self.waiting.contains(stream) || self.verdicts.iter().any(|(other, _)| *other == stream)
    }

    /// What is to be removed from the trailers of a request: what only the filter may say, and tokens
    /// that nobody has verified.
    #[must_use]
    pub fn strip_trailers(&self, trailers: &RequestHead<'_>) -> Vec<HeaderEdit> {
        edits(&self.config, trailers, None)
    }

    /// The number of requests that wait for keys.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.waiting.len()
    }

    /// The number of keys of a provider that are trusted.
    #[must_use]
    pub fn trusted_keys(&self, provider: usize, now: Timestamp) -> usize {
        self.caches.get(provider).map_or(0, |cache| cache.len(now))
    }

    /// Takes the head of a new request.
    pub fn handle_request(
        &mut self,
        stream: StreamId,
        request: &RequestHead<'_>,
        now: Timestamp,
    ) -> Disposition {
        self.observe(now);
        let config = Rc::clone(&self.config);
        let screened = screen(&config, &self.issuers, &mut self.verified, request, now);
        let (candidate, edits) = match screened {
            Screened::Decided(verdict) => return Disposition::Decided(verdict),
            Screened::Candidate(candidate, edits) => (candidate, edits),
        };
        let deadline = now.saturating_add(config.jwks_wait_timeout);
        let patience = Patience { since: now, deadline, is_new: true, tried: Vec::new() };
        match self.judge(candidate, patience, now) {
            Judged::Decided(verdict) => Disposition::Decided(verdict.after(edits)),
            Judged::Waits(paused) => match self.pause(stream, paused, now) {
                Some(verdict) => Disposition::Decided(verdict.after(edits)),
                None => Disposition::Paused(edits),
            },
        }
    }

    /// Lets a request wait, or decides it where there is no room.
    fn pause(&mut self, stream: StreamId, paused: Paused, now: Timestamp) -> Option<Verdict> {
        let provider = paused.case.provider;
        let cache = self.caches.get(provider);
        let is_doubtful = |oldest: &Paused| {
            oldest.miss.is_some()
                && cache.is_some_and(|cache| cache.has_answered_since(oldest.since, now))
        };
        match self.waiting.make_room(provider, is_doubtful) {
            Room::Free => {}
            Room::Full => return Some(self.turn_away(paused)),
            Room::Of(displaced, oldest) => {
                let gives = oldest.case.provider;
                let verdict = self.turn_away(*oldest);
                self.verdicts.push_back((displaced, verdict));
                self.tell_who_waits(gives);
            }
        }
        if paused.miss.is_some() {
            self.events.push_back(Event::Missed { provider });
        }
        self.waiting.insert(stream, paused);
        self.tell_who_waits(provider);
        None
    }

    fn turn_away(&mut self, Paused { case, miss, .. }: Paused) -> Verdict {
        if miss.is_some() {
            self.events.push_back(Event::MissSuppressed { provider: case.provider });
        }
        case.deny(&self.config, Reason::Overloaded, None)
    }

    /// Takes the answer to a fetch, or the reason why there is none; late ones are ignored.
    pub fn handle_response(
        &mut self,
        id: FetchId,
        result: Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) {
        self.observe(now);
        self.caches.iter_mut().any(|cache| cache.handle_response(id, &result));
    }

    /// Takes what the VMs of the proxy share for a provider, and its version.
    pub fn handle_shared(
        &mut self,
        provider: usize,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) {
        self.observe(now);
        let Some(cache) = self.caches.get_mut(provider) else { return };
        if let Some(outcomes) = cache.handle_shared(shared, version, now) {
            self.conclude(provider, outcomes, now);
        }
    }

    /// Takes the outcome of a write.
    pub fn handle_written(&mut self, provider: usize, written: Written, now: Timestamp) {
        self.observe(now);
        let Some(cache) = self.caches.get_mut(provider) else { return };
        if let Some(outcomes) = cache.handle_written(written, now) {
            self.conclude(provider, outcomes, now);
        }
    }

    /// Takes up what an exchange with the other VMs brought.
    fn conclude(&mut self, provider: usize, outcomes: Vec<Outcome>, now: Timestamp) {
        self.events.extend(outcomes.into_iter().map(|outcome| Event::of_fetch(provider, outcome)));
        self.judge_waiting(provider, now);
    }

    /// Takes the end of a request that nobody waits for any more.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        if let Some(paused) = self.waiting.remove(stream) {
            self.tell_who_waits(paused.case.provider);
        }
        self.verdicts.retain(|(other, _)| *other != stream);
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.observe(now);
        let overdue = self.waiting.deadlines().filter(|(_, deadline)| *deadline <= now);
        let overdue: Vec<_> = overdue.map(|(provider, _)| provider).collect();
        for provider in overdue {
            self.judge_waiting(provider, now);
        }
    }

    /// What is to be done outside.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        for (provider, cache) in self.caches.iter_mut().enumerate() {
            // What became of requests may be a reason to fetch at once.
            cache.handle_timeout(self.latest);
            match cache.poll_step() {
                Some(Step::Read) => return Some(Output::ReadShared { provider }),
                Some(Step::Write { bytes, version }) => {
                    return Some(Output::WriteShared { provider, bytes, version });
                }
                Some(Step::Start(id)) => {
                    let provided = self.config.providers.get(provider);
                    let jwks = provided.and_then(|provider| provider.remote_jwks())?.clone();
                    return Some(Output::Fetch(Fetch { id, jwks }));
                }
                None => {}
            }
        }
        self.verdicts.pop_front().map(|(stream, verdict)| Output::Settle(stream, verdict))
    }

    /// Something to count or to log.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called and why; nothing is pending when there is no
    /// such time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let settle = (!self.verdicts.is_empty()).then_some((self.latest, "a verdict is there"));
        let deadlines = self.waiting.deadlines().map(|(_, deadline)| (deadline, "a request waits"));
        let caches = self.caches.iter().filter_map(|cache| cache.next_timeout(self.latest));
        caches.chain(deadlines).chain(settle).min()
    }

    /// Keeps every deadline as far away as it was when the clock steps back.
    fn observe(&mut self, now: Timestamp) {
        let by = self.latest.saturating_since(now);
        self.latest = now;
        if by.is_zero() {
            return;
        }
        for cache in &mut self.caches {
            cache.clock_stepped_back(by, now);
        }
        self.waiting.clock_stepped_back(by);
        if by >= NOTABLE_CLOCK_STEP {
            self.events.push_back(Event::ClockSteppedBack { by });
        }
    }

    /// Judges the requests again that wait for keys of this provider.
    fn judge_waiting(&mut self, provider: usize, now: Timestamp) {
        for (ticket, stream, paused) in self.waiting.take(provider) {
            match self.judge_again(paused, now) {
                Judged::Decided(verdict) => self.verdicts.push_back((stream, verdict)),
                Judged::Waits(paused) => self.waiting.put_back(ticket, stream, paused),
            }
        }
        self.tell_who_waits(provider);
    }

    /// Tells a provider's keys who waits for them.
    fn tell_who_waits(&mut self, provider: usize) {
        let Some(cache) = self.caches.get_mut(provider) else { return };
        let newest = self.waiting.newest(provider);
        // Where it is no miss, there are no keys for any of them.
        let last_miss = newest.filter(|paused| paused.miss.is_some()).map(|paused| paused.since);
        cache.set_waiting(newest.is_some(), last_miss);
    }

    /// Judges a token that has waited; its signature only if there are more keys than before.
    fn judge_again(&mut self, paused: Paused, now: Timestamp) -> Judged {
        let cache = self.caches.get(paused.case.provider);
        let has_tried_all =
            |miss: &Miss| !cache.is_some_and(|cache| cache.has_others(miss.kid, &miss.tried, now));
        if paused.miss.as_ref().is_some_and(has_tried_all) {
            return self.judge_miss(paused, now);
        }
        let Paused { token, case, since, deadline, miss } = paused;
        match Token::parse(token.as_bytes()) {
            Ok(token) => {
                let tried = miss.map(|miss| miss.tried).unwrap_or_default();
                let patience = Patience { since, deadline, is_new: false, tried };
                self.judge(Candidate { bearer: Bearer::Unverified(token), case }, patience, now)
            }
            Err(reason) => Judged::Decided(case.deny(&self.config, reason, None)),
        }
    }

    /// Judges a token with the keys that are there, or lets it wait for others.
    fn judge(&mut self, candidate: Candidate, patience: Patience, now: Timestamp) -> Judged {
        let Candidate { bearer, case } = candidate;
        let token = match bearer {
            Bearer::Unverified(token) => token,
            Bearer::Verified(verified) => {
                let cache = self.caches.get(case.provider);
                if cache.is_some_and(|cache| cache.trusts(verified.token.key(), now)) {
                    self.events.push_back(Event::TokenCacheHit);
                    return Judged::Decided(self.authorize(&verified, case, now));
                }
                self.verified.forget(&verified);
                match Token::parse(verified.text().as_bytes()) {
                    Ok(token) => token,
                    Err(reason) => return Judged::Decided(case.deny(&self.config, reason, None)),
                }
            }
        };
        if patience.is_new && self.verified.is_on() {
            self.events.push_back(Event::TokenCacheMiss);
        }
        self.verify(token, case, patience, now)
    }

    /// Checks the signature of a token with the keys that are there, or lets it wait for others.
    fn verify(&mut self, token: Token, case: Case, patience: Patience, now: Timestamp) -> Judged {
        let index = case.provider;
        let (Some(provider), Some(cache)) =
            (self.config.providers.get(index), self.caches.get(index))
        else {
            // Indices come from this very configuration.
            return Judged::Decided(case.deny(&self.config, Reason::IssuerUnknown, None));
        };
        if let Some(attempt_at) = cache.awaits_keys(now) {
            let Patience { since, deadline, .. } = patience;
            // Waiting for an attempt that comes too late would only add to the delay.
            if now < deadline && attempt_at < deadline {
                let token = token.into_text();
                return Judged::Waits(Paused { token, case, since, deadline, miss: None });
            }
            let retry_in = Some(attempt_at.saturating_since(now));
            return Judged::Decided(case.deny(&self.config, Reason::JwksUnavailable, retry_in));
        }

        let Patience { since, deadline, mut tried, .. } = patience;
        let kid = token.kid().map(str::to_owned);
        let mut is_kid_known = kid.is_none();
        let mut candidates: Vec<_> = cache
            .candidates(kid.as_deref(), now)
            .inspect(|key| is_kid_known |= key.kid() == kid.as_deref())
            .collect();
        candidates.retain(|key| !tried.contains(&key.fingerprint()));
        tried.extend(candidates.iter().map(|key| key.fingerprint()));
        let by_host = matches!(self.crypto, Crypto::Host(_));
        let events = &mut self.events;
        let attempted = || events.push_back(Event::SignatureChecked { by_host });
        match token.verify(candidates.into_iter(), self.crypto, attempted) {
            Verification::Verified(token) => {
                let token = Rc::new(Authenticated::new(index, provider, token));
                self.verified.offer(&token);
                Judged::Decided(self.authorize(&token, case, now))
            }
            Verification::Failed(token) => {
                let kid = kid.as_deref().map(kid_fingerprint);
                let miss = Some(Miss { kid, is_kid_known, tried });
                let token = token.into_text();
                self.judge_miss(Paused { token, case, since, deadline, miss }, now)
            }
        }
    }

    /// Decides whether a token that a trusted key made grants what the rule asks for.
    fn authorize(&mut self, verified: &Authenticated, case: Case, now: Timestamp) -> Verdict {
        let index = case.provider;
        let (Some(provider), Some(cache)) =
            (self.config.providers.get(index), self.caches.get(index))
        else {
            // Indices come from this very configuration.
            return case.deny(&self.config, Reason::IssuerUnknown, None);
        };
        let token = &verified.token;
        if cache.is_stale(token.key(), now) {
            self.events.push_back(Event::StaleKeyUsed { provider: index });
        }
        let space_delimited = &provider.space_delimited_claims;
        match case.requirement.authorize(token.claims(), space_delimited) {
            Ok(()) => Verdict::Allow(Allow::new(verified)),
            Err(reason) => case.deny(&self.config, reason, None),
        }
    }

    /// Decides whether a token that no trusted key verifies waits for another key.
    fn judge_miss(&mut self, paused: Paused, now: Timestamp) -> Judged {
        let Paused { case: Case { provider, .. }, since, deadline, .. } = paused;
        let cache = self.caches.get(provider);
        match cache.map_or(Prospect::Missing, |cache| cache.look_for(since, deadline, now)) {
            Prospect::Waits => Judged::Waits(paused),
            Prospect::Missing => {
                let is_kid_known = paused.miss.as_ref().is_some_and(|miss| miss.is_kid_known);
                let reason =
                    if is_kid_known { Reason::SignatureInvalid } else { Reason::KeyUnknown };
                Judged::Decided(paused.case.deny(&self.config, reason, None))
            }
            // Whether the key exists is for the issuer to say, and the issuer has not said it.
            Prospect::Unavailable { retry_in } => {
                self.events.push_back(Event::MissSuppressed { provider });
                let reason = Reason::JwksUnavailable;
                Judged::Decided(paused.case.deny(&self.config, reason, Some(retry_in)))
            }
        }
    }
}

/// How often the engine is to see the clock while it has deadlines. When the clock steps back,
/// what passed since the engine last saw it cannot be known, and is added to every deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// Clocks that are kept in step move back by less than this all the time.
const NOTABLE_CLOCK_STEP: Duration = Duration::from_secs(1);
