//! How often the module calls the host for one request: each call costs time, so none is to come
//! in unseen. When there are fewer, take the new list from the failure.

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
            ("proxy_increment_metric", 1),
            ("proxy_set_property", 1),
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
            ("proxy_increment_metric", 1),
            ("proxy_send_local_response", 1),
            ("proxy_set_property", 1),
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
            ("proxy_increment_metric", 3),
            ("proxy_remove_header_map_value", 1),
            ("proxy_replace_header_map_value", 4),
            ("proxy_set_property", 2),
        ],
    );
}

#[test]
fn token_that_comes_again() {
    let sidecar = start();
    let request = Request::get("/").bearer(&Token::good().compact());
    calls(&sidecar, &request, "200 allowed");

    let calls = calls(&sidecar, &request, "200 allowed");

    assert_calls(
        &calls,
        &[
            ("proxy_get_current_time_nanoseconds", 1),
            ("proxy_get_header_map_pairs", 1),
            ("proxy_increment_metric", 2),
            ("proxy_remove_header_map_value", 1),
            ("proxy_replace_header_map_value", 4),
            ("proxy_set_property", 2),
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
            ("proxy_increment_metric", 3),
            ("proxy_send_local_response", 1),
            ("proxy_set_property", 2),
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
    let mut calls = BTreeMap::new();
    for name in log.lines().filter_map(called) {
        *calls.entry(name.to_owned()).or_default() += 1;
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

const LOG_LIMIT: Duration = Duration::from_secs(5);
