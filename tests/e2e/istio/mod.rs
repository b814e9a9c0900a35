//! What Istio makes of the manifests: the filter's configuration by extension config discovery, an
//! inbound listener with a chain for each port of a Service, and clusters by Istio's names. The names
//! of a waypoint's are those in Istio's source; the others were seen in a mesh.
//!
//! The sidecar's agent fetches the image and has Envoy load the module from a file; that is where
//! these tests begin.

mod authorization;
mod connections;
#[path = "../../istio/example.rs"]
mod example;
#[allow(dead_code, reason = "the tests of the manifests have use for the rest")]
#[path = "../../istio/kustomize.rs"]
pub(crate) mod kustomize;
mod plugin;
mod proxy;
mod rollout;
mod updates;

use std::time::Duration;

use lab::envoy::Envoy;
use lab::http::Request;
use lab::token::Key;
use lab::traffic::Traffic;
use lab::upstream::received;
use lab::wait;

use plugin::{Discovery, Kind, resource};
use proxy::{IN_MESH, Proxy};

/// By each name that Istio has had for it.
#[test]
fn workload_with_an_in_mesh_issuer() {
    let plugin = resource(Kind::WasmPlugin, "workload", "in-mesh-issuer", 2);
    let extension = resource(Kind::TrafficExtension, "workload", "in-mesh-issuer", 2);
    for (discovery, resource) in [
        (Discovery::new(&plugin), &plugin),
        (Discovery::translated(&plugin), &plugin),
        (Discovery::new(&extension), &extension),
    ] {
        assert_identifies(&Proxy::of(vec![discovery], resource, IN_MESH));
    }
}

fn assert_identifies(proxy: &Proxy) {
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
        assert_eq!(
            proxy.envoy.settled_stat(&name),
            if stage == 0 { 2 } else { 1 },
            "stage {stage}"
        );
    }
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

/// Whether a Service names the port, so that it has a chain of its own, or none does.
#[test]
fn metrics_are_public_in_every_chain_and_nothing_else_on_their_port() {
    let plugin = resource(Kind::WasmPlugin, "mesh-wide", "in-mesh-issuer", 1);
    for service_ports in [&[8080, 9090][..], &[8080]] {
        let discovery = Discovery::translated(&plugin);
        let proxy = Proxy::adapted(vec![discovery], &plugin, IN_MESH, |bootstrap| {
            bootstrap.inbound(service_ports)
        });

        for (port, path, decision) in [
            (9090, "/metrics", "200 public"),
            (9090, "/metrics/../orders", "401 token_missing"),
            (9090, "/orders", "401 token_missing"),
            (8080, "/metrics", "401 token_missing"),
            (9091, "/metrics", "401 token_missing"),
        ] {
            let request = Request::get(path).going_to(port);
            assert_eq!(proxy.decide(&request), decision, "{port}, {path}, {service_ports:?}");
        }
    }
}

const REQUESTS: usize = 50;
const UPDATE_LIMIT: Duration = Duration::from_secs(10);
