//! The one type a driver talks to.

use crate::config::{Config, Provider, RemoteJwks};
use crate::event::Event;
use crate::jose::Crypto;
use crate::judge::{Judge, Judged};
use crate::jwks::{self, FetchError, FetchId, JwksResponse, Outcome, Step, Written};
use crate::per_provider::{PerProvider, ProviderId};
use crate::reason::Reason;
use crate::request::{HeaderEdit, RequestHead, StreamId};
use crate::screen::{Bearer, Case, Screened, edits, screen};
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::Verdict;
use crate::waiting::{Patience, Paused, Room, Waiting};
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
    issuers: PerProvider<Issuer>,
    verified: TokenCache,
    waiting: Waiting,
    verdicts: VecDeque<(StreamId, Verdict)>,
    events: VecDeque<Event>,
    /// The latest time any input carried.
    latest: Timestamp,
}

/// What becomes of a request for now.
#[derive(Debug)]
pub enum Disposition {
    /// The verdict is there.
    Decided(Verdict),
    /// The verdict comes out of [`Engine::poll_output`], within `jwksWaitTimeout`. These edits are to
    /// be made at once: they are due whatever it is, and nobody keeps them till then.
    Paused(Vec<HeaderEdit>),
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Output {
    /// Fetch this; hand the outcome to [`Engine::handle_response`].
    Fetch(Fetch),
    /// Read what the VMs of the proxy share for this provider; hand it to
    /// [`Engine::handle_shared`].
    ReadShared {
        /// Whose keys they are.
        provider: ProviderId,
    },
    /// Carry out the verdict on a request that was paused.
    Settle(StreamId, Verdict),
    /// Write what the VMs of the proxy share, if it still has the version that was read; hand the
    /// outcome to [`Engine::handle_written`].
    WriteShared {
        /// Whose keys they are.
        provider: ProviderId,
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

/// A provider with its keys.
struct Issuer {
    provider: Rc<Provider>,
    keys: jwks::Cache,
}

impl Engine {
    /// An engine that wants to fetch the keys of every provider right away.
    #[must_use]
    pub fn new(config: Config, crypto: Crypto, seed: u64, now: Timestamp) -> Self {
        let skipped = config.providers.iter().filter_map(|(provider, of)| {
            let skipped = of.configured_keys()?.skipped.clone();
            (!skipped.is_empty()).then_some(Event::ConfiguredKeysSkipped { provider, skipped })
        });
        let mut chance = fastrand::Rng::with_seed(seed);
        let issuers = config.providers.map(|_, provider| {
            let wait = config.jwks_wait_timeout;
            let keys = jwks::Cache::new(&provider.keys, wait, chance.u64(..), now);
            Issuer { provider: Rc::clone(provider), keys }
        });
        Self {
            crypto,
            verified: TokenCache::new(config.token_cache_entries, seed),
            waiting: Waiting::new(&issuers, config.max_paused_requests),
            issuers,
            verdicts: VecDeque::new(),
            events: skipped.collect(),
            config: Rc::new(config),
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
    pub fn trusted_keys(&self, provider: ProviderId, now: Timestamp) -> usize {
        self.issuers[provider].keys.len(now)
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
        let (bearer, case, edits) = match screen(&config, &mut self.verified, request, now) {
            Screened::Decided(verdict) => return Disposition::Decided(verdict),
            Screened::Undecided(bearer, case, edits) => (bearer, case, edits),
        };
        let deadline = now.saturating_add(config.jwks_wait_timeout);
        let patience = Patience { since: now, deadline, miss: None };
        match self.judge(bearer, case, patience, now) {
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
        let keys = &self.issuers[provider].keys;
        let is_doubtful = |Paused { patience, .. }: &Paused| {
            patience.miss.is_some() && keys.has_answered_since(patience.since, now)
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
        if paused.patience.miss.is_some() {
            self.events.push_back(Event::Missed { provider });
        }
        self.waiting.insert(stream, paused);
        self.tell_who_waits(provider);
        None
    }

    fn turn_away(&mut self, Paused { case, patience, .. }: Paused) -> Verdict {
        if patience.miss.is_some() {
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
        self.issuers.iter_mut().any(|(_, issuer)| issuer.keys.handle_response(id, &result));
    }

    /// Takes what the VMs of the proxy share for a provider, and its version.
    pub fn handle_shared(
        &mut self,
        provider: ProviderId,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) {
        self.observe(now);
        let keys = &mut self.issuers[provider].keys;
        if let Some(outcomes) = keys.handle_shared(shared, version, now) {
            self.conclude(provider, outcomes, now);
        }
    }

    /// Takes the outcome of a write.
    pub fn handle_written(&mut self, provider: ProviderId, written: Written, now: Timestamp) {
        self.observe(now);
        if let Some(outcomes) = self.issuers[provider].keys.handle_written(written, now) {
            self.conclude(provider, outcomes, now);
        }
    }

    /// Takes up what an exchange with the other VMs brought.
    fn conclude(&mut self, provider: ProviderId, outcomes: Vec<Outcome>, now: Timestamp) {
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
        for (provider, Issuer { provider: of, keys }) in self.issuers.iter_mut() {
            // What became of requests may be a reason to fetch at once.
            keys.handle_timeout(self.latest);
            match keys.poll_step() {
                Some(Step::Read) => return Some(Output::ReadShared { provider }),
                Some(Step::Write { bytes, version }) => {
                    return Some(Output::WriteShared { provider, bytes, version });
                }
                Some(Step::Start(id)) => {
                    let jwks = of.remote_jwks()?.clone();
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
        let keys = self.issuers.values();
        let keys = keys.filter_map(|issuer| issuer.keys.next_timeout(self.latest));
        keys.chain(deadlines).chain(settle).min()
    }

    /// Keeps every deadline as far away as it was when the clock steps back.
    fn observe(&mut self, now: Timestamp) {
        let by = self.latest.saturating_since(now);
        self.latest = now;
        if by.is_zero() {
            return;
        }
        for (_, issuer) in self.issuers.iter_mut() {
            issuer.keys.clock_stepped_back(by, now);
        }
        self.waiting.clock_stepped_back(by);
        if by >= NOTABLE_CLOCK_STEP {
            self.events.push_back(Event::ClockSteppedBack { by });
        }
    }

    /// Judges the requests again that wait for keys of this provider.
    fn judge_waiting(&mut self, provider: ProviderId, now: Timestamp) {
        for (ticket, stream, paused) in self.waiting.take(provider) {
            let Paused { token, case, patience } = *paused;
            match self.judge(Bearer::Waiting(token), case, patience, now) {
                Judged::Decided(verdict) => self.verdicts.push_back((stream, verdict)),
                Judged::Waits(paused) => self.waiting.put_back(ticket, stream, paused.into()),
            }
        }
        self.tell_who_waits(provider);
    }

    /// Tells a provider's keys who waits for them.
    fn tell_who_waits(&mut self, provider: ProviderId) {
        let newest = self.waiting.newest(provider).map(|paused| &paused.patience);
        // Where it is no miss, there are no keys for any of them.
        let last_miss = newest.filter(|newest| newest.miss.is_some()).map(|newest| newest.since);
        self.issuers[provider].keys.set_waiting(newest.is_some(), last_miss);
    }

    fn judge(&mut self, bearer: Bearer, case: Case, patience: Patience, now: Timestamp) -> Judged {
        let Issuer { provider, keys } = &self.issuers[case.provider];
        let mut judge = Judge {
            config: &self.config,
            provider,
            keys,
            crypto: self.crypto,
            verified: &mut self.verified,
            events: &mut self.events,
            now,
        };
        judge.judge(bearer, case, patience)
    }
}

/// How often the engine is to see the clock while it has deadlines. When the clock steps back,
/// what passed since the engine last saw it cannot be known, and is added to every deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// Clocks that are kept in step move back by less than this all the time.
const NOTABLE_CLOCK_STEP: Duration = Duration::from_secs(1);
