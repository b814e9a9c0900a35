//! A proxy with several workers in virtual time, and an issuer behind a balancer.

use crate::issuer::{IssuerPods, PodId};
use crate::keys::crypto;
use crate::shared_store::SharedStore;
use mesh_jwt::config::Config;
use mesh_jwt::counters::Counters;
use mesh_jwt::driver::{Driver, Host};
use mesh_jwt::engine::{Disposition, Fetch};
use mesh_jwt::event::Event;
use mesh_jwt::jwks::{FetchError, JwksResponse, Written};
use mesh_jwt::request::StreamId;
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Where virtual time begins, in seconds since the epoch.
const START: u64 = 1_800_000_000;

/// What became of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) code: &'static str,
    pub(crate) waited: Duration,
}

pub(crate) struct Proxy {
    workers: Vec<Worker>,
    shared: Shared,
}

struct Worker {
    driver: Driver,
    /// When the timer runs out; other entries of the agenda are void.
    wakes_at: Duration,
}

/// What the workers have in common.
struct Shared {
    now: Duration,
    data: SharedStore,
    /// The issuer that rotates; the other one hangs once it is told to.
    issuer: IssuerPods,
    hangs: bool,
    chance: fastrand::Rng,
    agenda: BinaryHeap<Reverse<(Duration, u64, Entry)>>,
    entries: u64,
    calls: u32,
    reached: BTreeMap<u32, Option<PodId>>,
    /// When each fetch of the issuer began.
    fetched_at: Vec<Duration>,
    waiting: BTreeMap<u32, (u64, Duration)>,
    /// By the tag of its sender.
    outcomes: Vec<(u64, Outcome)>,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Entry {
    Answer { worker: usize, call: u32 },
    Timer { worker: usize },
}

/// The host, as one worker sees it.
struct View<'a> {
    shared: &'a mut Shared,
    worker: usize,
    wakes_at: &'a mut Duration,
}

impl Host for View<'_> {
    fn dispatch(&mut self, fetch: &Fetch) -> Result<u32, FetchError> {
        let Shared { now, issuer, hangs, chance, .. } = &mut *self.shared;
        let is_other = fetch.target.cluster == OTHER;
        let (pod, latency) = match is_other {
            true => (None, IssuerPods::latency(chance)),
            false => {
                let (pod, latency) = issuer.reach(self.worker, chance);
                (Some(pod), latency)
            }
        };
        let at = *now + latency;
        let is_answered = !(is_other && *hangs);
        self.shared.calls += 1;
        let call = self.shared.calls;
        self.shared.reached.insert(call, pod);
        if !is_other {
            self.shared.fetched_at.push(self.shared.now);
        }
        if is_answered {
            self.shared.schedule(at, Entry::Answer { worker: self.worker, call });
        }
        Ok(call)
    }

    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32) {
        self.shared.data.read(name)
    }

    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        // Now and then another worker is faster, who has nothing new to say.
        match self.shared.chance.u8(..20) {
            0 => Written::Contended,
            _ => self.shared.data.write(name, bytes, version),
        }
    }

    fn settle(&mut self, StreamId(stream): StreamId, verdict: &Verdict) {
        let (tag, since) = self.shared.waiting.remove(&stream).expect("a request that waits");
        let waited = self.shared.now - since;
        self.shared.outcomes.push((tag, Outcome { code: verdict.code(), waited }));
    }

    fn report(&mut self, _: &Event, _: &Config) {}

    fn tell(&mut self, _: &mut Counters) {}

    fn set_timer(&mut self, delay: Duration) {
        // Timers of an event loop are a little late.
        let late = Duration::from_micros(self.shared.chance.u64(10..300));
        let at = self.shared.now + delay.max(Duration::from_millis(1)) + late;
        *self.wakes_at = at;
        self.shared.schedule(at, Entry::Timer { worker: self.worker });
    }
}

impl Shared {
    fn schedule(&mut self, at: Duration, entry: Entry) {
        self.entries += 1;
        self.agenda.push(Reverse((at, self.entries, entry)));
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_secs(START).saturating_add(self.now)
    }
}

impl Proxy {
    /// Workers that start at this moment, one shortly after the other.
    pub(crate) fn start(issuer: IssuerPods, workers: usize, wait: &str, seed: u64) -> Self {
        let shared = Shared {
            now: Duration::ZERO,
            data: SharedStore::default(),
            issuer,
            hangs: false,
            chance: fastrand::Rng::with_seed(seed),
            agenda: BinaryHeap::new(),
            entries: 0,
            calls: 0,
            reached: BTreeMap::new(),
            fetched_at: Vec::new(),
            waiting: BTreeMap::new(),
            outcomes: Vec::new(),
        };
        let mut proxy = Self { workers: Vec::new(), shared };
        for worker in 0..workers {
            proxy.shared.now += Duration::from_micros(proxy.shared.chance.u64(50..2_000));
            let (shared, mut wakes_at) = (&mut proxy.shared, Duration::ZERO);
            let now = shared.wall();
            let seed = shared.chance.u64(..);
            let mut view = View { shared, worker, wakes_at: &mut wakes_at };
            let driver = Driver::new(config(wait), crypto(), seed, &mut view, now);
            proxy.workers.push(Worker { driver, wakes_at });
        }
        proxy
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.now
    }

