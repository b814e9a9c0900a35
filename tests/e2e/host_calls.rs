//! How often the module calls the host for one request: each call costs time, so none is to come
//! in unseen. When there are fewer, take the new list from the failure.
//!
//! Each of these requests is the first for some time, and so the one that has the timer come within
//! half a second: what requests count is told then.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::wait;

#[test]
fn public_request() {
    let sidecar = start();

    let calls = calls(&sidecar, &Request::get("/healthz"), "200 public");

    assert_calls(
        &calls,
        &[
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_set_property", 1),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn token_missing() {
    let sidecar = start();

    let calls = calls(&sidecar, &Request::get("/"), "401 token_missing");

    assert_calls(
        &calls,
        &[
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_send_local_response", 1),
            ("proxy_set_property", 1),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn token_that_is_new() {
    let sidecar = start();
    let request = Request::get("/").bearer(&Token::good().compact());

    let calls = calls(&sidecar, &request, "200 allowed");

    assert_calls(
        &calls,
        &[
            ("proxy_call_foreign_function", 1),
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_remove_header_map_value", 1),
            ("proxy_replace_header_map_value", 4),
            ("proxy_set_property", 2),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn token_that_comes_again() {
    let sidecar = start();
    let request = Request::get("/").bearer(&Token::good().compact());
    let before = sidecar.envoy_log().len();
    calls(&sidecar, &request, "200 allowed");
    wait_for_ticks(&sidecar, before, 1);

    let calls = calls(&sidecar, &request, "200 allowed");

    assert_calls(
        &calls,
        &[
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_remove_header_map_value", 1),
            ("proxy_replace_header_map_value", 4),
            ("proxy_set_property", 2),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn access_log_that_is_told_nothing() {
    let config = Config::new().inline_keys(&[Key::alpha().jwk()]).set("filterState", "none");
    let sidecar = start_configured(&config);

    let calls = calls_of(&sidecar, || {
        let response = sidecar.send(&Request::get("/").bearer(&Token::good().compact()));
        assert_eq!(response.status, 200);
    });

    assert_eq!(calls.get("proxy_set_property"), None);
}

#[test]
fn token_with_a_bad_signature() {
    let sidecar = start();
    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha").compact();

    let calls = calls(&sidecar, &Request::get("/").bearer(&forged), "401 signature_invalid");

    assert_calls(
        &calls,
        &[
            ("proxy_call_foreign_function", 1),
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_send_local_response", 1),
            ("proxy_set_property", 2),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn port_that_rules_ask_for() {
    let rules = json!([{ "match": { "ports": [9090] }, "access": "public" }]);
    let sidecar = start_with(rules);

    let calls = calls(&sidecar, &Request::get("/"), "401 token_missing");

    assert_eq!(calls.get("proxy_get_property"), Some(&1));
}

#[test]
fn tick_after_requests() {
    let sidecar = start();
    let request = Request::get("/").bearer(&Token::good().compact());
    let before = sidecar.envoy_log().len();
    calls(&sidecar, &request, "200 allowed");

    let log = wait_for_ticks(&sidecar, before, 1);

    assert_calls(
        &calls_in(&log, OF_TICKS),
        &[
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_log_level", 1),
            // The request is allowed, its token was not remembered, and the host checked it.
            ("proxy_increment_metric", 3),
            // The gauge of keys, which the first tick sets.
            ("proxy_record_metric", 1),
            ("proxy_set_tick_period_milliseconds", 1),
        ],
    );
}

#[test]
fn requests_in_a_row() {
    let sidecar = start();
    let request = Request::get("/healthz");
    let before = sidecar.envoy_log().len();

    let mut requests: usize = 0;
    let log = wait::until("the timer has ticked three times", LOG_LIMIT, || {
        assert_eq!(sidecar.send(&request).status, 200);
        requests += 1;
        let log = sidecar.envoy_log().split_off(before);
        (ticks(&log) >= 3).then_some(log)
    });

    let (of_requests, of_ticks) = (calls_in(&log, !OF_TICKS), calls_in(&log, OF_TICKS));
    let timers = of_requests["proxy_set_tick_period_milliseconds"];
    assert!((3..=4).contains(&timers), "{timers} of {requests} requests set the timer");
    let told = of_ticks["proxy_increment_metric"];
    assert!((3..=4).contains(&told), "{told} times, {requests} requests were told");
}

/// One worker with Envoy's usual log level, so that the module logs what it does in production, and
/// keys that need no fetch, so that no timer is at work.
fn start() -> Sidecar {
    start_with(json!([{ "match": { "paths": ["/healthz"] }, "access": "public" }]))
}

fn start_with(rules: Value) -> Sidecar {
    start_configured(&Config::new().inline_keys(&[Key::alpha().jwk()]).set("rules", rules))
}

fn start_configured(config: &Config) -> Sidecar {
    let sidecar = Sidecar::start_adapted(config, |bootstrap| bootstrap.log_level("info"));
    sidecar.trace_calls();
    sidecar
}

/// What the module calls for this request, and how often.
fn calls(sidecar: &Sidecar, request: &Request, decision: &str) -> BTreeMap<String, usize> {
    calls_of(sidecar, || assert_eq!(sidecar.decide(request), decision))
}

/// What the module calls while one request is sent and answered, and how often.
fn calls_of(sidecar: &Sidecar, send: impl FnOnce()) -> BTreeMap<String, usize> {
    let before = sidecar.envoy_log().len();

    send();

    let log = wait::until("the request is over", LOG_LIMIT, || {
        let log = sidecar.envoy_log().split_off(before);
        log.contains("[host<-vm] proxy_on_delete ").then_some(log)
    });
    calls_in(&log, !OF_TICKS)
}

/// Envoy's log from there on, once the timer has ticked so often.
fn wait_for_ticks(sidecar: &Sidecar, from: usize, number: usize) -> String {
    wait::until("the timer ticks", LOG_LIMIT, || {
        let log = sidecar.envoy_log().split_off(from);
        (ticks(&log) >= number).then_some(log)
    })
}

fn ticks(log: &str) -> usize {
    log.matches(TICK_ENDS).count()
}

/// What the module calls when its timer ticks, or else in all other callbacks, and how often.
fn calls_in(log: &str, of_ticks: bool) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    let mut is_in_tick = false;
    for line in log.lines() {
        if line.contains(TICK_BEGINS) {
            is_in_tick = true;
        } else if line.contains(TICK_ENDS) {
            is_in_tick = false;
        } else if let Some(name) = called(line)
            && is_in_tick == of_ticks
        {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

/// The function that the module calls according to a line of Envoy's log.
fn called(line: &str) -> Option<&str> {
    let (_, call) = line.split_once("[vm->host] ")?;
    let (name, _) = call.split_once('(')?;
    // The others are WASI's.
    Some(name.strip_prefix("env.").unwrap_or(name))
}

fn assert_calls(calls: &BTreeMap<String, usize>, expected: &[(&str, usize)]) {
    let is_expected =
        calls.iter().map(|(name, count)| (name.as_str(), *count)).eq(expected.iter().copied());
    let list: String = calls.iter().map(|call| format!("{call:?},\n")).collect();
    assert!(is_expected, "the calls are now\n{list}");
}

const OF_TICKS: bool = true;
const TICK_BEGINS: &str = "[host->vm] proxy_on_tick(";
const TICK_ENDS: &str = "[host<-vm] proxy_on_tick ";
const LOG_LIMIT: Duration = Duration::from_secs(5);
