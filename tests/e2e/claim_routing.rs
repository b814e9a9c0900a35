//! Routes by claims: Envoy has chosen a route before the filter runs, and is to choose anew after it.

use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};
use lab::upstream::Upstream;
use lab::wait;

/// Envoy chooses anew whenever a module of this ABI has edited headers, and the explicit call is to
/// change nothing about that.
#[test]
fn header_of_a_claim_chooses_the_route() {
    for clears in [false, true] {
        let world = World::start(&config().set("clearRouteCache", clears), Answer::Hang, HEADER);
        let waiting = [ACME, "other"].map(|tenant| world.envoy.open(&of(tenant)));
        world.wait_for_paused(2);

        world.issuer.answer(alpha());

        let waited = waiting.map(|exchange| exchange.finish().expect("an answer"));
        assert_eq!(waited.map(|response| world.place(&response)), ["acme", "others"], "{clears}");
        assert_eq!(world.places(&[of(ACME), of("other")]), ["acme", "others"], "{clears}");
    }
}

#[test]
fn no_header_of_a_client_chooses_the_route() {
    for clears in [false, true] {
        let world = World::start(&config().set("clearRouteCache", clears), Answer::Hang, HEADER);
        let waiting = world.envoy.open(&of("other").header("X-Tenant", ACME));
        world.wait_for_paused(1);
        world.issuer.answer(alpha());
        assert_eq!(world.place(&waiting.finish().expect("an answer")), "others", "{clears}");
        let preflight = Request::new("OPTIONS", "/")
            .header("Origin", "https://shop.example.com")
            .header("Access-Control-Request-Method", "PUT");
        let requests = [
            Request::get("/public"),
            Request::get("/optional"),
            preflight,
            of("other"),
            Request::get("/").bearer(&Token::good().without_claim("tenant").compact()),
        ];
        for request in requests {
            let forged = request.header("X-Tenant", ACME);
            assert_eq!(world.places(&[forged]), ["others"], "{clears}");
        }
    }
}

/// What would be denied goes where a request without a token goes.
#[test]
fn no_token_that_would_be_denied_chooses_the_route() {
    let config = config().set("mode", "report").set("clearRouteCache", true);
    let world = World::start(&config, alpha(), HEADER);
    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha").compact();

    let reported = Request::get("/").bearer(&forged).header("X-Tenant", ACME);

    assert_eq!(world.places(&[reported, of(ACME)]), ["others", "acme"]);
}

/// No header is edited here, so that only the explicit call makes Envoy choose anew.
#[test]
fn filter_state_of_a_claim_chooses_the_route_if_asked() {
    let config = ["outputPayloadToHeader", "outputClaimToHeaders"]
        .into_iter()
        .fold(config(), |config, field| config.provider_without(field))
        .provider("forwardOriginalToken", true)
        .provider("outputClaimToFilterState", json!([{ "name": "tenant", "claim": "tenant" }]));

    let without = World::start(&config, alpha(), FILTER_STATE);
    assert_eq!(without.places(&[of(ACME), of("other")]), ["others", "others"]);
    drop(without);

    let world = World::start(&config.set("clearRouteCache", true), Answer::Hang, FILTER_STATE);
    let waiting = world.envoy.open(&of(ACME));
    world.wait_for_paused(1);
    world.issuer.answer(alpha());
    let waited = world.place(&waiting.finish().expect("an answer"));
    assert_eq!(waited, "acme");
    let public = Request::get("/public").header("X-Tenant", ACME);
    assert_eq!(world.places(&[of(ACME), of("other"), public]), ["acme", "others", "others"]);
}

#[test]
fn envoy_that_cannot_choose_anew_is_told_so() {
    let upstream = Upstream::start();
    let config = config().set("clearRouteCache", true).inline_keys(&[Key::alpha().jwk()]);
    let bootstrap = Bootstrap::new(upstream.address())
        .filter("mesh-jwt", &config.render())
        .withhold(&["proxy_call_foreign_function"]);

    let log = Envoy::refuse(&bootstrap);

    assert!(log.contains("mesh-jwt: the filter cannot work without"), "{log}");
    assert!(log.contains("clear_route_cache"), "{log}");
}

/// An Envoy with a route for one tenant and another for everybody else.
struct World {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    issuer: Issuer,
    acme: Upstream,
    others: Upstream,
}

impl World {
    fn start(config: &Config, answer: Answer, matches: fn() -> Value) -> Self {
        let (issuer, acme, others) = (Issuer::start(answer), Upstream::start(), Upstream::start());
        let mut special = json!({ "match": matches(), "route": { "cluster": "acme" } });
        special["match"]["prefix"] = json!("/");
        let rest = json!({ "match": { "prefix": "/" }, "route": { "cluster": "upstream" } });
        let routes = json!({ "virtual_hosts": [
            { "name": "all", "domains": ["*"], "routes": [special, rest] },
        ] });
        let bootstrap = Bootstrap::new(others.address())
            .cluster("acme", acme.address())
            .cluster(ISSUER_CLUSTER, issuer.address())
            .filter("mesh-jwt", &config.render())
            .manager("route_config", routes);
        Self { envoy: Envoy::start(&bootstrap, 1), issuer, acme, others }
    }

    /// Where requests go, one after the other.
    fn places<const N: usize>(&self, requests: &[Request; N]) -> [&'static str; N] {
        std::array::from_fn(|number| self.place(&self.envoy.send(&requests[number])))
    }

    /// Where the request that got this response went.
    fn place(&self, response: &Response) -> &'static str {
        assert_eq!(response.status, 200, "{}", response.text());
        let id = response.header("x-request-id").expect("an id");
        let got = |upstream: &Upstream| {
            upstream.requests() > 0 && upstream.latest().header("x-request-id") == Some(id)
        };
        match (got(&self.acme), got(&self.others)) {
            (true, false) => "acme",
            (false, true) => "others",
            both => panic!("{both:?}"),
        }
    }

    fn wait_for_paused(&self, number: u64) {
        wait::until("requests are paused", PAUSE_LIMIT, || {
            (self.envoy.stat("wasmcustom.mesh_jwt.paused") == number).then_some(())
        });
    }
}

fn config() -> Config {
    Config::new().set(
        "rules",
        json!([
            { "match": { "paths": ["/public"] }, "access": "public" },
            { "match": { "paths": ["/optional"] }, "access": "optional" },
        ]),
    )
}

/// A good request of a tenant.
fn of(tenant: &str) -> Request {
    Request::get("/").bearer(&Token::good().claim("tenant", tenant).compact())
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

const HEADER: fn() -> Value =
    || json!({ "headers": [{ "name": "x-tenant", "string_match": { "exact": ACME } }] });
const FILTER_STATE: fn() -> Value = || {
    json!({ "filter_state": [
        { "key": "wasm.mesh_jwt.claims.tenant", "string_match": { "exact": ACME } },
    ] })
};
const ACME: &str = "acme";
/// Less than `jwksWaitTimeout`.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
