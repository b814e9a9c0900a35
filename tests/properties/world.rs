//! The VMs of one proxy in virtual time, and a record of everything that happened.
//!
//! There are two clocks here. Real time only moves on, and timers run by it; the wall clock is the
//! one that the engine is told, and it may be moved.

use crate::inputs::{Corruption, End, Issuer, Reply, Settings, Step, Story};
use crate::tokens::{KEYS, Token, issuer, jwk_set, members};
use mesh_jwt::config::Config;
use mesh_jwt::engine::{Disposition, Engine, Fetch, MAX_TIMEOUT, StreamId};
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{Consultation, FetchError, FetchId, JwksResponse};
use mesh_jwt::time::Timestamp;
use serde_json::json;
use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Duration;

/// Where virtual time begins, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const PROVIDERS: usize = 2;
/// `timeout`, as it is by default.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// When a fetch is given up that the host never answered.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(6);
/// `jwksWaitTimeout`, as it is by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// The shortest timer that hosts offer.
pub(crate) const MIN_TICK: Duration = Duration::from_millis(1);
/// How often a VM looks whether another one has finished its fetch. It really does so every 10 ms,
/// which would change nothing but how long these tests take.
const SHARED_DATA_POLL: Duration = Duration::from_millis(500);

/// Something that happened; VMs and requests have numbers of their own, which are never used again.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// `timeout` is how far ahead the next one is.
    Drained {
        after_timeout: bool,
        timeout: Duration,
    },
    ClockJumpedAhead,
    ClockSteppedBack {
        by: Duration,
    },
    Closed {
        request: u32,
    },
    Decided {
        request: u32,
        code: &'static str,
    },
    FetchAnswered {
        fetch: FetchName,
        reply: Reply,
    },
    FetchDispatched {
        fetch: FetchName,
    },
    /// Another VM had answered it.
    FetchSpared {
        fetch: FetchName,
    },
    FetchWanted {
        fetch: FetchName,
    },
    Requested {
        request: u32,
        provider: usize,
        token: Token,
    },
    VerdictForNobody,
    VmStarted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FetchName {
    pub(crate) vm: u32,
    pub(crate) provider: usize,
    id: FetchId,
}

pub(crate) struct World {
    settings: Vec<Settings>,
    issuers: Vec<Issuer>,
    shared: Vec<Option<Vec<u8>>>,
    /// What once stood in the shared data.
    replaced: Vec<Vec<Vec<u8>>>,
    /// When each key was last published.
    published_at: [[Duration; KEYS]; PROVIDERS],
    vms: Vec<Vm>,
    vms_started: u32,
    requests: u32,
    fetches: usize,
    real: Duration,
    ahead: Duration,
    behind: Duration,
    /// Whether stray answers are handed over.
    hears_strays: bool,
    /// How many verified tokens each VM remembers.
    remembered_tokens: usize,
    pub(crate) facts: Vec<(Duration, Fact)>,
    /// Everything that the engines handed out, as it prints itself.
    pub(crate) printed: String,
}

struct Vm {
    number: u32,
    engine: Engine,
    timer: Duration,
    in_flight: Vec<Call>,
    /// The fetches that another VM is carrying out.
    waiting: Vec<Fetch>,
    /// Everything it ever wanted to fetch.
    wanted: Vec<FetchId>,
    paused: Vec<u32>,
}

struct Call {
    fetch: Fetch,
    reply: Reply,
    /// `None` when the host never answers.
    at: Option<Duration>,
}

impl World {
    pub(crate) fn new(story: &Story, remembered_tokens: usize) -> Self {
        let healthy = Issuer {
            replies: vec![Reply::Set { keys: 0b001, max_age: None }],
            latency: Some(Duration::from_millis(20)),
        };
        let mut world = Self {
            settings: story.settings.clone(),
            issuers: vec![healthy; PROVIDERS],
            shared: vec![None; PROVIDERS],
            replaced: vec![Vec::new(); PROVIDERS],
            published_at: [[Duration::ZERO; KEYS]; PROVIDERS],
            vms: Vec::new(),
            vms_started: 0,
            requests: 0,
            fetches: 0,
            real: Duration::ZERO,
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            hears_strays: true,
            remembered_tokens,
            facts: Vec::new(),
            printed: String::new(),
        };
        for index in 0..story.vms {
            let vm = world.start_vm();
            world.vms.push(vm);
            world.drain(index, false);
        }
        world
    }

