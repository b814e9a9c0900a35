//! Requests that are made to cost as much as they can.
//!
//! `COSTS=500 cargo test --test e2e costs:: -- --nocapture`, with the variables of `make test`, sends each
//! so often in place of once, and prints how much CPU it takes with the filter and without. What is
//! refused goes no further, and so saves what it takes to forward it.

use std::time::Duration;

use serde_json::Value;

use hostile::{Hostile, requests, tenants, thorough};
use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::token::{Key, Token, sign_parts};
use lab::upstream::Upstream;

#[path = "../support/hostile.rs"]
mod hostile;

#[test]
fn are_survived_with_the_hosts_crypto() {
    assert_survived("auto");
}

#[test]
fn are_survived_with_the_modules_own() {
    assert_survived("off");
}

fn assert_survived(host_crypto: &str) {
    let upstream = Upstream::start();
    let bare = Envoy::start(&Bootstrap::new(upstream.address()), 1);
    let config = config().set("hostCrypto", host_crypto);
    let bootstrap = Bootstrap::new(upstream.address()).filter("mesh-jwt", &config.render());
    let envoy = Envoy::start(&bootstrap.log_level("warning"), 1);
    let mut costs = Vec::new();
    for hostile in requests(|header, payload| sign_parts(header, payload, Key::alpha())) {
        let request = request(&hostile);
        let answer = envoy.send(&request);
        assert!(answer.status < 500, "{}: {}", hostile.name, answer.status);
        let good = Request::get("/").bearer(&Token::good().without_claim("aud").compact());
        assert_eq!(envoy.send(&good).status, 200, "after {}", hostile.name);
        if let Some(times) = times() {
            let cost = [cost(&envoy, &request, times), cost(&bare, &request, times)];
            costs.push((cost, answer.status, hostile.name));
        }
    }
    envoy.assert_untrapped("hostile requests");
    costs.sort_unstable();
    for (cost, status, name) in costs.iter().rev() {
        let [with, without] = cost.map(|cost| cost.as_micros());
        println!("{with:>5} µs, {without:>4} without; hostCrypto {host_crypto}: {name} ({status})");
    }
}

fn times() -> Option<u32> {
    Some(std::env::var("COSTS").ok()?.parse().expect("COSTS is a number"))
}

/// The CPU that Envoy takes for such a request.
fn cost(envoy: &Envoy, request: &Request, times: u32) -> Duration {
    let before = envoy.cpu_time();
    for _ in 0..times {
        envoy.send(request);
    }
    (envoy.cpu_time() - before) / times
}

fn request(hostile: &Hostile) -> Request {
    let request = Request::new(hostile.method, &hostile.path).host(&hostile.host);
    let headers = hostile.headers.iter();
    headers.fold(request, |request, (name, value)| request.header(name, value))
}

fn config() -> Config {
    let keys: Vec<_> = Key::pods().iter().take(7).chain([Key::alpha()]).map(Key::jwk).collect();
    let (top, provider) = thorough(&keys);
    let fields = |value: Value| value.as_object().expect("an object").clone();
    let config = Config::new().inline_keys(&keys).provider_without("audiences");
    let config = fields(provider)
        .into_iter()
        .fold(config, |config, (field, value)| config.provider(&field, value));
    // Verified tokens are not remembered, so that each is looked at in full.
    let config = config.set("tokenCache", serde_json::json!({ "maxEntries": 0 }));
    let config = config.add_provider(tenants());
    fields(top).into_iter().fold(config, |config, (field, value)| config.set(&field, value))
}
