//! How keys get to the filter, and what becomes of the requests that wait for them.

use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::{Exchange, Request};
use lab::issuer::{Answer, Issuer};
use lab::sidecar::Sidecar;
use lab::token::{AUDIENCE, ISSUER, Key, Token};
use lab::upstream::{Upstream, received};
use lab::wait;

#[test]
fn keys_are_fetched_from_the_configured_uri() {
    let sidecar = Sidecar::start(&Config::new());

    sidecar.assert_good_token_passes();

    let fetches = sidecar.issuer.fetches();
    assert_eq!(fetches[0].start_line, "GET /jwks HTTP/1.1");
    assert_eq!(fetches[0].header("host"), Some("auth.example.com"));
    assert_eq!(sidecar.stat("jwks.wealist.fetch_success"), 1);
    assert_eq!(sidecar.stat("jwks.wealist.fetch_failed"), 0);
    assert_eq!(sidecar.stat("jwks.wealist.keys"), 1);
}

#[test]
fn concurrent_first_requests_share_one_fetch() {
    for workers in [1, 4] {
        let sidecar = Sidecar::start_with(&Config::new(), Answer::Hang, workers);
        let request = Request::get("/").bearer(&Token::good().compact());
        let waiting: Vec<Exchange> = (0..20).map(|_| sidecar.open(&request)).collect();
        wait_for_paused(&sidecar, 20);

        publish_alpha(&sidecar);

        for exchange in waiting {
            assert_eq!(exchange.finish().expect("an answer").status, 200, "{workers} workers");
        }
        assert_eq!(sidecar.issuer.fetches().len(), 1, "{workers} workers");
        assert_eq!(sidecar.stat("paused"), 0, "{workers} workers");
    }
}

#[test]
fn every_worker_decides_alike() {
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Keys(vec![Key::alpha().jwk()]), 4);
    let good = Request::get("/").bearer(&Token::good().compact());
    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha").compact();
    let forged = Request::get("/").bearer(&forged);

    // Connections spread over the workers; so many reach all of them.
    let exchanges: Vec<(Exchange, Exchange)> =
        (0..50).map(|_| (sidecar.open(&good), sidecar.open(&forged))).collect();

    for (good, forged) in exchanges {
        assert_eq!(good.finish().expect("an answer").status, 200);
        assert_eq!(forged.finish().expect("an answer").status, 401);
    }
}

#[test]
fn body_that_arrives_while_paused_is_forwarded_whole() {
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Hang, 1);
    let body: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let post = Request::new("POST", "/upload").bearer(&Token::good().compact());
    let sized = sidecar.open(&post.clone().body(body.clone()));
    let chunked = sidecar.open(&post.chunked_body(body.clone()));
    wait_for_paused(&sidecar, 2);

    publish_alpha(&sidecar);

    for exchange in [sized, chunked] {
        let seen = received(&exchange.finish().expect("an answer"));
        assert!(seen.body == body, "{} of {} bytes are intact", seen.body.len(), body.len());
        assert_eq!(seen.header("x-user-id"), Some("user-4711"));
        assert_eq!(seen.header("authorization"), None);
    }
}

