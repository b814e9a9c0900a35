//! The roll-out of istio/README.md, step by step and back, before the real user-service: at no moment
//! is a good request refused, or a bad one let in.

mod services;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::resources::{self, Balancer};
use lab::token::{Key, Token, now};
use lab::wait;

use super::authorization::translated;
use super::plugin::{Discovery, Kind, authorization_policy, module, resource};
use super::proxy::{IN_MESH, with_filters};
use services::{CLUSTER, Pods, Services};
use traffic::{Tally, Traffic};

#[test]
fn behind_a_random_balancer() {
    roll_out_and_back(Balancer::Random);
}

#[test]
fn behind_the_default_balancer() {
    roll_out_and_back(Balancer::LeastRequest);
}

fn roll_out_and_back(balancer: Balancer) {
    let mesh = Mesh::start(balancer, Filters::None, Pods::Verifying, REPORT);
    let traffic = mesh.traffic();
    traffic.flow();

    // 1. Report.
    mesh.put(Filters::Filter);
    traffic.flow();
    // 2. Compare.
    mesh.assert_filter_agrees_with_services(&traffic);
    // 3. Enforce.
    mesh.configure(ENFORCE);
    mesh.wait_until_bare_is_refused_by("filter");
    traffic.flow();
    // 4. Switch the services.
    for pods in [Pods::Mixed, Pods::Trusting] {
        mesh.send_to(pods);
        traffic.flow();
    }
    mesh.wait_until_good("is answered by trust", |answer| answer["verification"] == "sidecar");
    // 5. End the token here.
    mesh.configure(HEADER_IDENTITY);
    mesh.put(Filters::FilterAndPolicy);
    mesh.wait_until_good("has lost its token", |answer| answer["authorization"] == false);
    traffic.flow();

    // And back: the token is there again before anybody has use for it.
    mesh.put(Filters::Filter);
    mesh.configure(ENFORCE);
    mesh.wait_until_good("has its token", |answer| answer["authorization"] == true);
    traffic.flow();
    for pods in [Pods::Mixed, Pods::Verifying] {
        mesh.send_to(pods);
        traffic.flow();
    }
    mesh.wait_until_good("is verified", |answer| answer["verification"] == "service");
    mesh.configure(REPORT);
    mesh.wait_until_bare_is_refused_by("service");
    traffic.flow();
    mesh.assert_filter_agrees_with_services(&traffic);
    mesh.put(Filters::None);
    traffic.flow();

    let tally = traffic.finish();
    assert!(tally.good_refused.is_empty() && tally.bad_not_refused.is_empty(), "{tally}");
    assert_eq!(tally.refused_by_service.get("filter_missing"), None, "{tally}");
    mesh.envoy.assert_untrapped("the roll-out");
}

/// Somebody switches the services before there is a filter.
#[test]
fn services_that_are_switched_without_a_filter_let_nobody_in() {
    let mesh = Mesh::start(Balancer::Random, Filters::None, Pods::Trusting, ENFORCE);
    let good = mesh.good().compact();
    let as_root = || Request::get("/orders").header("X-User-Id", "root");
    let marked = |mark: &str| as_root().header("X-Mesh-Jwt", mark);

    for request in [
        Request::get("/orders"),
        Request::get("/orders").bearer(&good),
        as_root(),
        as_root().bearer(&good),
        marked("verified"),
        marked("verified;provider=\"main\""),
        marked("verified;provider=\"main\";secret=\"11111111111111111111111111111111\""),
        marked("verified;provider=\"main\";secret=\"\""),
        Request::get("/public/hello").header("X-User-Id", "root"),
    ] {
        let response = mesh.envoy.send(&request);

        let (status, problem) = (response.status, response.json());
        assert_eq!((status, &problem["code"]), (503, &json!("filter_missing")), "{problem}");
    }
    assert_eq!(mesh.envoy.send(&Request::get("/healthz")).status, 200);
    assert_eq!(mesh.envoy.send(&Request::get("/public/hello")).status, 200);
    let complaints = mesh.services.complaints();
    assert!(complaints.contains("no filter stands before this service"), "{complaints}");
}

