//! What each block of `envoy/envoy.yaml` is for, seen from outside of the Envoy that `make run`
//! starts with it.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Answer;
use serde_json::{Value, json};

#[path = "support/demo.rs"]
mod demo;
#[path = "support/http.rs"]
mod http;

#[test]
fn preflight_is_answered_by_envoy_and_only_for_the_application() {
    let edge = Edge::shared();
    let preflight = |origin| {
        let headers = format!("origin: {origin}\r\naccess-control-request-method: POST\r\n");
        edge.send("OPTIONS", "/orders", &headers)
    };

    let ours = preflight("https://app.example.com");
    let foreign = preflight("https://evil.example.com");

    assert_eq!((ours.status, foreign.status), (200, 200));
    assert!(ours.head.contains("access-control-allow-origin: https://app.example.com"));
    assert!(ours.head.contains("access-control-allow-headers: authorization"), "{}", ours.head);
    assert!(!foreign.head.contains("access-control-allow-origin"), "{}", foreign.head);
    // Neither came as far as user-service, which would answer with what it saw.
    assert_eq!((ours.body.as_str(), foreign.body.as_str()), ("", ""));
}

#[test]
fn browser_can_read_a_denial() {
    let edge = Edge::shared();

    let answer = edge.get("/orders", "origin: https://app.example.com\r\n");

    assert_eq!(answer.code(), (401, "token_missing".to_owned()));
    assert!(answer.head.contains("access-control-allow-origin: https://app.example.com"));
    assert!(answer.head.contains("access-control-expose-headers: www-authenticate"));
}

#[test]
fn paths_are_the_same_for_the_rules_and_the_upstream() {
    let edge = Edge::shared();
    let alice = edge.login("alice");

    for path in ["/public/../admin/users", "//admin//users", "/public/%2e%2e/admin/users"] {
        assert_eq!(edge.get(path, "").code(), (401, "token_missing".to_owned()), "{path}");
        assert_eq!(edge.get(path, &alice).code(), (403, "scope_insufficient".to_owned()), "{path}");
    }
    assert_eq!(edge.get("/public//a/../b", "").json()["path"], "/public/b");
    for path in ["/public%2f..%2fadmin/users", "/public%5cadmin"] {
        assert_eq!(edge.get(path, "").status, 400, "{path}");
    }
}

#[test]
fn token_of_the_greatest_size_fits_and_beyond_it_each_limit_has_its_answer() {
    let edge = Edge::shared();
    let answer = |bytes| edge.get("/orders", &bearer(&"a".repeat(bytes)));

    assert_eq!(answer(8192).code(), (401, "token_malformed".to_owned()));
    assert_eq!(answer(8193).code(), (401, "token_too_large".to_owned()));
    assert_eq!(answer(15_000).code(), (401, "token_too_large".to_owned()));
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
    let forged = edge.get("/orders", &format!("{alice}x-user-id: admin\r\n"));
    assert_eq!(forged.status, 200);
    assert!(forged.head.contains("x-ratelimit-remaining: "), "{}", forged.head);
    assert_eq!(edge.get("/public/hello", "").status, 200);
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

    let partner = edge.get("/orders", &bearer(&token));
    let own = edge.get("/orders", &edge.login("alice"));

    assert_eq!(partner.code(), (503, "jwks_unavailable".to_owned()));
    assert_eq!(own.status, 200, "{}", own.body);
}

#[test]
fn fetches_of_keys_have_breakers_and_pods_that_fail_are_left_out() {
    let edge = Edge::shared();

    let clusters = edge.admin("/clusters");
    let stats = edge.admin("/stats?filter=^cluster.auth_service.outlier_detection");

    assert!(clusters.body.contains("auth_service::default_priority::max_requests::8\n"));
    assert!(stats.body.contains("outlier_detection.ejections_active: 0"), "{}", stats.body);
}

