//! Several VMs in one proxy.

use crate::sim::{START, SharedData, Sim, config, token};
use crate::token::Key;
use mesh_jwt::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The worker threads of one proxy.
struct Proxy {
    vms: Vec<Sim>,
}

impl Proxy {
    fn start(workers: u64) -> (Self, SharedData) {
        let shared = SharedData::default();
        let vms = (0..workers).map(|seed| Sim::seeded(&plain(), &shared, START, seed)).collect();
        (Self { vms }, shared)
    }

    fn fetches(&self) -> usize {
        self.vms.iter().map(|vm| vm.world.fetched_at.len()).sum()
    }

    fn in_flight(&self) -> usize {
        self.vms.iter().map(|vm| vm.world.in_flight.len()).sum()
    }

    /// Lets time pass for all of them, in small steps so that they meet.
    fn run(&mut self, duration: Duration, mut on_fetch: impl FnMut(&mut Sim)) {
        let steps = duration.as_millis() / STEP.as_millis();
        for _ in 0..steps {
            for vm in &mut self.vms {
                vm.run(STEP, &mut on_fetch);
            }
        }
    }
}

/// Under which the VMs share what they know of the only provider.
const NAME: &str = "mesh_jwt.v3 outbound|443||auth.example.com https://auth.example.com/jwks";

fn plain() -> Value {
    config(json!({}), json!({}))
}

/// The probes that follow the first set are over.
const PROBED: Duration = Duration::from_secs(24);
const STEP: Duration = Duration::from_millis(5);

#[test]
fn workers_that_start_together_fetch_once() {
    let (mut proxy, _) = Proxy::start(4);
    let good = token().compact();
    for vm in &mut proxy.vms {
        assert!(vm.send_token(1, &good).is_none());
    }
    assert_eq!((proxy.fetches(), proxy.in_flight()), (1, 1));

    proxy.run(SECOND, |vm| vm.publish(&[Key::alpha()]));

    for vm in &mut proxy.vms {
        assert_eq!(vm.verdict(1), "allowed");
    }
    assert_eq!(proxy.fetches(), 1);
}

#[test]
fn workers_refresh_once_per_interval() {
    let (mut proxy, _) = Proxy::start(4);

    proxy.run(MINUTE * 100, |vm| vm.publish(&[Key::alpha()]));

    // One comes after 7 to 9 minutes, with two probes; four more follow the first.
    let fetches = proxy.fetches();
    assert!((1 + 4 + 3 * 11 - 2..=1 + 4 + 3 * 15).contains(&fetches), "{fetches}");
}

#[test]
fn workers_share_one_back_off() {
    let (mut proxy, _) = Proxy::start(4);

    proxy.run(MINUTE * 10, |vm| vm.fail());

    let fetches = proxy.fetches();
    assert!(fetches < 140, "{fetches}");
}

#[test]
fn all_workers_recover_from_a_long_outage_when_one_does() {
    let (mut proxy, _) = Proxy::start(4);
    proxy.run(MINUTE, |vm| vm.fail());

    let mut is_over = false;
    while !is_over {
        proxy.run(STEP, |vm| {
            vm.publish(&[Key::alpha()]);
            is_over = true;
        });
    }
    proxy.run(STEP, |vm| vm.publish(&[Key::alpha()]));

    let good = token().compact();
    for vm in &mut proxy.vms {
        assert!(vm.send_token(1, &good).is_some_and(|verdict| verdict.code() == "allowed"));
    }
}

#[test]
fn a_worker_finds_the_key_that_another_has_looked_for() {
    let (mut proxy, _) = Proxy::start(4);
    proxy.run(SECOND, |vm| vm.publish(&[Key::alpha()]));
    let rotated = token().signed_by(Key::beta()).compact();

    for vm in &mut proxy.vms {
        assert!(vm.send_token(1, &rotated).is_none());
    }
    proxy.run(SECOND, |vm| vm.publish(&[Key::alpha(), Key::beta()]));

    for vm in &mut proxy.vms {
        assert_eq!(vm.verdict(1), "allowed");
    }
    assert_eq!(proxy.fetches(), 2);
}

