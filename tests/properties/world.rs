//! The VMs of one proxy in virtual time, and a record of everything that happened.
//!
//! There are two clocks here. Real time only moves on, and timers run by it; the wall clock is the
//! one that the driver is told, and it may be moved.

use crate::inputs::{Balancer, Corruption, End, Issuer, Reply, Settings, Step, Story};
use crate::shared_store::SharedStore;
use crate::tokens::{KEYS, Token, issuer, jwk_set, members};
use mesh_jwt::config::Config;
use mesh_jwt::counters::Counters;
use mesh_jwt::driver::{Driver, Host};
use mesh_jwt::engine::{Disposition, Fetch};
use mesh_jwt::event::Event;
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{FetchError, JwksResponse, Written};
use mesh_jwt::metrics::Metric;
use mesh_jwt::request::StreamId;
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::time::Duration;

/// Where virtual time begins, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const PROVIDERS: usize = 2;
/// When a fetch is given up that the host never answered: `timeout` by default, and a second.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(6);
/// `jwksWaitTimeout`, as it is by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// The shortest timer that hosts offer.
pub(crate) const MIN_TICK: Duration = Duration::from_millis(1);

/// Something that happened; VMs and requests have numbers of their own, which are never used again.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// `timeout` is how far ahead the next one is.
    CarriedOut {
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
    Requested {
        request: u32,
        provider: usize,
        token: Token,
    },
    /// What was counted has been told, this long after the first of it.
    Told {
        after: Duration,
    },
    VerdictForNobody,
    VmStarted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct FetchName {
    pub(crate) vm: u32,
    pub(crate) provider: usize,
    call: u32,
}

impl FetchName {
    /// Which of all fetches it is.
    pub(crate) fn number(&self) -> (u32, u32) {
        (self.vm, self.call)
    }
}

pub(crate) struct World {
    settings: Vec<Settings>,
    vms: Vec<Vm>,
    vms_started: u32,
    requests: u32,
    /// Whether stray answers are handed over.
    hears_strays: bool,
    /// How many verified tokens each VM remembers.
    remembered_tokens: usize,
    around: Around,
}

/// What all VMs have in common, and the record.
struct Around {
    issuers: Vec<Issuer>,
    shared: SharedStore,
    /// What once stood there.
    replaced: BTreeMap<String, Vec<Vec<u8>>>,
    /// How many writes will fail.
    contended: u32,
    /// When each key was last published.
    published_at: [[Duration; KEYS]; PROVIDERS],
    fetches: usize,
    chance: fastrand::Rng,
    real: Duration,
    ahead: Duration,
    behind: Duration,
    facts: Vec<(Duration, Fact)>,
    /// How many verdicts the counters show.
    verdicts_counted: u64,
    printed: String,
}

struct Vm {
    driver: Driver,
    own: Own,
}

/// What one VM has of the host.
struct Own {
    number: u32,
    timer: Duration,
    calls: u32,
    in_flight: Vec<Call>,
    paused: Vec<u32>,
    /// When the first request came of which the counters show nothing yet.
    untold_since: Option<Duration>,
}

struct Call {
    fetch: FetchName,
    reply: Reply,
    /// `None` when the host never answers.
    at: Option<Duration>,
}

/// The host, as one VM sees it.
struct View<'a> {
    around: &'a mut Around,
    own: &'a mut Own,
}

impl Host for View<'_> {
    fn dispatch(&mut self, fetch: &Fetch) -> Result<u32, FetchError> {
        let provider = (0..PROVIDERS).find(|provider| fetch.target.cluster == cluster(*provider));
        let provider = provider.expect("a cluster that there is");
        self.own.calls += 1;
        let fetch = FetchName { vm: self.own.number, provider, call: self.own.calls };
        self.around.note(Fact::FetchDispatched { fetch });
        let Issuer { replies, latency, balancer } = &self.around.issuers[provider];
        let endpoint = match balancer {
            Balancer::Random => self.around.chance.usize(..replies.len()),
            Balancer::RoundRobin => self.around.fetches % replies.len(),
        };
        let reply = replies[endpoint].clone();
        let at = latency.map(|latency| self.around.real + latency);
        self.around.fetches += 1;
        self.own.in_flight.push(Call { fetch, reply, at });
        Ok(self.own.calls)
    }

    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32) {
        self.around.shared.read(name)
    }

    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        if self.around.contended > 0 {
            self.around.contended -= 1;
            return Written::Contended;
        }
        let (old, _) = self.read_shared(name);
        let written = self.around.shared.write(name, bytes, version);
        if written == Written::Done {
            self.around.replaced.entry(name.to_owned()).or_default().extend(old);
        }
        written
    }

    fn settle(&mut self, StreamId(request): StreamId, verdict: &Verdict) {
        self.around.print(&verdict);
        match self.own.paused.iter().position(|waiting| *waiting == request) {
            Some(at) => {
                self.own.paused.remove(at);
                self.around.note(Fact::Decided { request, code: verdict.code() });
            }
            None => self.around.note(Fact::VerdictForNobody),
        }
    }

    fn report(&mut self, event: &Event, config: &Config) {
        self.around.print(&event);
        self.around.print(&event.log_line(config));
    }

    fn tell(&mut self, counters: &mut Counters) {
        let told = counters.tell(|metric, count| {
            if matches!(metric, Metric::Allowed | Metric::Denied(_)) {
                self.around.verdicts_counted += count;
            }
            Ok::<_, Infallible>(())
        });
        assert!(told.is_ok());
        if let Some(since) = self.own.untold_since.take() {
            self.around.note(Fact::Told { after: self.around.real - since });
        }
    }

    fn set_timer(&mut self, delay: Duration) {
        self.own.timer = self.around.real + delay.max(MIN_TICK);
    }
}

