//! The counters against what clients saw: nothing is lost, and nothing is late.

mod load;

use std::thread;
use std::time::{Duration, Instant};

use lab::bootstrap::{Bootstrap, FailurePolicy};
use lab::checkout;
use lab::connection::Connection;
use lab::crash;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::upstream::Upstream;
use lab::wait;
use load::{CLIENTS, Counts, Load, config};

#[test]
fn under_load_with_host_crypto() {
    assert_counts_under_load("auto", ["signature.host", "signature.wasm"]);
}

#[test]
fn under_load_without_host_crypto() {
    assert_counts_under_load("off", ["signature.wasm", "signature.host"]);
}

fn assert_counts_under_load(host_crypto: &str, [used, unused]: [&str; 2]) {
    let upstream = Upstream::start();
    let bootstrap = Bootstrap::new(upstream.address())
        .filter("mesh-jwt", &config(host_crypto).render())
        .log_level("info");
    let envoy = Envoy::start(&bootstrap, WORKERS);
    let mut load = Load::start(envoy.address(), 1);

    watch(&envoy, &load, Duration::from_secs(4));

    let seen = load.stop();
    assert_eq!(load.undecided(), []);
    assert_counted_soon(&envoy, &seen);
    assert_signatures(&envoy, &seen, used);
    assert_eq!(counter(&envoy, unused), 0);
}

#[test]
fn while_the_configuration_is_replaced_with_host_crypto() {
    assert_counts_over_replacements("auto", "signature.host");
}

#[test]
fn while_the_configuration_is_replaced_without_host_crypto() {
    assert_counts_over_replacements("off", "signature.wasm");
}

/// Each time another root context takes over, and every other time another VM.
fn assert_counts_over_replacements(host_crypto: &str, used: &str) {
    let upstream = Upstream::start();
    let bootstrap = |number: usize| {
        let config = config(host_crypto).set("realm", format!("{number}"));
        Bootstrap::new(upstream.address())
            .filter("mesh-jwt", &config.render())
            .vm_configuration(&format!("{}", number / 2))
            .log_level("info")
            .replaceable()
    };
    let envoy = Envoy::start(&bootstrap(0), WORKERS);
    let mut load = Load::start(envoy.address(), 2);

    for number in 1..=4 {
        watch(&envoy, &load, Duration::from_millis(700));
        envoy.replace_listener(&bootstrap(number));
    }
    watch(&envoy, &load, Duration::from_millis(700));

    let seen = load.stop();
    assert_eq!(load.undecided(), []);
    assert_counted_soon(&envoy, &seen);
    wait_for_the_end_of_the_old(&envoy);
    assert_counted_soon(&envoy, &seen);
    assert_signatures(&envoy, &seen, used);
}

#[test]
fn last_requests_of_an_old_root_context() {
    assert_last_requests_are_counted(|bootstrap| bootstrap);
}

#[test]
fn last_requests_of_an_old_vm() {
    assert_last_requests_are_counted(|bootstrap| bootstrap.vm_configuration("new"));
}

/// They come so shortly before their root context goes away that no timer tells of them.
fn assert_last_requests_are_counted(adapt: fn(Bootstrap) -> Bootstrap) {
    let upstream = Upstream::start();
    let bootstrap = |realm: &str| {
        Bootstrap::new(upstream.address())
            .filter("mesh-jwt", &config("auto").set("realm", realm).render())
            .log_level("info")
            .replaceable()
    };
    let envoy = Envoy::start(&bootstrap("old"), WORKERS);
    let mut connections: Vec<_> =
        (0..CONNECTIONS).map(|_| Connection::new(envoy.address())).collect();
    for connection in &mut connections {
        assert_eq!(realm(connection), "old");
    }

    envoy.replace_listener(&adapt(bootstrap("new")));
    thread::sleep(DRAIN_TIME / 2);
    for connection in &mut connections {
        assert_eq!(realm(connection), "old");
    }

    wait_for_the_end_of_the_old(&envoy);
    let seen = Counts::from([("token_missing".to_owned(), 2 * CONNECTIONS)]);
    assert_counted_soon(&envoy, &seen);
}

/// The realm that a request without a token is told.
fn realm(connection: &mut Connection) -> String {
    let response = connection.get_without_token("/").expect("an answer");
    let challenge = response.header("www-authenticate").expect("a challenge");
    challenge.split('"').nth(1).expect("a realm").to_owned()
}

