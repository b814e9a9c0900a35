//! What Istio makes of the manifests: the filter's configuration by extension config discovery, an
//! inbound listener, and clusters by Istio's names. The names of a waypoint's are those in Istio's
//! source; the others were seen in a mesh.
//!
//! The sidecar's agent fetches the image and has Envoy load the module from a file; that is where
//! these tests begin.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::checkout;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token, now};
use lab::traffic::Traffic;
use lab::upstream::{Upstream, received};
use lab::wait;

#[path = "../istio/example.rs"]
mod example;
#[allow(dead_code, reason = "the tests of the manifests have use for the rest")]
#[path = "../istio/kustomize.rs"]
pub(crate) mod kustomize;

#[test]
fn workload_with_an_in_mesh_issuer() {
    let proxy = Proxy::start("workload", "in-mesh-issuer", 2);
    let good = Request::get("/orders").bearer(&proxy.token().compact()).header("X-User-Id", "root");

    let seen = received(&proxy.envoy.send(&good));

    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(seen.header("x-scopes"), Some("users:read users:write"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(proxy.decide(&Request::get("/orders")), "401 token_missing");
    let forged = proxy.token().signed_by(Key::beta()).header("kid", "alpha").compact();
    assert_eq!(proxy.decide(&Request::get("/").bearer(&forged)), "401 signature_invalid");
    let fetch = &proxy.issuer.fetches()[0];
    assert_eq!(fetch.start_line, "GET /actuator/jwks HTTP/1.1");
    assert_eq!(fetch.header("host"), Some("auth-service.auth.svc.cluster.local:8080"));
}

/// Services that still check tokens themselves get them, whatever becomes of the request.
#[test]
fn roll_out_by_its_stages() {
    let expected = [("200", true), ("401", true), ("401", false)];
    for (stage, (without_a_token, is_forwarded)) in expected.into_iter().enumerate() {
        let proxy = Proxy::start("workload", "in-mesh-issuer", stage);

        let bare = proxy.decide(&Request::get("/orders"));
        let good = Request::get("/orders").bearer(&proxy.token().compact());
        let seen = received(&proxy.envoy.send(&good));

        assert_eq!(bare, format!("{without_a_token} token_missing"), "stage {stage}");
        assert_eq!(seen.header("authorization").is_some(), is_forwarded, "stage {stage}");
        assert_eq!(seen.header("x-user-id"), Some("user-4711"), "stage {stage}");
        if stage == 0 {
            let forged = Request::get("/orders").header("X-User-Id", "root");
            assert_eq!(received(&proxy.envoy.send(&forged)).header("x-user-id"), None);
        }
        let counter = if stage == 0 { "reported" } else { "denied" };
        let name = format!("wasmcustom.mesh_jwt.{counter}.token_missing");
        assert_eq!(proxy.envoy.stat(&name), if stage == 0 { 2 } else { 1 }, "stage {stage}");
    }
}

/// Istio pushes a changed WasmPlugin to the proxies; none of them restarts, and one that is wrong
/// leaves the last good one in force.
#[test]
fn changed_manifest_takes_hold_and_a_wrong_one_does_not() {
    let proxy = Proxy::start("workload", "in-mesh-issuer", 0);
    let bare = Request::get("/orders");
    assert_eq!(proxy.decide(&bare), "200 token_missing");

    proxy.discoveries[0].update(&plugin("workload", "in-mesh-issuer", 1));
    wait::until("the filter enforces", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "401 token_missing").then_some(())
    });

    let mut wrong = plugin("workload", "in-mesh-issuer", 0);
    wrong["spec"]["pluginConfig"]["providers"][0]["jwksURI"] = json!("https://a.example.com");
    proxy.discoveries[0].update(&wrong);
    wait::until("the filter complains", UPDATE_LIMIT, || {
        proxy.envoy.log().contains("providers[0].jwksURI").then_some(())
    });
    assert_eq!(proxy.decide(&bare), "401 token_missing");

    proxy.discoveries[0].update(&plugin("workload", "in-mesh-issuer", 0));
    wait::until("the filter only reports again", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "200 token_missing").then_some(())
    });
}

/// Its keys come from the cluster that the ServiceEntry makes.
#[test]
fn every_overlay_with_an_external_issuer_as_either_kind() {
    let kinds = [Kind::TrafficExtension, Kind::WasmPlugin];
    let both = example::OVERLAYS.into_iter().flat_map(|overlay| kinds.map(|kind| (overlay, kind)));
    for (overlay, kind) in both {
        let proxy = Proxy::start_as(kind, overlay, "external-issuer", 1);
        let good = Request::get("/orders").bearer(&proxy.token().compact());

        assert_eq!(proxy.decide(&good), "200 allowed", "{overlay}, {kind:?}");
        let bare = proxy.decide(&Request::get("/orders"));
        assert_eq!(bare, "401 token_missing", "{overlay}, {kind:?}");
        let fetch = &proxy.issuer.fetches()[0];
        assert_eq!(fetch.start_line, "GET /keys HTTP/1.1");
        assert_eq!(fetch.header("host"), Some("login.example.org"));
    }
}

