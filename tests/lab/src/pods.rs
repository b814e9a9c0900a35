//! The pods behind an issuer's address: a server each, so that Envoy's balancer has a choice.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use crate::issuer::{Answer, Issuer};

pub struct Pods(Vec<Issuer>);

impl Pods {
    /// A pod for each of these sets, which it publishes.
    pub fn start(sets: Vec<Vec<Value>>) -> Self {
        Self(sets.into_iter().map(|set| Issuer::start(Answer::Keys(set))).collect())
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(Issuer::address).collect()
    }

    /// The pod is another one from now on, which publishes these keys and no others.
    pub fn restart(&self, pod: usize, set: Vec<Value>) {
        self.0[pod].answer(Answer::Keys(set));
    }

    /// When each fetch arrived, whichever pod it came to.
    pub fn fetch_times(&self) -> Vec<Instant> {
        let mut times: Vec<_> = self.0.iter().flat_map(Issuer::fetch_times).collect();
        times.sort();
        times
    }
}