#[test]
fn metrics_are_labelled_and_nothing_else_of_the_admin_interface_is_shown() {
    let edge = Edge::shared();
    edge.get("/orders", "");
    edge.get("/orders", &edge.login("alice"));

    // Workers hand their counts over from time to time.
    edge.wait_for("the series", || {
        let metrics = edge.metrics("/stats/prometheus").body;
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
        edge.metrics("/stats/prometheus").body.contains(r#"mesh_jwt_signature{crypto="wasm"}"#)
    );
    for path in ["/", "/config_dump", "/stats/../config_dump"] {
        assert_eq!(edge.metrics(path).status, 404, "{path}");
    }
}

#[test]
fn access_log_tells_the_decision_but_no_query() {
    let edge = Edge::shared();
    edge.get("/logged/allowed?access_token=secret", &edge.login("alice"));
    edge.get("/logged/denied", "");

    let line = |path: &str| {
        edge.wait_for(path, || {
            let lines = edge.lines.lock().unwrap();
            lines.iter().find_map(|line| {
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
    assert!(!edge.lines.lock().unwrap().iter().any(|line| line.contains("secret")));
}

/// One that ends may still write when the next one begins, as here where tests share one.
#[test]
fn demo_that_starts_takes_no_line_from_the_log_of_another() {
    let first = Edge::start();
    let second = Edge::start();

    for number in 0..20 {
        for edge in [&first, &second] {
            edge.get(&format!("/public/line/{number}"), "");
        }
    }

    for edge in [&first, &second] {
        edge.wait_for("every line, whole", || {
            let lines = edge.lines.lock().unwrap();
            let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let paths = lines.filter_map(|line| Some(line["path"].as_str()?.to_owned()));
            let paths: Vec<_> = paths.filter(|path| path.starts_with("/public/line/")).collect();
            (paths.len() == 20).then_some(())
        });
    }
}

/// `make run`, on ports of its own and for as long as one of the tests uses it.
struct Edge {
    run: Child,
    ports: [u16; 5],
    /// What it prints, and Envoy's log with it.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Edge {
    fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Edge>> = Mutex::new(Weak::new());

        // What another test left behind when it failed is still good.
        let mut running = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        running.upgrade().unwrap_or_else(|| {
            let edge = Arc::new(Self::start());
            *running = Arc::downgrade(&edge);
            edge
        })
    }

    fn start() -> Self {
        let ports = demo::free_ports();
        let mut run = demo::run_py(&ports).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(run.stdout.take().unwrap()).lines();
        assert!(output.any(|line| line.unwrap().starts_with("Ctrl-C stops everything")));

        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        thread::spawn(move || output.for_each(|line| read.lock().unwrap().push(line.unwrap())));
        Self { run, ports, lines }
    }

    /// The header that authorizes as this user.
    fn login(&self, user: &str) -> String {
        let body = json!({"username": user}).to_string();
        let headers = b"content-type: application/json\r\n";
        let answer = http::send(&address(self.ports[0]), "POST", "/api/login", headers, &body);

        bearer(answer.json()["access_token"].as_str().unwrap())
    }

    fn get(&self, path: &str, headers: &str) -> Answer {
        self.send("GET", path, headers)
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> Answer {
        http::send(&address(self.ports[0]), method, path, headers.as_bytes(), "")
    }

    fn admin(&self, path: &str) -> Answer {
        http::send(&address(self.ports[1]), "GET", path, b"", "")
    }

    fn metrics(&self, path: &str) -> Answer {
        http::send(&address(self.ports[2]), "GET", path, b"", "")
    }

    /// The statuses of so many requests in a row, over one connection: no bucket fills as fast.
    fn flood(&self, headers: &str, requests: usize) -> Vec<u16> {
        let request = format!("GET /orders HTTP/1.1\r\nhost: demo\r\n{headers}\r\n");
        let mut connection = BufReader::new(TcpStream::connect(address(self.ports[0])).unwrap());
        let answer = |_| {
            connection.get_mut().write_all(request.as_bytes()).unwrap();
            let head: Vec<_> = connection
                .by_ref()
                .lines()
                .map(|line| line.unwrap())
                .take_while(|line| !line.is_empty())
                .collect();
            let value = |name| head.iter().find_map(|line| line.strip_prefix(name));
            let mut body = vec![0; value("content-length: ").unwrap().parse().unwrap()];
            connection.read_exact(&mut body).unwrap();
            value("HTTP/1.1 ").and_then(|line| line.get(..3)).unwrap().parse().unwrap()
        };

        (0..requests).map(answer).collect()
    }

    fn wait_for<T>(&self, what: &str, probe: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = probe() {
                return found;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Not SIGKILL: it is to stop its own children.
        let pid = self.run.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.run.wait();
        demo::remove_logs(&self.ports);
    }
}

impl Answer {
    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}