/// Whose Service uses the waypoint, which names its cluster in a way of its own.
#[test]
fn in_mesh_issuer_at_a_waypoint() {
    let proxy = Proxy::start("waypoint", "in-mesh-issuer", 2);
    let good = Request::get("/orders").bearer(&proxy.token().compact());

    assert_eq!(received(&proxy.envoy.send(&good)).header("x-user-id"), Some("user-4711"));
    let fetch = &proxy.issuer.fetches()[0];
    assert_eq!(fetch.header("host"), Some("auth-service.auth.svc.cluster.local:8080"));
}

/// While a WasmPlugin and a TrafficExtension of it are both there, the filter runs twice. Without
/// header-identity nobody notices; with it, the second finds no token any more.
#[test]
fn both_kinds_at_once_need_the_token_forwarded() {
    for stage in [0, 1, 2] {
        let first = resource(Kind::WasmPlugin, "workload", "in-mesh-issuer", stage);
        let second = resource(Kind::TrafficExtension, "workload", "in-mesh-issuer", stage);
        let proxy = Proxy::with(&[first, second], IN_MESH);
        let good = Request::get("/orders").bearer(&proxy.token().compact());

        if stage == 2 {
            assert_eq!(proxy.decide(&good), "401 token_missing");
            continue;
        }
        let response = proxy.envoy.send(&good.header("X-User-Id", "root"));
        let seen = received(&response);
        let ids: Vec<_> = seen.values("x-user-id").collect();
        assert_eq!(ids, ["user-4711"], "stage {stage}");
        assert!(seen.header("authorization").is_some(), "stage {stage}");
        let bare = proxy.decide(&Request::get("/orders"));
        assert_eq!(bare, ["200 token_missing", "401 token_missing"][stage]);
    }
}

/// By the four steps that the README tells, in whatever order Istio has the two run.
#[test]
fn moving_from_one_kind_to_the_other_fails_no_request() {
    let of = |kind, stage| resource(kind, "workload", "in-mesh-issuer", stage);
    let plugin = Discovery::new(&of(Kind::WasmPlugin, 2));
    let extension = Discovery::new(&of(Kind::TrafficExtension, 1));
    let mut proxy = Proxy::of(vec![plugin], &of(Kind::WasmPlugin, 2), IN_MESH);
    let good = Request::get("/orders").bearer(&proxy.token().compact());
    let is_forwarded =
        |envoy: &Envoy| received(&envoy.send(&good)).header("authorization").is_some();
    let traffic = Traffic::start(proxy.envoy.address(), &[proxy.token()]);
    traffic.flow(REQUESTS);

    proxy.discoveries[0].update(&of(Kind::WasmPlugin, 1));
    wait::until("the token is forwarded", UPDATE_LIMIT, || {
        is_forwarded(&proxy.envoy).then_some(())
    });
    proxy.discoveries.push(extension);
    proxy.replace_listener();
    traffic.flow(REQUESTS);
    proxy.discoveries.reverse();
    proxy.replace_listener();
    traffic.flow(REQUESTS);
    drop(proxy.discoveries.pop());
    proxy.replace_listener();
    traffic.flow(REQUESTS);
    proxy.discoveries[0].update(&of(Kind::TrafficExtension, 2));
    wait::until("the token ends", UPDATE_LIMIT, || (!is_forwarded(&proxy.envoy)).then_some(()));
    traffic.flow(REQUESTS);

    traffic.assert_undisturbed(Duration::from_secs(1));
    assert_eq!(proxy.decide(&Request::get("/orders")), "401 token_missing");
}

/// Should the opt-out fail, the keys can still be fetched through the filter itself.
#[test]
fn mesh_wide_filter_in_front_of_the_issuer_lets_keys_through() {
    let proxy = Proxy::start("mesh-wide", "in-mesh-issuer", 1);

    assert_eq!(proxy.decide(&Request::get("/actuator/jwks")), "200 public");
    assert_eq!(proxy.decide(&Request::get("/actuator/env")), "401 token_missing");
}

/// A sidecar, a gateway or a waypoint with what an example renders, and an issuer in the cluster that
/// Istio makes for it.
struct Proxy {
    envoy: Envoy,
    issuer: Issuer,
    upstream: Upstream,
    discoveries: Vec<Discovery>,
    cluster: String,
    config: Value,
}

impl Proxy {
    fn start(overlay: &str, issuer: &str, stage: usize) -> Self {
        Self::start_as(Kind::WasmPlugin, overlay, issuer, stage)
    }

    fn start_as(kind: Kind, overlay: &str, issuer: &str, stage: usize) -> Self {
        let cluster = match (example::WAYPOINTS.contains(&overlay), issuer) {
            (false, "in-mesh-issuer") => IN_MESH,
            (false, _) => "outbound|8443||login.example.org",
            (true, "in-mesh-issuer") => "inbound-vip|8080|http|auth-service.auth.svc.cluster.local",
            (true, _) => "inbound-vip|8443|http|login.example.org",
        };
        Self::with(&[resource(kind, overlay, issuer, stage)], cluster)
    }