    /// The world after a story.
    pub(crate) fn after(story: &Story) -> Self {
        Self::new(story, REMEMBERED_TOKENS).tell(story)
    }

    /// The world after a story in which every signature is checked.
    pub(crate) fn forgetful(story: &Story) -> Self {
        Self::new(story, 0).tell(story)
    }

    /// The world after a story of which it has not heard the stray answers.
    pub(crate) fn deaf_to_strays(story: &Story) -> Self {
        let mut world = Self::new(story, REMEMBERED_TOKENS);
        world.hears_strays = false;
        world.tell(story)
    }

    fn tell(mut self, story: &Story) -> Self {
        for step in &story.steps {
            self.apply(step);
        }
        self
    }

    pub(crate) fn vms(&self) -> usize {
        self.vms.len()
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        let vms = self.vms.len();
        match step {
            Step::Close { vm, nth } => {
                let vm = &mut self.vms[vm % vms];
                if !vm.paused.is_empty() {
                    let request = vm.paused.remove(nth % vm.paused.len());
                    vm.engine.handle_stream_closed(StreamId(request));
                    self.note(Fact::Closed { request });
                }
            }
            Step::Corrupt { provider, how } => self.corrupt(*provider, *how),
            Step::Issuer { provider, issuer } => self.issuers[*provider] = issuer.clone(),
            Step::JumpAhead(by) => {
                self.ahead += *by;
                self.note(Fact::ClockJumpedAhead);
            }
            Step::Pass(duration) => self.pass(*duration),
            Step::Request { vm, provider, token } => {
                self.request(vm % vms, *provider, *token);
            }
            Step::Restart { vm } => {
                let index = vm % vms;
                let vm = self.start_vm();
                let old = std::mem::replace(&mut self.vms[index], vm);
                for request in old.paused {
                    self.note(Fact::Closed { request });
                }
                self.drain(index, false);
            }
            Step::TurnBack(by) => {
                self.behind += *by;
                self.note(Fact::ClockSteppedBack { by: *by });
            }
            Step::Stray { vm, nth, reply } => self.stray(vm % vms, *nth, reply),
            Step::TryEnd { vm, provider, key, end, again_after } => {
                let Settings { cache, stale, .. } = self.settings[*provider];
                let trusted_for = match end {
                    End::Cache => cache,
                    End::Stale => cache + stale,
                };
                let end = self.published_at[*provider][*key] + trusted_for;
                self.pass((end - MIN_TICK).saturating_sub(self.real));
                self.request(vm % vms, *provider, Token::Good { key: *key });
                self.pass(*again_after);
                self.request(vm % vms, *provider, Token::Good { key: *key });
            }
        }
    }

    /// Sends a request; its number.
    pub(crate) fn request(&mut self, index: usize, provider: usize, token: Token) -> u32 {
        let request = self.requests;
        self.requests += 1;
        self.note(Fact::Requested { request, provider, token });
        let token = format!("Bearer {}", token.compact(provider));
        let headers = [(":method", "GET"), (":path", "/"), ("authorization", token.as_str())];
        let head = headers.into_iter().map(|(name, value)| (name, value.as_bytes())).collect();
        let now = self.now();
        let disposition = self.vms[index].engine.handle_request(StreamId(request), &head, now);
        self.print(&disposition);
        match disposition {
            Disposition::Decided(verdict) => {
                self.note(Fact::Decided { request, code: verdict.code() });
            }
            Disposition::Paused => self.vms[index].paused.push(request),
        }
        self.drain(index, false);
        request
    }

