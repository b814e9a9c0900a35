//! All pods restart, one soon after the other.

use std::mem;
use std::time::Instant;

use super::form;
use super::load::{burst, sleep_until};
use super::mesh::Mesh;
use super::setup::{Crypto, Kids, Setup};
use super::tally::Tally;
use lab::resources::Balancer;
use lab::token::Key;

#[test]
fn restart_costs_no_request_behind_round_robin() {
    assert_no_request_is_refused(Balancer::RoundRobin);
}

#[test]
fn restart_costs_no_request_behind_random() {
    assert_no_request_is_refused(Balancer::Random);
}

#[test]
fn restart_costs_no_request_behind_least_request() {
    assert_no_request_is_refused(Balancer::LeastRequest);
}

fn assert_no_request_is_refused(balancer: Balancer) {
    let short = [(2, 2, Kids::Shared, Crypto::Host), (3, 2, Kids::Own, Crypto::Host)];
    form::run("rolling restart", form::setups(balancer, &short), observe);
}

fn observe(setup: &Setup) -> Tally {
    let mut tally = Tally::default();
    // Rolling restarts are far apart, so each meets an Envoy that has seen no other.
    for _ in 0..form::repetitions().unwrap_or(1) {
        let (old, new) = Key::pods().split_at(setup.pods);
        let mut keys: Vec<_> = old.iter().collect();
        let mesh = Mesh::start(setup, &keys);
        mesh.warm_up(&keys);
        let start = Instant::now();
        let mut due = start;
        for (pod, new) in new.iter().take(setup.pods).enumerate() {
            let old = mem::replace(&mut keys[pod], new);
            let current = keys.iter().flat_map(|key| mesh.sign(key, REQUESTS));
            let good = current.chain(mesh.sign(old, REQUESTS_OF_OLD)).collect();
            sleep_until(due);

            mesh.restart(pod, new);
            let rotation = Instant::now();
            tally.rotations += 1;
            tally.all_good(&burst(mesh.address(), good), rotation);

            due = rotation + form::gap();
        }
        tally.fetches_of(&mesh, start);
    }
    tally
}

/// Of each pod's key after each restart.
const REQUESTS: usize = 10;
/// Of the key that the pod had before.
const REQUESTS_OF_OLD: usize = 2;
