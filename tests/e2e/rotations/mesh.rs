//! One Envoy with the filter, and the pods of its issuer behind a balancer.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::form;
use super::load::{Good, burst};
use super::setup::{Crypto, Setup};
use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::issuer::Issuer;
use lab::pods::Pods;
use lab::token::{AUDIENCE, Key};
use lab::upstream::Upstream;
use lab::wait;

pub(super) struct Mesh {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    pods: Pods,
    setup: Setup,
    _upstream: Upstream,
}

impl Mesh {
    /// Pods that publish a key each, which the filter has still to learn.
    pub(super) fn start(setup: &Setup, keys: &[&'static Key]) -> Self {
        Self::start_adapted(setup, keys, Config::new(), |bootstrap| bootstrap)
    }

    /// The same with another provider, whose issuer is this one.
    pub(super) fn start_beside(neighbour: &Issuer, setup: &Setup, keys: &[&'static Key]) -> Self {
        let provider = json!({
            "name": "neighbour",
            "issuer": NEIGHBOUR,
            "audiences": [AUDIENCE],
            "jwksUri": "http://neighbour.example.com/jwks",
            "jwksCluster": "neighbour",
            "allowPlaintextJwks": true,
        });
        let config = Config::new().add_provider(provider).set("jwksWaitTimeout", "5s");
        Self::start_adapted(setup, keys, config, |bootstrap| {
            bootstrap.cluster("neighbour", neighbour.address())
        })
    }

    fn start_adapted(
        setup: &Setup,
        keys: &[&'static Key],
        config: Config,
        adapt: impl FnOnce(Bootstrap) -> Bootstrap,
    ) -> Self {
        let pods = Pods::start(keys.iter().map(|key| vec![setup.jwk(key)]).collect());
        let upstream = Upstream::start();
        let config = match setup.crypto {
            Crypto::Host => config,
            Crypto::Wasm => config.set("hostCrypto", "off"),
        };
        let bootstrap = Bootstrap::new(upstream.address())
            .balanced_cluster(ISSUER_CLUSTER, &pods.addresses(), setup.balancer)
            .filter("mesh-jwt", &config.render())
            .log_level("warning");
        let bootstrap = adapt(bootstrap);
        let envoy = Envoy::start(&bootstrap, setup.workers);
        Self { envoy, pods, setup: *setup, _upstream: upstream }
    }

    /// Waits until tokens of all these keys pass on every worker, and what that took is past: as in
    /// a proxy that has been up for long.
    pub(super) fn warm_up(&self, keys: &[&'static Key]) {
        let each = usize::try_from(CONNECTIONS_PER_WORKER * self.setup.workers).expect("a few");
        wait::until("the filter knows the keys of all pods", WARM_LIMIT, || {
            let good = keys.iter().flat_map(|key| self.sign(key, each)).collect();
            let answers = burst(self.address(), good);
            answers.iter().all(|(_, answer)| answer.is_ok()).then_some(())
        });
        thread::sleep(form::either(SHORT_SETTLING, LONG_SETTLING));
    }

    /// So many good tokens of this key.
    pub(super) fn sign(&self, key: &'static Key, count: usize) -> Vec<Good> {
        sign(&self.setup, key, count)
    }

    /// The pod publishes another key from now on, and forgets its own.
    pub(super) fn restart(&self, pod: usize, key: &Key) {
        self.pods.restart(pod, vec![self.setup.jwk(key)]);
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    /// When the pods were asked for their keys, since this moment.
    pub(super) fn fetches_since(&self, start: Instant) -> Vec<Instant> {
        self.pods.fetch_times().into_iter().filter(|time| *time >= start).collect()
    }
}

/// So many good tokens of a key.
pub(super) fn sign(setup: &Setup, key: &'static Key, count: usize) -> Vec<Good> {
    (0..count).map(|_| Good { key, token: setup.token(key).compact() }).collect()
}

/// The other provider's issuer.
pub(super) const NEIGHBOUR: &str = "https://neighbour.example.com";

/// As many as make it likely that each worker gets one.
const CONNECTIONS_PER_WORKER: u32 = 4;
const WARM_LIMIT: Duration = Duration::from_secs(90);
const SHORT_SETTLING: Duration = Duration::from_secs(1);
/// One `refetchCooldown`: what the filter rations, it has again.
const LONG_SETTLING: Duration = Duration::from_secs(10);
