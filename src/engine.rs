//! The engine: the one type that a driver talks to.

use crate::config::{Config, Target};
use crate::event::Event;
use crate::issuers::{IssuerId, Issuers, Polled};
use crate::jose::Crypto;
use crate::judge::{Judge, Judged};
use crate::jwks::{FetchError, FetchId, JwksResponse, Outcome, Step, Written};
use crate::per_provider::ProviderId;
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

/// Decides requests, and manages the keys for that, without any I/O.
///
/// It has two kinds of methods:
///
/// * `handle_*` tell the engine what happened; each takes the time, except the end of a stream.
/// * `poll_*` return what the driver must do.
///
/// **After every input, carry out [`Self::poll_output`] until it is `None`, drain
/// [`Self::poll_event`], and call [`Self::handle_timeout`] at [`Self::poll_timeout`], or after
/// [`MAX_TIMEOUT`] if that is earlier.** Outputs may be left for later: the timeout is then due at
/// once. [`crate::driver::Driver`] does all that.
///
/// The same inputs give the same outputs; the seed stands in for randomness.
pub struct Engine {
    config: Rc<Config>,
    crypto: Crypto,
    issuers: Issuers,
    verified: TokenCache,
    waiting: Waiting,
    verdicts: VecDeque<(StreamId, Verdict)>,
    events: VecDeque<Event>,
    /// The time of the latest input.
    latest: Timestamp,
}

/// The immediate result of a request.
#[derive(Debug)]
pub enum Disposition {
    /// The verdict is final.
    Decided(Verdict),
    /// The verdict follows from [`Engine::poll_output`] within `jwksWaitTimeout`. Apply these edits
    /// at once: they are due whatever the verdict, and the engine does not keep them.
    Paused(Vec<HeaderEdit>),
}

/// Work for the driver.
#[derive(Debug)]
pub enum Output {
    /// Fetch this; pass the answer to [`Engine::handle_response`].
    Fetch(Fetch),
    /// Read an entry of the shared data; pass it to [`Engine::handle_shared`].
    ReadShared {
        /// Whose it is.
        issuer: IssuerId,
        /// The name of the entry.
        name: Rc<str>,
    },
    /// Carry out the verdict on a paused request.
    Settle(StreamId, Verdict),
    /// Write an entry of the shared data with compare-and-swap; pass the result to
    /// [`Engine::handle_written`].
    WriteShared {
        /// Whose it is.
        issuer: IssuerId,
        /// The name of the entry.
        name: Rc<str>,
        /// What to write.
        bytes: Vec<u8>,
        /// The version to replace.
        version: u32,
    },
}

/// A call to make: a GET request.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Identifies the fetch in [`Engine::handle_response`].
    pub id: FetchId,
    /// What to call.
    pub target: Target,
    /// How long to wait for the answer.
    pub timeout: Duration,
}

impl Engine {
    /// Creates an engine whose first fetches are due at once.
    #[must_use]
    pub fn new(config: Config, crypto: Crypto, seed: u64, now: Timestamp) -> Self {
        let skipped = config.providers.iter().filter_map(|(provider, of)| {
            let skipped = of.configured_keys()?.skipped.clone();
            (!skipped.is_empty()).then_some(Event::ConfiguredKeysSkipped { provider, skipped })
        });
        Self {
            crypto,
            verified: TokenCache::new(config.token_cache_entries, seed),
            waiting: Waiting::new(config.max_paused_requests),
            issuers: Issuers::new(&config, seed, now),
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

    /// Whether this request still waits for its verdict: the host must hold all of it meanwhile.
    #[must_use]
    pub fn is_paused(&self, stream: StreamId) -> bool {
        self.waiting.contains(stream) || self.verdicts.iter().any(|(other, _)| *other == stream)
    }

    /// The edits for the trailers of a request: they remove owned headers and unverified tokens.
    #[must_use]
    pub fn strip_trailers(&self, trailers: &RequestHead<'_>) -> Vec<HeaderEdit> {
        edits(&self.config, trailers, None)
    }

    /// The number of requests that wait for keys.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.waiting.len()
    }

    /// The number of trusted keys of a provider, all its tenants together.
    #[must_use]
    pub fn trusted_keys(&self, provider: ProviderId, now: Timestamp) -> usize {
        self.issuers.trusted_keys(provider, now)
    }

    /// When a fetch last brought keys of a provider, whichever tenant's; [`Timestamp::EPOCH`] if none
    /// did.
    #[must_use]
    pub fn fetched_at(&self, provider: ProviderId) -> Timestamp {
        self.issuers.fetched_at(provider)
    }

    /// Handles the head of a new request.
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
        let issuer = self.issuers.of_token(case.provider, case.tenant.as_deref(), now);
        let Some(issuer) = issuer else {
            let verdict = case.deny(&config, Reason::JwksUnavailable, Some(ADMISSION_RETRY));
            return Disposition::Decided(verdict.with_edits(edits));
        };
        let deadline = now.saturating_add(config.jwks_wait_timeout);
        let patience = Patience { since: now, deadline, miss: None };
        match self.judge(issuer, bearer, case, patience, now) {
            Ok(verdict) => Disposition::Decided(verdict.with_edits(edits)),
            Err(paused) => match self.pause(stream, paused, now) {
                Some(verdict) => Disposition::Decided(verdict.with_edits(edits)),
                None => Disposition::Paused(edits),
            },
        }
    }

