//! A driver for the engine in virtual time, which keeps the contract and checks the engine's side.

use crate::shared_store::SharedStore;
use crate::token::{Key, Token};
use mesh_jwt::config::Config;
use mesh_jwt::counters::Counters;
use mesh_jwt::driver::{Driver, Host};
use mesh_jwt::engine::{Disposition, Engine, Fetch};
use mesh_jwt::event::Event;
use mesh_jwt::explain::{Decision, Explainer, Mask};
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{FetchError, JwksResponse, Written};
use mesh_jwt::metrics::Metric;
use mesh_jwt::request::{RequestHead, StreamId};
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

/// Where virtual time begins, in seconds since the epoch.
pub(crate) const START: u64 = 1_800_000_000;

/// What the VMs of one proxy share.
pub(crate) type SharedData = Rc<RefCell<SharedStore>>;

/// One VM of a proxy.
pub(crate) struct Sim {
    driver: Driver,
    pub(crate) now: Timestamp,
    pub(crate) world: World,
    /// Where the connections of requests come to.
    pub(crate) port: Option<u16>,
    last_answer: (u16, String),
    /// Explains each decision, and has to come to the same code.
    explainer: Option<Explainer>,
    last_request: Vec<(String, String)>,
}

/// What is around the VM, and a record of what it did.
pub(crate) struct World {
    pub(crate) shared: SharedData,
    /// Whether the host offers no shared data.
    pub(crate) withholds_shared: bool,
    /// How many writes to it fail, as if another VM had been faster.
    pub(crate) contended: u32,
    now: Timestamp,
    wakes_at: Timestamp,
    calls: u32,
    /// The calls that are not answered yet.
    pub(crate) in_flight: Vec<u32>,
    /// When each call was made, and to what.
    pub(crate) fetched_at: Vec<Duration>,
    pub(crate) called: Vec<Fetch>,
    /// The verdicts on paused requests.
    pub(crate) verdicts: BTreeMap<u32, &'static str>,
    /// In which order they came, and when.
    pub(crate) settled: Vec<(Duration, u32)>,
    pub(crate) events: Vec<Event>,
    /// What was added to counters, and when.
    pub(crate) told: Vec<(Duration, Metric, u64)>,
    /// Whether the host refuses to count.
    pub(crate) refuses_counts: bool,
    /// How often the timer was set.
    pub(crate) timers_set: u32,
    /// Everything that the engine handed out, as it prints itself.
    pub(crate) printed: String,
}

impl Host for World {
    fn dispatch(&mut self, fetch: &Fetch) -> Result<u32, FetchError> {
        self.print(&fetch);
        self.called.push(fetch.clone());
        self.calls += 1;
        self.fetched_at.push(elapsed(self.now));
        self.in_flight.push(self.calls);
        Ok(self.calls)
    }

    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32) {
        if self.withholds_shared {
            return (None, 0);
        }
        self.shared.borrow().read(name)
    }

    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        if self.withholds_shared {
            return Written::Unavailable;
        }
        if self.contended > 0 {
            self.contended -= 1;
            return Written::Contended;
        }
        self.shared.borrow_mut().write(name, bytes, version)
    }

    fn settle(&mut self, stream: StreamId, verdict: &Verdict) {
        self.print(&verdict);
        let earlier = self.verdicts.insert(stream.0, verdict.code());
        assert!(earlier.is_none(), "two verdicts on one request");
        self.settled.push((elapsed(self.now), stream.0));
    }

    fn report(&mut self, event: &Event, config: &Config) {
        self.print(&event);
        self.print(&event.log_line(config));
        self.events.push(event.clone());
    }

    fn tell(&mut self, counters: &mut Counters) {
        let refuses = self.refuses_counts;
        let told = counters.tell(|metric, count| {
            if refuses {
                return Err(());
            }
            self.told.push((elapsed(self.now), metric, count));
            Ok(())
        });
        assert!(refuses || told.is_ok());
    }

    fn set_timer(&mut self, delay: Duration) {
        self.timers_set += 1;
        self.wakes_at = self.now.saturating_add(delay.max(MIN_TICK));
    }
}

impl World {
    fn print(&mut self, output: &dyn Debug) {
        self.printed.push_str(&format!("{output:?}\n"));
    }
}

impl Sim {
    pub(crate) fn new(config: &Value) -> Self {
        Self::sharing(config, &SharedData::default(), START)
    }

    /// A VM that starts in a proxy where others may be running; its first fetch begins.
    pub(crate) fn sharing(config: &Value, shared: &SharedData, start: u64) -> Self {
        Self::seeded(config, shared, start, 7)
    }

    pub(crate) fn seeded(config: &Value, shared: &SharedData, start: u64, seed: u64) -> Self {
        Self::starting_at(Timestamp::from_secs(start), config, shared, seed)
    }

    pub(crate) fn starting_at(
        now: Timestamp,
        config: &Value,
        shared: &SharedData,
        seed: u64,
    ) -> Self {
        let config = Config::parse(config.to_string().as_bytes()).expect("a good configuration");
        let mut world = World {
            shared: SharedData::clone(shared),
            withholds_shared: false,
            contended: 0,
            now,
            wakes_at: now,
            calls: 0,
            in_flight: Vec::new(),
            fetched_at: Vec::new(),
            called: Vec::new(),
            verdicts: BTreeMap::new(),
            settled: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            refuses_counts: false,
            timers_set: 0,
            printed: String::new(),
        };
        let driver = Driver::new(config, Crypto::Module, seed, &mut world, now);
        let mut sim = Self {
            driver,
            now,
            world,
            port: None,
            last_answer: (503, String::new()),
            explainer: None,
            last_request: Vec::new(),
        };
        sim.tick();
        sim
    }

