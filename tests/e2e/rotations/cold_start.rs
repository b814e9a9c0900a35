//! Envoy starts, and the tokens of all pods are used at once.

use std::time::Instant;

use super::form;
use super::load::burst;
use super::mesh::{Mesh, sign};
use super::setup::{Crypto, Kids, Setup};
use super::tally::Tally;
use lab::resources::Balancer;
use lab::token::Key;

#[test]
fn costs_no_request_behind_round_robin() {
    assert_no_request_is_refused(Balancer::RoundRobin);
}

#[test]
fn costs_no_request_behind_random() {
    assert_no_request_is_refused(Balancer::Random);
}

#[test]
fn costs_no_request_behind_least_request() {
    assert_no_request_is_refused(Balancer::LeastRequest);
}

fn assert_no_request_is_refused(balancer: Balancer) {
    let short = [
        (2, 1, Kids::None, Crypto::Host),
        (3, 2, Kids::Own, Crypto::Wasm),
        (3, 4, Kids::Shared, Crypto::Host),
    ];
    form::run("cold start", form::setups(balancer, &short), observe);
}

fn observe(setup: &Setup) -> Tally {
    let keys: Vec<_> = Key::pods().iter().take(setup.pods).collect();
    let mut tally = Tally::default();
    for _ in 0..form::repetitions().unwrap_or(1) {
        let good = keys.iter().flat_map(|key| sign(setup, key, REQUESTS)).collect();
        let start = Instant::now();

        let mesh = Mesh::start(setup, &keys);

        tally.rotations += 1;
        tally.all_good(&burst(mesh.address(), good), start);
        tally.fetches_of(&mesh, start);
    }
    tally
}

/// Of each pod's key.
const REQUESTS: usize = 10;
