//! A driver for the engine in virtual time, which keeps the contract and checks the engine's side.

use crate::token::{Key, Token};
use mesh_jwt::config::Config;
use mesh_jwt::engine::{Disposition, Engine, Fetch, MAX_TIMEOUT, StreamId};
use mesh_jwt::event::Event;
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{Consultation, FetchError, JwksResponse};
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Where virtual time begins, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;

/// What the VMs of one proxy share, by provider.
pub(crate) type SharedData = Rc<RefCell<BTreeMap<usize, Vec<u8>>>>;

pub(crate) struct Sim {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    /// The fetches that are not answered yet.
    pub(crate) in_flight: Vec<Fetch>,
    /// The fetches that another VM is carrying out.
    waiting: Vec<Fetch>,
    shared: SharedData,
    last_answer: (u16, String),
    /// When each fetch began.
    pub(crate) fetched_at: Vec<Duration>,
    /// The verdicts on paused requests.
    pub(crate) verdicts: BTreeMap<u32, Verdict>,
    pub(crate) events: Vec<Event>,
    /// Everything that the engine handed out, as it prints itself.
    pub(crate) printed: String,
}

impl Sim {
    pub(crate) fn new(config: &Value) -> Self {
        Self::sharing(config, &SharedData::default(), START)
    }

    /// A VM that starts in a proxy where others may be running.
    pub(crate) fn sharing(config: &Value, shared: &SharedData, start: u64) -> Self {
        let config = Config::parse(config.to_string().as_bytes()).expect("a good configuration");
        let now = Timestamp::from_secs(start);
        let mut sim = Self {
            engine: Engine::new(config, Crypto::Module, 7, now),
            waiting: Vec::new(),
            shared: SharedData::clone(shared),
            now,
            in_flight: Vec::new(),
            last_answer: (503, String::new()),
            fetched_at: Vec::new(),
            verdicts: BTreeMap::new(),
            events: Vec::new(),
            printed: String::new(),
        };
        sim.drain();
        sim
    }

    /// From now on it is a VM of this proxy.
    pub(crate) fn shared_with(&mut self, shared: &SharedData) {
        self.shared = SharedData::clone(shared);
    }

    /// Sends a request; the verdict, unless it is paused.
    pub(crate) fn send(&mut self, stream: u32, headers: &[(&str, &str)]) -> Option<Verdict> {
        let request = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        let disposition = self.engine.handle_request(StreamId(stream), &request, self.now);
        self.print(&disposition);
        self.drain();
        match disposition {
            Disposition::Decided(verdict) => Some(verdict),
            Disposition::Paused => None,
        }
    }

    /// Sends a GET request for `/` with this token.
    pub(crate) fn send_token(&mut self, stream: u32, token: &str) -> Option<Verdict> {
        let bearer = format!("Bearer {token}");
        self.send(stream, &[(":method", "GET"), (":path", "/"), ("authorization", &bearer)])
    }

