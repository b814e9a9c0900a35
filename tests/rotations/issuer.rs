//! An issuer's pods, and the balancer of the proxy in front of them.

use crate::keys::{Key, Naming};
use serde_json::json;
use std::time::Duration;

/// How Envoy chooses an endpoint (`lb_policy`).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Balancer {
    /// Of two at random, the one with fewer requests under way.
    LeastRequest,
    Random,
    /// Each worker has its own turn, which other requests move on as well.
    RoundRobin,
}

/// How a pod is for a while after it has restarted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Health {
    /// It answers every fetch with an error.
    Failing,
    /// It takes seconds to answer.
    Slow,
    Well,
}

pub(crate) struct IssuerPods {
    naming: Naming,
    balancer: Balancer,
    health: Health,
    pods: Vec<Pod>,
    /// Of each worker.
    turns: Vec<usize>,
    next_pod: u32,
}

struct Pod {
    id: u32,
    /// The first signs, and all are published.
    keys: Vec<Key>,
    under_way: usize,
    /// Whether it has just restarted.
    is_fresh: bool,
}

/// Which pod a fetch reached.
#[derive(Clone, Copy)]
pub(crate) struct PodId(u32);

impl IssuerPods {
    pub(crate) fn new(
        naming: Naming,
        balancer: Balancer,
        health: Health,
        keys: impl IntoIterator<Item = Key>,
        workers: usize,
        chance: &mut fastrand::Rng,
    ) -> Self {
        let mut issuer = Self {
            naming,
            balancer,
            health,
            pods: Vec::new(),
            turns: (0..workers).map(|_| chance.usize(..1000)).collect(),
            next_pod: 0,
        };
        for key in keys {
            issuer.add(key);
        }
        issuer
    }

    /// Those that sign, of each pod.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.pods.iter().map(|pod| pod.keys[0]).collect()
    }

    /// A pod restarts with other keys, of which the first signs.
    pub(crate) fn restart(&mut self, pod: usize, keys: &[Key]) {
        self.recover();
        self.pods[pod] = Pod { is_fresh: true, ..self.new_pod(keys) };
    }

    /// All pods are well again.
    pub(crate) fn recover(&mut self) {
        for pod in &mut self.pods {
            pod.is_fresh = false;
        }
    }

    pub(crate) fn add(&mut self, key: Key) {
        let pod = self.new_pod(&[key]);
        self.pods.push(pod);
    }

    fn new_pod(&mut self, keys: &[Key]) -> Pod {
        self.next_pod += 1;
        Pod { id: self.next_pod, keys: keys.to_vec(), under_way: 0, is_fresh: false }
    }

    pub(crate) fn remove(&mut self, pod: usize) {
        self.pods.remove(pod);
    }

    /// A worker's fetch reaches a pod, which takes so long to answer.
    pub(crate) fn reach(&mut self, worker: usize, chance: &mut fastrand::Rng) -> (PodId, Duration) {
        let pods = self.pods.len();
        let at = match self.balancer {
            Balancer::LeastRequest => {
                let (first, second) = (chance.usize(..pods), chance.usize(..pods));
                let is_better = self.pods[second].under_way < self.pods[first].under_way;
                if is_better { second } else { first }
            }
            Balancer::Random => chance.usize(..pods),
            Balancer::RoundRobin => {
                self.turns[worker] += 1 + chance.usize(..3) / 2;
                self.turns[worker] % pods
            }
        };
        let pod = &mut self.pods[at];
        pod.under_way += 1;
        let latency = match self.health {
            Health::Slow if pod.is_fresh => Duration::from_millis(chance.u64(2_000..4_900)),
            _ => Self::latency(chance),
        };
        (PodId(pod.id), latency)
    }

    /// What the pod answers; nothing if it fails or has gone meanwhile.
    pub(crate) fn answer(&mut self, PodId(id): PodId) -> Option<String> {
        let pod = self.pods.iter_mut().find(|pod| pod.id == id)?;
        pod.under_way -= 1;
        if pod.is_fresh && self.health == Health::Failing {
            return None;
        }
        let keys: Vec<_> = pod.keys.iter().map(|key| self.naming.jwk(*key)).collect();
        Some(json!({ "keys": keys }).to_string())
    }

    /// Between 5 and 50 ms, and now and then much longer.
    pub(crate) fn latency(chance: &mut fastrand::Rng) -> Duration {
        let millis = if chance.u8(..50) == 0 { chance.u64(200..600) } else { chance.u64(5..50) };
        Duration::from_millis(millis)
    }
}