#[test]
fn a_crash_loses_no_more_than_what_came_shortly_before() {
    let upstream = Upstream::start();
    let module = tempfile::NamedTempFile::new_in(checkout::scratch()).expect("a file");
    crash::write(module.path());
    let bootstrap = Bootstrap::new(upstream.address())
        .filter("mesh-jwt", &config("auto").render())
        .failure_policy(FailurePolicy::Reload)
        .module(module.path())
        .log_level("info");
    let envoy = Envoy::start(&bootstrap, WORKERS);
    let mut load = Load::start(envoy.address(), 3);
    watch(&envoy, &load, Duration::from_secs(3));

    let crash = (0..crash::HEADERS).fold(Request::get("/"), |crash, _| crash.header("X-Many", "a"));
    let before = Instant::now();
    assert_eq!(envoy.send(&crash).status, 503);
    let after = Instant::now();
    thread::sleep(RELOAD_LIMIT + LATEST);

    let seen = load.stop();
    thread::sleep(LATEST);
    let counted = counted(&envoy, &seen);
    let spared = load.seen(|at| at + LATEST < before || at > after);
    // There are none if all clients are on the other worker.
    let undecided = load.undecided();
    assert!(undecided.iter().all(|at| *at < after + RELOAD_LIMIT), "no VM was reloaded");
    for (decision, count) in &counted {
        // Some have got another answer because of the crash after they were counted, and some have read
        // theirs after the crash that was counted before it.
        let range = spared[decision].saturating_sub(CLIENTS)..=seen[decision] + CLIENTS;
        assert!(range.contains(count), "{decision}: {count} are counted, not {range:?}");
    }
}

/// While the load goes on, no count is late, and none is made up.
fn watch(envoy: &Envoy, load: &Load, duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let now = Instant::now();
        let due = load.seen(|at| at + LATEST < now);
        let counted = counted(envoy, &due);
        let seen = load.seen(|_| true);
        for (decision, due) in due {
            let range = due..=seen[&decision] + CLIENTS;
            let counted = counted[&decision];
            assert!(range.contains(&counted), "{decision}: {counted} are counted, not {range:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// The load has ended: the counters show just what was seen, and stay so.
fn assert_counted_soon(envoy: &Envoy, seen: &Counts) {
    let until = Instant::now() + LATEST;
    while counted(envoy, seen) != *seen && Instant::now() < until {
        thread::sleep(wait::POLL_INTERVAL);
    }
    assert_eq!(counted(envoy, seen), *seen);
}

/// Every token but a remembered one has its signature checked, good or bad.
fn assert_signatures(envoy: &Envoy, seen: &Counts, used: &str) {
    let [hits, misses] = ["token_cache.hit", "token_cache.miss"].map(|name| counter(envoy, name));
    assert_eq!(hits + misses, seen["allowed"] + seen["signature_invalid"]);
    assert_eq!(counter(envoy, used), misses);
    assert!(hits > 0 && misses > 0, "{hits} hits, {misses} misses");
}

/// The counter of each decision.
fn counted(envoy: &Envoy, decisions: &Counts) -> Counts {
    let count = |decision: &String| {
        let name = match decision.as_str() {
            "allowed" | "public" => decision.clone(),
            denied => format!("denied.{denied}"),
        };
        (decision.clone(), counter(envoy, &name))
    };
    decisions.keys().map(count).collect()
}

fn counter(envoy: &Envoy, name: &str) -> u64 {
    envoy.stat(&format!("wasmcustom.mesh_jwt.{name}"))
}

fn wait_for_the_end_of_the_old(envoy: &Envoy) {
    wait::until("the old listener is gone", END_LIMIT, || {
        (envoy.stat("listener_manager.total_listeners_draining") == 0).then_some(())
    });
}

const WORKERS: u32 = 2;
const CONNECTIONS: u64 = 8;
/// Half a second, and what a busy machine takes.
const LATEST: Duration = Duration::from_secs(1);
/// How long [`Envoy`] keeps a listener that was replaced.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// In which a VM is surely reloaded: Envoy lets one second pass before.
const RELOAD_LIMIT: Duration = Duration::from_secs(4);
const END_LIMIT: Duration = Duration::from_secs(10);