    /// Has each decision explained from now on, with the set that was published last.
    pub(crate) fn explained(mut self) -> Self {
        let mut explainer = Explainer::new(self.engine().config().clone());
        explainer.publish(None, self.last_answer.1.as_bytes()).expect("keys that are fetched");
        self.explainer = Some(explainer);
        self
    }

    fn assert_explained(&self, code: &str) {
        let Some(explainer) = &self.explainer else { return };
        let head = self.last_request.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let head = head.collect::<RequestHead<'_>>().with_destination_port(self.port);
        let explanation = explainer.explain(&head, self.now, Mask::Values);
        let (Decision::Passes { code: explained } | Decision::Refused { code: explained, .. }) =
            explanation.decision
        else {
            panic!("its keys are known");
        };
        assert_eq!(explained, code, "{:?}", explanation.steps);
        let failed = explanation.steps.iter().filter(|step| !step.passed).count();
        let passes = matches!(code, "allowed" | "public" | "cors_preflight");
        assert_eq!(failed, usize::from(!passes), "one step fails: {:?}", explanation.steps);
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.driver.engine()
    }

    /// Sends a request; the verdict, unless it is paused. Then the timer has run.
    pub(crate) fn send(&mut self, stream: u32, headers: &[(&str, &str)]) -> Option<Verdict> {
        let verdict = self.hand_over(stream, headers);
        if verdict.is_none() {
            self.now = self.now.saturating_add(A_MOMENT);
            self.tick();
        }
        verdict
    }

    /// The same, but the timer runs in its own time.
    pub(crate) fn hand_over(&mut self, stream: u32, headers: &[(&str, &str)]) -> Option<Verdict> {
        self.world.now = self.now;
        let request = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let request = request.collect::<RequestHead<'_>>().with_destination_port(self.port);
        let stream = StreamId(stream);
        let disposition = self.driver.handle_request(stream, &request, &mut self.world, self.now);
        self.world.print(&disposition);
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.last_request = headers.iter().map(owned).collect();
        match disposition {
            Disposition::Decided(verdict) => {
                self.assert_explained(verdict.code());
                Some(verdict)
            }
            Disposition::Paused(_) => None,
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
        while self.engine().is_paused(StreamId(stream)) {
            self.run(Duration::from_millis(10), Self::answer_again);
        }
        let code = self.verdict(stream);
        self.assert_explained(code);
        code
    }

    pub(crate) fn answer_again(&mut self) {
        let (status, body) = self.last_answer.clone();
        self.answer(status, None, &body);
    }

    /// What became of a request that was paused.
    pub(crate) fn verdict(&mut self, stream: u32) -> &'static str {
        self.world.verdicts.remove(&stream).unwrap_or("paused")
    }

    /// Answers the oldest call.
    pub(crate) fn answer(&mut self, status: u16, cache_control: Option<&str>, body: &str) {
        self.last_answer = (status, body.to_owned());
        let response = JwksResponse { status, body: body.as_bytes(), cache_control };
        self.respond(Ok(response));
    }

    /// Answers the oldest call with a set of these keys.
    pub(crate) fn publish(&mut self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.answer(200, None, &json!({ "keys": keys }).to_string());
    }

    pub(crate) fn fail(&mut self) {
        self.respond(Err(FetchError::Reset));
    }

    fn respond(&mut self, response: Result<JwksResponse<'_>, FetchError>) {
        let call = self.world.in_flight.remove(0);
        self.respond_to(call, response);
    }

    pub(crate) fn respond_to(&mut self, call: u32, response: Result<JwksResponse<'_>, FetchError>) {
        self.world.now = self.now;
        self.driver.handle_response(call, response, &mut self.world, self.now);
    }

    /// Lets time pass; `on_fetch` answers the fetches that begin meanwhile.
    pub(crate) fn run(&mut self, duration: Duration, mut on_fetch: impl FnMut(&mut Self)) {
        let end = self.now.saturating_add(duration);
        loop {
            while !self.world.in_flight.is_empty() {
                let before = self.world.in_flight.clone();
                on_fetch(self);
                if self.world.in_flight.starts_with(&before) {
                    break;
                }
            }
            if self.world.wakes_at > end {
                break;
            }
            self.now = self.now.max(self.world.wakes_at);
            self.tick();
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
        self.tick();
    }

    /// The timer runs out.
    pub(crate) fn tick(&mut self) {
        self.world.now = self.now;
        self.driver.handle_timeout(&mut self.world, self.now);
        let next = self.engine().poll_timeout();
        // What is left for another turn comes with the timer, which is never at once.
        assert!(
            next.is_none_or(|(at, why)| at > self.now || why == "a verdict is there"),
            "a busy loop: {next:?} at {:?}",
            self.now
        );
    }

    pub(crate) fn close(&mut self, stream: u32) {
        self.close_quietly(stream);
        self.tick();
    }

    /// The same, but the timer runs in its own time.
    pub(crate) fn close_quietly(&mut self, stream: u32) {
        self.driver.handle_stream_closed(StreamId(stream));
    }

    /// The VM goes away.
    pub(crate) fn end(&mut self) {
        self.world.now = self.now;
        self.driver.tell(&mut self.world);
    }

    pub(crate) fn elapsed(&self) -> Duration {
        elapsed(self.now)
    }
}

fn elapsed(now: Timestamp) -> Duration {
    now.saturating_since(Timestamp::from_secs(START))
}

/// The shortest timer that hosts offer.
const MIN_TICK: Duration = Duration::from_millis(1);
/// Between a request and what it causes.
const A_MOMENT: Duration = Duration::from_micros(1);

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
