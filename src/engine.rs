//! The one type an adapter talks to.

use crate::authn::Authenticated;
use crate::config::{Config, RemoteJwks};
use crate::event::Event;
use crate::jose::{Crypto, Token, Verification};
use crate::jwks::{self, Consultation, FetchError, FetchId, JwksResponse, MissId, Prospect};
use crate::reason::Reason;
use crate::request::{HeaderEdit, RequestHead};
use crate::screen::{Bearer, Candidate, Case, Screened, screen, strip_owned};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::{Allow, Verdict};
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
/// **After every input, drain [`Self::poll_fetch`], then [`Self::poll_verdict`], then
/// [`Self::poll_event`], and then arrange to call [`Self::handle_timeout`] at
/// [`Self::poll_timeout`], or after [`MAX_TIMEOUT`] if that is earlier.** Before a fetch is carried
/// out [`Self::handle_shared`] says whether it is needed, and after it [`Self::publication`] says
/// what to tell the other VMs. A fetch that cannot be started is an input as well: hand its failure
/// to [`Self::handle_response`] and drain again. Only a request that is decided at once leaves
/// nothing but events behind.
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
    paused: SortedMap<StreamId, Paused>,
    verdicts: VecDeque<(StreamId, Verdict)>,
    events: VecDeque<Event>,
    jitter: fastrand::Rng,
    next_fetch: u64,
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
    /// The verdict comes out of [`Engine::poll_verdict`], within `jwksWaitTimeout`.
    Paused,
}

/// A JWK Set that is to be fetched, unless the shared data has it already.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// To be handed back with the response.
    pub id: FetchId,
    /// The index of the provider.
    pub provider: usize,
    /// What to call, and how long to wait.
    pub jwks: RemoteJwks,
}

/// How long a request may wait, and since when.
#[derive(Clone, Copy)]
struct Patience {
    deadline: Timestamp,
    /// How many fetches of its provider had begun when it came.
    fetches_begun: u64,
    is_new: bool,
}

/// A request that waits. Its token is kept as text: taken apart it is many times larger.
struct Paused {
    token: String,
    case: Case,
    patience: Patience,
    miss: Option<Miss>,
}

/// That no key fits, of those that there were.
#[derive(Clone, Copy)]
struct Miss {
    id: MissId,
    is_kid_known: bool,
    /// [`jwks::Cache::additions`] at that time.
    additions: u64,
}

enum Judged {
    Decided(Verdict),
    /// The key is not there, but may come in time.
    Waits(String, Case, Option<Miss>),
}

impl Engine {
    /// An engine that wants to fetch the keys of every provider right away.
    #[must_use]
    pub fn new(config: Config, crypto: Crypto, seed: u64, now: Timestamp) -> Self {
        let mut issuers = SortedMap::new();
        for (index, provider) in config.providers.iter().enumerate() {
            issuers.insert(provider.issuer.clone(), index);
        }
        let caches = config.providers.iter().map(|p| jwks::Cache::new(&p.keys, now)).collect();
        Self {
            issuers,
            caches,
            crypto,
            verified: TokenCache::new(config.token_cache_entries, seed),
            config: Rc::new(config),
            paused: SortedMap::new(),
            verdicts: VecDeque::new(),
            events: VecDeque::new(),
            jitter: fastrand::Rng::with_seed(seed),
            next_fetch: 0,
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
        self.paused.contains_key(&stream)
    }

    /// What is to be removed from the trailers of a request: the headers that only the filter sets.
    #[must_use]
    pub fn strip_trailers(&self, trailers: &RequestHead<'_>) -> Vec<HeaderEdit> {
        strip_owned(&self.config, trailers)
    }

    /// The number of requests that wait for keys.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.paused.len()
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
        let candidate = match screen(&config, &self.issuers, &mut self.verified, request, now) {
            Screened::Decided(verdict) => return Disposition::Decided(verdict),
            Screened::Candidate(candidate) => candidate,
        };
        let cache = self.caches.get(candidate.case.provider);
        let patience = Patience {
            deadline: now.saturating_add(config.jwks_wait_timeout),
            fetches_begun: cache.map_or(0, jwks::Cache::fetches_begun),
            is_new: true,
        };
        match self.judge(candidate, patience, now) {
            Judged::Decided(verdict) => Disposition::Decided(verdict),
            Judged::Waits(_, case, _) if self.paused.len() >= config.max_paused_requests => {
                Disposition::Decided(case.deny(&config, Reason::Overloaded, None))
            }
            Judged::Waits(token, case, miss) => {
                let patience = Patience { is_new: false, ..patience };
                self.paused.insert(stream, Paused { token, case, patience, miss });
                Disposition::Paused
            }
        }
    }

