//! Tokens of Kubernetes' service accounts, whose keys the API server hands out over TLS and only to who
//! shows a token: the manifests of `istio/kubernetes-service-accounts`, with the cluster that they add.

use std::fs;
use std::io::{Write as _, stderr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use lab::bootstrap::Bootstrap;
use lab::checkout;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::resources::{address, route_config, route_to};
use lab::server::Server;
use lab::token::{Key, now, sign_parts};
use lab::upstream::{Upstream, received};
use lab::wait;

use crate::istio::kustomize;

#[test]
fn service_account_calls_with_its_token() {
    let Some(pod) = Pod::start("kube-apiserver") else { return };
    let request = |path: &str, claims| Request::get(path).bearer(&token(Key::alpha(), claims));

    let seen = received(&pod.envoy.send(&request("/", json!({}))));

    assert_eq!(seen.header("x-user-id"), Some("system:serviceaccount:shop:orders"));
    assert_eq!(seen.header("x-namespace"), Some("shop"));
    assert_eq!(seen.header("x-service-account"), Some("orders"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(pod.decide(&request("/shop", json!({}))), "200 allowed");
    let elsewhere = json!({ "kubernetes.io": { "namespace": "other" } });
    assert_eq!(pod.decide(&request("/shop", elsewhere)), "403 claim_mismatch");
    // Of the kind that the kubelet mounts unless it is told of an audience.
    let for_the_api_server = json!({ "aud": [ISSUER] });
    assert_eq!(pod.decide(&request("/", for_the_api_server)), "401 audience_not_allowed");
    // As long as who asked for it wished.
    let for_a_year = json!({ "exp": now() + 365 * 86_400 });
    assert_eq!(pod.decide(&request("/", for_a_year)), "200 allowed");
    let [asked, ..] = &pod.api_server.asked()[..] else { panic!("nobody asked for keys") };
    assert_eq!(asked, "GET /openid/v1/jwks HTTP/1.1 Bearer first");
}

/// The kubelet replaces the token within the hour.
#[test]
fn credential_is_read_again_when_it_was_replaced() {
    let Some(pod) = Pod::start("kube-apiserver") else { return };
    let of_alpha = Request::get("/").bearer(&token(Key::alpha(), json!({})));
    assert_eq!(pod.decide(&of_alpha), "200 allowed");

    pod.secrets.replace("second", AUTHORITY);
    pod.api_server.change("second", Key::beta());

    let of_beta = Request::get("/").bearer(&token(Key::beta(), json!({})));
    wait::until("the keys are fetched with the new credential", REPLACED_LIMIT, || {
        (pod.decide(&of_beta) == "200 allowed").then_some(())
    });
}

#[test]
fn api_server_that_wants_another_credential_is_an_outage() {
    let Some(pod) = Pod::start("kube-apiserver") else { return };
    pod.api_server.change("another", Key::beta());

    let of_beta = Request::get("/").bearer(&token(Key::beta(), json!({})));

    assert_eq!(pod.decide(&of_beta), "503 jwks_unavailable");
    assert!(pod.envoy.log().contains("401"), "{}", pod.envoy.log());
}

/// The cluster's authority signs for every kubelet as well.
#[test]
fn keys_are_taken_from_nobody_but_the_api_server() {
    let Some(pod) = Pod::start("kubelet") else { return };

    let request = Request::get("/").bearer(&token(Key::alpha(), json!({})));

    assert_eq!(pod.decide(&request), "503 jwks_unavailable");
    assert_eq!(pod.api_server.asked(), Vec::<String>::new());
}

/// The cluster's authority is replaced less often, but pods may outlive it.
#[test]
fn authority_is_read_again_when_it_was_replaced() {
    let Some(pod) = Pod::start_trusting("kube-apiserver", OTHER_AUTHORITY) else { return };
    let request = Request::get("/").bearer(&token(Key::alpha(), json!({})));
    assert_eq!(pod.decide(&request), "503 jwks_unavailable");

    pod.secrets.replace("first", AUTHORITY);

    wait::until("the API server is trusted", REPLACED_LIMIT, || {
        (pod.decide(&request) == "200 allowed").then_some(())
    });
}

/// What containers of the pod send goes where Istio's routes lead, and the manifests add none.
#[test]
fn no_request_through_the_sidecar_gets_the_credential() {
    let Some(pod) = Pod::start("kube-apiserver") else { return };
    let token = token(Key::alpha(), json!({}));
    let hosts = [CLUSTER, "kubernetes.default.svc", "kubernetes.default.svc:443", "127.0.0.1"];
    let paths = [KEYS, "/api/v1/secrets", "/"];

    for (host, path) in hosts.into_iter().flat_map(|host| paths.map(|path| (host, path))) {
        for method in ["GET", "POST"] {
            let request = Request::new(method, path).host(host).bearer(&token);
            let seen = received(&pod.envoy.send(&request));
            assert_eq!(seen.header("authorization"), None, "{method} {host} {path}");
        }
    }
    assert_eq!(pod.api_server.asked(), ["GET /openid/v1/jwks HTTP/1.1 Bearer first"]);
}

/// Somebody else's EnvoyFilter could make a route to the cluster.
#[test]
fn credential_goes_with_requests_for_keys_only_whoever_makes_them() {
    let to_the_cluster = |bootstrap: Bootstrap| {
        bootstrap.manager("route_config", route_config(&[route_to(CLUSTER)]))
    };
    let pod = Pod::start_adapted("kube-apiserver", AUTHORITY, to_the_cluster);
    let Some(pod) = pod else { return };
    let token = token(Key::alpha(), json!({}));
    let send = |method, path| {
        let request = Request::new(method, path).bearer(&token);
        (pod.envoy.send(&request).status, pod.api_server.asked().pop().expect("a request"))
    };

    assert_eq!(send("GET", KEYS), (200, "GET /openid/v1/jwks HTTP/1.1 Bearer first".to_owned()));
    for (method, path) in [
        ("GET", "/api/v1/secrets"),
        ("POST", "/api/v1/namespaces/shop/pods"),
        ("GET", "/openid/v1/jwks/../../../api/v1/secrets"),
        ("GET", "/openid/v1/jwks?watch"),
        ("GET", "/"),
    ] {
        assert_eq!(send(method, path), (401, format!("{method} {path} HTTP/1.1 ")));
    }
}

/// A pod with the filter in its sidecar, and the API server, behind an Envoy that speaks TLS for it.
struct Pod {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    _tls: Envoy,
    api_server: ApiServer,
    secrets: Secrets,
    _upstream: Upstream,
}

impl Pod {
    /// The API server has this certificate. None with Envoy 1.36, which is then said.
    fn start(certificate: &str) -> Option<Self> {
        Self::start_trusting(certificate, AUTHORITY)
    }

    /// The kubelet has mounted this authority.
    fn start_trusting(certificate: &str, authority: &str) -> Option<Self> {
        Self::start_adapted(certificate, authority, |bootstrap| bootstrap)
    }

    fn start_adapted(
        certificate: &str,
        authority: &str,
        adapt: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Option<Self> {
        if checkout::envoy_version().starts_with("1.36.") {
            // Past the harness, which keeps the output of tests that pass to itself.
            let skipped = b"skipped: Envoy 1.36 puts nothing before a credential\n";
            stderr().write_all(skipped).expect("stderr");
            return None;
        }
        let (api_server, upstream) = (ApiServer::start(), Upstream::start());
        let key = |name: &str| checkout::root().join("tests/keys").join(name);
        let tls = Bootstrap::new(api_server.server.address)
            .certificate(key(&format!("{certificate}.crt")), key("beta.pem"));
        let tls = Envoy::start(&tls, 1);
        let secrets = Secrets::new(authority);
        let manifests = Manifests::read(&secrets);
        let cluster = manifests.cluster(&tls);
        let provider: Value = serde_json::from_str(include_str!(
            "../../istio/kubernetes-service-accounts/provider.json"
        ))
        .expect("JSON");
        assert_eq!(provider["jwksCluster"], cluster["name"]);
        let config = json!({
            "providers": [provider],
            "rules": [{
                "match": { "paths": ["/shop"] },
                "claims": { "/kubernetes.io/namespace": ["shop"] },
            }],
        });
        let bootstrap = Bootstrap::new(upstream.address())
            .other_cluster(cluster)
            .filter("mesh-jwt", &config.to_string());
        let envoy = Envoy::start(&adapt(bootstrap), 1);
        Some(Self { envoy, _tls: tls, api_server, secrets, _upstream: upstream })
    }

    fn decide(&self, request: &Request) -> String {
        let response = self.envoy.send(request);
        let line = self.envoy.access_log_line(&response);
        format!("{} {}", response.status, line["code"].as_str().unwrap_or("-"))
    }
}

/// What the manifests say, with files that are there.
struct Manifests(Vec<kustomize::Resource>);

impl Manifests {
    fn read(secrets: &Secrets) -> Self {
        let rendered = kustomize::Source::checkout().render("istio/kubernetes-service-accounts");
        let mut rendered = rendered.unwrap_or_else(|problem| panic!("{problem}"));
        for resource in &mut rendered {
            let text = resource.value.to_string();
            let text =
                text.replace("/var/run/secrets/kubernetes.io/serviceaccount", secrets.path());
            let text = text.replace("/etc/mesh-jwt", secrets.path());
            resource.value = serde_json::from_str(&text).expect("JSON");
        }
        let manifests = Self(rendered);
        let mounted = manifests.of_kind("ConfigMap")["data"].as_object().expect("an object");
        for (file, text) in mounted {
            fs::write(secrets.0.path().join(file), text.as_str().expect("a text"))
                .expect("a writable directory");
        }
        manifests
    }

    fn of_kind(&self, kind: &str) -> &Value {
        let found = self.0.iter().find(|resource| resource.kind() == kind);
        &found.unwrap_or_else(|| panic!("no {kind}")).value
    }

    /// The one that they add, as it stands but for its address.
    fn cluster(&self, tls: &Envoy) -> Value {
        let patch = &self.of_kind("EnvoyFilter")["spec"]["configPatches"][0]["patch"];
        let mut cluster = patch["value"].clone();
        let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
        endpoint["endpoint"]["address"] = address(tls.address());
        cluster
    }
}

/// The files that the kubelet mounts: links into a directory that is replaced as a whole.
struct Secrets(TempDir);

impl Secrets {
    fn new(authority: &str) -> Self {
        let secrets = Self(tempfile::tempdir().expect("a temporary directory"));
        secrets.replace("first", authority);
        for name in ["token", "ca.crt"] {
            let link = secrets.0.path().join(name);
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
        secrets
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("a name in UTF-8")
    }

    /// Replaces the files, as the kubelet does.
    fn replace(&self, token: &str, authority: &str) {
        let directory = tempfile::tempdir_in(self.0.path()).expect("a new directory").keep();
        for (name, content) in [("token", token), ("ca.crt", authority)] {
            fs::write(directory.join(name), content).expect("a writable directory");
        }
        let (new, link) = (self.0.path().join("..data_tmp"), self.0.path().join("..data"));
        symlink(directory.file_name().expect("a name"), &new).expect("a link");
        fs::rename(&new, link).expect("a link that can be replaced");
    }
}

/// It publishes the key of the service accounts' tokens to who has the credential.
struct ApiServer {
    server: Server,
    state: Arc<Mutex<ApiState>>,
}

struct ApiState {
    credential: &'static str,
    keys: Vec<Value>,
    /// The requests and their credentials, right or wrong.
    asked: Vec<String>,
}

impl ApiServer {
    fn start() -> Self {
        let keys = vec![Key::alpha().jwk()];
        let state = ApiState { credential: "first", keys, asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = Server::start(move |request, stream| {
            let mut state = shared.lock().expect("nobody panics with the lock held");
            let credential = request.header("authorization").unwrap_or_default();
            state.asked.push(format!("{} {credential}", request.start_line));
            let (status, body) = if credential == format!("Bearer {}", state.credential) {
                ("200 OK", json!({ "keys": state.keys }))
            } else {
                ("401 Unauthorized", json!({ "kind": "Status", "status": "Failure", "code": 401 }))
            };
            let (body, kind) = (body.to_string(), "Content-Type: application/jwk-set+json");
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )?;
            stream.write_all(body.as_bytes())
        });
        Self { server, state }
    }

    /// Wants another credential from now on, and has one key more.
    fn change(&self, credential: &'static str, key: &Key) {
        let mut state = self.state.lock().expect("nobody panics with the lock held");
        state.credential = credential;
        state.keys.push(key.jwk());
    }

    fn asked(&self) -> Vec<String> {
        self.state.lock().expect("nobody panics with the lock held").asked.clone()
    }
}

/// A token as the kubelet mounts it, with other claims.
fn token(key: &Key, claims: Value) -> String {
    let header = json!({ "alg": "RS256", "kid": key.name() });
    let now = now();
    let mut payload = json!({
        "aud": ["orders-api"],
        "exp": now + 3607,
        "iat": now,
        "iss": ISSUER,
        "jti": "5f1c3f3e-6d0f-4c8e-9b0e-2f6f0a3f7d11",
        "kubernetes.io": {
            "namespace": "shop",
            "node": { "name": "node-1", "uid": "0b8a4a3c-0d55-4a0e-8b1c-7f0b3f0c9f10" },
            "pod": { "name": "orders-7d9c", "uid": "f2a6b3c4-9f2e-4a52-8a0c-0d4f4a1d2e3f" },
            "serviceaccount": { "name": "orders", "uid": "7a4f2d1c-1b2a-4c3d-9e8f-6a5b4c3d2e1f" },
            "warnafter": now + 3607,
        },
        "nbf": now,
        "sub": "system:serviceaccount:shop:orders",
    });
    for (name, value) in claims.as_object().expect("an object") {
        payload[name] = value.clone();
    }
    sign_parts(&header.to_string(), &payload.to_string(), key)
}

/// The cluster of the manifests.
const CLUSTER: &str = "mesh-jwt-kubernetes";
/// Where the API server has its keys.
const KEYS: &str = "/openid/v1/jwks";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Whose key signed the API server's certificate.
const AUTHORITY: &str = include_str!("../keys/kubernetes-ca.crt");
/// A certificate that signed nothing.
const OTHER_AUTHORITY: &str = include_str!("../keys/kubelet.crt");
/// Longer than a failed fetch is waited for.
const REPLACED_LIMIT: Duration = Duration::from_secs(30);