/// Envoy can be told to hand the body over while the head is stopped, and then takes an answer to
/// the body for one to the head.
#[test]
fn body_releases_no_request_that_is_paused() {
    let issuer = Issuer::start(Answer::Hang);
    let upstream = Upstream::start();
    let bootstrap = Bootstrap::new(upstream.address())
        .cluster(ISSUER_CLUSTER, issuer.address())
        .filter("mesh-jwt", &Config::new().render())
        .bodies_despite_stopped_heads();
    let envoy = Envoy::start(&bootstrap, 1);
    let post = |token: &Token| {
        let request = Request::new("POST", "/admin").header("X-User-Id", "root");
        envoy.open(&request.bearer(&token.compact()).chunked_body(vec![b'x'; 100_000]))
    };
    let forged = post(&Token::good().signed_by(Key::beta()).header("kid", "alpha"));
    let good = post(&Token::good());
    wait::until("both are paused", PAUSE_LIMIT, || {
        (envoy.stat("wasmcustom.mesh_jwt.paused") == 2).then_some(())
    });

    issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));

    assert_eq!(forged.finish().expect("an answer").status, 401);
    let seen = received(&good.finish().expect("an answer"));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(seen.body.len(), 100_000);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn client_that_leaves_while_paused_leaves_nothing_behind() {
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Hang, 1);
    let request = Request::get("/").bearer(&Token::good().compact());
    let leaving = [sidecar.open(&request), sidecar.open(&request)];
    let staying = sidecar.open(&request);
    wait_for_paused(&sidecar, 3);

    drop(leaving);
    wait_for_paused(&sidecar, 1);
    publish_alpha(&sidecar);

    assert_eq!(staying.finish().expect("an answer").status, 200);
    sidecar.assert_good_token_passes();
    assert_eq!(sidecar.stat("paused"), 0);
    assert_eq!(sidecar.upstream.requests(), 2);
}

#[test]
fn inline_keys_need_no_fetch() {
    let config = ["jwksUri", "jwksCluster", "allowPlaintextJwks"]
        .iter()
        .fold(Config::new(), |config, field| config.provider_without(field));
    let set = json!({ "keys": [Key::alpha().jwk()] });

    for jwks in [Value::from(set.to_string()), set] {
        let sidecar = Sidecar::start(&config.clone().provider("jwks", jwks));

        sidecar.assert_good_token_passes();
        let stranger = Token::good().signed_by(Key::beta()).compact();
        assert_eq!(sidecar.decide(&Request::get("/").bearer(&stranger)), "401 key_unknown");
        assert!(sidecar.issuer.fetches().is_empty());
    }
}

#[test]
fn inline_keys_bridge_the_time_until_the_first_fetch() {
    let config = Config::new().provider("jwks", json!({ "keys": [Key::alpha().jwk()] }));
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);

    sidecar.assert_good_token_passes();
}

#[test]
fn istio_rule_loads_as_it_is() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let upstream = Upstream::start();
    let rule = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwksUri": "https://auth.example.com/.well-known/jwks.json",
        "fromHeaders": [
            { "name": "Authorization", "prefix": "Bearer " },
            { "name": "X-Token", "prefix": "" },
        ],
        "fromParams": ["access_token"],
        "fromCookies": ["access_token"],
        "outputPayloadToHeader": "x-jwt-payload",
        "forwardOriginalToken": true,
        "outputClaimToHeaders": [{ "header": "x-user", "claim": "sub" }],
        "timeout": "5s",
        "spaceDelimitedClaims": ["scope"],
    });
    let bootstrap = Bootstrap::new(upstream.address())
        .cluster("outbound|443||auth.example.com", issuer.address())
        .filter("mesh-jwt", &json!({ "providers": [rule] }).to_string());
    let envoy = Envoy::start(&bootstrap, 1);

    let response = envoy.send(&Request::get("/").header("X-Token", &Token::good().compact()));

    assert_eq!(received(&response).header("x-user"), Some("user-4711"));
    assert_eq!(issuer.fetches()[0].start_line, "GET /.well-known/jwks.json HTTP/1.1");
    // The provider's name defaults to the host of its issuer.
    assert_eq!(envoy.access_log_line(&response)["provider"], "auth.example.com");
}

fn wait_for_paused(sidecar: &Sidecar, number: u64) {
    wait::until(&format!("{number} requests are paused"), PAUSE_LIMIT, || {
        (sidecar.stat("paused") == number).then_some(())
    });
}

fn publish_alpha(sidecar: &Sidecar) {
    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
}

/// Less than `jwksWaitTimeout`, which ends every pause.
const PAUSE_LIMIT: Duration = Duration::from_millis(2500);