    /// Pauses a request, or decides it if there is no room.
    fn pause(&mut self, stream: StreamId, paused: Box<Paused>, now: Timestamp) -> Option<Verdict> {
        let issuer = paused.issuer;
        let keys = self.issuers.get(issuer).map(|(_, issuer)| &issuer.keys);
        let is_doubtful = |Paused { patience, .. }: &Paused| {
            patience.miss.is_some()
                && keys.is_some_and(|keys| keys.has_answered_since(patience.since, now))
        };
        match self.waiting.make_room(issuer, is_doubtful) {
            Room::Free => {}
            Room::Full => return Some(self.turn_away(*paused)),
            Room::Of(displaced, oldest) => {
                let gives = oldest.issuer;
                let verdict = self.turn_away(*oldest);
                self.verdicts.push_back((displaced, verdict));
                self.tell_who_waits(gives);
            }
        }
        if paused.patience.miss.is_some() {
            self.events.push_back(Event::Missed { provider: issuer.provider() });
        }
        self.waiting.insert(stream, paused);
        self.tell_who_waits(issuer);
        None
    }

    fn turn_away(&mut self, Paused { case, patience, .. }: Paused) -> Verdict {
        if patience.miss.is_some() {
            self.events.push_back(Event::MissSuppressed { provider: case.provider });
        }
        case.deny(&self.config, Reason::Overloaded, None)
    }

    /// Handles the answer to a fetch, or its failure; ignores late ones.
    pub fn handle_response(
        &mut self,
        id: FetchId,
        result: Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) {
        self.observe(now);
        self.issuers.all_mut().any(|of| of.keys.handle_response(id, &result, now));
    }

    /// Handles a read of an issuer's shared data, and its version.
    pub fn handle_shared(
        &mut self,
        issuer: IssuerId,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) {
        self.observe(now);
        let of = self.issuers.get_mut(issuer);
        let is_news = of.is_some_and(|of| of.keys.handle_shared(shared, version, now));
        let is_crowd = self.issuers.learned(issuer, now);
        self.tell_of_crowd(issuer, is_crowd);
        if is_news {
            self.judge_waiting(issuer, now);
        }
    }

    /// Handles the result of a write to the shared data.
    pub fn handle_written(&mut self, issuer: IssuerId, written: Written, now: Timestamp) {
        self.observe(now);
        let Some(of) = self.issuers.get_mut(issuer) else { return };
        let is_proved = of.is_proved();
        let Some(outcomes) = of.keys.handle_written(written, now) else { return };
        let provider = issuer.provider();
        for outcome in outcomes {
            match outcome {
                // Clients invent such tenants.
                Outcome::Failed { error, .. } | Outcome::DiscoveryFailed { error }
                    if !is_proved =>
                {
                    if self.issuers.may_tell(provider, now) {
                        let error = error.without_texts();
                        self.events.push_back(Event::TenantFailed { provider, error });
                    }
                }
                outcome => {
                    if let Outcome::Refreshed { new_keys: 1.., .. } = outcome
                        && is_proved
                    {
                        self.issuers.handle_new_key(provider);
                    }
                    self.events.push_back(Event::of_fetch(provider, outcome));
                }
            }
        }
        self.judge_waiting(issuer, now);
    }

