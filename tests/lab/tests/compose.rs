//! `envoy/docker-compose.yaml`, run for real where there is a Docker engine.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{Write as _, stderr};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use lab::docker::{Compose, checked};
use lab::http::{Exchange, Request};
use lab::resources::loopback;
use lab::{checkout, interrupt, services};
use regex_lite::Regex;

#[test]
fn compose_file_pins_the_envoy_that_the_tests_run_with() {
    let version = include_str!("../../../envoy/install.py")
        .lines()
        .find_map(|line| line.strip_prefix("DEFAULT_VERSION = "))
        .unwrap()
        .trim_matches('"');

    let image = format!("image: envoyproxy/envoy:v${{ENVOY_VERSION:-{version}}}\n");

    assert!(include_str!("../../../envoy/docker-compose.yaml").contains(&image), "{image}");
}

#[test]
fn user_service_knows_the_secret_of_the_filter() {
    let of_filter = Regex::new(r#""name": "X-Mesh-Jwt", "secret": "([^"]+)""#).unwrap();
    let of_service = Regex::new(r"VERIFIED_SECRET: (\S+)\n").unwrap();

    let told = of_service.captures(include_str!("../../../envoy/docker-compose.yaml")).unwrap();
    let set = of_filter.captures(include_str!("../../../envoy/envoy.yaml")).unwrap();

    assert_eq!(told[1], set[1]);
}

/// Two pods of auth-service publish different keys, and no good request fails, not even when one pod
/// stops, or both. Leaves no container and no image.
#[test]
fn pods_with_different_keys_fail_no_request_even_when_they_stop() {
    let project = format!("mesh-jwt-check-{}", std::process::id());
    let Some(compose) = Compose::find(&project) else {
        assert!(env::var_os("REQUIRE_DOCKER").is_none(), "no Docker engine");
        // Past the harness, which keeps the output of tests that pass to itself.
        stderr().write_all(b"skipped: no Docker engine\n").unwrap();
        return;
    };
    // A test that is told to stop fails, and so removes its containers.
    interrupt::watch().unwrap();
    checked(Command::new("make").arg("-C").arg(checkout::root()).arg("static")).unwrap();
    let containers = Containers::up(compose, project);

    // Two pods publish keys of their own.
    let signs = Regex::new(r"signs as \S+ with key (\S+)").unwrap();
    let log = containers.compose.logs("auth-service").unwrap();
    let kids: Vec<_> = signs.captures_iter(&log).map(|found| found[1].to_owned()).collect();
    assert_eq!((kids.len(), kids.iter().collect::<BTreeSet<_>>().len()), (2, 2), "{kids:?}");

    // Both issue tokens, and all of these pass.
    let tokens: Vec<_> = (0..REQUESTS).map(|_| containers.login()).collect();
    let outcomes = tally(tokens.iter().map(|token| containers.request(token)));
    assert_eq!(outcomes, all_pass());
    let headers = tally(tokens.iter().map(|token| token.split('.').next().unwrap().to_owned()));
    assert_eq!(headers.len(), 2, "{:?}", headers.values());

    // They pass while the pods are gone.
    let pods = containers.compose.run(&["ps", "--quiet", "auth-service"]).unwrap();
    for (number, pod) in (1..).zip(pods.split_whitespace()) {
        checked(Command::new("docker").args(["stop", "--time", "5", pod])).unwrap();
        let outcomes = tally(tokens.iter().map(|token| {
            interrupt::sleep(OUTAGE / REQUESTS).unwrap();
            containers.request(token)
        }));
        assert_eq!(outcomes, all_pass(), "{number} of 2 pods stopped");
    }
    assert_eq!(pods.split_whitespace().count(), 2, "{pods}");

    // Prometheus finds what the dashboard shows.
    let series = containers.series();
    let names = Regex::new(r"\b(?:mesh_jwt|envoy_http)_\w+").unwrap();
    let dashboard = include_str!("../../../envoy/dashboards/mesh-jwt.json");
    let asked: BTreeSet<_> = names.find_iter(dashboard).map(|name| name.as_str()).collect();
    let is_absent =
        |name: &&&str| !Regex::new(&format!(r"(?m)^{name}\b")).unwrap().is_match(&series);
    let absent: Vec<_> = asked.iter().filter(is_absent).collect();
    assert!(!asked.is_empty());
    assert!(absent.is_empty(), "{absent:?}");

    // The access log tells the decision.
    let log = containers.compose.logs("envoy").unwrap();
    assert!(log.contains(r#""code":"allowed""#), "{log}");
}

/// What `lab compose up` starts, until this is dropped.
struct Containers {
    compose: Compose,
    project: String,
    listen: SocketAddr,
    stats: SocketAddr,
}

impl Containers {
    fn up(compose: Compose, project: String) -> Self {
        // Held together, so that they differ.
        let free = [(); 2].map(|()| TcpListener::bind(loopback(0)).unwrap());
        let [listen, stats] = free.map(|listener| listener.local_addr().unwrap());
        let containers = Self { compose, project, listen, stats };
        checked(&mut containers.lab("up")).unwrap();
        containers
    }

    fn lab(&self, action: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(["compose", action])
            .env("COMPOSE_PROFILES", "")
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("LISTEN_PORT", self.listen.port().to_string())
            .env("STATS_PORT", self.stats.port().to_string());
        command
    }

    fn login(&self) -> String {
        interrupt::check().unwrap();
        services::login(self.listen, "alice").unwrap()
    }

    /// The status of one with this token, or what went wrong instead.
    fn request(&self, token: &str) -> String {
        let request = Request::get("/orders").bearer(token);
        let answer = Exchange::start(self.listen, &request).and_then(Exchange::finish);
        answer.map_or_else(|error| error.to_string(), |answer| answer.status.to_string())
    }

    fn series(&self) -> String {
        let request = Request::get("/stats/prometheus");
        Exchange::start(self.stats, &request).and_then(Exchange::finish).unwrap().text()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // Not with the means of the library: they give up once the test is told to stop.
        let removed = self.lab("down").status();
        assert!(std::thread::panicking() || removed.unwrap().success());
    }
}

fn tally(outcomes: impl Iterator<Item = String>) -> BTreeMap<String, u32> {
    let mut tally = BTreeMap::new();
    for outcome in outcomes {
        *tally.entry(outcome).or_default() += 1;
    }
    tally
}

fn all_pass() -> BTreeMap<String, u32> {
    BTreeMap::from([("200".to_owned(), REQUESTS)])
}

const REQUESTS: u32 = 200;
/// Longer than Envoy takes to learn from DNS that a pod has gone.
const OUTAGE: Duration = Duration::from_secs(8);