/// A label is lost, say, while the services rely on the filter.
#[test]
fn filter_that_goes_missing_is_noticed() {
    let mesh = Mesh::start(Balancer::Random, Filters::Filter, Pods::Trusting, ENFORCE);
    let is_let_in = || mesh.envoy.send(&mesh.request()).status == 200;
    wait::until("there are keys", LIMIT, || is_let_in().then_some(()));

    mesh.put(Filters::None);

    for _ in 0..PROBES {
        let response = mesh.envoy.send(&mesh.request().header("X-User-Id", "root"));
        assert_eq!((response.status, &response.json()["code"]), (503, &json!("filter_missing")));
    }
    mesh.put(Filters::Filter);
    assert!((0..PROBES).all(|_| is_let_in()));
}

/// Two workers, the filter as Istio delivers it, and pods of user-service behind it.
struct Mesh {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    services: Services,
    issuer: Issuer,
    discovery: Discovery,
    config: Value,
    balancer: Balancer,
}

/// What stands before the service.
#[derive(Clone, Copy, Debug)]
enum Filters {
    None,
    Filter,
    FilterAndPolicy,
}

impl Mesh {
    fn start(balancer: Balancer, filters: Filters, pods: Pods, stage: usize) -> Self {
        let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
        let plugin = plugin(stage);
        let discovery = Discovery::translated(&plugin);
        let config = module(&plugin)["pluginConfig"].clone();
        let services = Services::start(issuer.address(), &config);
        services.send_to(pods);
        let bootstrap = bootstrap(&services, balancer, &issuer, &discovery, filters);
        let envoy = Envoy::start(&bootstrap, 2);
        Self { envoy, services, issuer, discovery, config, balancer }
    }

    fn traffic(&self) -> Traffic {
        let secret = self.config["verifiedHeader"]["secret"].as_str().expect("a text");
        Traffic::start(self.envoy.address(), &self.good(), secret)
    }

    /// A good token of the issuer in the manifest.
    fn good(&self) -> Token {
        let provider = &self.config["providers"][0];
        Token::good()
            .claim("iss", provider["issuer"].clone())
            .claim("aud", provider["audiences"][0].clone())
            .claim("iat", now())
    }

    fn request(&self) -> Request {
        Request::get("/orders").bearer(&self.good().compact())
    }

    /// Puts filters on and takes them off, and waits until no connection has the old ones.
    fn put(&self, filters: Filters) {
        let Self { services, balancer, issuer, discovery, .. } = self;
        self.envoy.replace_listener(&bootstrap(services, *balancer, issuer, discovery, filters));
        wait::until("no old connection is left", LIMIT, || {
            let draining = "listener_manager.total_filter_chains_draining";
            (self.envoy.stat(draining) == 0).then_some(())
        });
    }

    /// Has the filter take the configuration of another stage.
    fn configure(&self, stage: usize) {
        self.discovery.update(&plugin(stage));
    }

    fn send_to(&self, pods: Pods) {
        let updates = format!("cluster.{CLUSTER}.update_success");
        let before = self.envoy.stat(&updates);
        self.services.send_to(pods);
        wait::until("the endpoints have changed", LIMIT, || {
            (self.envoy.stat(&updates) > before).then_some(())
        });
    }

    /// Waits until good requests are answered like this, of whatever worker and pod.
    fn wait_until_good(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        self.wait_until(&format!("a good request {what}"), &self.request(), |response| {
            response.status == 200 && is_so(&response.json())
        });
    }

    /// Waits until a request without a token is refused there, by every worker.
    fn wait_until_bare_is_refused_by(&self, place: &str) {
        let what = format!("the {place} refuses what has no token");
        self.wait_until(&what, &Request::get("/orders"), |response| {
            let is_of_service = response.json().get("verification").is_some();
            response.status == 401 && is_of_service == (place == "service")
        });
    }