    pub(crate) fn code_of(&self, request: u32) -> Option<&'static str> {
        self.facts.iter().find_map(|(_, fact)| match fact {
            Fact::Decided { request: decided, code } if *decided == request => Some(*code),
            _ => None,
        })
    }

    /// Lets real time pass, with everything that falls into it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.real + duration;
        while let Some((at, index)) = self.next_timer().filter(|(at, _)| *at <= end) {
            self.real = self.real.max(at);
            let due = |call: &Call| call.at.is_some_and(|at| at <= self.real);
            match self.vms[index].in_flight.iter().position(due) {
                Some(call) => {
                    let call = self.vms[index].in_flight.remove(call);
                    self.answer(index, call);
                    self.drain(index, false);
                }
                None => self.tick(index),
            }
        }
        self.real = end;
    }

    fn next_timer(&self) -> Option<(Duration, usize)> {
        let times = self.vms.iter().enumerate().map(|(index, vm)| {
            let answers = vm.in_flight.iter().filter_map(|call| call.at);
            (answers.chain([vm.timer]).min().unwrap_or(vm.timer), index)
        });
        times.min()
    }

    fn tick(&mut self, index: usize) {
        let now = self.now();
        self.vms[index].engine.handle_timeout(now);
        self.drain(index, true);
    }

    fn answer(&mut self, index: usize, Call { fetch, reply, .. }: Call) {
        let name = self.name(index, &fetch);
        self.note(Fact::FetchAnswered { fetch: name, reply: reply.clone() });
        if let Reply::Set { keys, .. } = reply {
            for key in members(keys) {
                self.published_at[fetch.provider][key] = self.real;
            }
        }
        self.hand_over(index, fetch.id, &reply);
        let (now, provider) = (self.now(), fetch.provider);
        let shared = self.shared[provider].as_deref();
        let news = self.vms[index].engine.publication(provider, shared, now).expect("a provider");
        self.write(provider, news);
    }

    fn hand_over(&mut self, index: usize, id: FetchId, reply: &Reply) {
        let (status, body, cache_control) = match reply {
            Reply::Error => (0, String::new(), None),
            Reply::Garbage => (200, r#"{"keys":"#.to_owned(), None),
            Reply::Set { keys, max_age } => {
                (200, jwk_set(*keys), max_age.map(|seconds| format!("max-age={seconds}")))
            }
            Reply::Status(status) => (*status, jwk_set(0b111), None),
        };
        let response =
            JwksResponse { status, body: body.as_bytes(), cache_control: cache_control.as_deref() };
        let result = if *reply == Reply::Error { Err(FetchError::Reset) } else { Ok(response) };
        let now = self.now();
        self.vms[index].engine.handle_response(id, result, now);
    }

    /// A tick comes with it, so that only the answer can make a difference.
    fn stray(&mut self, index: usize, nth: usize, reply: &Reply) {
        let vm = &self.vms[index];
        let is_awaited = |id: &FetchId| {
            vm.in_flight.iter().map(|call| &call.fetch).chain(&vm.waiting).any(|f| f.id == *id)
        };
        let past: Vec<_> = vm.wanted.iter().copied().filter(|id| !is_awaited(id)).collect();
        // There is always one more that nobody has wanted yet.
        let id = past.get(nth % (past.len() + 1)).copied().unwrap_or_else(foreign_fetch);
        if self.hears_strays {
            self.hand_over(index, id, reply);
        }
        self.tick(index);
    }

    fn corrupt(&mut self, provider: usize, how: Corruption) {
        let shared = &mut self.shared[provider];
        match how {
            Corruption::Cut => {
                if let Some(bytes) = shared {
                    bytes.truncate(bytes.len() / 2);
                }
            }
            Corruption::Erase => *shared = None,
            Corruption::Garbage => *shared = Some(b"\xff{}".to_vec()),
            Corruption::Replay => {
                let old = &self.replaced[provider];
                *shared = old.get(old.len() / 2).cloned();
            }
        }
    }

    fn start_vm(&mut self) -> Vm {
        let providers = self.settings.iter().enumerate().map(|(provider, settings)| {
            json!({
                "name": format!("provider-{provider}"),
                "issuer": issuer(provider),
                "jwksUri": format!("https://issuer-{provider}.example.com/jwks"),
                "cacheDuration": format!("{}s", settings.cache.as_secs()),
                "staleDuration": format!("{}s", settings.stale.as_secs()),
                "refetchCooldown": format!("{}s", settings.cooldown.as_secs()),
                "outputPayloadToHeader": "x-jwt-payload",
            })
        });
        let config = json!({
            "providers": providers.collect::<Vec<_>>(),
            "tokenCache": { "maxEntries": self.remembered_tokens },
        });
        let config = config.to_string();
        let config = Config::parse(config.as_bytes()).expect("a good configuration");
        let number = self.vms_started;
        self.vms_started += 1;
        self.note(Fact::VmStarted);
        Vm {
            number,
            engine: Engine::new(config, Crypto::Module, u64::from(number), self.now()),
            timer: self.real,
            in_flight: Vec::new(),
            waiting: Vec::new(),
            wanted: Vec::new(),
            paused: Vec::new(),
        }
    }

    /// Carries out everything that an input has made due, in the order that the contract names.
    fn drain(&mut self, index: usize, after_timeout: bool) {
        for fetch in std::mem::take(&mut self.vms[index].waiting) {
            self.begin(index, fetch);
        }
        let now = self.now();
        while let Some(fetch) = self.vms[index].engine.poll_fetch(now) {
            self.print(&fetch);
            let name = self.name(index, &fetch);
            self.note(Fact::FetchWanted { fetch: name });
            self.vms[index].wanted.push(fetch.id);
            self.begin(index, fetch);
        }
        while let Some((StreamId(request), verdict)) = self.vms[index].engine.poll_verdict() {
            self.print(&verdict);
            let paused = &mut self.vms[index].paused;
            match paused.iter().position(|waiting| *waiting == request) {
                Some(at) => {
                    paused.remove(at);
                    self.note(Fact::Decided { request, code: verdict.code() });
                }
                None => self.note(Fact::VerdictForNobody),
            }
        }
        while let Some(event) = self.vms[index].engine.poll_event() {
            self.print(&event);
            let line = event.log_line(self.vms[index].engine.config());
            self.print(&line);
        }
        let (at, why) = self.vms[index].engine.poll_timeout().expect("something to fetch");
        let timeout = at.saturating_since(now);
        self.print(&(timeout, why));
        self.note(Fact::Drained { after_timeout, timeout });
        let vm = &mut self.vms[index];
        let next = timeout.clamp(MIN_TICK, MAX_TIMEOUT);
        vm.timer =
            self.real + if vm.waiting.is_empty() { next } else { next.min(SHARED_DATA_POLL) };
    }

    fn begin(&mut self, index: usize, fetch: Fetch) {
        let (now, provider) = (self.now(), fetch.provider);
        let name = self.name(index, &fetch);
        let shared = self.shared[provider].as_deref();
        match self.vms[index].engine.handle_shared(&fetch, shared, now) {
            Consultation::Answered => self.note(Fact::FetchSpared { fetch: name }),
            Consultation::Busy => self.vms[index].waiting.push(fetch),
            Consultation::Lead(lease) => {
                self.write(provider, lease);
                self.note(Fact::FetchDispatched { fetch: name });
                let issuer = &self.issuers[provider];
                let reply = issuer.replies[self.fetches % issuer.replies.len()].clone();
                let at = issuer.latency.map(|latency| self.real + latency);
                self.fetches += 1;
                self.vms[index].in_flight.push(Call { fetch, reply, at });
            }
        }
    }

    fn write(&mut self, provider: usize, bytes: Vec<u8>) {
        self.replaced[provider].extend(self.shared[provider].replace(bytes));
    }

    fn name(&self, index: usize, fetch: &Fetch) -> FetchName {
        FetchName { vm: self.vms[index].number, provider: fetch.provider, id: fetch.id }
    }

    fn now(&self) -> Timestamp {
        let unmoved = Timestamp::from_secs(START).saturating_add(self.real);
        unmoved.saturating_add(self.ahead).saturating_sub(self.behind)
    }

    fn note(&mut self, fact: Fact) {
        self.facts.push((self.real, fact));
    }

    fn print(&mut self, output: &dyn Debug) {
        self.printed.push_str(&format!("{output:?}\n"));
    }
}

/// Fewer than the good tokens that there are, so that some have to go.
const REMEMBERED_TOKENS: usize = 3;

/// The name of a fetch that no engine here will ever want.
fn foreign_fetch() -> FetchId {
    static FOREIGN: OnceLock<FetchId> = OnceLock::new();
    *FOREIGN.get_or_init(|| {
        let config = br#"{"providers":[{"issuer":"https://x","jwksUri":"https://x/jwks"}]}"#;
        let mut now = Timestamp::from_secs(START);
        let mut engine =
            Engine::new(Config::parse(config).expect("a good one"), Crypto::Module, 0, now);
        let mut next = || {
            let fetch = engine.poll_fetch(now).expect("another attempt");
            engine.handle_response(fetch.id, Err(FetchError::Reset), now);
            now = now.saturating_add(MAX_TIMEOUT);
            fetch.id
        };
        (0..20_000).map(|_| next()).last().expect("a fetch")
    })
}
