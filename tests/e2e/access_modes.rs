//! Public and optional rules, and report mode.

use serde_json::json;

use lab::config::Config;
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Token, now};
use lab::upstream::received;

use crate::explained::decide;

#[test]
fn public_path_leaves_any_token_alone() {
    let rules = json!([{ "match": { "paths": ["/public"] }, "access": "public" }]);
    let config = Config::new().set("rules", rules);
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);

    for token in [Token::good().compact(), "not a token".to_owned()] {
        let response = sidecar.send(&Request::get("/public").bearer(&token));

        let seen = received(&response);
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {token}").as_str()));
        assert_eq!(seen.header("x-user-id"), None);
        assert_eq!(sidecar.code(&response), "public");
    }
    assert_eq!(sidecar.counted("public"), 2);
    assert_eq!(sidecar.counted("allowed"), 0);
}

#[test]
fn optional_path_takes_no_token_or_a_good_one() {
    let rules = json!([{ "match": { "paths": ["/profile"] }, "access": "optional" }]);
    let sidecar = Sidecar::start(&Config::new().set("rules", rules));
    let get = || Request::get("/profile");
    let expired = Token::good().claim("exp", now() - 600).compact();

    let signed_in = sidecar.send(&get().bearer(&Token::good().compact()));

    assert_eq!(received(&signed_in).header("x-user-id"), Some("user-4711"));
    assert_eq!(sidecar.code(&signed_in), "allowed");
    assert_eq!(decide(&sidecar, &get()), "200 public");
    assert_eq!(decide(&sidecar, &get().bearer(&expired)), "401 token_expired");
    assert_eq!(sidecar.counted("public"), 1);
    assert_eq!(sidecar.counted("allowed"), 1);
}

#[test]
fn report_mode_counts_what_it_would_have_denied() {
    let sidecar = Sidecar::start(&Config::new().set("mode", "report"));
    let expired = Token::good().claim("exp", now() - 600).compact();

    let denied = sidecar.send(&Request::get("/").bearer(&expired));
    let missing = sidecar.send(&Request::get("/"));

    let seen = received(&denied);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {expired}").as_str()));
    assert_eq!(seen.header("x-user-id"), None);
    assert_eq!(sidecar.code(&denied), "token_expired");
    assert_eq!(sidecar.code(&missing), "token_missing");
    for code in ["token_expired", "token_missing"] {
        assert_eq!(sidecar.counted(&format!("reported.{code}")), 1, "{code}");
        assert_eq!(sidecar.counted(&format!("denied.{code}")), 0, "{code}");
    }
}

#[test]
fn report_mode_sets_identity_headers_beside_the_token() {
    let sidecar = Sidecar::start(&Config::new().set("mode", "report"));
    let good = Token::good().compact();

    let response = sidecar.send(&Request::get("/").bearer(&good));

    let seen = received(&response);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {good}").as_str()));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(sidecar.code(&response), "allowed");
    assert_eq!(sidecar.counted("allowed"), 1);
}

#[test]
fn report_mode_forwards_without_keys_too() {
    let config = Config::new().set("mode", "report").set("jwksWaitTimeout", "300ms");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);

    let response = sidecar.send(&Request::get("/").bearer(&Token::good().compact()));

    assert_eq!(received(&response).header("x-user-id"), None);
    assert_eq!(sidecar.counted("reported.jwks_unavailable"), 1);
}