    pub(crate) fn issuer(&mut self) -> &mut IssuerPods {
        &mut self.shared.issuer
    }

    pub(crate) fn chance(&mut self) -> &mut fastrand::Rng {
        &mut self.shared.chance
    }

    /// The other issuer answers no more.
    pub(crate) fn hang(&mut self) {
        self.shared.hangs = true;
    }

    pub(crate) fn fetched_at(&self) -> &[Duration] {
        &self.shared.fetched_at
    }

    pub(crate) fn outcomes(&self) -> &[(u64, Outcome)] {
        &self.shared.outcomes
    }

    /// How many requests wait.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.len()
    }

    /// Any worker gets a request; what becomes of it is told under the tag.
    pub(crate) fn send(&mut self, token: &str, tag: u64) {
        let worker = self.shared.chance.usize(..self.workers.len());
        self.shared.calls += 1;
        let stream = self.shared.calls;
        let (now, since) = (self.shared.wall(), self.shared.now);
        let bearer = format!("Bearer {token}");
        let head = [(":method", "GET"), (":path", "/"), ("authorization", bearer.as_str())];
        let head = head.map(|(name, value)| (name, value.as_bytes())).into_iter().collect();
        self.shared.waiting.insert(stream, (tag, since));
        let Worker { driver, wakes_at } = &mut self.workers[worker];
        let mut view = View { shared: &mut self.shared, worker, wakes_at };
        let disposition = driver.handle_request(StreamId(stream), &head, &mut view, now);
        if let Disposition::Decided(verdict) = disposition {
            view.settle(StreamId(stream), &verdict);
        }
    }

    /// Lets time pass until then.
    pub(crate) fn run_until(&mut self, end: Duration) {
        while let Some(Reverse((at, _, entry))) = self.shared.agenda.peek().copied()
            && at <= end
        {
            self.shared.agenda.pop();
            self.shared.now = self.shared.now.max(at);
            let now = self.shared.wall();
            match entry {
                Entry::Answer { worker, call } => {
                    let pod = self.shared.reached.remove(&call).expect("a call");
                    let body = match pod {
                        Some(pod) => self.shared.issuer.answer(pod),
                        None => {
                            Some(r#"{"keys":[{"kty":"RSA","e":"AQAB","n":"#.to_owned() + OTHER_N)
                        }
                    };
                    let response = body.as_ref().map(|body| JwksResponse {
                        status: 200,
                        body: body.as_bytes(),
                        cache_control: None,
                    });
                    let response = response.ok_or(FetchError::Reset);
                    let Worker { driver, wakes_at } = &mut self.workers[worker];
                    let mut view = View { shared: &mut self.shared, worker, wakes_at };
                    driver.handle_response(call, response, &mut view, now);
                }
                Entry::Timer { worker } if self.workers[worker].wakes_at == at => {
                    let Worker { driver, wakes_at } = &mut self.workers[worker];
                    let mut view = View { shared: &mut self.shared, worker, wakes_at };
                    driver.handle_timeout(&mut view, now);
                }
                Entry::Timer { .. } => {}
            }
        }
        self.shared.now = self.shared.now.max(end);
    }
}

pub(crate) const ISSUER: &str = "https://auth.example.com";
pub(crate) const OTHER_ISSUER: &str = "https://other.example.com";
const OTHER: &str = "other";
/// The default of `cacheDuration`.
pub(crate) const CACHE_DURATION: Duration = Duration::from_secs(600);

fn config(wait: &str) -> Config {
    let provider = |issuer, cluster| json!({"issuer": issuer, "jwksUri": "https://issuer/jwks", "jwksCluster": cluster});
    let config = json!({
        "providers": [provider(ISSUER, "auth"), provider(OTHER_ISSUER, OTHER)],
        "jwksWaitTimeout": wait,
    });
    Config::parse(config.to_string().as_bytes()).expect("a good configuration")
}

/// The rest of the only key that the other issuer ever has.
const OTHER_N: &str = concat!(
    "\"_____________________________________________________________________________________",
    "_______________________________________________________________________________________",
    "_______________________________________________________________________________________",
    "__________________________________________________________________________________w\"}]}"
);
