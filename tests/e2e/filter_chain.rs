//! Two instances of the filter in one chain, as a workload's policy beside a mesh-wide one.
//!
//! Envoy runs both in one VM, and shared data is common to all of them.

use std::time::Duration;

use serde_json::{Value, json};

use lab::config::Config;
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::upstream::received;
use lab::wait;

#[test]
fn mesh_and_workload_policies_both_hold() {
    let mesh = Config::new()
        .provider("forwardOriginalToken", true)
        .provider("outputClaimToHeaders", json!([{ "header": "X-Mesh-User", "claim": "sub" }]))
        .provider_without("outputPayloadToHeader");
    let rules = json!([{ "match": { "paths": ["/admin/**"] }, "scopes": ["admin"] }]);
    let workload = Config::new().set("rules", rules);
    let sidecar = Sidecar::start_chain(&[&mesh, &workload], alpha(), 1);
    let good = Token::good().compact();

    let seen = received(&sidecar.send(&Request::get("/").bearer(&good)));

    assert_eq!(seen.header("x-mesh-user"), Some("user-4711"));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(seen.header("authorization"), None);
    let forbidden = Request::get("/admin/x").bearer(&good);
    assert_eq!(sidecar.decide(&forbidden), "403 scope_insufficient");
    assert_eq!(sidecar.decide(&Request::get("/")), "401 token_missing");
}

/// Both call their provider and their key by the same names, and still trust only their own.
#[test]
fn instances_do_not_trust_each_others_keys() {
    let first = of("https://first.example.com", "X-First", Key::alpha().jwk_named("main"));
    let second = of("https://second.example.com", "X-Second", Key::beta().jwk_named("main"));
    let sidecar = Sidecar::start_chain(&[&first, &second], alpha(), 1);
    let token = |issuer: &str, key| {
        Token::good().claim("iss", issuer).signed_by(key).header("kid", "main").compact()
    };
    let of_first = token("https://first.example.com", Key::alpha());
    let of_second = token("https://second.example.com", Key::beta());
    let forged = token("https://second.example.com", Key::alpha());
    let request =
        |second: &str| Request::get("/").header("X-First", &of_first).header("X-Second", second);

    assert_eq!(sidecar.decide(&request(&of_second)), "200 allowed");
    assert_eq!(sidecar.decide(&request(&forged)), "401 signature_invalid");
}

#[test]
fn instances_wait_for_keys_one_after_the_other() {
    let mesh = Config::new().provider("forwardOriginalToken", true);
    let workload = Config::new().provider("name", "workload");
    let sidecar = Sidecar::start_chain(&[&mesh, &workload], Answer::Hang, 1);
    let paused = sidecar.open(&Request::get("/").bearer(&Token::good().compact()));
    wait::until("the request is paused", Duration::from_secs(2), || {
        (sidecar.stat("paused") == 1).then_some(())
    });

    sidecar.issuer.answer(alpha());

    assert_eq!(paused.finish().expect("an answer").status, 200);
}

/// A configuration whose provider has this issuer, takes tokens from this header and has this key.
fn of(issuer: &str, header: &str, jwk: Value) -> Config {
    ["jwksUri", "jwksCluster", "allowPlaintextJwks", "audiences"]
        .iter()
        .fold(Config::new(), |config, field| config.provider_without(field))
        .provider("issuer", issuer)
        .provider("fromHeaders", json!([{ "name": header }]))
        .provider("jwks", json!({ "keys": [jwk] }))
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}
