//! When the operator's counters show what was counted, and what that costs the host.

use crate::sim::{Sim, config, token};
use crate::token::Key;
use mesh_jwt::metrics::Metric;
use mesh_jwt::reason::Reason;
use serde_json::json;
use std::time::Duration;

#[test]
fn half_a_second_of_requests_is_told_at_once() {
    let mut sim = with_configured_keys();
    let timers_set = sim.world.timers_set;
    for millisecond in 0..500 {
        assert!(sim.send(millisecond, &ANONYMOUS).is_some());
        sim.wait(MILLISECOND);
        if millisecond < 498 {
            assert_eq!(sim.world.told, []);
        }
    }

    assert_eq!(sim.world.told, [(HALF_A_SECOND, MISSING, 500)]);
    // Once by the first request, and once by the tick.
    assert_eq!(sim.world.timers_set, timers_set + 2);
}

#[test]
fn an_idle_proxy_is_left_alone() {
    let mut sim = with_configured_keys();
    sim.send(1, &ANONYMOUS);
    sim.wait(HALF_A_SECOND);
    assert_eq!(sim.world.told.len(), 1);
    let timers_set = sim.world.timers_set;

    sim.wait(Duration::from_secs(59));

    assert_eq!(sim.world.timers_set, timers_set);
}

#[test]
fn what_comes_with_an_answer_of_the_issuer_is_told_with_it() {
    let mut sim = Sim::new(&config(json!({}), json!({})));
    let alpha = token().compact();
    assert!(sim.send_token(1, &alpha).is_none());
    sim.wait(MILLISECOND);
    sim.world.told.clear();

    sim.publish(&[Key::alpha()]);

    let now = sim.elapsed();
    assert_eq!(sim.verdict(1), "allowed");
    assert!(sim.world.told.contains(&(now, Metric::Allowed, 1)), "{:?}", sim.world.told);
}

#[test]
fn what_the_host_refuses_is_told_later() {
    let mut sim = with_configured_keys();
    sim.world.refuses_counts = true;
    sim.send(1, &ANONYMOUS);
    sim.wait(HALF_A_SECOND);
    let timers_set = sim.world.timers_set;
    // A host that refuses is not asked again and again.
    sim.wait(Duration::from_secs(30));
    assert_eq!(sim.world.timers_set, timers_set);

    sim.world.refuses_counts = false;
    sim.send(2, &ANONYMOUS);
    sim.wait(HALF_A_SECOND);

    assert_eq!(sim.world.told, [(sim.elapsed(), MISSING, 2)]);
}

#[test]
fn what_is_left_is_told_when_the_vm_goes_away() {
    let mut sim = with_configured_keys();
    sim.send(1, &ANONYMOUS);
    sim.wait(MILLISECOND);

    sim.end();

    assert_eq!(sim.world.told, [(MILLISECOND, MISSING, 1)]);
}

/// Nothing is fetched, so no timer is at work.
fn with_configured_keys() -> Sim {
    let keys = json!({ "keys": [Key::alpha().jwk()] });
    let mut config = config(json!({ "jwks": keys.to_string() }), json!({}));
    let provider = config["providers"][0].as_object_mut().expect("an object");
    provider.remove("jwksUri");
    Sim::new(&config)
}

const ANONYMOUS: [(&str, &str); 2] = [(":method", "GET"), (":path", "/")];
const MISSING: Metric = Metric::Denied(Reason::TokenMissing);
const MILLISECOND: Duration = Duration::from_millis(1);
const HALF_A_SECOND: Duration = Duration::from_millis(500);
