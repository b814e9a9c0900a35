//! One provider for the tenants of an identity service.

use std::time::Duration;

use serde_json::{Value, json};

use lab::config::{Config, ISSUER_CLUSTER};
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::traffic::Traffic;
use lab::upstream::received;
use lab::wait;

#[test]
fn each_tenant_has_its_own_keys() {
    for workers in [1, 4] {
        let sidecar = Sidecar::start_with(&config(json!({})), service(), workers);
        // Twice on each worker: found, and remembered.
        for _ in 0..4 * workers {
            for (tenant, key) in [("acme", Key::alpha()), ("globex", Key::beta())] {
                let response = sidecar.send(&request(tenant, key));
                assert_eq!(received(&response).header("x-tenant"), Some(tenant));
                assert_eq!(sidecar.provider(&response), "login");
            }
        }

        assert_eq!(sidecar.decide(&request("globex", Key::alpha())), "401 key_unknown");
        assert_eq!(sidecar.decide(&request("acme", Key::beta())), "401 key_unknown");
        let foreign = of_tenant("globex").signed_by(Key::alpha()).header("kid", "beta").compact();
        let foreign = Request::get("/").bearer(&foreign);
        assert_eq!(sidecar.decide(&foreign), "401 signature_invalid");
        assert_eq!(sidecar.decide(&request("initech", Key::alpha())), "401 issuer_unknown");
        assert_eq!(sidecar.stat("jwks.login.keys"), 2);
    }
}

#[test]
fn tenants_are_discovered_each_by_its_own_document() {
    let page = |tenant: &str, issuer: &str| {
        let issuer = format!("https://login.example.com/{issuer}/v2.0");
        let keys = format!("https://login.example.com/{tenant}/keys");
        let document = json!({ "issuer": issuer, "jwks_uri": keys });
        let path = format!("/{tenant}/v2.0/.well-known/openid-configuration");
        (path, Answer::raw("200 OK", "", document.to_string().as_bytes()))
    };
    let routes = [keys(), vec![page("acme", "acme"), page("globex", "acme")]].concat();
    let config = config(json!({})).provider_without("jwksUri");
    let sidecar = Sidecar::start_with(&config, Answer::Routes(routes), 2);

    assert_eq!(sidecar.decide(&request("acme", Key::alpha())), "200 allowed");
    // Its document says that it is another's.
    assert_eq!(sidecar.decide(&request("globex", Key::beta())), "503 jwks_unavailable");
    assert_eq!(sidecar.decide(&request("globex", Key::alpha())), "503 jwks_unavailable");
}

#[test]
fn invented_tenants_cost_no_request_of_another() {
    for workers in [1, 4] {
        let anything = json!([{ "regex": "[a-z0-9-]+" }]);
        let config = config(json!({ "tenants": anything, "maxTenants": 10 }));
        let sidecar = Sidecar::start_with(&config, service(), workers);
        // One worker proves it, and the others learn that from the shared data, flood or not.
        assert_eq!(sidecar.decide(&request("acme", Key::alpha())), "200 allowed");
        wait::until("the probes are over, and the keys are shared", PROBED, || {
            (sidecar.stat("jwks.login.fetch_success") >= 3).then_some(())
        });
        let good = of_tenant("acme").signed_by(Key::alpha());
        let traffic = Traffic::start(sidecar.address(), &[good]);
        let before = sidecar.issuer.fetches().len();
        let began = std::time::Instant::now();

        let opened: Vec<_> = (0..2000)
            .map(|number| {
                let token = of_tenant(&format!("t{number}")).compact_with(|_| vec![1; 256]);
                sidecar.open(&Request::get("/").bearer(&token))
            })
            .collect();
        for exchange in opened {
            assert_eq!(exchange.finish().expect("an answer").status, 503);
        }

        traffic.assert_undisturbed(Duration::from_secs(2));
        sidecar.assert_untrapped("invented tenants");
        let fetches = sidecar.issuer.fetches().len() - before;
        // Each worker takes in ten at once, which are looked for up to four times while a request
        // waits; of a burst of 30, and then four a second.
        let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 1;
        let bound = usize::try_from(workers).expect("few") * (30 + 40 + 4 * seconds) + 20;
        assert!(fetches <= bound, "{fetches} fetches, at most {bound}");
        assert_eq!(sidecar.decide(&request("acme", Key::alpha())), "200 allowed");
    }
}

/// The first probe comes within 6 s of the first set, and the others follow.
const PROBED: Duration = Duration::from_secs(25);

/// Two tenants, with a key each.
fn service() -> Answer {
    Answer::Routes(keys())
}

fn keys() -> Vec<(String, Answer)> {
    let keys = |tenant: &str, key: &Key| (format!("/{tenant}/keys"), Answer::Keys(vec![key.jwk()]));
    vec![keys("acme", Key::alpha()), keys("globex", Key::beta())]
}

fn config(fields: Value) -> Config {
    let mut issuers = json!({
        "template": "https://login.example.com/{tenant}/v2.0",
        "tenants": [{ "exact": "acme" }, { "exact": "globex" }],
    });
    for (name, value) in fields.as_object().expect("an object") {
        issuers[name] = value.clone();
    }
    Config::new()
        .provider_without("issuer")
        .provider("name", "login")
        .provider("issuers", issuers)
        .provider("jwksUri", "https://login.example.com/{tenant}/keys")
        .provider("jwksCluster", ISSUER_CLUSTER)
}

fn of_tenant(tenant: &str) -> Token {
    let issuer = format!("https://login.example.com/{tenant}/v2.0");
    Token::good().claim("iss", issuer).claim("tenant", tenant)
}

fn request(tenant: &str, key: &'static Key) -> Request {
    Request::get("/").bearer(&of_tenant(tenant).signed_by(key).compact())
}
