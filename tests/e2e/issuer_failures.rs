//! An issuer that misbehaves: every request gets a clear answer, and the first fetch that succeeds
//! ends the trouble.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use lab::config::{Config, ISSUER_CLUSTER};
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::wait;

#[test]
fn empty_body() {
    assert_unavailable_then_recovers(Answer::raw("200 OK", "", b""));
}

#[test]
fn truncated_json() {
    let whole = json!({ "keys": [Key::alpha().jwk()] }).to_string();
    let (half, _) = whole.split_at(whole.len() / 2);
    assert_unavailable_then_recovers(Answer::raw("200 OK", "", half.as_bytes()));
}

#[test]
fn connection_closed_in_the_middle_of_the_body() {
    assert_unavailable_then_recovers(Answer::CutOff);
}

#[test]
fn connection_closed_without_an_answer() {
    assert_unavailable_then_recovers(Answer::Reset);
}

#[test]
fn server_error_with_a_good_body() {
    let body = json!({ "keys": [Key::alpha().jwk()] }).to_string();
    let answer = Answer::raw("500 Internal Server Error", "", body.as_bytes());
    assert_unavailable_then_recovers(answer);
}

#[test]
fn redirect() {
    let headers = "Location: http://elsewhere.example.com/jwks\r\n";
    assert_unavailable_then_recovers(Answer::raw("302 Found", headers, b""));
}

#[test]
fn body_of_32_mib() {
    let body = vec![b' '; 32 * 1024 * 1024];
    assert_unavailable_then_recovers(Answer::raw("200 OK", "", &body));
}

#[test]
fn html_under_status_200() {
    let body = b"<!doctype html><title>Sign in</title>";
    assert_unavailable_then_recovers(Answer::raw("200 OK", "Content-Type: text/html\r\n", body));
}

#[test]
fn json_that_is_no_key_set() {
    assert_unavailable_then_recovers(Answer::raw("200 OK", "", b"{\"keys\":\"alpha\"}"));
}

#[test]
fn bytes_outside_utf8() {
    assert_unavailable_then_recovers(Answer::raw("200 OK", "X-Note: \u{ff}\r\n", b"\xff\xfe{}"));
}

#[test]
fn hanging_issuer() {
    assert_unavailable_then_recovers(Answer::Hang);
}

#[test]
fn a_thousand_keys_are_bounded() {
    let keys = (0..1000).map(stranger).collect();
    let config = impatient().provider("refetchCooldown", "1s");
    let sidecar = Sidecar::start_with(&config, Answer::Keys(keys), 1);
    let good = Request::get("/").bearer(&Token::good().compact());

    // Whether the set is refused or cut short is the filter's choice; to hang or to trap is not.
    let decision = sidecar.decide(&good);
    assert!(["503 jwks_unavailable", "401 key_unknown"].contains(&decision.as_str()), "{decision}");

    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    wait::until("the good token passes", RECOVERY_LIMIT, || {
        (sidecar.decide(&good) == "200 allowed").then_some(())
    });
}

#[test]
fn unusable_keys_do_not_spoil_the_usable_one() {
    let keys = vec![
        json!({ "kty": "EC", "crv": "P-256", "kid": "ec", "x": "AA", "y": "AA" }),
        json!({ "kty": "RSA", "kid": "small", "n": "AQAB", "e": "AQAB" }),
        json!({ "kty": "RSA", "kid": "no-modulus" }),
        json!({ "kty": "oct", "kid": "alpha", "k": "c2VjcmV0" }),
        json!("not a key"),
        Key::alpha().jwk(),
    ];
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Keys(keys), 1);

    sidecar.assert_good_token_passes();
}

#[test]
fn slow_issuer_only_delays() {
    let answer = Answer::Trickle(Duration::from_millis(400), vec![Key::alpha().jwk()]);
    let sidecar = Sidecar::start_with(&Config::new(), answer, 1);

    sidecar.assert_good_token_passes();
}

#[test]
fn request_waits_no_longer_than_configured() {
    let config = Config::new().set("jwksWaitTimeout", "800ms").provider("timeout", "5s");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);
    let started = Instant::now();

    let response = sidecar.send(&Request::get("/").bearer(&Token::good().compact()));

    let waited = started.elapsed();
    assert_eq!((response.status, sidecar.code(&response).as_str()), (503, "jwks_unavailable"));
    let expected = Duration::from_millis(750)..Duration::from_millis(1600);
    assert!(expected.contains(&waited), "waited {waited:?}");
    assert_eq!(sidecar.stat("paused"), 0);
}

