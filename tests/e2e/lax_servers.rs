//! What a server behind the filter may read in a request although nothing verified it: forged tokens
//! in forms that only lax parsers take, identity in odd places, methods that turn into others.

use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::{Headers, Message, Request, Response};
use lab::http2;
use lab::issuer::{Answer, Issuer};
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::upstream::{Upstream, received};
use lab::wait;

use crate::explained::decide;

#[test]
fn see_no_forged_token_beside_a_good_one_or_none() {
    let rules = json!([{ "match": { "paths": ["/optional"] }, "access": "optional" }]);
    let sidecar = Sidecar::start(&Config::new().tokens_from_everywhere().set("rules", rules));
    let good = format!("access_token={}", Token::good().compact());
    let forged = forged();
    let encoded = forged.replace('.', "%2E");
    let fill = |value: &str| value.replace("FORGED", &forged).replace("ENCODED", &encoded);
    let authorization = |value: &str| ("Authorization", fill(value));
    let cookie = |value: &str| ("Cookie", fill(value));
    let headers = [
        authorization("Bearer\u{a0}FORGED"),
        authorization("Bearer\u{85}FORGED"),
        authorization("Bearer\u{c2}\u{a0}FORGED"),
        authorization("Bearer\u{e3}\u{80}\u{80}FORGED"),
        authorization("\u{ef}\u{bb}\u{bf}Bearer FORGED"),
        authorization("\u{a0}Bearer FORGED"),
        authorization("Token Bearer FORGED"),
        authorization("FORGED"),
        authorization("JWT FORGED"),
        authorization("Basic FORGED"),
        authorization("Bearer-Token FORGED"),
        cookie("Access_Token=FORGED"),
        cookie("access%5Ftoken=FORGED"),
        cookie("\u{a0}access_token=FORGED"),
        cookie("a=1, access_token=FORGED"),
        cookie("access_token[]=FORGED"),
        cookie("a=b access_token=FORGED"),
        cookie("access.token=ENCODED"),
        cookie("a=1,access_token=ENCODED"),
        cookie("access[token=FORGED"),
        cookie("access_token%00x=FORGED"),
    ];
    let queries = [
        "Access_Token=FORGED",
        "access.token=ENCODED",
        "access_token[]=FORGED",
        "access[token=FORGED",
        "access_token%00x=FORGED",
    ];

    for (name, value) in &headers {
        let request = |path| Request::get(path).header(name, value);
        assert_forgery_gone(&sidecar.send(&request("/optional")), value);
        let beside = if *name == "Cookie" {
            sidecar.send(&request(&format!("/?{good}")))
        } else {
            sidecar.send(&request("/").header("Cookie", &good))
        };
        assert_forgery_gone(&beside, value);
    }
    for query in queries {
        let query = fill(query);
        let request = Request::get(&format!("/optional?{query}"));
        assert_forgery_gone(&sidecar.send(&request), &query);
        let request = Request::get(&format!("/?{query}")).header("Cookie", &good);
        assert_forgery_gone(&sidecar.send(&request), &query);
    }
    let basic = Request::get("/optional").header("Authorization", "Basic dXNlcjpwYXNz");
    let seen = received(&sidecar.send(&basic));
    assert_eq!(seen.header("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[test]
fn get_no_credentials_with_a_preflight() {
    let from_headers = json!([{ "name": "X-Token" }]);
    let config = Config::new().tokens_from_everywhere().provider("fromHeaders", from_headers);
    let sidecar = Sidecar::start(&config);
    let forged = forged();
    let request = preflight(&format!("/?a=1&access_token={forged}"))
        .header("Cookie", &format!("b=2; access_token={forged}"))
        .header("X-Token", &forged)
        .header("X-User-Id", "root");

    let response = sidecar.send(&request);

    assert_eq!(sidecar.code(&response), "cors_preflight");
    let seen = received(&response);
    assert_eq!(seen.start_line, "OPTIONS /?a=1 HTTP/1.1");
    assert_eq!(seen.header("cookie"), Some("b=2"));
    assert_eq!((seen.header("x-token"), seen.header("x-user-id")), (None, None));
}

#[test]
fn get_no_request_in_the_clothes_of_a_preflight() {
    let sidecar = Sidecar::start(&Config::new());
    assert_eq!(decide(&sidecar, &preflight("/ws")), "200 cors_preflight");
    let upgrade = preflight("/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let others = [
        upgrade,
        preflight("/").header("Authorization", "Basic x"),
        preflight("/").header("X-HTTP-Method-Override", "DELETE"),
        preflight("/").header("X-HTTP-Method", "DELETE"),
        preflight("/").header("X_Method_Override", "DELETE"),
        preflight("/").body(b"{}".to_vec()),
        preflight("/").chunked_body(b"{}".to_vec()),
    ];

    for request in others {
        assert_eq!(decide(&sidecar, &request), "401 token_missing");
    }
}

#[test]
fn run_no_method_that_its_rule_did_not_see() {
    let rules = json!([
        { "match": { "methods": ["DELETE"] }, "scopes": ["admin"] },
        { "match": { "methods": ["GET"], "paths": ["/ws"] }, "scopes": ["admin"] },
    ]);
    let sidecar = Sidecar::start(&Config::new().set("rules", rules));
    let good = Token::good().compact();
    let request = |method: &str, path: &str| Request::new(method, path).bearer(&good);
    let upgrade =
        request("POST", "/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");

    assert_eq!(decide(&sidecar, &request("POST", "/ws")), "200 allowed");
    for request in [
        request("DELETE", "/x"),
        request("POST", "/x").header("X-HTTP-Method-Override", "delete"),
        request("POST", "/x").header("X-HTTP-Method-Override", "DELETE, x"),
        request("POST", "/x").header("X-HTTP-Method-Override", "\u{a0}DELETE\u{85}"),
        request("POST", "/x?_method=DELETE"),
        request("POST", "/ws").header("X-HTTP-Method", "get"),
        upgrade,
    ] {
        assert_eq!(decide(&sidecar, &request), "403 scope_insufficient");
    }
}

/// Over HTTP/2 Envoy passes methods and authorities as they come, and makes upgrades of some CONNECTs.
#[test]
fn run_no_method_and_no_host_that_its_rule_did_not_see_over_http2() {
    let rules = json!([
        { "match": { "methods": ["DELETE"] }, "scopes": ["admin"] },
        { "match": { "methods": ["GET"], "paths": ["/ws"] }, "scopes": ["admin"] },
        { "match": { "hosts": ["public.example.com"] }, "access": "public" },
    ]);
    let sidecar = Sidecar::start(&Config::new().set("rules", rules));
    let good = Token::good().compact();
    let ask = |method: &str, uri: &str, protocol, token: &str| {
        let (status, body) = http2::ask(sidecar.address(), method, uri, protocol, token);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        format!("{status} {}", body["code"].as_str().unwrap_or("-"))
    };

    assert_eq!(ask("GET", "http://public.example.com/", None, ""), "200 -");
    for port in [":1234", ":0", "."] {
        let uri = format!("http://public.example.com{port}/");
        assert_eq!(ask("GET", &uri, None, ""), "401 token_missing", "{port}");
    }
    assert_eq!(ask("POST", "http://a/x", None, &good), "200 -");
    for method in ["DELETE", "delete", "dElEtE"] {
        assert_eq!(ask(method, "http://a/x", None, &good), "403 scope_insufficient", "{method}");
    }
    let websocket = ask("CONNECT", "http://a/ws", Some("websocket"), &good);
    assert_eq!(websocket, "403 scope_insufficient");
}

/// Envoy passes `Connection` on with an upgrade, and what it names is dropped by the next proxy.
#[test]
fn are_not_kept_from_the_identity() {
    let sidecar = Sidecar::start(&Config::new());
    let request = Request::get("/")
        .bearer(&Token::good().compact())
        .header("Connection", "Upgrade, X-User-Id, x_scopes")
        .header("Upgrade", "websocket");

    assert_eq!(decide(&sidecar, &request), "200 allowed");

    let seen = sidecar.upstream.latest();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("connection"), Some("close, Upgrade"));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
}

#[test]
fn get_no_identity_in_trailers() {
    let sidecar = Sidecar::start(&Config::new());

    let seen = received(&sidecar.send(&with_trailers(&Token::good())));

    assert_eq!(seen.trailers, neighbour());
}

/// Envoy hands trailers over while the head is stopped, if told to, and never again.
#[test]
fn get_no_identity_in_trailers_of_a_request_that_was_paused() {
    for adapt in [|bootstrap| bootstrap, Bootstrap::bodies_despite_stopped_heads] {
        let issuer = Issuer::start(Answer::Hang);
        let upstream = Upstream::start();
        let bootstrap = Bootstrap::new(upstream.address())
            .cluster(ISSUER_CLUSTER, issuer.address())
            .filter("mesh-jwt", &Config::new().render());
        let envoy = Envoy::start(&adapt(bootstrap), 1);
        let paused = envoy.open(&with_trailers(&Token::good()));
        wait::until("it is paused", Duration::from_secs(2), || {
            (envoy.stat("wasmcustom.mesh_jwt.paused") == 1).then_some(())
        });

        issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));

        let seen = received(&paused.finish().expect("an answer"));
        assert_eq!(seen.header("x-user-id"), Some("user-4711"));
        assert_eq!(seen.body, b"{}");
        assert_eq!(seen.trailers, neighbour());
    }
}

