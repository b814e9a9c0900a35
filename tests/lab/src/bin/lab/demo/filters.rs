//! The demo's Envoy: listeners that differ in nothing but the filter that checks tokens.
//!
//! Each filter has a cluster of its own for its key fetches, with the same pods behind it, so that
//! Envoy counts the fetches of each.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use lab::checkout;
use lab::proxy::Proxy;
use lab::resources::{self, Balancer, TYPE};
use serde_json::{Value, json};

#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Filter {
    /// Envoy's own, which fetches keys when a request needs them. That is the default.
    JwtAuthn,
    /// Envoy's own, which fetches them ahead.
    JwtAuthnAsync,
    MeshJwt,
}

impl Filter {
    pub(super) const ALL: [Self; 3] = [Self::JwtAuthn, Self::JwtAuthnAsync, Self::MeshJwt];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::JwtAuthn => "jwt_authn",
            Self::JwtAuthnAsync => "jwt_authn async_fetch",
            Self::MeshJwt => "mesh-jwt",
        }
    }

    fn issuer_cluster(self) -> String {
        format!("issuer of {}", self.name())
    }

    fn listener(self, cache_duration: Duration) -> Result<Value> {
        let filter = match self {
            Self::JwtAuthn => self.jwt_authn(cache_duration, None),
            Self::JwtAuthnAsync => self.jwt_authn(cache_duration, Some(json!({}))),
            Self::MeshJwt => self.mesh_jwt(cache_duration)?,
        };
        let routes = resources::route_config(&[resources::route_to(UPSTREAM)]);
        let manager = json!({ "route_config": routes });
        let mut listener = resources::listener(self.name(), &[filter], &manager);
        // The few connections of the demo are to reach every worker.
        if let Some(listener) = listener.as_object_mut() {
            let balance = json!({ "exact_balance": {} });
            listener.insert("connection_balance_config".to_owned(), balance);
        }
        Ok(listener)
    }

    fn jwt_authn(self, cache_duration: Duration, async_fetch: Option<Value>) -> Value {
        json!({
            "name": self.name(),
            "typed_config": {
                "@type": format!(
                    "{TYPE}/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
                ),
                "providers": { "wealist": {
                    "issuer": ISSUER,
                    "audiences": [AUDIENCE],
                    "remote_jwks": {
                        "http_uri": {
                            "uri": JWKS_URI,
                            "cluster": self.issuer_cluster(),
                            "timeout": FETCH_TIMEOUT,
                        },
                        "cache_duration": format!("{cache_duration:?}"),
                        "async_fetch": async_fetch,
                    },
                } },
                "rules": [{
                    "match": { "prefix": "/" },
                    "requires": { "provider_name": "wealist" },
                }],
            },
        })
    }

    fn mesh_jwt(self, cache_duration: Duration) -> Result<Value> {
        let configuration = json!({ "providers": [{
            "name": "wealist",
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "jwksUri": JWKS_URI,
            "jwksCluster": self.issuer_cluster(),
            "allowPlaintextJwks": true,
            "timeout": FETCH_TIMEOUT,
            "cacheDuration": format!("{cache_duration:?}"),
            // The default, written out because the outage is about it.
            "staleDuration": "1h",
        }] });
        Ok(resources::recommended_filter(self.name(), &checkout::find_module()?, &configuration))
    }
}

/// Every port of Envoy itself is free to choose.
pub(super) fn bootstrap(
    pods: &[SocketAddr],
    upstream: SocketAddr,
    cache_duration: Duration,
) -> Result<Value> {
    let listeners = Filter::ALL.into_iter().map(|filter| filter.listener(cache_duration));
    let cluster =
        |filter: Filter| resources::cluster(&filter.issuer_cluster(), pods, Balancer::RoundRobin);
    let mut clusters: Vec<_> = Filter::ALL.into_iter().map(cluster).collect();
    clusters.push(resources::cluster(UPSTREAM, &[upstream], Balancer::RoundRobin));
    Ok(resources::bootstrap(&listeners.collect::<Result<Vec<_>>>()?, &clusters))
}

/// The number of fetches of each filter, those that reached no pod included.
pub(super) fn fetches(envoy: &Proxy) -> Result<[u64; 3]> {
    let mut fetches = [0; 3];
    for (count, filter) in fetches.iter_mut().zip(Filter::ALL) {
        let counters =
            FETCHED.map(|counter| format!("cluster.{}.{counter}", filter.issuer_cluster()));
        *count = envoy.sum_of_stats(|name| counters.iter().any(|counter| counter == name))?;
    }
    Ok(fetches)
}

const ISSUER: &str = "http://auth-service:9001";
const JWKS_URI: &str = "http://auth-service:9001/actuator/jwks";
const AUDIENCE: &str = "wealist-api";
const FETCH_TIMEOUT: &str = "2s";
/// Envoy's counters of requests that got a connection, and of those that got none.
const FETCHED: [&str; 2] = ["upstream_rq_total", "upstream_rq_pending_failure_eject"];
const UPSTREAM: &str = "upstream";
