//! Pages of other origins read the filter's refusals, which a `cors` filter behind it never sees.

use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::{Bootstrap, EXPOSED_BY_ROUTE, PAGE_ORIGIN};
use lab::config::Config;
use lab::http::{Message, Request};
use lab::http2;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::wait;

#[test]
fn page_of_an_allowed_origin_reads_a_refusal() {
    let sidecar = gateway();

    for origin in ALLOWED {
        for request in [from(origin), from(origin).bearer("junk")] {
            let response = sidecar.send(&request);

            assert_eq!(response.status, 401);
            assert_readable(&response.message, origin);
            assert_eq!(response.message.header("access-control-allow-credentials"), None);
        }
    }
}

#[test]
fn page_of_any_other_origin_does_not() {
    let sidecar = gateway();
    let app = ALLOWED[0];

    let two = from(app).header("Origin", app);
    let joined = from(&format!("{app},{app}"));
    let foreign = FOREIGN.map(from);
    for request in foreign.into_iter().chain([Request::get("/"), two, joined]) {
        let response = sidecar.send(&request);

        assert_eq!(response.status, 401);
        // A cache must not take this reply for that to an allowed page.
        assert_cors(&response.message, &[("vary", "Origin")]);
    }
}

#[test]
fn credentials_and_exposed_headers_are_as_configured() {
    let replies = json!({ "cors": {
        "allowOrigins": [{ "exact": PAGE_ORIGIN }],
        "allowCredentials": true,
        "exposeHeaders": ["WWW-Authenticate", "X-Request-Id"],
    } });
    let sidecar = Sidecar::start_adapted(&with(replies), Bootstrap::cors_behind);

    let response = sidecar.send(&from(PAGE_ORIGIN));

    assert_cors(
        &response.message,
        &[
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-origin", PAGE_ORIGIN),
            ("access-control-expose-headers", "WWW-Authenticate, X-Request-Id"),
            ("vary", "Origin"),
        ],
    );
}

/// The fault that all this is about, and native `jwt_authn` has.
#[test]
fn without_it_no_page_reads_a_refusal() {
    let sidecar = Sidecar::start_adapted(&Config::new(), Bootstrap::cors_behind);

    let response = sidecar.send(&from(PAGE_ORIGIN));

    assert_eq!(response.status, 401);
    assert_cors(&response.message, &[]);
}

#[test]
fn what_passes_is_left_to_the_cors_filter_behind() {
    let sidecar = gateway();
    let good = Token::good().compact();

    let allowed = sidecar.send(&from(PAGE_ORIGIN).bearer(&good));
    let elsewhere = sidecar.send(&from("https://preview-7.example.com").bearer(&good));
    let preflight = sidecar.send(&preflight());

    assert_eq!(allowed.status, 200);
    assert_cors(&allowed.message, OF_THE_ROUTE);
    assert_eq!(elsewhere.status, 200);
    assert_cors(&elsewhere.message, &[]);
    assert_eq!((preflight.status, sidecar.code(&preflight)), (200, "cors_preflight".to_owned()));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization"));
}

/// Envoy runs it over our reply then: what it says counts, and nothing is said twice.
#[test]
fn cors_filter_in_front_has_the_last_word() {
    let sidecar = Sidecar::start_adapted(&with(allowing()), Bootstrap::cors_before);

    let both = sidecar.send(&from(PAGE_ORIGIN));
    let ours_alone = sidecar.send(&from("https://preview-7.example.com"));
    let nobodys = sidecar.send(&from("https://evil.example"));

    let mut expected = OF_THE_ROUTE.to_vec();
    expected.push(("vary", "Origin"));
    assert_eq!(both.status, 401);
    assert_cors(&both.message, &expected);
    assert_readable(&ours_alone.message, "https://preview-7.example.com");
    assert_cors(&nobodys.message, &[("vary", "Origin")]);
}

/// A browser sends no request after a preflight that is refused, whatever the refusal says.
#[test]
fn preflight_without_bypass_is_refused_as_any_other_request() {
    let config = with(allowing()).set("bypassCorsPreflight", false);
    let sidecar = Sidecar::start_adapted(&config, Bootstrap::cors_behind);

    let response = sidecar.send(&preflight());

    assert_eq!((response.status, sidecar.code(&response)), (401, "token_missing".to_owned()));
    assert_readable(&response.message, PAGE_ORIGIN);
    assert_eq!(response.header("access-control-allow-headers"), None);
}