#[test]
fn workers_share_the_budget_of_searches() {
    let (mut proxy, _) = Proxy::start(4);
    proxy.run(PROBED, |vm| vm.publish(&[Key::alpha()]));
    let before = proxy.fetches();

    for number in 0..40 {
        for (worker, vm) in proxy.vms.iter_mut().enumerate() {
            let junk = token().header("kid", format!("junk-{number}-{worker}")).compact();
            vm.send_token(number, &junk);
        }
        proxy.run(STEP * 20, |vm| vm.publish(&[Key::alpha()]));
    }

    // The burst, and four a second.
    let caused = proxy.fetches() - before;
    assert!((30..=30 + 4 * 4).contains(&caused), "{caused}");
}

#[test]
fn a_leader_that_dies_is_replaced() {
    let (mut proxy, _) = Proxy::start(2);
    let good = token().compact();
    let leader = proxy.vms.iter().position(|vm| !vm.world.in_flight.is_empty()).unwrap();

    drop(proxy.vms.remove(leader));
    proxy.run(SECOND * 7, |vm| vm.publish(&[Key::alpha()]));

    assert!(proxy.vms[0].send_token(1, &good).is_some_and(|v| v.code() == "allowed"));
}

#[test]
fn an_answer_that_comes_too_late_does_not_end_the_lease_of_another() {
    let (mut proxy, _) = Proxy::start(3);
    let late = proxy.vms[0].world.in_flight.remove(0);
    // Given up, it is tried again by another.
    proxy.run(SECOND * 8, |_| {});
    assert_eq!(proxy.in_flight(), 1);
    proxy.vms[0].world.in_flight.insert(0, late);

    proxy.vms[0].publish(&[Key::alpha()]);
    proxy.run(SECOND * 2, |_| {});

    assert_eq!(proxy.in_flight(), 1);
}

