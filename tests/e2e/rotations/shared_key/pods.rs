//! Pods of the real auth-service, which share what the secret holds.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::secret::Secret;
use lab::checkout;
use lab::http::{Exchange, Request};
use lab::services::Service;
use lab::wait;

pub(super) struct AuthPods {
    pods: Vec<Service>,
    /// In seconds.
    token_lifetime: u64,
    _logs: TempDir,
}

impl AuthPods {
    pub(super) fn start(secret: Secret, token_lifetime: u64) -> Self {
        let logs = TempDir::new_in(checkout::scratch()).expect("a writable target directory");
        let start = |number| {
            let log = logs.path().join(format!("pod-{number}.log"));
            let pod = Service::start("auth-service", log, secret.environment(token_lifetime));
            pod.expect("auth-service starts")
        };
        Self { pods: (0..PODS).map(start).collect(), token_lifetime, _logs: logs }
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.pods.iter().map(Service::address).collect()
    }

    /// Replaces one pod after the other. Unlike in Kubernetes, there is one less meanwhile, of which
    /// the filter is not told: `is_up` hears who takes logins.
    pub(super) fn roll_out(&mut self, secret: Secret, is_up: impl Fn(Vec<SocketAddr>)) {
        let all = self.addresses();
        for pod in &mut self.pods {
            let address = pod.address();
            is_up(all.iter().copied().filter(|other| *other != address).collect());
            pod.replace(secret.environment(self.token_lifetime)).expect("auth-service starts");
        }
        is_up(all);
    }

    /// Waits until all pods publish the same keys, so many, as `mesh-jwt probe` would show.
    pub(super) fn assert_agreed_on(&self, keys: usize) {
        wait::until("all pods publish the same keys", ANSWER_LIMIT, || {
            let sets: Vec<_> = self.addresses().into_iter().map(published).collect();
            let is_agreed = sets.iter().all(|set| set.len() == keys && is_same(set, &sets[0]));
            is_agreed.then_some(())
        });
    }
}

fn is_same(set: &[Value], other: &[Value]) -> bool {
    set.iter().all(|key| other.contains(key))
}

fn published(pod: SocketAddr) -> Vec<Value> {
    let answer = Exchange::start(pod, &Request::get("/actuator/jwks")).and_then(Exchange::finish);
    let set = answer.expect("the pod answers").json();
    set["keys"].as_array().expect("keys").clone()
}

const PODS: usize = 2;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
