//! Bytes that no honest client sends. None may trap the VM: a trapped one fails every later request.

use serde_json::json;

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, sign_parts};

use crate::explained::decide;

#[test]
fn bytes_outside_utf8_are_survived_in_any_header() {
    let sidecar = unbreakable();
    let good = Token::good().compact();
    let names = [
        "X-Anything",
        "X-User-Id",
        "X_User_Id",
        "Content-Type",
        "User-Agent",
        "Accept",
        "TE",
        "Origin",
        "Access-Control-Request-Method",
        "Referer",
        "X-Forwarded-For",
    ];

    for name in names {
        for value in [BAD_BYTES, "\u{ff}", "a\u{ff}b\u{fe}"] {
            let request = Request::get("/").header(name, value).bearer(&good);
            assert_survives(&sidecar, &request, "200 allowed", name);
            let preflight = Request::new("OPTIONS", "/")
                .header("Origin", "https://shop.example.com")
                .header("Access-Control-Request-Method", "PUT");
            let request = preflight.header("X-Other", value);
            assert_survives(&sidecar, &request, "200 cors_preflight", name);
        }
    }
}

#[test]
fn bytes_outside_utf8_are_survived_where_tokens_are_looked_for() {
    let sidecar = unbreakable();
    let good = Token::good().compact();
    let cookies = |value: &str| Request::get("/").header("Cookie", value);
    let authorization = |value: &str| Request::get("/").header("Authorization", value);
    let cases = [
        (authorization("\u{ff}"), "401 token_missing"),
        (authorization("Bearer \u{ff}"), "401 token_malformed"),
        (authorization(&format!("Bearer {good}\u{ff}")), "401 token_malformed"),
        (authorization(&format!("Bearer\u{ff} {good}")), "401 token_malformed"),
        (authorization(&format!("\u{ff}, Bearer {good}")), "400 multiple_tokens"),
        (cookies("\u{ff}=\u{ff}"), "401 token_missing"),
        (cookies("access_token=\u{ff}"), "401 token_malformed"),
        (cookies(&format!("\u{ff}=\u{fe}; access_token={good}")), "200 allowed"),
        (Request::get("/?access_token=%FF%FE"), "401 token_malformed"),
        (Request::get("/?access_token=%"), "401 token_malformed"),
        (Request::get("/?access_token=%0"), "401 token_malformed"),
        (Request::get(&format!("/?%FF=%FF&access_token={good}")), "200 allowed"),
        (Request::get("/%FF/%C0%AE%C0%AE/"), "401 token_missing"),
    ];

    for (request, decision) in cases {
        assert_survives(&sidecar, &request, decision, decision);
    }
}

#[test]
fn bytes_that_envoy_itself_refuses_do_not_reach_the_filter() {
    let sidecar = unbreakable();
    let good = Token::good().compact();
    let requests = [
        Request::get("/").header("X-\u{ff}", "1").bearer(&good),
        Request::get("/").host("\u{ff}").bearer(&good),
    ];

    for request in requests {
        assert_eq!(sidecar.send(&request).status, 400);
    }
    sidecar.assert_good_token_passes();
}

#[test]
fn huge_requests_are_survived() {
    let sidecar = unbreakable();
    let good = Token::good().compact();
    let large = |bytes: usize| Token::good().claim("padding", "p".repeat(bytes)).compact();
    let cookies = |number: usize| {
        let cookies = (0..number).map(|number| format!("cookie-{number}=value"));
        cookies.collect::<Vec<_>>().join("; ")
    };
    let token_cookies = vec![format!("access_token={good}"); 100].join("; ");
    let hundred_headers = (0..100).fold(Request::get("/").bearer(&good), |request, number| {
        request.header("Cookie", &format!("cookie-{number}=value"))
    });
    let cases = [
        (Request::get("/").bearer(&large(44 * 1024)), "401 token_too_large"),
        (Request::get("/").bearer(&"a".repeat(60 * 1024)), "401 token_too_large"),
        (Request::get("/").bearer(&".".repeat(60 * 1024)), "401 token_too_large"),
        (Request::get("/").bearer(&"A.".repeat(4000)), "401 token_malformed"),
        (Request::get("/").header("Cookie", &cookies(100)).bearer(&good), "200 allowed"),
        (Request::get("/").header("Cookie", &token_cookies), "400 multiple_tokens"),
        (hundred_headers, "200 allowed"),
        (Request::get(&format!("/?{}", "a=b&".repeat(10_000))).bearer(&good), "200 allowed"),
        (Request::get(&"/x".repeat(20_000)).bearer(&good), "200 allowed"),
        (Request::get(&"/..".repeat(20_000)).bearer(&good), "200 allowed"),
        (Request::get(&format!("/{}", "%25".repeat(10_000))), "401 token_missing"),
    ];

    for (request, decision) in cases {
        assert_survives(&sidecar, &request, decision, decision);
    }
}

#[test]
fn absurd_tokens_are_survived() {
    let sidecar = unbreakable();
    let header = Token::good().header_text();
    let payload = Token::good().payload_text();
    let exp = |exp: &str| {
        let without = Token::good().without_claim("exp").payload_text();
        without.replacen('{', &format!("{{\"exp\":{exp},"), 1)
    };
    let cases = [
        (header.clone(), "[".repeat(5000), "401 token_malformed"),
        (header.clone(), "{\"a\":".repeat(900), "401 token_malformed"),
        ("[".repeat(5000), payload.clone(), "401 token_malformed"),
        (header.clone(), String::from("{}"), "401 issuer_unknown"),
        (header.clone(), exp("1e400"), "401 token_malformed"),
        (header.clone(), exp("-1"), "401 token_expired"),
        (header.clone(), exp("-1e300"), "401 token_expired"),
        (header.clone(), exp("1e300"), "200 allowed"),
        (header.clone(), exp("18446744073709551616"), "200 allowed"),
        (header.clone(), exp("null"), "401 token_malformed"),
        (header.clone(), exp("4102444800.75"), "200 allowed"),
    ];

    for (header, payload, decision) in cases {
        let token = sign_parts(&header, &payload, Key::alpha());
        assert_survives(&sidecar, &Request::get("/").bearer(&token), decision, &payload);
    }
    let token = Token::good().header("kid", "k".repeat(4000)).compact();
    let request = Request::get("/").bearer(&token);
    assert_survives(&sidecar, &request, "401 key_unknown", "a long kid");
    let token = Token::good().header("kid", json!({ "a": [] })).compact();
    let request = Request::get("/").bearer(&token);
    assert_survives(&sidecar, &request, "401 token_malformed", "a kid that is no string");
}

fn unbreakable() -> Sidecar {
    Sidecar::start(&Config::new().tokens_from_everywhere())
}

/// Sends the request, and then proves that the only worker's VM is still at work.
fn assert_survives(sidecar: &Sidecar, request: &Request, decision: &str, what: &str) {
    assert_eq!(decide(sidecar, request), decision, "{what}");

    sidecar.assert_good_token_passes();
    sidecar.assert_untrapped(what);
}

/// The start of a multi-byte character that never goes on, and a byte that is in no character.
const BAD_BYTES: &str = "\u{e2}\u{82}\u{ff}";
