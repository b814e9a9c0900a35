//! An Envoy with the filters of an example, as Istio runs it.

use serde_json::Value;

use lab::bootstrap::Bootstrap;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token, now};
use lab::upstream::Upstream;

use super::example;
use super::plugin::{Discovery, Kind, module, resource};

/// A sidecar, a gateway or a waypoint with what an example renders, and an issuer in the cluster that
/// Istio makes for it.
pub(super) struct Proxy {
    // Before its peers: whatever they still hold open ends with Envoy.
    pub(super) envoy: Envoy,
    pub(super) issuer: Issuer,
    upstream: Upstream,
    pub(super) discoveries: Vec<Discovery>,
    cluster: String,
    config: Value,
}

impl Proxy {
    pub(super) fn start(overlay: &str, issuer: &str, stage: usize) -> Self {
        Self::start_as(Kind::WasmPlugin, overlay, issuer, stage)
    }

    pub(super) fn start_as(kind: Kind, overlay: &str, issuer: &str, stage: usize) -> Self {
        let cluster = match (example::WAYPOINTS.contains(&overlay), issuer) {
            (false, "in-mesh-issuer") => IN_MESH,
            (false, _) => "outbound|8443||login.example.org",
            (true, "in-mesh-issuer") => "inbound-vip|8080|http|auth-service.auth.svc.cluster.local",
            (true, _) => "inbound-vip|8443|http|login.example.org",
        };
        Self::with(&[resource(kind, overlay, issuer, stage)], cluster)
    }

    /// With the filter once for each resource.
    pub(super) fn with(resources: &[Value], cluster: &str) -> Self {
        Self::of(resources.iter().map(Discovery::new).collect(), &resources[0], cluster)
    }

    pub(super) fn of(discoveries: Vec<Discovery>, resource: &Value, cluster: &str) -> Self {
        let is_sidecar = resource["spec"]["match"][0]["mode"] == "SERVER";
        Self::adapted(discoveries, resource, cluster, |bootstrap| match is_sidecar {
            true => bootstrap.inbound(&[8080]),
            false => bootstrap.istio_filters(),
        })
    }

    /// With what comes after the filter.
    pub(super) fn adapted(
        discoveries: Vec<Discovery>,
        resource: &Value,
        cluster: &str,
        adapt: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let (issuer, upstream) = (Issuer::start(alpha()), Upstream::start());
        let cluster = cluster.to_owned();
        let bootstrap = Bootstrap::new(upstream.address()).cluster(&cluster, issuer.address());
        let envoy = Envoy::start(&adapt(with_filters(bootstrap, &discoveries)).replaceable(), 1);
        let config = module(resource)["pluginConfig"].clone();
        Self { envoy, issuer, upstream, discoveries, cluster, config }
    }

    /// What Envoy calls, and nothing that it runs yet.
    pub(super) fn bootstrap(&self) -> Bootstrap {
        let bootstrap = Bootstrap::new(self.upstream.address());
        bootstrap.cluster(&self.cluster, self.issuer.address())
    }

    /// What Istio does once there are other resources.
    pub(super) fn replace_listener(&self) {
        let bootstrap = with_filters(self.bootstrap(), &self.discoveries);
        self.envoy.replace_listener(&bootstrap.inbound(&[8080]).replaceable());
    }

    /// A good token of the issuer in the manifest.
    pub(super) fn token(&self) -> Token {
        let provider = &self.config["providers"][0];
        Token::good()
            .claim("iss", provider["issuer"].clone())
            .claim("aud", provider["audiences"][0].clone())
            .claim("iat", now())
    }

    pub(super) fn decide(&self, request: &Request) -> String {
        let response = self.envoy.send(request);
        let line = self.envoy.access_log_line(&response);
        format!("{} {}", response.status, line["code"].as_str().unwrap_or("-"))
    }
}

pub(super) fn with_filters(bootstrap: Bootstrap, discoveries: &[Discovery]) -> Bootstrap {
    discoveries.iter().fold(bootstrap, |bootstrap, discovery| {
        bootstrap.discovered_filter(&discovery.name, &discovery.file)
    })
}

fn alpha() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

pub(super) const IN_MESH: &str = "outbound|8080||auth-service.auth.svc.cluster.local";