    /// What becomes of a request, while the issuer answers at once what it answered last.
    pub(crate) fn decide(&mut self, token: &str) -> &'static str {
        let verdict = self.send_token(0, token);
        self.code_of(0, verdict)
    }

    /// What becomes of a request that may be paused; see [`Self::decide`].
    pub(crate) fn code_of(&mut self, stream: u32, verdict: Option<Verdict>) -> &'static str {
        if let Some(verdict) = verdict {
            return verdict.code();
        }
        while self.engine.is_paused(StreamId(stream)) {
            self.run(Duration::from_millis(100), Self::answer_again);
        }
        self.verdict(stream)
    }

    pub(crate) fn answer_again(&mut self) {
        let (status, body) = self.last_answer.clone();
        self.answer(status, None, &body);
    }

    /// What became of a request that was paused.
    pub(crate) fn verdict(&mut self, stream: u32) -> &'static str {
        self.verdicts.remove(&stream).map_or("paused", |verdict| verdict.code())
    }

    /// Answers the oldest fetch.
    pub(crate) fn answer(&mut self, status: u16, cache_control: Option<&str>, body: &str) {
        let fetch = self.in_flight.remove(0);
        self.last_answer = (status, body.to_owned());
        let response = JwksResponse { status, body: body.as_bytes(), cache_control };
        self.engine.handle_response(fetch.id, Ok(response), self.now);
        self.share(&fetch);
        self.drain();
    }

    /// Answers the oldest fetch with a set of these keys.
    pub(crate) fn publish(&mut self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.answer(200, None, &json!({ "keys": keys }).to_string());
    }

    pub(crate) fn fail(&mut self) {
        let fetch = self.in_flight.remove(0);
        self.engine.handle_response(fetch.id, Err(FetchError::Reset), self.now);
        self.share(&fetch);
        self.drain();
    }

    fn share(&mut self, fetch: &Fetch) {
        let mut shared = self.shared.borrow_mut();
        let before = shared.get(&fetch.provider).map(Vec::as_slice);
        let after = self.engine.publication(fetch.provider, before, self.now).expect("a provider");
        shared.insert(fetch.provider, after);
    }

    fn begin(&mut self, fetch: Fetch) {
        let mut shared = self.shared.borrow_mut();
        let before = shared.get(&fetch.provider).map(Vec::as_slice);
        match self.engine.handle_shared(&fetch, before, self.now) {
            Consultation::Answered => {}
            Consultation::Busy => self.waiting.push(fetch),
            Consultation::Lead(lease) => {
                shared.insert(fetch.provider, lease);
                self.fetched_at.push(self.elapsed());
                self.in_flight.push(fetch);
            }
        }
    }

    /// Looks whether another VM has finished its fetch, or has keys when this one has none.
    pub(crate) fn poll_shared(&mut self) {
        for fetch in std::mem::take(&mut self.waiting) {
            self.begin(fetch);
        }
        let lacking: Vec<_> = self.engine.lacking_keys(self.now).collect();
        for provider in lacking {
            if let Some(shared) = self.shared.borrow().get(&provider) {
                self.engine.handle_news(provider, shared, self.now);
            }
        }
        self.drain();
    }

    /// Lets time pass; `on_fetch` answers the fetches that begin meanwhile.
    pub(crate) fn run(&mut self, duration: Duration, mut on_fetch: impl FnMut(&mut Self)) {
        let end = self.now.saturating_add(duration);
        loop {
            while !self.in_flight.is_empty() {
                let before = self.in_flight.len();
                on_fetch(self);
                if self.in_flight.len() >= before {
                    break;
                }
            }
            let tick = self.now.saturating_add(MAX_TIMEOUT);
            match self.engine.poll_timeout() {
                Some((at, _)) if at.min(tick) <= end => self.now = self.now.max(at.min(tick)),
                _ => break,
            }
            self.engine.handle_timeout(self.now);
            self.drain();
            let next = self.engine.poll_timeout();
            assert!(
                next.is_none_or(|(at, _)| at > self.now) || !self.in_flight.is_empty(),
                "a busy loop: {next:?} at {:?}",
                self.now
            );
        }
        self.now = end;
    }

    /// Lets time pass while no fetch is answered.
    pub(crate) fn wait(&mut self, duration: Duration) {
        self.run(duration, |_| {});
    }

    /// Moves the clock, as an administrator would.
    pub(crate) fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
        self.engine.handle_timeout(now);
        self.drain();
    }

    pub(crate) fn close(&mut self, stream: u32) {
        self.engine.handle_stream_closed(StreamId(stream));
        self.drain();
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now.saturating_since(Timestamp::from_secs(START))
    }

    fn drain(&mut self) {
        while let Some(fetch) = self.engine.poll_fetch(self.now) {
            self.print(&fetch);
            self.begin(fetch);
        }
        while let Some((stream, verdict)) = self.engine.poll_verdict() {
            self.print(&verdict);
            let earlier = self.verdicts.insert(stream.0, verdict);
            assert!(earlier.is_none(), "two verdicts on one request");
        }
        while let Some(event) = self.engine.poll_event() {
            self.print(&event);
            let line = event.log_line(self.engine.config());
            self.print(&line);
            self.events.push(event);
        }
    }

    fn print(&mut self, output: &dyn std::fmt::Debug) {
        self.printed.push_str(&format!("{output:?}\n"));
    }
}

/// One provider with fetched keys, and these fields beside.
pub(crate) fn config(provider: Value, top: Value) -> Value {
    let mut config = json!({
        "providers": [{
            "name": "wealist",
            "issuer": crate::token::ISSUER,
            "jwksUri": "https://auth.example.com/jwks",
        }],
    });
    let merge = |into: &mut Value, from: Value| {
        for (name, value) in from.as_object().expect("an object") {
            into[name] = value.clone();
        }
    };
    merge(&mut config["providers"][0], provider);
    merge(&mut config, top);
    config
}

/// A token that is good for a year of virtual time.
pub(crate) fn token() -> Token {
    Token::good().claim("iat", START).claim("exp", START + 31_536_000)
}