/// A configured token place and owned headers, and one header that is neither.
fn with_trailers(token: &Token) -> Request {
    Request::new("POST", "/")
        .bearer(&token.compact())
        .chunked_body(b"{}".to_vec())
        .trailer("X-User-Id", "root")
        .trailer("x_scopes", "admin")
        .trailer("Authorization", &format!("Bearer {}", forged()))
        .trailer("X-Checksum", "1")
}

fn neighbour() -> Headers {
    vec![("x-checksum".to_owned(), "1".to_owned())]
}

fn preflight(target: &str) -> Request {
    Request::new("OPTIONS", target)
        .header("Origin", "https://shop.example.com")
        .header("Access-Control-Request-Method", "PUT")
}

fn forged() -> String {
    Token::good().claim("sub", "root").compact_with(|_| vec![0x5a; 256])
}

/// Whatever became of the request, nobody has seen the forged token.
fn assert_forgery_gone(response: &Response, what: &str) {
    if response.status != 200 {
        assert_eq!(response.status, 401, "{what}");
        return;
    }
    let Message { start_line, headers, .. } = received(response);
    let seen = json!([start_line, headers]);
    let parts = forged();
    let claims = parts.split('.').nth(1).expect("a compact token");
    assert!(!contains(&seen, claims), "{what}: {seen}");
}

fn contains(seen: &Value, text: &str) -> bool {
    seen.to_string().contains(text)
}