    fn wait_until(&self, what: &str, request: &Request, is_so: impl Fn(&Response) -> bool) {
        wait::until(what, LIMIT, || {
            (0..PROBES).all(|_| is_so(&self.envoy.send(request))).then_some(())
        });
    }

    /// Code by code, and over both workers and pods.
    fn assert_filter_agrees_with_services(&self, traffic: &Traffic) {
        let (services_before, filter_before) = self.refusals(traffic);
        traffic.flow();
        let (services, filter) = self.refusals(traffic);

        let services = increase(&services_before.refused_by_service, &services.refused_by_service);
        assert_eq!(increase(&filter_before, &filter), services);
        let codes: Vec<_> = services.keys().map(String::as_str).collect();
        let all = ["audience_not_allowed", "signature_invalid", "token_expired", "token_missing"];
        assert_eq!(codes, all);
    }

    /// What the services have refused, and what the filter would have, while nothing is under way.
    fn refusals(&self, traffic: &Traffic) -> (Tally, BTreeMap<String, usize>) {
        let _held = traffic.hold();
        let reported = |code: &str| {
            let count = self.envoy.settled_stat(&format!("wasmcustom.mesh_jwt.reported.{code}"));
            (code.to_owned(), usize::try_from(count).expect("not so many"))
        };
        let codes = mesh_jwt::reason::Reason::ALL.iter().map(|reason| reason.code());
        (traffic.tally(), codes.map(reported).collect())
    }
}

/// By how much counts have grown, those that have.
fn increase(
    before: &BTreeMap<String, usize>,
    after: &BTreeMap<String, usize>,
) -> BTreeMap<String, usize> {
    let by = |(code, count): (&String, &usize)| {
        let by = count - before.get(code).copied().unwrap_or_default();
        (by > 0).then(|| (code.clone(), by))
    };
    after.iter().filter_map(by).collect()
}

/// The manifest at a stage, for an issuer with one pod, an impatient forger and a busy machine.
fn plugin(stage: usize) -> Value {
    let mut plugin = resource(Kind::WasmPlugin, "workload", "in-mesh-issuer", stage);
    let config = &mut plugin["spec"]["pluginConfig"];
    config["jwksWaitTimeout"] = json!("8s");
    config["providers"][0]["jwksEndpoints"] = json!(1);
    config["providers"][0]["refetchCooldown"] = json!("1s");
    plugin
}

fn bootstrap(
    services: &Services,
    balancer: Balancer,
    issuer: &Issuer,
    discovery: &Discovery,
    filters: Filters,
) -> Bootstrap {
    let routes = resources::route_config(&[resources::route_to(CLUSTER)]);
    // No route leads to the upstream of a bootstrap: it cannot change its endpoints.
    let bootstrap = Bootstrap::new(issuer.address())
        .cluster(IN_MESH, issuer.address())
        .other_cluster(services.cluster(balancer))
        .manager("route_config", routes);
    let with_filter = |bootstrap| with_filters(bootstrap, std::slice::from_ref(discovery));
    let bootstrap = match filters {
        Filters::None => bootstrap,
        Filters::Filter => with_filter(bootstrap),
        Filters::FilterAndPolicy => {
            let policy = authorization_policy("workload", "in-mesh-issuer", HEADER_IDENTITY);
            let (permission, principal) = translated(&policy["spec"]["rules"][0]);
            with_filter(bootstrap).refuse(&permission, &principal)
        }
    };
    bootstrap.inbound(&[8080]).replaceable().drain_gradually(DRAIN_SECONDS)
}

/// How many of the components in `example::STAGES` are taken in.
const REPORT: usize = 0;
const ENFORCE: usize = 1;
const HEADER_IDENTITY: usize = 2;
/// Over so many connections, each worker is met.
const PROBES: usize = 40;
/// A client that Envoy is too busy to answer for longer than that loses its connection. It is 45 in
/// Istio.
const DRAIN_SECONDS: u32 = 10;
const LIMIT: Duration = Duration::from_secs(60);
