//! Providers whose issuers are the tenants of a template.

use crate::sim::{START, SharedData, Sim, token};
use crate::token::Key;
use mesh_jwt::event::Event;
use mesh_jwt::verdict::Verdict;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The tenants that there are, each with a key of its own.
fn key_of(tenant: &str) -> Option<&'static Key> {
    match tenant {
        "acme" => Some(Key::alpha()),
        "globex" => Some(Key::beta()),
        "initech" => Some(Key::gamma()),
        _ => None,
    }
}

fn config(issuers: Value) -> Value {
    let mut config = json!({
        "providers": [{
            "name": "login",
            "issuers": {
                "template": "https://login.example.com/{tenant}/v2.0",
                "tenants": [{"regex": "[a-z0-9-]+"}],
            },
            "jwksUri": "https://login.example.com/{tenant}/keys",
            "timeout": "1s",
        }],
    });
    for (name, value) in issuers.as_object().expect("an object") {
        config["providers"][0]["issuers"][name] = value.clone();
    }
    config
}

/// A token of a tenant, with that tenant's key or another's.
fn token_of(tenant: &str, key: &'static Key) -> String {
    let issuer = format!("https://login.example.com/{tenant}/v2.0");
    token().claim("iss", issuer).signed_by(key).compact()
}

/// A token that names this tenant, and that nobody signed.
fn invented(tenant: &str) -> String {
    let issuer = format!("https://login.example.com/{tenant}/v2.0");
    token().claim("iss", issuer).compact_with(|_| b"sig".to_vec())
}

fn genuine(tenant: &str) -> String {
    token_of(tenant, key_of(tenant).expect("a tenant that there is"))
}

/// Answers a call with the keys of its tenant; 404 if there is no such tenant.
fn serve(sim: &mut Sim) {
    let called = &sim.world.called;
    let path = called[called.len() - sim.world.in_flight.len()].target.path.clone();
    match path.split('/').nth(1).and_then(key_of) {
        Some(key) => sim.publish(&[key]),
        None => sim.answer(404, None, ""),
    }
}

fn outcome(sim: &mut Sim, token: &str) -> &'static str {
    let verdict = sim.send_token(1, token);
    if let Some(verdict) = verdict {
        return verdict.code();
    }
    sim.run(3 * SECOND, serve);
    sim.verdict(1)
}

fn calls_to(sim: &Sim, tenant: &str) -> usize {
    let of_tenant = |path: &str| path.split('/').nth(1) == Some(tenant);
    sim.world.called.iter().filter(|fetch| of_tenant(&fetch.target.path)).count()
}

#[test]
fn each_tenants_keys_verify_its_own_tokens_and_no_others() {
    let mut sim = Sim::new(&config(json!({})));

    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    assert_eq!(outcome(&mut sim, &genuine("globex")), "allowed");

    assert_eq!(outcome(&mut sim, &token_of("globex", Key::alpha())), "key_unknown");
    assert_eq!(outcome(&mut sim, &token_of("initech", Key::alpha())), "key_unknown");
    // Under the name of the right key.
    let issuer = "https://login.example.com/globex/v2.0";
    let forged = token().claim("iss", issuer).signed_by(Key::alpha()).header("kid", "beta");
    assert_eq!(outcome(&mut sim, &forged.compact()), "signature_invalid");
    // Remembered tokens too are of one tenant.
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    assert!(sim.world.events.iter().any(|event| matches!(event, Event::TokenCacheHit)));
}

#[test]
fn a_tenant_that_is_not_allowed_causes_no_fetch() {
    let mut sim = Sim::new(&config(json!({"tenants": [{"exact": "acme"}, {"prefix": "eu-"}]})));

    for tenant in ["globex", "ACME", "acme/x", "", "..", "a%63me", "eu", "eu-\u{e9}"] {
        let verdict = sim.send_token(1, &token_of(tenant, Key::alpha()));
        assert_eq!(verdict.as_ref().map(Verdict::code), Some("issuer_unknown"), "{tenant:?}");
    }

    sim.run(MINUTE, serve);
    assert!(sim.world.called.is_empty(), "{:?}", sim.world.called);
}

