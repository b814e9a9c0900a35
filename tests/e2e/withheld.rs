//! A host that withholds any one of its functions: the filter serves as well as it can without, or is
//! refused when it is configured. It never traps, lets nobody wait, and lets nothing through that it
//! would not let through otherwise.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;

use serde_json::json;

use crate::harness::bootstrap::Bootstrap;
use crate::harness::config::{Config, ISSUER_CLUSTER};
use crate::harness::envoy::Envoy;
use crate::harness::http::{Request, Response};
use crate::harness::issuer::{Answer, Issuer};
use crate::harness::module;
use crate::harness::token::{Key, Token};
use crate::harness::upstream::{Upstream, received};

#[test]
fn function_of_the_host_neither_traps_the_filter_nor_leaves_a_request_waiting() {
    let functions = module::imports();
    for (function, _) in EXCEPTIONS {
        assert!(functions.contains(*function), "{function} is no import any more");
    }
    let left = Mutex::new(functions);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || left.lock().expect("no other thread has failed").pop_first();
                while let Some(function) = next() {
                    let found = outcome(&function);
                    assert_eq!(found, expected(&function), "without {function}");
                }
            });
        }
    });
}

/// What becomes of the filter without a function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The configuration is, with a line that names the function.
    Refused,
    /// All requests are decided as ever.
    Serves,
    /// The keys cannot be had: requests with a token are answered 503.
    ServesWithoutKeys,
}

use Outcome as O;

/// Of all other functions, the filter can do without.
const EXCEPTIONS: &[(&str, Outcome)] = &[
    ("proxy_continue_stream", O::Refused),
    ("proxy_get_buffer_bytes", O::Refused),
    ("proxy_get_current_time_nanoseconds", O::Refused),
    ("proxy_get_header_map_pairs", O::Refused),
    ("proxy_http_call", O::ServesWithoutKeys),
    ("proxy_remove_header_map_value", O::Refused),
    ("proxy_replace_header_map_value", O::Refused),
    ("proxy_send_local_response", O::Refused),
    ("proxy_set_effective_context", O::Refused),
    ("proxy_set_tick_period_milliseconds", O::Refused),
];

fn expected(function: &str) -> Outcome {
    let exception = EXCEPTIONS.iter().find(|(name, _)| *name == function);
    exception.map_or(O::Serves, |(_, outcome)| *outcome)
}

fn outcome(function: &str) -> Outcome {
    let rules = json!([{ "match": { "paths": ["/public"] }, "access": "public" }]);
    // One answer tells that a key is not there.
    let config = Config::new().provider("jwksEndpoints", 1).set("rules", rules);
    let config = config.set("jwksWaitTimeout", "1s");
    let issuer = Issuer::start(Answer::Hang);
    let upstream = Upstream::start();
    let bootstrap = Bootstrap::new(upstream.address())
        .cluster(ISSUER_CLUSTER, issuer.address())
        .filter("mesh-jwt", &config.render())
        .withhold(function);
    if expected(function) == O::Refused {
        let log = Envoy::refuse(&bootstrap);
        assert_untrapped(function, &log);
        let line = log.lines().find(|line| line.contains("mesh-jwt: the host"));
        let line = line.unwrap_or_else(|| panic!("no line says why:\n{log}"));
        assert!(line.contains(function) && line.contains("allowed_capabilities"), "{line}");
        return O::Refused;
    }
    let envoy = Envoy::start(&bootstrap, 1);

    let outcomes = ask(&envoy, &issuer);

    assert_untrapped(function, &envoy.log());
    match outcomes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["200"] => O::Serves,
        ["503 jwks_unavailable"] => O::ServesWithoutKeys,
        other => panic!("without {function}: {other:?}"),
    }
}

/// Makes all kinds of requests. What became of those with a good token; the others have to be
/// decided as ever.
fn ask(envoy: &Envoy, issuer: &Issuer) -> BTreeSet<String> {
    let good = || Request::get("/").header("X_User_Id", "root").bearer(&Token::good().compact());
    let leaving = envoy.open(&good());
    let paused = [envoy.open(&good()), envoy.open(&good().body(b"{}".to_vec()))];
    let public = envoy.send(&Request::get("/public").header("X-User-Id", "root"));
    assert_eq!(received(&public).header("x-user-id"), None);
    assert_eq!(envoy.send(&Request::get("/")).status, 401);
    drop(leaving);

    issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));

    let paused = paused.into_iter().map(|exchange| exchange.finish().expect("an answer in time"));
    let mut outcomes: BTreeSet<_> = paused.map(|response| of_good(&response)).collect();
    outcomes.insert(of_good(&envoy.send(&good())));
    let junk = Token::good().header("kid", "junk").compact();
    let junk = envoy.send(&Request::get("/").bearer(&junk)).status;
    assert!([401, 503].contains(&junk), "{junk}");
    outcomes.insert(of_good(&envoy.send(&good())));
    outcomes
}

fn of_good(response: &Response) -> String {
    if response.status != 200 {
        return format!("{} {}", response.status, response.json()["code"].as_str().unwrap_or("-"));
    }
    let seen = received(response);
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!((seen.header("x_user_id"), seen.header("authorization")), (None, None));
    "200".to_owned()
}

fn assert_untrapped(function: &str, log: &str) {
    for sign in ["panicked", "wasm trap", "Uncaught", "Function: proxy_on"] {
        assert!(!log.contains(sign), "without {function}: {sign} is in Envoy's log:\n{log}");
    }
}

/// Mostly they wait.
const AT_ONCE: usize = 4;
