//! What each block of `envoy/envoy.yaml` is for, seen from outside of the Envoy that `make run`
//! starts with it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lab::connection::Connection;
use lab::http::{Exchange, Request, Response};
use lab::{services, wait};
use serde_json::{Value, json};

use crate::running::Demo;

#[test]
fn preflight_is_answered_by_envoy_and_only_for_the_application() {
    let edge = Edge::shared();
    let preflight = |origin| {
        let request = Request::new("OPTIONS", "/orders").header("origin", origin);
        edge.send(&request.header("access-control-request-method", "POST"))
    };

    let ours = preflight("https://app.example.com");
    let foreign = preflight("https://evil.example.com");

    assert_eq!((ours.status, foreign.status), (200, 200));
    assert_eq!(ours.header("access-control-allow-origin"), Some("https://app.example.com"));
    let headers = ours.header("access-control-allow-headers").unwrap();
    assert!(headers.starts_with("authorization"), "{headers}");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    // Neither came as far as user-service, which would answer with what it saw.
    assert_eq!((ours.text(), foreign.text()), (String::new(), String::new()));
}

#[test]
fn browser_can_read_a_denial() {
    let edge = Edge::shared();

    let answer = edge.send(&Request::get("/orders").header("origin", "https://app.example.com"));

    assert_eq!(code(&answer), (401, "token_missing".to_owned()));
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(exposed.starts_with("www-authenticate"), "{exposed}");
}

#[test]
fn paths_are_the_same_for_the_rules_and_the_upstream() {
    let edge = Edge::shared();
    let alice = edge.login("alice");

    for path in ["/public/../admin/users", "//admin//users", "/public/%2e%2e/admin/users"] {
        assert_eq!(code(&edge.get(path)), (401, "token_missing".to_owned()), "{path}");
        let denied = edge.get_as(&alice, path);
        assert_eq!(code(&denied), (403, "scope_insufficient".to_owned()), "{path}");
    }
    assert_eq!(edge.get("/public//a/../b").json()["path"], "/public/b");
    for path in ["/public%2f..%2fadmin/users", "/public%5cadmin"] {
        assert_eq!(edge.get(path).status, 400, "{path}");
    }
}

#[test]
fn token_of_the_greatest_size_fits_and_beyond_it_each_limit_has_its_answer() {
    let edge = Edge::shared();
    let answer = |bytes: usize| edge.get_as(&"a".repeat(bytes), "/orders");

    assert_eq!(code(&answer(8192)), (401, "token_malformed".to_owned()));
    assert_eq!(code(&answer(8193)), (401, "token_too_large".to_owned()));
    assert_eq!(code(&answer(15_000)), (401, "token_too_large".to_owned()));
    assert_eq!(answer(17_000).status, 431);
}

#[test]
fn one_user_who_loops_is_limited_and_nobody_else_is() {
    let edge = Edge::shared();
    let alice = edge.login("alice");

    let statuses = edge.flood(&edge.login("admin"), 3000);

    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&429));
    // The burst that every user may have.
    assert!(statuses.iter().filter(|status| **status == 200).count() >= 1000);
    // A name that the client made up is not what is counted.
    let forged = Request::get("/orders").bearer(&alice).header("x-user-id", "admin");
    let forged = edge.send(&forged);
    assert_eq!(forged.status, 200);
    assert!(forged.header("x-ratelimit-remaining").is_some(), "{forged:?}");
    assert_eq!(edge.get("/public/hello").status, 200);
}

#[test]
fn partner_who_cannot_be_reached_costs_only_its_own_tokens() {
    let edge = Edge::shared();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "RS256"}));
    let claims = part(json!({
        "iss": "https://idp.partner.example", "aud": "wealist-api", "exp": 4_000_000_000_u32,
    }));
    let token = format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([1; 256]));

    let partner = edge.get_as(&token, "/orders");
    let own = edge.get_as(&edge.login("alice"), "/orders");

    assert_eq!(code(&partner), (503, "jwks_unavailable".to_owned()));
    assert_eq!(own.status, 200, "{}", own.text());
}

#[test]
fn fetches_of_keys_have_breakers_and_pods_that_fail_are_left_out() {
    let edge = Edge::shared();

    let clusters = edge.admin("/clusters");
    let stats = edge.admin("/stats?filter=^cluster.auth_service.outlier_detection");

    assert!(clusters.text().contains("auth_service::default_priority::max_requests::8\n"));
    assert!(stats.text().contains("outlier_detection.ejections_active: 0"), "{}", stats.text());
}