#[test]
fn a_tenant_costs_nothing_before_its_first_token_and_without_a_good_one() {
    let mut sim = Sim::new(&config(json!({})));
    sim.run(HOUR, serve);
    assert!(sim.world.called.is_empty());

    assert_eq!(outcome(&mut sim, &token_of("nobody", Key::alpha())), "jwks_unavailable");
    let before = sim.world.called.len();
    assert!(before <= 4, "{before} calls within the wait");
    let lines: Vec<_> =
        sim.world.events.iter().filter_map(|e| e.log_line(sim.engine().config())).collect();
    assert!(lines.iter().any(|(_, line)| line.contains("login.example.com/{tenant}/keys")));
    assert!(!lines.iter().any(|(_, line)| line.contains("nobody")), "{lines:?}");
    sim.run(HOUR, serve);
    assert_eq!(sim.world.called.len(), before, "nobody waits for it");

    // A tenant that there is keeps its keys fresh.
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    sim.run(HOUR, serve);
    assert_eq!(sim.send_token(1, &genuine("acme")).as_ref().map(Verdict::code), Some("allowed"));
}

#[test]
fn invented_tenants_displace_nobody_and_are_fetched_at_a_bounded_rate() {
    let good = genuine("acme");
    for most in [1, 10, 100] {
        let mut sim = Sim::new(&config(json!({"maxTenants": most})));
        assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
        sim.run(MINUTE, serve);
        let before = sim.world.called.len();

        let mut decided = 0;
        for number in 0..6000_u32 {
            let junk = invented(&format!("t{number}"));
            if let Some(verdict) = sim.send_token(number + 10, &junk) {
                assert_eq!(verdict.code(), "jwks_unavailable");
                decided += 1;
            }
            sim.run(Duration::from_millis(10), serve);
            // All along.
            if number % 100 == 0 {
                let verdict = sim.send_token(5, &good);
                assert_eq!(verdict.as_ref().map(Verdict::code), Some("allowed"), "{number}");
            }
        }
        sim.run(3 * SECOND + SECOND / 50, serve);

        let verdicts = sim.world.verdicts.values();
        assert!(verdicts.clone().all(|code| *code == "jwks_unavailable"));
        assert_eq!(verdicts.count() + decided, 6000);
        // A burst, of which each waits for up to four attempts; then 240 a minute.
        let calls = sim.world.called.len() - before;
        assert!(calls <= 4 * most.max(30) + 260, "{calls} calls with at most {most}");
        let names: Vec<_> = sim.world.shared.borrow().names().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}

/// As after a change of the configuration, or a crash.
#[test]
fn a_vm_that_starts_amid_a_flood_lets_the_tenants_in_that_others_know() {
    let shared = SharedData::default();
    let config = config(json!({"maxTenants": 100}));
    let mut first = Sim::sharing(&config, &shared, START);
    let good: Vec<_> = ["acme", "globex", "initech"].map(genuine).into();
    for token in &good {
        assert_eq!(outcome(&mut first, token), "allowed");
        first.run(MINUTE / 2, serve);
    }
    let mut second = Sim::sharing(&config, &shared, START + 100);

    let mut delayed = 0;
    for number in 0..5000_u32 {
        _ = second.send_token(number + 10, &invented(&format!("t{number}")));
        if number % 50 == 0 {
            let verdict = second.send_token(5, &good[index(number / 50) % good.len()]);
            delayed += u32::from(verdict.is_none());
            second.run(SECOND / 50, serve);
            let code = verdict.as_ref().map(Verdict::code);
            let code = code.unwrap_or_else(|| second.verdict(5));
            assert_eq!(code, "allowed", "after {number} invented ones");
        }
        second.run(Duration::from_millis(1), serve);
    }
    assert_eq!(delayed, 3, "each waits for the shared data once");
    assert_eq!(calls_to(&second, "acme"), 0);
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a small number")
}

/// One client can name them all, with keys that there are not.
#[test]
fn searches_at_one_service_have_one_bound_however_many_tenants_there_are() {
    let tenants: Vec<_> = (0..50).map(|number| format!("t{number}")).collect();
    let mut sim = Sim::new(&config(json!({"maxTenants": 100})));
    let serve_all = |sim: &mut Sim| sim.publish(&[Key::alpha()]);
    for tenant in &tenants {
        assert!(sim.send_token(1, &token_of(tenant, Key::alpha())).is_none());
        sim.run(SECOND, serve_all);
        assert_eq!(sim.verdict(1), "allowed");
    }
    sim.run(MINUTE, serve_all);
    let quiet = sim.world.called.len();
    sim.run(MINUTE, serve_all);
    let quiet = sim.world.called.len() - quiet;
    let before = sim.world.called.len();

    for number in 0..6000_u32 {
        let issuer = format!("https://login.example.com/t{}/v2.0", number % 50);
        let miss = token().claim("iss", issuer).header("kid", format!("junk-{number}"));
        _ = sim.send_token(number + 10, &miss.compact_with(|_| b"sig".to_vec()));
        sim.run(Duration::from_millis(10), serve_all);
    }

    let calls = sim.world.called.len() - before;
    // A burst of 100, 240 a minute, two that each may begin at the same moment, and refreshes.
    assert!(calls <= 100 + 240 + 100 + 2 * quiet + 10, "{calls} calls, {quiet} in a quiet minute");
    let good = sim.send_token(1, &token_of("t7", Key::alpha()));
    assert_eq!(good.as_ref().map(Verdict::code), Some("allowed"));
}

#[test]
fn tokens_that_nobody_signed_keep_no_tenant_from_giving_way() {
    let mut sim = Sim::new(&config(json!({"maxTenants": 2})));
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    assert_eq!(outcome(&mut sim, &genuine("globex")), "allowed");
    for stream in 10..20 {
        _ = sim.send_token(stream, &invented("acme"));
        sim.run(3 * SECOND + SECOND / 50, serve);
    }
    assert_eq!(outcome(&mut sim, &genuine("globex")), "allowed");

    assert_eq!(outcome(&mut sim, &genuine("initech")), "allowed");

    let before = calls_to(&sim, "globex");
    sim.run(MINUTE * 30, serve);
    assert!(calls_to(&sim, "globex") > before, "it was used last by a good token");
}

#[test]
fn a_tenant_that_nobody_uses_is_fetched_no_more_until_somebody_does() {
    let mut sim = Sim::new(&config(json!({})));
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    sim.run(2 * HOUR, serve);
    let before = sim.world.called.len();
    assert!(before > 10);

    sim.run(24 * HOUR, serve);

    assert_eq!(sim.world.called.len(), before);
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
}

#[test]
fn tenants_that_there_are_come_in_whatever_is_invented_beside() {
    let mut sim = Sim::new(&config(json!({"maxTenants": 100})));

    for number in 0..1000_u32 {
        _ = sim.send_token(number + 10, &invented(&format!("t{number}")));
        sim.run(Duration::from_millis(100), serve);
    }
    // One that comes again and again gets in within seconds.
    let mut tries = 0;
    while outcome(&mut sim, &genuine("acme")) != "allowed" {
        tries += 1;
        assert!(tries < 20, "it never gets in");
        _ = sim.send_token(9, &invented(&format!("u{tries}")));
    }
}

#[test]
fn the_least_recently_used_tenant_gives_way_and_comes_back() {
    let mut sim = Sim::new(&config(json!({"maxTenants": 2})));
    for tenant in ["acme", "globex", "acme", "initech"] {
        assert_eq!(outcome(&mut sim, &genuine(tenant)), "allowed", "{tenant}");
        sim.run(MINUTE, serve);
    }
    let crowded = |sim: &Sim| {
        let crowded = |event: &&Event| matches!(event, Event::TenantsCrowded { .. });
        sim.world.events.iter().filter(crowded).count()
    };
    assert_eq!(crowded(&sim), 1);
    let before = calls_to(&sim, "globex");
    sim.run(HOUR, serve);
    assert_eq!(calls_to(&sim, "globex"), before, "it is forgotten");
    assert!(calls_to(&sim, "acme") > 10);

    assert_eq!(outcome(&mut sim, &genuine("globex")), "allowed");
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    assert_eq!(crowded(&sim), 1, "it is told once");
}

#[test]
fn a_tenant_for_which_requests_wait_stays() {
    let mut sim = Sim::new(&config(json!({"maxTenants": 1})));

    assert!(sim.send_token(1, &genuine("acme")).is_none());
    assert!(sim.send_token(2, &genuine("globex")).is_none());

    // The first one has the only place for tenants that fetch for the first time.
    sim.wait(SECOND / 100);
    assert_eq!(sim.verdict(2), "jwks_unavailable");
    sim.run(SECOND, serve);
    assert_eq!(sim.verdict(1), "allowed");
    assert_eq!(outcome(&mut sim, &genuine("globex")), "allowed");
}

#[test]
fn workers_share_the_keys_of_tenants_that_are_proved() {
    let shared = SharedData::default();
    let config = config(json!({}));
    let mut first = Sim::sharing(&config, &shared, START);
    assert_eq!(outcome(&mut first, &genuine("acme")), "allowed");
    first.run(MINUTE, serve);
    let mut second = Sim::sharing(&config, &shared, START + 100);

    assert!(second.send_token(1, &genuine("acme")).is_none());
    second.run(SECOND / 10, |_| {});

    assert_eq!(second.verdict(1), "allowed");
    assert!(second.world.called.is_empty(), "the other worker has the keys");
    // What another tenant shares is not looked at.
    assert_eq!(outcome(&mut second, &token_of("globex", Key::alpha())), "key_unknown");
}

#[test]
fn the_trouble_of_one_tenant_keeps_out_no_request_of_another() {
    let mut config = config(json!({}));
    config["maxPausedRequests"] = json!(10);
    let mut sim = Sim::new(&config);
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");
    for stream in 10..30 {
        _ = sim.send_token(stream, &token_of("nobody", Key::beta()));
    }

    assert!(sim.send_token(2, &genuine("globex")).is_none());
    sim.run(SECOND, serve);

    assert_eq!(sim.verdict(2), "allowed");
}

#[test]
fn a_tenant_is_no_shorter_of_breath_when_the_clock_steps_back() {
    let mut sim = Sim::new(&config(json!({})));
    assert_eq!(outcome(&mut sim, &genuine("acme")), "allowed");

    let earlier = sim.now.saturating_sub(2 * HOUR);
    sim.set_clock(earlier);
    sim.run(MINUTE, serve);

    let issuer = "https://login.example.com/globex/v2.0";
    let token = token().claim("iss", issuer).claim("nbf", START - 100_000).signed_by(Key::beta());
    assert_eq!(outcome(&mut sim, &token.compact()), "allowed");
}

/// Hundreds of made-up stories of two workers, in which the service fails now and then, clocks step
/// back and workers start again. `SEEDS=5000` tells more of them.
#[test]
fn whatever_happens_a_tenant_is_let_in_by_its_own_key_alone() {
    let seeds = std::env::var("SEEDS").map_or(100, |seeds| seeds.parse().expect("a number"));
    let tokens = Tokens::new();
    let mut allowed = 0;
    for seed in 0..seeds {
        allowed += Story::new(seed, &tokens).run();
    }
    assert!(allowed > seeds * 10, "{allowed} were allowed: the stories prove nothing");
}

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Tokens that name each tenant, signed with the key of each.
struct Tokens(Vec<Vec<String>>);

impl Tokens {
    fn new() -> Self {
        let signed = |tenant: &str| {
            TENANTS.map(|signer| {
                let key = key_of(signer).expect("a tenant");
                let issuer = format!("https://login.example.com/{tenant}/v2.0");
                let long = token().claim("iss", issuer).claim("nbf", START - 100_000);
                long.signed_by(key).compact()
            })
        };
        Self(TENANTS.iter().map(|tenant| signed(tenant).to_vec()).collect())
    }
}

struct Story<'a> {
    chance: fastrand::Rng,
    tokens: &'a Tokens,
    config: Value,
    shared: SharedData,
    workers: Vec<Sim>,
    is_down: bool,
    next_stream: u32,
}

