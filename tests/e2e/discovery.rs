//! Issuers without `jwksUri`: their discovery documents say where the keys are.

use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::Request;
use lab::issuer::{Answer, Issuer};
use lab::resources::Balancer;
use lab::sidecar::Sidecar;
use lab::token::{AUDIENCE, ISSUER, Key, Token};
use lab::traffic::Traffic;
use lab::upstream::{Upstream, received};
use lab::wait;

#[test]
fn a_rule_of_istio_without_jwks_uri_loads_as_it_is() {
    let issuer =
        Issuer::start(routes(&[(FIRST, document(KEYS_URI)), (KEYS, keys(&[Key::alpha()]))]));
    let upstream = Upstream::start();
    let rule = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "outputClaimToHeaders": [{ "header": "x-user", "claim": "sub" }],
    });
    let bootstrap = Bootstrap::new(upstream.address())
        .cluster("outbound|443||auth.example.com", issuer.address())
        .filter("mesh-jwt", &json!({ "providers": [rule] }).to_string());
    let envoy = Envoy::start(&bootstrap, 1);

    let response = envoy.send(&Request::get("/").bearer(&Token::good().compact()));

    assert_eq!(received(&response).header("x-user"), Some("user-4711"));
    assert_eq!(&lines(&issuer)[..2], [get(FIRST), get(KEYS)]);
    assert_eq!(issuer.fetches()[0].header("host"), Some("auth.example.com"));
    assert_eq!(envoy.stat("wasmcustom.mesh_jwt.jwks.auth.example.com.fetch_failed"), 0);
}

#[test]
fn the_place_of_rfc_8414_is_the_second() {
    let pages = [(SECOND, document(KEYS_URI)), (KEYS, keys(&[Key::alpha()]))];
    let sidecar = Sidecar::start_with(&undisclosed(), routes(&pages), 1);

    sidecar.assert_good_token_passes();

    assert_eq!(&lines(&sidecar.issuer)[..3], [get(FIRST), get(SECOND), get(KEYS)]);
    assert_eq!(sidecar.stat("jwks.wealist.fetch_failed"), 0);
}

#[test]
fn a_document_is_refused_with_the_mend_in_the_log() {
    let other = json!({ "issuer": "https://other.example.com", "jwks_uri": KEYS_URI });
    for (document, mend) in [
        (json_page(&other), "is of the issuer \"https://other.example.com\"; write issuer exactly"),
        (document("https://keys.example.com/"), "list that host in jwksHosts"),
        (document("http://auth.example.com/keys"), "allowPlaintextJwks is not set"),
        (
            json_page(&json!({})),
            "is not a discovery document with issuer and jwks_uri; set jwksUri",
        ),
        (Answer::raw("403 Forbidden", "", b""), "an answer with status 403; set jwksUri to where"),
        (Answer::raw("200 OK", "", &vec![b'['; 1 << 20]), "is not a discovery document"),
    ] {
        let pages = [(FIRST, document), (KEYS, keys(&[Key::alpha()]))];
        let sidecar = Sidecar::start_with(&undisclosed(), routes(&pages), 1);

        let outcome = sidecar.decide(&Request::get("/").bearer(&Token::good().compact()));

        assert_eq!(outcome, "503 jwks_unavailable", "{mend}");
        let log = sidecar.envoy_log();
        assert!(log.contains(mend), "{mend}: {log}");
        assert!(!lines(&sidecar.issuer).contains(&get(KEYS)), "{mend}");
        sidecar.assert_untrapped(mend);
    }
}

#[test]
fn keys_on_a_listed_host_are_fetched_there() {
    let issuer = Issuer::start(routes(&[(FIRST, document("https://keys.example.com/k"))]));
    let elsewhere = Issuer::start(routes(&[("/k", keys(&[Key::alpha()]))]));
    let upstream = Upstream::start();
    let config = undisclosed().provider("jwksHosts", json!(["keys.example.com"]));
    let bootstrap = Bootstrap::new(upstream.address())
        .cluster(ISSUER_CLUSTER, issuer.address())
        .cluster("outbound|443||keys.example.com", elsewhere.address())
        .filter("mesh-jwt", &config.render());
    let envoy = Envoy::start(&bootstrap, 1);

    let response = envoy.send(&Request::get("/").bearer(&Token::good().compact()));

    assert_eq!(response.status, 200);
    assert_eq!(elsewhere.fetches()[0].header("host"), Some("keys.example.com"));
}

/// The document is read for all workers at once, and pods that differ cost nobody a request.
#[test]
fn workers_and_pods_share_one_document() {
    let (alpha, beta) = (Key::alpha(), Key::beta());
    let pods = Answer::Pods(vec![vec![alpha.jwk()], vec![beta.jwk()]]);
    let pages = routes(&[(FIRST, document(KEYS_URI)), (KEYS, pods)]);
    let sidecar = Sidecar::start_with(&undisclosed(), pages, 4);
    let tokens = [Token::good(), Token::good().signed_by(beta)];

    let traffic = Traffic::start(sidecar.address(), &tokens);
    traffic.flow(500);

    traffic.assert_undisturbed(Duration::from_secs(3));
    let documents = lines(&sidecar.issuer).iter().filter(|line| **line == get(FIRST)).count();
    // One, and on a slow machine another for each second of a search.
    assert!(documents < 4, "{documents} for four workers");
}