#[test]
fn http2_is_told_the_same() {
    let sidecar = gateway();
    let seen = |origin: &str| {
        let response = http2::get(sidecar.address(), &[("origin", origin)]);
        assert_eq!(response.status(), 401);
        let values = |name: &str| {
            let values = response.headers().get_all(name).iter();
            values.map(|value| value.to_str().expect("ASCII").to_owned()).collect::<Vec<_>>()
        };
        ["access-control-allow-origin", "access-control-expose-headers", "vary"].map(values)
    };

    let exposed = "WWW-Authenticate, Retry-After";
    assert_eq!(seen(PAGE_ORIGIN), [vec![PAGE_ORIGIN], vec![exposed], vec!["Origin"]]);
    assert_eq!(seen("https://evil.example"), [vec![], vec![], vec!["Origin"]]);
}

#[test]
fn page_reads_the_refusal_of_a_request_that_waited() {
    let config = with(allowing()).set("jwksWaitTimeout", "1s").set("maxPausedRequests", 1);
    let config = config.provider("jwksEndpoints", 1);
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);
    let good = from(PAGE_ORIGIN).bearer(&Token::good().compact());

    let unavailable = sidecar.open(&good);
    wait_for_paused(&sidecar);
    let overloaded = sidecar.send(&good);

    assert_eq!((overloaded.status, sidecar.code(&overloaded)), (503, "overloaded".to_owned()));
    assert_readable(&overloaded.message, PAGE_ORIGIN);
    let unavailable = unavailable.finish().expect("an answer");
    let outcome = (unavailable.status, sidecar.code(&unavailable));
    assert_eq!(outcome, (503, "jwks_unavailable".to_owned()));
    assert_readable(&unavailable.message, PAGE_ORIGIN);

    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha").compact();
    let forged = sidecar.open(&from(PAGE_ORIGIN).bearer(&forged));
    wait_for_paused(&sidecar);
    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    let forged = forged.finish().expect("an answer");
    assert_eq!((forged.status, sidecar.code(&forged)), (401, "signature_invalid".to_owned()));
    assert_readable(&forged.message, PAGE_ORIGIN);
}

#[test]
fn report_mode_sends_no_reply_to_read() {
    let sidecar = Sidecar::start(&with(allowing()).set("mode", "report"));

    let response = sidecar.send(&from(PAGE_ORIGIN));

    assert_eq!((response.status, sidecar.code(&response)), (200, "token_missing".to_owned()));
    assert_cors(&response.message, &[]);
}

#[test]
fn refusal_of_a_grpc_call_is_readable_too() {
    let sidecar = gateway();
    let call = Request::new("POST", "/shop.Shop/List")
        .header("Content-Type", "application/grpc")
        .header("TE", "trailers")
        .header("Origin", PAGE_ORIGIN)
        .body(vec![0; 5]);

    let response = sidecar.send(&call);

    assert_eq!((response.status, response.header("grpc-status")), (200, Some("16")));
    assert_readable(&response.message, PAGE_ORIGIN);
}

/// A gateway as Istio makes it: the real `cors` filter behind ours.
fn gateway() -> Sidecar {
    Sidecar::start_adapted(&with(allowing()), Bootstrap::cors_behind)
}

fn with(replies: Value) -> Config {
    Config::new().set("replies", replies)
}

fn allowing() -> Value {
    json!({ "cors": { "allowOrigins": [
        { "exact": PAGE_ORIGIN },
        { "prefix": "https://preview-" },
        { "regex": r"https://[a-z0-9-]+\.example\.org" },
    ] } })
}

fn from(origin: &str) -> Request {
    Request::get("/").header("Origin", origin)
}

fn preflight() -> Request {
    Request::new("OPTIONS", "/")
        .header("Origin", PAGE_ORIGIN)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization")
}

fn wait_for_paused(sidecar: &Sidecar) {
    wait::until("the request is paused", Duration::from_secs(2), || {
        (sidecar.stat("paused") == 1).then_some(())
    });
}

#[track_caller]
fn assert_readable(message: &Message, origin: &str) {
    assert_cors(
        message,
        &[
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", "WWW-Authenticate, Retry-After"),
            ("vary", "Origin"),
        ],
    );
}

/// These, each once, are all the headers that browsers and caches look at.
#[track_caller]
fn assert_cors(message: &Message, expected: &[(&str, &str)]) {
    let mut seen: Vec<_> = message
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
        .filter(|(name, _)| name.starts_with("access-control-") || name == "vary")
        .collect();
    seen.sort_unstable();
    let seen: Vec<_> = seen.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(seen, expected);
}

const ALLOWED: [&str; 4] = [
    PAGE_ORIGIN,
    "https://preview-7.example.com",
    "https://preview-7.example.com:8443",
    "https://a-1.example.org",
];
const FOREIGN: [&str; 8] = [
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com.evil.example",
    "https://app.example.com:8443",
    "https://a.b.example.org",
    "https://a.example.org.evil.example",
    "null",
    "*",
];
/// What the policy of the route has Envoy's filter say.
const OF_THE_ROUTE: &[(&str, &str)] = &[
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-origin", PAGE_ORIGIN),
    ("access-control-expose-headers", EXPOSED_BY_ROUTE),
];
