//! The pods, and an Envoy with the filter before a service.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;

use super::pods::AuthPods;
use crate::rotations::setup::Crypto;
use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::resources::Balancer;
use lab::upstream::Upstream;
use lab::wait;

/// One Envoy; a second one comes later to the same pods.
pub(super) struct Sidecar {
    // Before its peer: whatever it still holds open ends with Envoy.
    envoy: Envoy,
    upstream: Upstream,
    pods: Vec<SocketAddr>,
    balancer: Balancer,
}

impl Sidecar {
    pub(super) fn start(pods: &AuthPods, balancer: Balancer, config: &Config) -> Self {
        let (upstream, pods) = (Upstream::start(), pods.addresses());
        let envoy = Envoy::start(&bootstrap(&upstream, &pods, balancer, config), WORKERS);
        Self { envoy, upstream, pods, balancer }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    /// Has Envoy take another configuration of the filter.
    pub(super) fn reconfigure(&self, config: &Config) {
        let bootstrap = bootstrap(&self.upstream, &self.pods, self.balancer, config);
        self.envoy.replace_listener(&bootstrap);
    }

    /// Waits until the filter trusts so many keys.
    pub(super) fn until_trusted(&self, keys: u64) {
        wait::until("the filter trusts the keys", KEYS_LIMIT, || {
            let trusted = self.envoy.stat("wasmcustom.mesh_jwt.jwks.wealist.keys");
            (trusted == keys).then_some(())
        });
    }
}

fn bootstrap(
    upstream: &Upstream,
    pods: &[SocketAddr],
    balancer: Balancer,
    config: &Config,
) -> Bootstrap {
    Bootstrap::new(upstream.address())
        .balanced_cluster(ISSUER_CLUSTER, pods, balancer)
        .filter("mesh-jwt", &config.render())
        .log_level("warning")
        .replaceable()
}

/// The filter before this auth-service; it forgets each token, so that every request needs its key.
pub(super) fn config(cache_duration: &str, crypto: Crypto) -> Config {
    let config = Config::new()
        .provider("jwksUri", "http://auth.example.com/actuator/jwks")
        .provider("cacheDuration", cache_duration)
        .provider("clockSkew", format!("{CLOCK_SKEW}s"))
        .set("tokenCache", json!({ "maxEntries": 0 }));
    match crypto {
        Crypto::Host => config,
        Crypto::Wasm => config.set("hostCrypto", "off"),
    }
}

/// In seconds: a request that a busy machine keeps waiting does not expire for it.
pub(super) const CLOCK_SKEW: u64 = 4;
const WORKERS: u32 = 2;
const KEYS_LIMIT: Duration = Duration::from_secs(30);