#[test]
fn keys_that_move_are_followed_and_an_outage_of_the_document_costs_nothing() {
    let config = undisclosed().provider("cacheDuration", "1s").provider("staleDuration", "1h");
    let pages = |document: Answer, path: &str| {
        routes(&[(FIRST, document), (path, keys(&[Key::alpha(), Key::beta()]))])
    };
    let sidecar = Sidecar::start_with(&config, pages(document(KEYS_URI), KEYS), 2);
    sidecar.assert_good_token_passes();
    let traffic =
        Traffic::start(sidecar.address(), &[Token::good(), Token::good().signed_by(Key::beta())]);
    let fetched =
        |path: &str| lines(&sidecar.issuer).iter().filter(|line| **line == get(path)).count();

    sidecar.issuer.answer(pages(document("https://auth.example.com/moved"), "/moved"));
    wait::until("the keys are fetched from their new place", LIMIT, || {
        (fetched("/moved") > 0).then_some(())
    });
    sidecar.issuer.answer(pages(Answer::raw("500 Oops", "", b""), "/moved"));
    let (documents, sets) = (fetched(FIRST), fetched("/moved"));
    wait::until("the keys are refreshed without the document", LIMIT, || {
        (fetched(FIRST) > documents + 2 && fetched("/moved") > sets + 2).then_some(())
    });

    traffic.assert_undisturbed(Duration::from_secs(3));
    assert!(sidecar.envoy_log().contains("the keys are fetched from where they were before"));
}

/// The usual provider, without `jwksUri`.
fn undisclosed() -> Config {
    Config::new().provider_without("jwksUri").provider("allowPlaintextJwks", false)
}

fn routes(pages: &[(&str, Answer)]) -> Answer {
    Answer::Routes(
        pages.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())).collect(),
    )
}

fn document(jwks_uri: &str) -> Answer {
    json_page(&json!({ "issuer": ISSUER, "jwks_uri": jwks_uri }))
}

fn json_page(page: &Value) -> Answer {
    Answer::raw("200 OK", "Content-Type: application/json\r\n", page.to_string().as_bytes())
}

fn keys(keys: &[&Key]) -> Answer {
    Answer::Keys(keys.iter().map(|key| key.jwk()).collect())
}

/// The request lines of all fetches.
fn lines(issuer: &Issuer) -> Vec<String> {
    issuer.fetches().into_iter().map(|fetch| fetch.start_line).collect()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1")
}

const FIRST: &str = "/.well-known/openid-configuration";
const SECOND: &str = "/.well-known/oauth-authorization-server";
const KEYS: &str = "/keys";
const KEYS_URI: &str = "https://auth.example.com/keys";
const LIMIT: Duration = Duration::from_secs(8);

/// Behind every balancer, with and without the host's crypto, while junk comes.
#[test]
fn pods_that_differ_cost_no_request_however_they_are_balanced() {
    for balancer in [Balancer::RoundRobin, Balancer::Random, Balancer::LeastRequest] {
        for (workers, crypto) in [(1, "auto"), (4, "auto"), (1, "off"), (4, "off")] {
            assert_undisturbed(balancer, workers, crypto);
        }
    }
}

fn assert_undisturbed(balancer: Balancer, workers: u32, crypto: &str) {
    let (alpha, beta) = (Key::alpha(), Key::beta());
    let pod = |key| Issuer::start(routes(&[(FIRST, document(KEYS_URI)), (KEYS, keys(&[key]))]));
    let (pods, upstream) = ([pod(alpha), pod(beta)], Upstream::start());
    let config = undisclosed().set("hostCrypto", crypto);
    let bootstrap = Bootstrap::new(upstream.address())
        .balanced_cluster(ISSUER_CLUSTER, &pods.each_ref().map(Issuer::address), balancer)
        .filter("mesh-jwt", &config.render());
    let envoy = Envoy::start(&bootstrap, workers);
    let traffic = Traffic::start(envoy.address(), &[Token::good(), Token::good().signed_by(beta)]);

    let junk: Vec<_> = (0..20)
        .map(|number| {
            let token = Token::good().header("kid", format!("junk-{number}"));
            envoy.open(&Request::get("/").bearer(&token.compact_with(|_| vec![1; 256])))
        })
        .collect();
    for exchange in junk {
        let status = exchange.finish().expect("an answer").status;
        assert!([401, 503].contains(&status), "{status}");
    }
    traffic.flow(100);

    traffic.assert_undisturbed(Duration::from_secs(3));
    envoy.assert_untrapped("junk beside good tokens");
}