    /// Handles the end of a stream: its request needs no verdict any more.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        if let Some(paused) = self.waiting.remove(stream) {
            self.tell_who_waits(paused.issuer);
        }
        self.verdicts.retain(|(other, _)| *other != stream);
    }

    /// Advances the time, and judges requests whose deadline has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.observe(now);
        let overdue = self.waiting.deadlines().filter(|(_, deadline)| *deadline <= now);
        let overdue: Vec<_> = overdue.map(|(issuer, _)| issuer).collect();
        for issuer in overdue {
            self.judge_waiting(issuer, now);
        }
    }

    /// The next piece of work for the driver.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        while let Some((issuer, polled)) = self.issuers.poll(self.latest) {
            let (_, of) = self.issuers.get(issuer)?;
            let name = Rc::clone(&of.shared_name);
            match polled {
                Polled::Step(Step::Read) => return Some(Output::ReadShared { issuer, name }),
                Polled::Step(Step::Write { bytes, version }) => {
                    return Some(Output::WriteShared { issuer, name, bytes, version });
                }
                Polled::Step(Step::Call { id, target, timeout, .. }) => {
                    return Some(Output::Fetch(Fetch { id, target, timeout }));
                }
                Polled::Unshared => self.handle_written(issuer, Written::Unavailable, self.latest),
                Polled::Refused => self.turn_out(issuer),
            }
        }
        self.verdicts.pop_front().map(|(stream, verdict)| Output::Settle(stream, verdict))
    }

    /// Denies the requests that wait for a tenant which may not fetch keys now, and forgets it.
    fn turn_out(&mut self, issuer: IssuerId) {
        for (_, stream, paused) in self.waiting.take(issuer) {
            let reason = Reason::JwksUnavailable;
            let verdict = paused.case.deny(&self.config, reason, Some(ADMISSION_RETRY));
            self.verdicts.push_back((stream, verdict));
        }
        self.issuers.remove(issuer);
    }

    /// The next event to count or to log.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`], and why; `None` if nothing is pending.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let settle = (!self.verdicts.is_empty()).then_some((self.latest, "a verdict is there"));
        let deadlines = self.waiting.deadlines().map(|(_, deadline)| (deadline, "a request waits"));
        let keys = self.issuers.next_timeout(self.latest);
        keys.into_iter().chain(deadlines).chain(settle).min()
    }

    /// Records the time. When the clock steps back, every deadline stays as far away as it was.
    fn observe(&mut self, now: Timestamp) {
        let by = self.latest.saturating_since(now);
        self.latest = now;
        if by.is_zero() {
            return;
        }
        self.issuers.clock_stepped_back(by, now);
        self.waiting.clock_stepped_back(by);
        if by >= NOTABLE_CLOCK_STEP {
            self.events.push_back(Event::ClockSteppedBack { by });
        }
    }

    /// Judges again the requests that wait for an issuer's keys.
    fn judge_waiting(&mut self, issuer: IssuerId, now: Timestamp) {
        for (ticket, stream, paused) in self.waiting.take(issuer) {
            let Paused { token, case, patience, .. } = *paused;
            match self.judge(issuer, Bearer::Waiting(token), case, patience, now) {
                Ok(verdict) => self.verdicts.push_back((stream, verdict)),
                Err(paused) => self.waiting.put_back(ticket, stream, paused),
            }
        }
        self.tell_who_waits(issuer);
    }

    /// Tells an issuer's keys which requests wait for them.
    fn tell_who_waits(&mut self, issuer: IssuerId) {
        let newest = self.waiting.newest(issuer).map(|paused| &paused.patience);
        // If the newest request has no miss, it waits for any key at all: no search is needed.
        let last_miss = newest.filter(|newest| newest.miss.is_some()).map(|newest| newest.since);
        if let Some(of) = self.issuers.get_mut(issuer) {
            of.keys.set_waiting(newest.is_some(), last_miss);
        }
    }

    fn judge(
        &mut self,
        issuer: IssuerId,
        bearer: Bearer,
        case: Case<'_>,
        patience: Patience,
        now: Timestamp,
    ) -> Judged {
        let Some((provider, of)) = self.issuers.get(issuer) else {
            // Nothing drops an issuer that requests wait for.
            return Ok(case.deny(&self.config, Reason::JwksUnavailable, None));
        };
        let mut judge = Judge {
            config: &self.config,
            provider,
            keys: &of.keys,
            crypto: self.crypto,
            verified: &mut self.verified,
            events: &mut self.events,
            now,
            issuer,
            has_verified: false,
        };
        let judged = judge.judge(bearer, case, patience);
        let is_crowd = judge.has_verified && self.issuers.verified(issuer, now);
        self.tell_of_crowd(issuer, is_crowd);
        judged
    }

    fn tell_of_crowd(&mut self, issuer: IssuerId, is_crowd: bool) {
        if is_crowd {
            self.events.push_back(Event::TenantsCrowded { provider: issuer.provider() });
        }
    }
}

/// The longest time that a driver may let pass between two inputs while the engine has deadlines.
/// When the clock steps back, the time since the last input is unknown, and extends every deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_mins(1);

/// When a tenant that could not be taken in may try again.
const ADMISSION_RETRY: Duration = Duration::from_secs(1);
/// Time synchronisation moves clocks back by less than this all the time.
const NOTABLE_CLOCK_STEP: Duration = Duration::from_secs(1);