impl Around {
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

impl World {
    pub(crate) fn new(story: &Story, remembered_tokens: usize) -> Self {
        let healthy = Issuer {
            replies: vec![Reply::Set { keys: 0b001, max_age: None }],
            latency: Some(Duration::from_millis(20)),
            balancer: Balancer::RoundRobin,
        };
        let mut world = Self {
            settings: story.settings.clone(),
            vms: Vec::new(),
            vms_started: 0,
            requests: 0,
            hears_strays: true,
            remembered_tokens,
            around: Around {
                issuers: vec![healthy; PROVIDERS],
                shared: SharedStore::default(),
                replaced: BTreeMap::new(),
                contended: 0,
                published_at: [[Duration::ZERO; KEYS]; PROVIDERS],
                fetches: 0,
                chance: fastrand::Rng::with_seed(story.seed),
                real: Duration::ZERO,
                ahead: Duration::ZERO,
                behind: Duration::ZERO,
                facts: Vec::new(),
                verdicts_counted: 0,
                printed: String::new(),
            },
        };
        for _ in 0..story.vms {
            let vm = world.start_vm();
            world.vms.push(vm);
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

    pub(crate) fn facts(&self) -> &[(Duration, Fact)] {
        &self.around.facts
    }

    /// Everything that the drivers handed out, as it prints itself.
    pub(crate) fn printed(&self) -> &str {
        &self.around.printed
    }

    /// How many verdicts the counters show.
    pub(crate) fn verdicts_counted(&self) -> u64 {
        self.around.verdicts_counted
    }

    pub(crate) fn vms(&self) -> usize {
        self.vms.len()
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        let vms = self.vms.len();
        match step {
            Step::Close { vm, nth } => {
                let vm = &mut self.vms[vm % vms];
                if !vm.own.paused.is_empty() {
                    let request = vm.own.paused.remove(nth % vm.own.paused.len());
                    vm.driver.handle_stream_closed(StreamId(request));
                    self.around.note(Fact::Closed { request });
                }
            }
            Step::Contend { writes } => self.around.contended = *writes,
            Step::Corrupt { provider, how } => self.corrupt(*provider, *how),
            Step::Issuer { provider, issuer } => self.around.issuers[*provider] = issuer.clone(),
            Step::JumpAhead(by) => {
                self.around.ahead += *by;
                self.around.note(Fact::ClockJumpedAhead);
            }
            Step::Pass(duration) => self.pass(*duration),
            Step::Request { vm, provider, token } => {
                self.request(vm % vms, *provider, *token);
            }
            Step::Restart { vm } => {
                let index = vm % vms;
                let vm = self.start_vm();
                let mut old = std::mem::replace(&mut self.vms[index], vm);
                old.driver.tell(&mut View { around: &mut self.around, own: &mut old.own });
                for request in old.own.paused {
                    self.around.note(Fact::Closed { request });
                }
            }
            Step::TurnBack(by) => {
                self.around.behind += *by;
                self.around.note(Fact::ClockSteppedBack { by: *by });
            }
            Step::Stray { vm, nth, reply } => self.stray(vm % vms, *nth, reply),
            Step::TryEnd { vm, provider, key, end, again_after } => {
                let Settings { cache, stale, .. } = self.settings[*provider];
                let trusted_for = match end {
                    End::Cache => cache,
                    End::Stale => cache + stale,
                };
                let end = self.around.published_at[*provider][*key] + trusted_for;
                self.pass((end - MIN_TICK).saturating_sub(self.around.real));
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
        self.around.note(Fact::Requested { request, provider, token });
        let token = format!("Bearer {}", token.compact(provider));
        let headers = [(":method", "GET"), (":path", "/"), ("authorization", token.as_str())];
        let head = headers.into_iter().map(|(name, value)| (name, value.as_bytes())).collect();
        let now = self.around.now();
        let Vm { driver, own } = &mut self.vms[index];
        own.untold_since.get_or_insert(self.around.real);
        let mut view = View { around: &mut self.around, own };
        let disposition = driver.handle_request(StreamId(request), &head, &mut view, now);
        self.around.print(&disposition);
        match disposition {
            Disposition::Decided(verdict) => {
                self.around.note(Fact::Decided { request, code: verdict.code() });
            }
            Disposition::Paused(_) => own.paused.push(request),
        }
        request
    }

    pub(crate) fn code_of(&self, request: u32) -> Option<&'static str> {
        self.facts().iter().find_map(|(_, fact)| match fact {
            Fact::Decided { request: decided, code } if *decided == request => Some(*code),
            _ => None,
        })
    }

    /// Lets real time pass, with everything that falls into it.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.around.real + duration;
        while let Some((at, index)) = self.next_timer().filter(|(at, _)| *at <= end) {
            self.around.real = self.around.real.max(at);
            let due = |call: &Call| call.at.is_some_and(|at| at <= self.around.real);
            match self.vms[index].own.in_flight.iter().position(due) {
                Some(call) => self.answer(index, call),
                None => self.tick(index),
            }
        }
        self.around.real = end;
    }

    fn next_timer(&self) -> Option<(Duration, usize)> {
        let times = self.vms.iter().enumerate().map(|(index, Vm { own, .. })| {
            let answers = own.in_flight.iter().filter_map(|call| call.at);
            (answers.chain([own.timer]).min().unwrap_or(own.timer), index)
        });
        times.min()
    }

    fn tick(&mut self, index: usize) {
        let now = self.around.now();
        let Vm { driver, own } = &mut self.vms[index];
        driver.handle_timeout(&mut View { around: &mut self.around, own }, now);
        self.note_timeout(index, true);
    }

    fn answer(&mut self, index: usize, call: usize) {
        let Call { fetch, reply, .. } = self.vms[index].own.in_flight.remove(call);
        self.around.note(Fact::FetchAnswered { fetch, reply: reply.clone() });
        if let Reply::Set { keys, .. } = reply {
            for key in members(keys) {
                self.around.published_at[fetch.provider][key] = self.around.real;
            }
        }
        self.hand_over(index, fetch.call, &reply);
        self.note_timeout(index, false);
    }

    fn note_timeout(&mut self, index: usize, after_timeout: bool) {
        let next = self.vms[index].driver.engine().poll_timeout();
        let (at, why) = next.expect("something to fetch");
        let timeout = at.saturating_since(self.around.now());
        self.around.print(&(timeout, why));
        self.around.note(Fact::CarriedOut { after_timeout, timeout });
    }

    fn hand_over(&mut self, index: usize, call: u32, reply: &Reply) {
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
        let now = self.around.now();
        let Vm { driver, own } = &mut self.vms[index];
        driver.handle_response(call, result, &mut View { around: &mut self.around, own }, now);
    }

    /// A tick comes with it, so that only the answer can make a difference.
    fn stray(&mut self, index: usize, nth: usize, reply: &Reply) {
        let own = &self.vms[index].own;
        let is_over = |call: &u32| own.in_flight.iter().all(|other| other.fetch.call != *call);
        let past: Vec<_> = (1..=own.calls).filter(is_over).collect();
        // There is always one more that nobody has made yet.
        let call = past.get(nth % (past.len() + 1)).copied().unwrap_or(u32::MAX);
        if self.hears_strays {
            self.hand_over(index, call, reply);
        }
        self.tick(index);
    }

    fn corrupt(&mut self, provider: usize, how: Corruption) {
        let is_of = |name: &&String| name.contains(&cluster(provider));
        let Around { shared, replaced, .. } = &mut self.around;
        let Some(name) = replaced.keys().find(is_of) else { return };
        let (there, version) = shared.read(name);
        let there = there.unwrap_or_default();
        let bytes = match how {
            Corruption::Cut => there[..there.len() / 2].to_vec(),
            // Hosts cannot remove what was written.
            Corruption::Erase => Vec::new(),
            Corruption::Garbage => b"\xff{}".to_vec(),
            Corruption::Replay => {
                let old = &replaced[name];
                old.get(old.len() / 2).cloned().unwrap_or_default()
            }
        };
        shared.write(name, &bytes, version);
    }

    fn start_vm(&mut self) -> Vm {
        let providers = self.settings.iter().enumerate().map(|(provider, settings)| {
            json!({
                "name": format!("provider-{provider}"),
                "issuer": issuer(provider),
                "jwksUri": format!("https://issuer-{provider}.example.com/jwks"),
                "jwksCluster": cluster(provider),
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
        let config = Config::parse(config.to_string().as_bytes()).expect("a good configuration");
        let number = self.vms_started;
        self.vms_started += 1;
        self.around.note(Fact::VmStarted);
        let now = self.around.now();
        let timer = self.around.real;
        let mut own = Own {
            number,
            timer,
            calls: 0,
            in_flight: Vec::new(),
            paused: Vec::new(),
            untold_since: None,
        };
        let mut view = View { around: &mut self.around, own: &mut own };
        let driver = Driver::new(config, Crypto::Module, u64::from(number), &mut view, now);
        Vm { driver, own }
    }
}

fn cluster(provider: usize) -> String {
    format!("issuer-{provider}")
}

/// Fewer than the good tokens that there are, so that some have to go.
const REMEMBERED_TOKENS: usize = 3;