    /// With the filter once for each resource.
    fn with(resources: &[Value], cluster: &str) -> Self {
        Self::of(resources.iter().map(Discovery::new).collect(), &resources[0], cluster)
    }

    fn of(discoveries: Vec<Discovery>, resource: &Value, cluster: &str) -> Self {
        let (issuer, upstream) = (Issuer::start(alpha()), Upstream::start());
        let cluster = cluster.to_owned();
        let envoy = Envoy::start(&bootstrap(&discoveries, &cluster, &issuer, &upstream), 1);
        let config = module(resource)["pluginConfig"].clone();
        Self { envoy, issuer, upstream, discoveries, cluster, config }
    }

    /// What Istio does once there are other resources.
    fn replace_listener(&self) {
        let Self { discoveries, cluster, issuer, upstream, .. } = self;
        self.envoy.replace_listener(&bootstrap(discoveries, cluster, issuer, upstream));
    }

    /// A good token of the issuer in the manifest.
    fn token(&self) -> Token {
        let provider = &self.config["providers"][0];
        Token::good()
            .claim("iss", provider["issuer"].clone())
            .claim("aud", provider["audiences"][0].clone())
            .claim("iat", now())
    }

    fn decide(&self, request: &Request) -> String {
        let response = self.envoy.send(request);
        let line = self.envoy.access_log_line(&response);
        format!("{} {}", response.status, line["code"].as_str().unwrap_or("-"))
    }
}

fn bootstrap(
    discoveries: &[Discovery],
    cluster: &str,
    issuer: &Issuer,
    upstream: &Upstream,
) -> Bootstrap {
    let bootstrap = Bootstrap::new(upstream.address()).cluster(cluster, issuer.address());
    let filters = discoveries.iter();
    filters
        .fold(bootstrap, |bootstrap, discovery| {
            bootstrap.discovered_filter(&discovery.name, &discovery.file)
        })
        .replaceable()
}

/// The file by which Envoy gets to know the filter's configuration; removed with this.
struct Discovery {
    name: String,
    file: PathBuf,
}

impl Discovery {
    fn new(resource: &Value) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let file = format!("ecds-{}-{number}.json", std::process::id());
        let kind = resource["kind"].as_str().expect("a kind").to_lowercase();
        let discovery = Self {
            name: format!("extensions.istio.io/{kind}/{}", full_name(resource)),
            file: Path::new(env!("CARGO_TARGET_TMPDIR")).join(file),
        };
        discovery.update(resource);
        discovery
    }

    fn update(&self, resource: &Value) {
        let resource = json!({
            "@type": format!("{TYPE}/envoy.config.core.v3.TypedExtensionConfig"),
            "name": self.name,
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm"),
                "config": wasm(resource),
            },
        });
        let whole = self.file.with_extension("new");
        fs::write(&whole, json!({ "resources": [resource] }).to_string())
            .expect("a writable target directory");
        // Envoy acts on a file that is moved to its place, so it never sees half of one.
        fs::rename(&whole, &self.file).expect("a writable target directory");
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // What cannot be removed stays under target/, where `cargo clean` finds it.
        drop(fs::remove_file(&self.file));
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    TrafficExtension,
    WasmPlugin,
}

/// The WasmPlugin of an example, or what it is turned into.
fn resource(kind: Kind, overlay: &str, issuer: &str, stage: usize) -> Value {
    let source = example::edited(overlay, issuer, stage);
    let source = match kind {
        Kind::TrafficExtension => example::as_traffic_extension(&source),
        Kind::WasmPlugin => source,
    };
    let rendered = source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"));
    let mut resources = rendered.into_iter();
    let kind = format!("{kind:?}");
    resources.find(|resource| resource.kind() == kind).expect("one of the kind").value
}

fn plugin(overlay: &str, issuer: &str, stage: usize) -> Value {
    resource(Kind::WasmPlugin, overlay, issuer, stage)
}

/// What a resource says of the module.
fn module(resource: &Value) -> &Value {
    let spec = &resource["spec"];
    spec.get("wasm").unwrap_or(spec)
}

/// Envoy's configuration of the filter, as Istio and its agent derive it from a resource.
fn wasm(resource: &Value) -> Value {
    let module = module(resource);
    let failure_policy = match module["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        other => panic!("a failStrategy that is not translated here: {other:?}"),
    };
    json!({
        "name": full_name(resource),
        "configuration": {
            "@type": format!("{TYPE}/google.protobuf.StringValue"),
            "value": module["pluginConfig"].to_string(),
        },
        "failure_policy": failure_policy,
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": checkout::module() } },
        },
    })
}

fn full_name(resource: &Value) -> String {
    let text = |name: &str| resource["metadata"][name].as_str().expect("a text").to_owned();
    format!("{}.{}", text("namespace"), text("name"))
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

const IN_MESH: &str = "outbound|8080||auth-service.auth.svc.cluster.local";
const TYPE: &str = "type.googleapis.com";
const REQUESTS: usize = 50;
const UPDATE_LIMIT: Duration = Duration::from_secs(10);
