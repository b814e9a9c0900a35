//! Claims that access logs and traces are told of, and nobody else.

use std::io::{Write as _, stderr};
use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::checkout;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::upstream::{Upstream, received};
use lab::wait;

#[test]
fn access_log_tells_chosen_claims_of_allowed_tokens_only() {
    let world = World::start(&config(), alpha());
    let good = Token::good();
    let allowed = Request::get("/").bearer(&good.compact());

    let response = world.envoy.send(&allowed);

    let told = json!({ "tenant": "acme", "key": "alpha", "user": SHA256_OF_USER });
    assert_eq!(world.told(&response), told);
    let seen = received(&response);
    let is_told = |value: &str| value.contains("acme") || value.contains("alpha");
    assert!(!seen.headers.iter().any(|(_, value)| is_told(value)), "{seen:?}");
    // And again, when the token is remembered.
    assert_eq!(world.told(&world.envoy.send(&allowed)), told);
    let nothing = json!({ "tenant": null, "key": null, "user": null });
    let forged = good.clone().signed_by(Key::beta()).header("kid", "alpha").compact();
    for (request, status) in [
        (Request::get("/public").bearer(&good.compact()), 200),
        (Request::get("/admin").bearer(&good.compact()), 403),
        (Request::get("/").bearer(&forged), 401),
        (Request::get("/"), 401),
    ] {
        let response = world.envoy.send(&request);
        assert_eq!(response.status, status);
        assert_eq!(world.told(&response), nothing, "{status}");
    }
}

#[test]
fn decisions_are_told_as_far_as_configured() {
    for (detail, code, provider) in
        [("full", "allowed", "wealist"), ("code", "allowed", "-"), ("none", "-", "-")]
    {
        let config = Config::new().inline_keys(&[Key::alpha().jwk()]).set("filterState", detail);
        let sidecar = Sidecar::start(&config);

        let allowed = sidecar.send(&Request::get("/").bearer(&Token::good().compact()));
        let refused = sidecar.send(&Request::get("/"));

        assert_eq!((allowed.status, refused.status), (200, 401), "{detail}");
        assert_eq!(sidecar.code(&allowed), code, "{detail}");
        assert_eq!(sidecar.provider(&allowed), provider, "{detail}");
        assert_eq!(sidecar.code(&refused) == "token_missing", detail != "none", "{detail}");
        assert_eq!(sidecar.counted("allowed"), 1, "{detail}");
    }
}

#[test]
fn claims_that_could_forge_a_line_are_left_out() {
    let world = World::start(&config(), alpha());
    for tenant in ["a\" 200 \"-", "a\nb", "a\\", "münchen", &"x".repeat(257)] {
        let token = Token::good().claim("tenant", tenant).claim("sub", tenant);

        let response = world.envoy.send(&Request::get("/").bearer(&token.compact()));

        let told = world.told(&response);
        assert_eq!((response.status, &told["tenant"]), (200, &Value::Null), "{tenant:?}");
        assert_eq!(told["user"].as_str().map(str::len), Some(64), "{tenant:?}");
    }
}

#[test]
fn request_that_waited_is_told_of_as_well() {
    let world = World::start(&config(), Answer::Hang);
    let waiting = world.envoy.open(&Request::get("/").bearer(&Token::good().compact()));
    world.wait_for_paused();

    world.issuer.answer(alpha());

    let response = waiting.finish().expect("an answer");
    assert_eq!(response.status, 200);
    assert_eq!(world.told(&response)["tenant"], "acme");
}

/// What would be denied passes without an identity, and its claims count for nothing either.
#[test]
fn report_mode_tells_nothing_of_what_would_be_denied() {
    let world = World::start(&config().set("mode", "report"), alpha());
    let good = Token::good().compact();

    let allowed = world.envoy.send(&Request::get("/").bearer(&good));
    let reported = world.envoy.send(&Request::get("/admin").bearer(&good));

    assert_eq!((allowed.status, reported.status), (200, 200));
    assert_eq!(world.told(&allowed)["tenant"], "acme");
    assert_eq!(world.told(&reported)["tenant"], Value::Null);
}