    /// Takes the answer to a fetch, or the reason why there is none; late ones are ignored.
    pub fn handle_response(
        &mut self,
        id: FetchId,
        result: Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) {
        self.observe(now);
        let mut caches = self.caches.iter_mut().enumerate();
        let Some((provider, cache)) = caches.find(|(_, cache)| cache.fetch_in_flight() == Some(id))
        else {
            return;
        };
        let jitter = self.jitter.f64();
        match cache.finish_fetch(result, jitter, now) {
            None => return,
            Some(jwks::Outcome::Failed { error, retry_in, trusted_keys }) => self
                .events
                .push_back(Event::FetchFailed { provider, error, retry_in, trusted_keys }),
            Some(jwks::Outcome::Refreshed { keys, new_keys, skipped, disagreement }) => {
                self.events.push_back(Event::Fetched { provider, keys, new_keys, skipped });
                if let Some(kids) = disagreement {
                    self.events.push_back(Event::Inconsistent { provider, kids });
                }
            }
        }
        self.judge_paused(now, |paused| paused.case.provider == provider);
    }

    /// Asks what other VMs of the proxy know before a fetch is carried out. `shared` is what stands
    /// in the shared data under a name that all of them use for this provider.
    pub fn handle_shared(
        &mut self,
        fetch: &Fetch,
        shared: Option<&[u8]>,
        now: Timestamp,
    ) -> Consultation {
        self.observe(now);
        let cache = self.caches.get_mut(fetch.provider);
        let Some(cache) = cache.filter(|cache| cache.fetch_in_flight() == Some(fetch.id)) else {
            // It was given up while it waited for another VM.
            return Consultation::Answered;
        };
        let jitter = self.jitter.f64();
        let known_before = cache.len(now);
        let consultation = cache.consult(shared, jitter, now);
        if matches!(consultation, Consultation::Answered) || cache.len(now) != known_before {
            let provider = fetch.provider;
            self.judge_paused(now, |paused| paused.case.provider == provider);
        }
        consultation
    }

    /// The providers without any key, which another VM may have got meanwhile.
    pub fn lacking_keys(&self, now: Timestamp) -> impl Iterator<Item = usize> {
        let caches = self.caches.iter().enumerate();
        caches.filter(move |(_, cache)| cache.awaits_keys(now).is_some()).map(|(index, _)| index)
    }

    /// Takes what stands in the shared data, for a provider without keys: one of
    /// [`Self::lacking_keys`].
    pub fn handle_news(&mut self, provider: usize, shared: &[u8], now: Timestamp) {
        self.observe(now);
        let Some(cache) = self.caches.get_mut(provider) else { return };
        let jitter = self.jitter.f64();
        if cache.learn(shared, jitter, now) {
            self.judge_paused(now, |paused| paused.case.provider == provider);
        }
    }

    /// What to write to the shared data after a response, in place of what stands there now.
    pub fn publication(
        &mut self,
        provider: usize,
        shared: Option<&[u8]>,
        now: Timestamp,
    ) -> Option<Vec<u8>> {
        Some(self.caches.get_mut(provider)?.publication(shared, now))
    }

