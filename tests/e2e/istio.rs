//! What Istio makes of the manifests: the filter's configuration by extension config discovery, an
//! inbound listener, and clusters by Istio's names.
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
use lab::upstream::{Upstream, received};
use lab::wait;

#[path = "../istio/example.rs"]
mod example;
#[allow(dead_code, reason = "the tests of the manifests have use for the rest")]
#[path = "../istio/kustomize.rs"]
mod kustomize;

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
        let counter = if stage == 0 { "reported" } else { "denied" };
        let name = format!("wasmcustom.mesh_jwt.{counter}.token_missing");
        assert_eq!(proxy.envoy.stat(&name), 1, "stage {stage}");
    }
}

/// Istio pushes a changed WasmPlugin to the proxies; none of them restarts, and one that is wrong
/// leaves the last good one in force.
#[test]
fn changed_manifest_takes_hold_and_a_wrong_one_does_not() {
    let proxy = Proxy::start("workload", "in-mesh-issuer", 0);
    let bare = Request::get("/orders");
    assert_eq!(proxy.decide(&bare), "200 token_missing");

    proxy.discovery.update(&plugin("workload", "in-mesh-issuer", 1));
    wait::until("the filter enforces", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "401 token_missing").then_some(())
    });

    let mut wrong = plugin("workload", "in-mesh-issuer", 0);
    wrong["spec"]["pluginConfig"]["providers"][0]["jwksURI"] = json!("https://a.example.com");
    proxy.discovery.update(&wrong);
    wait::until("the filter complains", UPDATE_LIMIT, || {
        proxy.envoy.log().contains("providers[0].jwksURI").then_some(())
    });
    assert_eq!(proxy.decide(&bare), "401 token_missing");

    proxy.discovery.update(&plugin("workload", "in-mesh-issuer", 0));
    wait::until("the filter only reports again", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "200 token_missing").then_some(())
    });
}

/// Its keys come from the cluster that the ServiceEntry makes.
#[test]
fn every_overlay_with_an_external_issuer() {
    for overlay in example::OVERLAYS {
        let proxy = Proxy::start(overlay, "external-issuer", 1);
        let good = Request::get("/orders").bearer(&proxy.token().compact());

        assert_eq!(proxy.decide(&good), "200 allowed", "{overlay}");
        assert_eq!(proxy.decide(&Request::get("/orders")), "401 token_missing", "{overlay}");
        let fetch = &proxy.issuer.fetches()[0];
        assert_eq!(fetch.start_line, "GET /keys HTTP/1.1");
        assert_eq!(fetch.header("host"), Some("login.example.org"));
    }
}

/// Should the opt-out fail, the keys can still be fetched through the filter itself.
#[test]
fn mesh_wide_filter_in_front_of_the_issuer_lets_keys_through() {
    let proxy = Proxy::start("mesh-wide", "in-mesh-issuer", 1);

    assert_eq!(proxy.decide(&Request::get("/actuator/jwks")), "200 public");
    assert_eq!(proxy.decide(&Request::get("/actuator/env")), "401 token_missing");
}

/// A sidecar, or a gateway, with the WasmPlugin of an example and an issuer in the right cluster.
struct Proxy {
    envoy: Envoy,
    issuer: Issuer,
    _upstream: Upstream,
    discovery: Discovery,
    config: Value,
}

impl Proxy {
    fn start(overlay: &str, issuer: &str, stage: usize) -> Self {
        let plugin = plugin(overlay, issuer, stage);
        let cluster = match issuer {
            "external-issuer" => "outbound|8443||login.example.org",
            _ => "outbound|8080||auth-service.auth.svc.cluster.local",
        };
        let discovery = Discovery::new(&plugin);
        let (issuer, upstream) = (Issuer::start(alpha()), Upstream::start());
        let bootstrap = Bootstrap::new(upstream.address())
            .cluster(cluster, issuer.address())
            .discovered_filter(&discovery.name, &discovery.file);
        let config = plugin["spec"]["pluginConfig"].clone();
        let envoy = Envoy::start(&bootstrap, 1);
        Self { envoy, issuer, _upstream: upstream, discovery, config }
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

/// The file by which Envoy gets to know the filter's configuration; removed with this.
struct Discovery {
    name: String,
    file: PathBuf,
}

impl Discovery {
    fn new(plugin: &Value) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let file = format!("ecds-{}-{number}.json", std::process::id());
        let discovery = Self {
            name: format!("extensions.istio.io/wasmplugin/{}", full_name(plugin)),
            file: Path::new(env!("CARGO_TARGET_TMPDIR")).join(file),
        };
        discovery.update(plugin);
        discovery
    }

    fn update(&self, plugin: &Value) {
        let resource = json!({
            "@type": format!("{TYPE}/envoy.config.core.v3.TypedExtensionConfig"),
            "name": self.name,
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm"),
                "config": wasm(plugin),
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

/// The WasmPlugin of an example.
fn plugin(overlay: &str, issuer: &str, stage: usize) -> Value {
    let source = example::edited(overlay, issuer, stage);
    let rendered = source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"));
    let mut resources = rendered.into_iter();
    resources.find(|resource| resource.kind() == "WasmPlugin").expect("a WasmPlugin").value
}

/// Envoy's configuration of the filter, as Istio and its agent derive it from a WasmPlugin.
fn wasm(plugin: &Value) -> Value {
    let failure_policy = match plugin["spec"]["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        other => panic!("a failStrategy that is not translated here: {other:?}"),
    };
    json!({
        "name": full_name(plugin),
        "configuration": {
            "@type": format!("{TYPE}/google.protobuf.StringValue"),
            "value": plugin["spec"]["pluginConfig"].to_string(),
        },
        "failure_policy": failure_policy,
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": checkout::module() } },
        },
    })
}

fn full_name(plugin: &Value) -> String {
    let text = |name: &str| plugin["metadata"][name].as_str().expect("a text").to_owned();
    format!("{}.{}", text("namespace"), text("name"))
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

const TYPE: &str = "type.googleapis.com";
const UPDATE_LIMIT: Duration = Duration::from_secs(10);