#[test]
fn cluster_that_envoy_does_not_know_is_named_in_the_log() {
    let config = Config::new()
        .provider("jwksCluster", "outbound|80||nowhere.example.com")
        .set("jwksWaitTimeout", "500ms");
    let sidecar = Sidecar::start(&config);

    let decision = sidecar.decide(&Request::get("/").bearer(&Token::good().compact()));

    assert_eq!(decision, "503 jwks_unavailable");
    let log = sidecar.envoy_log();
    let warning = log.lines().find(|line| line.contains("outbound|80||nowhere.example.com"));
    assert!(warning.is_some_and(|line| line.contains("cluster")), "{warning:?}");
    assert!(sidecar.stat("jwks.wealist.fetch_failed") >= 1);
}

#[test]
fn one_broken_provider_does_not_hurt_another() {
    let broken = json!({
        "name": "broken",
        "issuer": "https://broken.example.com",
        "jwksUri": "http://broken.example.com/jwks",
        "jwksCluster": "no-such-cluster",
        "allowPlaintextJwks": true,
    });
    let config = impatient().add_provider(broken);
    let sidecar = Sidecar::start(&config);
    let of_broken = Token::good().claim("iss", "https://broken.example.com").compact();

    sidecar.assert_good_token_passes();
    let decision = sidecar.decide(&Request::get("/").bearer(&of_broken));
    assert_eq!(decision, "503 jwks_unavailable");
    sidecar.assert_good_token_passes();
}

#[test]
fn key_that_cannot_be_read_costs_no_other_and_is_named_in_the_log() {
    let alpha = Key::alpha().jwk().to_string();
    let twice = alpha.replacen('{', "{\"kid\":\"twice\",\"use\":\"sig\",\"use\":\"sig\",", 1);
    let twice = twice.replacen("\"kid\":\"alpha\",", "", 1);
    let far = r#"{"kty":"RSA","kid":"far","n":1e999}"#;
    let deep = format!(r#"{{"kid":"deep","x":{}{}}}"#, "[".repeat(300), "]".repeat(300));
    let set = format!(r#"{{"keys":[{twice},{far},{deep},{alpha}]}}"#);

    let sidecar = Sidecar::start_with(&impatient(), Answer::raw("200 OK", "", set.as_bytes()), 1);

    sidecar.assert_good_token_passes();
    let log = sidecar.envoy_log();
    for told in [
        r#"skipped 3 that cannot be used (keys[0] (kid "twice"): it cannot be read: duplicate member"#,
        r#"keys[1] (kid "far"): it cannot be read: number out of range"#,
        r#"keys[2] (kid "deep"): it cannot be read: nested too deeply"#,
    ] {
        assert!(log.contains(told), "{told} is not in Envoy's log");
    }
}

/// Starts with the misbehaviour, sees a request fail clearly and in time, lets the issuer recover,
/// and sees the next requests pass.
fn assert_unavailable_then_recovers(misbehaviour: Answer) {
    let sidecar = Sidecar::start_with(&impatient(), misbehaviour, 1);
    let good = Request::get("/").bearer(&Token::good().compact());

    let response = sidecar.send(&good);

    assert_eq!((response.status, sidecar.code(&response).as_str()), (503, "jwks_unavailable"));
    assert!(response.header("retry-after").is_some());
    assert!(sidecar.stat("jwks.wealist.fetch_failed") >= 1);
    assert!(!sidecar.issuer.fetches().is_empty(), "{ISSUER_CLUSTER} was never asked");
    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    // Until the next retry is due, requests still may be refused, but only with the same answer.
    wait::until("the good token passes", RECOVERY_LIMIT, || {
        let decision = sidecar.decide(&good);
        assert!(["503 jwks_unavailable", "200 allowed"].contains(&decision.as_str()), "{decision}");
        (decision == "200 allowed").then_some(())
    });
    sidecar.assert_good_token_passes();
    assert_eq!(sidecar.stat("jwks.wealist.keys"), 1);
}

/// One of many different keys, none of which signed anything.
fn stranger(number: u32) -> Value {
    let mut jwk = Key::beta().jwk_named(&format!("stranger-{number}"));
    let mut modulus = jwk["n"].as_str().expect("a modulus").to_owned();
    modulus.replace_range(100..104, &format!("{number:04}"));
    jwk["n"] = modulus.into();
    jwk
}

/// Fetches and requests give up soon.
fn impatient() -> Config {
    Config::new().provider("timeout", "500ms").set("jwksWaitTimeout", "1s")
}

/// The first retry is due within a second, the second one two seconds later.
const RECOVERY_LIMIT: Duration = Duration::from_secs(4);