#[test]
fn metrics_are_labelled_and_nothing_else_of_the_admin_interface_is_shown() {
    let edge = Edge::shared();
    edge.get("/orders");
    edge.get_as(&edge.login("alice"), "/orders");

    // Workers hand their counts over from time to time.
    wait::until("Envoy shows the series", LIMIT, || {
        let metrics = edge.metrics("/stats/prometheus").text();
        let above_zero = |series: &str| {
            metrics.lines().any(|line| {
                line.strip_prefix(series).is_some_and(|value| value.trim_start() != "0")
            })
        };
        [
            "mesh_jwt_allowed{}",
            r#"mesh_jwt_denied{code="token_missing"}"#,
            r#"mesh_jwt_jwks_fetch_success{provider="wealist"}"#,
            r#"mesh_jwt_jwks_keys{provider="wealist"}"#,
            r#"mesh_jwt_jwks_fetch_failed{provider="partner"}"#,
        ]
        .into_iter()
        .all(above_zero)
        .then_some(())
    });
    assert!(
        edge.metrics("/stats/prometheus").text().contains(r#"mesh_jwt_signature{crypto="wasm"}"#)
    );
    for path in ["/", "/config_dump", "/stats/../config_dump"] {
        assert_eq!(edge.metrics(path).status, 404, "{path}");
    }
}

#[test]
fn access_log_tells_the_decision_but_no_query() {
    let edge = Edge::shared();
    edge.get_as(&edge.login("alice"), "/logged/allowed?access_token=secret");
    edge.get("/logged/denied");

    let line = |path: &str| {
        wait::until(path, LIMIT, || {
            edge.output().lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["path"] == path).then_some(line)
            })
        })
    };

    let allowed = line("/logged/allowed");
    assert_eq!(allowed["status"], 200);
    assert_eq!(allowed["code"], "allowed");
    assert_eq!(allowed["provider"], "wealist");
    assert!(allowed["request_id"].is_string());
    assert_eq!(line("/logged/denied")["code"], "token_missing");
    assert!(!edge.output().contains("secret"));
}

/// One that ends may still write when the next one begins, as here where tests share one.
#[test]
fn demo_that_starts_takes_no_line_from_the_log_of_another() {
    let first = Edge::start();
    let second = Edge::start();

    for number in 0..20 {
        for edge in [&first, &second] {
            edge.get(&format!("/public/line/{number}"));
        }
    }

    for edge in [&first, &second] {
        wait::until("every line is there, whole", LIMIT, || {
            let output = edge.output();
            let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let paths = lines.filter_map(|line| Some(line["path"].as_str()?.to_owned()));
            let paths: Vec<_> = paths.filter(|path| path.starts_with("/public/line/")).collect();
            (paths.len() == 20).then_some(())
        });
    }
}

/// `make run`, on ports of its own and for as long as one of the tests uses it.
struct Edge(Demo);

impl Edge {
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Edge>> = Mutex::new(Weak::new());

        // What another test left behind when it failed is still good.
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let edge = Arc::new(Self::start());
            *running = Arc::downgrade(&edge);
            edge
        })
    }

    fn start() -> Self {
        Self(Demo::start())
    }

    /// A token of this user.
    fn login(&self, user: &str) -> String {
        services::login(self.0.address(0), user).unwrap()
    }

    fn get(&self, path: &str) -> Response {
        self.send(&Request::get(path))
    }

    fn get_as(&self, token: &str, path: &str) -> Response {
        self.send(&Request::get(path).bearer(token))
    }

    fn send(&self, request: &Request) -> Response {
        self.ask(0, request)
    }

    fn admin(&self, path: &str) -> Response {
        self.ask(1, &Request::get(path))
    }

    fn metrics(&self, path: &str) -> Response {
        self.ask(2, &Request::get(path))
    }

    fn ask(&self, part: usize, request: &Request) -> Response {
        Exchange::start(self.0.address(part), request).and_then(Exchange::finish).unwrap()
    }

    /// The statuses of so many requests in a row, over one connection: no bucket fills as fast.
    fn flood(&self, token: &str, requests: usize) -> Vec<u16> {
        let mut connection = Connection::new(self.0.address(0));
        (0..requests).map(|_| connection.get("/orders", token).unwrap().status).collect()
    }

    /// What it prints, and Envoy's log with it.
    fn output(&self) -> String {
        self.0.output()
    }
}

fn code(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
}

const LIMIT: Duration = Duration::from_secs(20);