/// Not in Envoy 1.36, whose tags have no formats yet.
#[test]
fn traces_have_tags_of_claims() {
    if checkout::envoy_version().starts_with("1.36.") {
        // Past the harness, which keeps the output of tests that pass to itself.
        stderr().write_all(b"skipped: Envoy 1.36 has no formats for tags\n").expect("stderr");
        return;
    }
    let collector = Upstream::start();
    let tracing = json!({
        "provider": {
            "name": "envoy.tracers.zipkin",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "collector",
                "collector_endpoint": "/spans",
                "collector_endpoint_version": "HTTP_JSON",
            },
        },
        "custom_tags": [
            { "tag": "tenant", "value": "%FILTER_STATE(wasm.mesh_jwt.claims.tenant:PLAIN)%" },
            { "tag": "user", "value": "%FILTER_STATE(wasm.mesh_jwt.claims.user:PLAIN):16%" },
        ],
    });
    let address = collector.address();
    let world = World::start_adapted(&config(), alpha(), |bootstrap| {
        bootstrap.cluster("collector", address).manager("tracing", tracing)
    });
    let good = Request::get("/").bearer(&Token::good().compact());

    for _ in 0..SPANS_AT_A_TIME {
        assert_eq!(world.envoy.send(&good).status, 200);
    }

    wait::until("there are spans", SPAN_LIMIT, || (collector.requests() > 0).then_some(()));
    let spans: Value = serde_json::from_slice(&collector.latest().body).expect("spans in JSON");
    assert_eq!(spans[0]["tags"]["tenant"], "acme");
    assert_eq!(spans[0]["tags"]["user"], SHA256_OF_USER.get(..16).expect("64 digits"));
}

/// An Envoy that logs what README.md says, and what is around it.
struct World {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    issuer: Issuer,
    _upstream: Upstream,
}

impl World {
    fn start(config: &Config, answer: Answer) -> Self {
        Self::start_adapted(config, answer, |bootstrap| bootstrap)
    }

    fn start_adapted(
        config: &Config,
        answer: Answer,
        adapt: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let (issuer, upstream) = (Issuer::start(answer), Upstream::start());
        let bootstrap = Bootstrap::new(upstream.address())
            .cluster(ISSUER_CLUSTER, issuer.address())
            .filter("mesh-jwt", &config.render())
            .log("tenant", "%FILTER_STATE(wasm.mesh_jwt.claims.tenant:PLAIN)%")
            .log("key", "%FILTER_STATE(wasm.mesh_jwt.claims.key:PLAIN)%")
            .log("user", "%FILTER_STATE(wasm.mesh_jwt.claims.user:PLAIN)%");
        Self { envoy: Envoy::start(&adapt(bootstrap), 1), issuer, _upstream: upstream }
    }

    /// What the access log tells of the token.
    fn told(&self, response: &Response) -> Value {
        let line = self.envoy.access_log_line(response);
        json!({ "tenant": line["tenant"], "key": line["key"], "user": line["user"] })
    }

    fn wait_for_paused(&self) {
        wait::until("the request is paused", PAUSE_LIMIT, || {
            (self.envoy.stat("wasmcustom.mesh_jwt.paused") == 1).then_some(())
        });
    }
}

/// No claim reaches the upstream.
fn config() -> Config {
    Config::new()
        .provider_without("outputPayloadToHeader")
        .provider_without("outputClaimToHeaders")
        .provider(
            "outputClaimToFilterState",
            json!([
                { "name": "tenant", "claim": "tenant" },
                { "name": "key", "joseHeader": "kid" },
                { "name": "user", "claim": "sub", "hash": "sha256" },
            ]),
        )
        .set(
            "rules",
            json!([
                { "match": { "paths": ["/public"] }, "access": "public" },
                { "match": { "paths": ["/admin"] }, "scopes": ["admin"] },
            ]),
        )
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

/// `printf user-4711 | sha256sum`
const SHA256_OF_USER: &str = "85e8cbcc4fab8df4f45e9e396b5b367a54af6cc13f9b5433d3e12f4e9c0a1846";
/// As many as Envoy collects before it reports them.
const SPANS_AT_A_TIME: usize = 5;
const SPAN_LIMIT: Duration = Duration::from_secs(10);
/// Less than `jwksWaitTimeout`.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