    /// Takes the end of a request that nobody waits for any more.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.paused.remove(&stream);
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.observe(now);
        let overdue: Vec<_> =
            self.caches.iter().filter_map(|cache| cache.overdue_fetch(now)).collect();
        for id in overdue {
            self.handle_response(id, Err(FetchError::Timeout), now);
        }
        self.judge_paused(now, |paused| paused.patience.deadline <= now);
    }

    /// A fetch to carry out.
    #[must_use]
    pub fn poll_fetch(&mut self, now: Timestamp) -> Option<Fetch> {
        let id = FetchId(self.next_fetch);
        let mut caches = self.caches.iter_mut().enumerate();
        let (provider, jwks) = caches
            .find_map(|(provider, cache)| Some((provider, cache.start_fetch(id, now)?.clone())))?;
        self.next_fetch = self.next_fetch.wrapping_add(1);
        Some(Fetch { id, provider, jwks })
    }

    /// The verdict on a request that was paused.
    #[must_use]
    pub fn poll_verdict(&mut self) -> Option<(StreamId, Verdict)> {
        self.verdicts.pop_front()
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
        let paused =
            self.paused.values().map(|paused| (paused.patience.deadline, "a request waits"));
        self.caches.iter().filter_map(jwks::Cache::next_timeout).chain(paused).min()
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
        for paused in self.paused.values_mut() {
            paused.patience.deadline = paused.patience.deadline.saturating_sub(by);
        }
        if by >= NOTABLE_CLOCK_STEP {
            self.events.push_back(Event::ClockSteppedBack { by });
        }
    }

    /// Judges paused requests again.
    fn judge_paused(&mut self, now: Timestamp, which: impl Fn(&Paused) -> bool) {
        let streams: Vec<_> = self
            .paused
            .iter()
            .filter(|(_, paused)| which(paused))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in streams {
            let Some(paused) = self.paused.remove(&stream) else { continue };
            let patience = paused.patience;
            match self.judge_again(paused, now) {
                Judged::Decided(verdict) => self.verdicts.push_back((stream, verdict)),
                Judged::Waits(token, case, miss) => {
                    self.paused.insert(stream, Paused { token, case, patience, miss });
                }
            }
        }
    }

    /// Judges a token that has waited; its signature only if there are more keys than before.
    fn judge_again(&mut self, paused: Paused, now: Timestamp) -> Judged {
        let Paused { token, case, patience, miss } = paused;
        let additions = self.caches.get(case.provider).map(jwks::Cache::additions);
        if let Some(miss) = miss.filter(|miss| Some(miss.additions) == additions) {
            return self.judge_miss(token, case, miss, patience, now);
        }
        match Token::parse(token.as_bytes()) {
            Ok(token) => {
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
            // Waiting for an attempt that comes too late would only add to the delay.
            if now < patience.deadline && attempt_at < patience.deadline {
                return Judged::Waits(token.into_text(), case, None);
            }
            let retry_in = Some(attempt_at.saturating_since(now));
            return Judged::Decided(case.deny(&self.config, Reason::JwksUnavailable, retry_in));
        }

        let kid = token.kid().map(str::to_owned);
        let mut is_kid_known = kid.is_none();
        let keys = cache
            .candidates(kid.as_deref(), now)
            .inspect(|key| is_kid_known |= key.kid() == kid.as_deref());
        let by_host = matches!(self.crypto, Crypto::Host(_));
        let events = &mut self.events;
        let attempted = || events.push_back(Event::SignatureChecked { by_host });
        match token.verify(keys, self.crypto, attempted) {
            Verification::Verified(token) => {
                let token = Rc::new(Authenticated::new(index, provider, token));
                self.verified.offer(&token);
                Judged::Decided(self.authorize(&token, case, now))
            }
            Verification::Failed(token) => {
                let id = MissId::new(kid.as_deref(), is_kid_known);
                let miss = Miss { id, is_kid_known, additions: cache.additions() };
                self.judge_miss(token.into_text(), case, miss, patience, now)
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
            Ok(()) => Verdict::Allow(Allow::new(verified, case.edits)),
            Err(reason) => case.deny(&self.config, reason, None),
        }
    }

    /// Decides whether a token that no trusted key verifies waits for another key.
    fn judge_miss(
        &mut self,
        token: String,
        case: Case,
        miss: Miss,
        patience: Patience,
        now: Timestamp,
    ) -> Judged {
        let provider = case.provider;
        // Half of the places are kept for requests that wait for any keys at all.
        let is_crowded = patience.is_new
            && self.paused.len().saturating_mul(2) >= self.config.max_paused_requests;
        let prospect = match self.caches.get_mut(provider) {
            Some(cache) if !is_crowded => {
                cache.look_for(miss.id, patience.fetches_begun, patience.deadline, now)
            }
            _ => Prospect::Suppressed,
        };
        let reason = if miss.is_kid_known { Reason::SignatureInvalid } else { Reason::KeyUnknown };
        let (reason, retry_in) = match prospect {
            Prospect::Waits => {
                if patience.is_new {
                    self.events.push_back(Event::Missed { provider });
                }
                return Judged::Waits(token, case, Some(miss));
            }
            Prospect::Missing => (reason, None),
            Prospect::Suppressed => {
                self.events.push_back(Event::MissSuppressed { provider });
                (reason, None)
            }
            Prospect::Unavailable { retry_in } => (Reason::JwksUnavailable, Some(retry_in)),
        };
        Judged::Decided(case.deny(&self.config, reason, retry_in))
    }
}

/// How often the engine is to see the clock while it has deadlines. When the clock steps back,
/// what passed since the engine last saw it cannot be known, and is added to every deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// Clocks that are kept in step move back by less than this all the time.
const NOTABLE_CLOCK_STEP: Duration = Duration::from_secs(1);