impl<'a> Story<'a> {
    fn new(seed: u64, tokens: &'a Tokens) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut config = config(json!({"maxTenants": chance.usize(1..=4)}));
        config["maxPausedRequests"] = json!(chance.usize(1..=8));
        config["tokenCache"] = json!({"maxEntries": chance.usize(0..=4)});
        let shared = SharedData::default();
        let start = |seed| Sim::seeded(&config, &shared, START, seed);
        let workers = vec![start(chance.u64(..)), start(chance.u64(..))];
        Self { chance, tokens, config, shared, workers, is_down: false, next_stream: 100 }
    }

    /// Returns how many requests were allowed.
    fn run(mut self) -> u64 {
        let mut allowed = 0;
        for _ in 0..60 {
            match self.chance.u32(0..20) {
                0 => self.is_down = !self.is_down,
                1 => self.restart(),
                2 => self.step_back(),
                3..6 => self.invent(),
                6..9 => self.pass(),
                _ => allowed += u64::from(self.request()),
            }
        }
        let names = self.shared.borrow().names().count();
        assert!(names <= TENANTS.len(), "{names} entries are shared");
        self.recover();
        allowed
    }

    /// Once the service is well, every tenant comes in again.
    fn recover(&mut self) {
        self.is_down = false;
        self.let_pass(2 * MINUTE);
        for worker in &mut self.workers {
            for (tenant, tokens) in self.tokens.0.iter().enumerate() {
                let mut tries = 0..5;
                let is_in = tries.any(|_| outcome(worker, &tokens[tenant]) == "allowed");
                assert!(is_in, "{} stays out", TENANTS[tenant]);
            }
        }
    }