#[test]
fn a_vm_that_starts_again_begins_with_the_shared_keys() {
    let (mut proxy, shared) = Proxy::start(1);
    proxy.run(PROBED, |vm| vm.publish(&[Key::alpha()]));

    let mut again = Sim::sharing(&plain(), &shared, START + 300);

    assert!(again.send_token(1, &token().compact()).is_some_and(|v| v.code() == "allowed"));
    assert_eq!(again.world.fetched_at, []);
    // The time of the keys counts from their publication, not from the start of the VM.
    again.run(SECOND * 301 + PROBED, |vm| vm.answer(200, None, r#"{"keys":[]}"#));
    let verdict = again.send_token(2, &token().compact());
    assert!(verdict.is_none_or(|verdict| verdict.code() == "jwks_unavailable"));
}

#[test]
fn a_vm_that_starts_amid_an_outage_begins_with_the_stale_keys() {
    let (mut proxy, shared) = Proxy::start(1);
    proxy.run(SECOND, |vm| vm.publish(&[Key::alpha()]));
    proxy.run(MINUTE * 30, |vm| vm.fail());

    let mut again = Sim::sharing(&plain(), &shared, START + 31 * 60);

    assert!(again.send_token(1, &token().compact()).is_some_and(|v| v.code() == "allowed"));
}

#[test]
fn shared_data_that_anyone_else_wrote_is_harmless() {
    for bytes in [&b""[..], b"\xff\xfe", b"{}", b"[]", br#"{"keys":[{"kty":"RSA"}]}"#] {
        let shared = SharedData::default();
        shared.borrow_mut().write(NAME, bytes, 0);

        let mut sim = Sim::sharing(&plain(), &shared, START);
        sim.publish(&[Key::alpha()]);

        assert_eq!(sim.decide(&token().compact()), "allowed");
    }
}

#[test]
fn shared_data_from_before_the_clock_stepped_back_extends_no_trust() {
    let mut sim = Sim::sharing(&plain(), &SharedData::default(), START);
    sim.publish(&[Key::alpha()]);
    sim.run(MINUTE * 5, |sim| sim.publish(&[Key::alpha()]));

    sim.set_clock(Timestamp::from_secs(START + 60));
    // How long ago the VM saw the clock before it stepped back, nobody knows.
    sim.run(MINUTE * 6 + PROBED, |sim| sim.publish(&[Key::beta()]));

    assert!(sim.world.fetched_at.len() > 1, "{:?}", sim.world.fetched_at);
    assert_eq!(sim.decide(&token().compact()), "key_unknown");
}

#[test]
fn a_lease_is_honoured_by_a_vm_whose_callback_began_a_moment_earlier() {
    let shared = SharedData::default();
    let leader = Sim::sharing(&plain(), &shared, START);
    assert_eq!(leader.world.in_flight.len(), 1);

    let a_moment_earlier = leader.now.saturating_sub(Duration::from_millis(5));
    let behind = Sim::starting_at(a_moment_earlier, &plain(), &shared, 8);

    assert_eq!(behind.world.in_flight.len(), 0);
}

#[test]
fn a_lease_from_before_the_clock_stepped_back_blocks_nobody() {
    let shared = SharedData::default();
    let ahead = Sim::sharing(&plain(), &shared, START + 3600);
    assert_eq!(ahead.world.in_flight.len(), 1);

    let mut sim = Sim::sharing(&plain(), &shared, START);

    assert_eq!(sim.world.in_flight.len(), 1);
    sim.publish(&[Key::alpha()]);
    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn a_vm_without_shared_data_looks_after_itself() {
    let mut sim = Sim::new(&plain());
    sim.world.withholds_shared = true;
    sim.publish(&[Key::alpha()]);
    sim.run(PROBED, |sim| sim.publish(&[Key::alpha()]));

    assert_eq!(sim.decide(&token().compact()), "allowed");
    let rotated = token().signed_by(Key::beta()).compact();
    assert!(sim.send_token(1, &rotated).is_none());
    sim.run(SECOND, |sim| sim.publish(&[Key::beta()]));
    assert_eq!(sim.verdict(1), "allowed");
    let before = sim.world.fetched_at.len();
    assert_eq!(sim.decide(&token().header("kid", "junk").compact()), "key_unknown");
    assert!(sim.world.fetched_at.len() - before >= 18);
}

#[test]
fn a_write_that_never_succeeds_does_not_stop_a_fetch() {
    let mut sim = Sim::new(&plain());
    sim.world.contended = u32::MAX;
    sim.publish(&[Key::alpha()]);

    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn what_comes_of_a_fetch_is_told_once_however_often_another_vm_was_faster() {
    let mut sim = Sim::new(&plain());
    sim.world.events.clear();
    sim.world.contended = 5;

    sim.publish(&[Key::alpha()]);

    assert_eq!(sim.world.events.len(), 1, "{:?}", sim.world.events);
    assert_eq!(sim.world.contended, 0);
}

#[test]
fn plugins_with_other_settings_share_keys_and_keep_to_their_own() {
    let shared = SharedData::default();
    let patient = config(json!({"cacheDuration": "10m"}), json!({}));
    let hasty = config(json!({"cacheDuration": "1m", "timeout": "1s"}), json!({}));
    let mut vms =
        [Sim::seeded(&patient, &shared, START, 1), Sim::seeded(&hasty, &shared, START, 2)];
    let good = token().compact();

    for second in 0..600 {
        for vm in &mut vms {
            vm.run(SECOND, |vm| vm.publish(&[Key::alpha()]));
            let verdict = vm.send_token(1, &good);
            let code = verdict.map_or("paused", |verdict| verdict.code());
            assert!(second < 1 || code == "allowed", "{code} at {second} s");
        }
    }
}