    fn worker(&mut self) -> usize {
        self.chance.usize(..self.workers.len())
    }

    fn restart(&mut self) {
        let at = self.worker();
        let (now, seed) = (self.workers[at].now, self.chance.u64(..));
        self.workers[at] = Sim::starting_at(now, &self.config, &self.shared, seed);
    }

    fn step_back(&mut self) {
        let by = Duration::from_secs(self.chance.u64(0..7200));
        for worker in &mut self.workers {
            let earlier = worker.now.saturating_sub(by);
            worker.set_clock(earlier);
        }
    }

    fn invent(&mut self) {
        let at = self.worker();
        for _ in 0..self.chance.u32(1..8) {
            let tenant = format!("t{}", self.chance.u8(..));
            self.next_stream += 1;
            let verdict = self.workers[at].send_token(self.next_stream, &invented(&tenant));
            let code = verdict.as_ref().map(Verdict::code);
            assert!(
                matches!(code, None | Some("jwks_unavailable" | "overloaded")),
                "{tenant}: {code:?}"
            );
        }
    }

    fn pass(&mut self) {
        let duration = Duration::from_millis(1 << self.chance.u32(0..23));
        self.let_pass(duration);
    }

    /// In turns, so that the workers meet; the service answers at once, unless it is down.
    fn let_pass(&mut self, duration: Duration) {
        for worker in &mut self.workers {
            let is_down = self.is_down;
            worker.run(duration, |sim| if is_down { sim.fail() } else { serve(sim) });
        }
    }

    /// One request with one of the tokens; whether it was allowed.
    fn request(&mut self) -> bool {
        let (at, tenant) = (self.worker(), self.chance.usize(..TENANTS.len()));
        let signer = if self.chance.bool() { tenant } else { self.chance.usize(..TENANTS.len()) };
        self.next_stream += 1;
        let stream = self.next_stream;
        let verdict = self.workers[at].send_token(stream, &self.tokens.0[tenant][signer]);
        let code = match verdict {
            Some(verdict) => verdict.code(),
            None => {
                self.let_pass(3 * SECOND + SECOND / 50);
                self.workers[at].verdict(stream)
            }
        };
        let settled = if tenant == signer { "allowed" } else { "key_unknown" };
        let expected = [settled, "jwks_unavailable", "overloaded"];
        let names = (TENANTS[tenant], TENANTS[signer]);
        assert!(expected.contains(&code), "{names:?}: {code}, down: {}", self.is_down);
        code == "allowed"
    }
}
