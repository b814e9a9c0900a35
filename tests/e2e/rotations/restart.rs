//! One pod restarts with a new key, whose tokens are used at once.

use std::mem;
use std::thread;
use std::time::Instant;

use super::form;
use super::load::burst;
use super::mesh::Mesh;
use super::setup::{Crypto, Kids, Setup};
use super::tally::Tally;
use lab::resources::Balancer;
use lab::token::Key;

#[test]
fn of_one_costs_no_request_behind_round_robin() {
    assert_no_request_is_refused(Balancer::RoundRobin);
}

#[test]
fn of_one_costs_no_request_behind_random() {
    assert_no_request_is_refused(Balancer::Random);
}

#[test]
fn of_one_costs_no_request_behind_least_request() {
    assert_no_request_is_refused(Balancer::LeastRequest);
}

fn assert_no_request_is_refused(balancer: Balancer) {
    let setups = form::setups(balancer, &[(2, 2, Kids::Shared, Crypto::Host)]);
    form::run("restart of one", setups, observe);
}

fn observe(setup: &Setup) -> Tally {
    let repetitions = form::repetitions().unwrap_or(SHORT_REPETITIONS);
    let mut tally = Tally::default();
    while tally.rotations < repetitions {
        // No Envoy sees a key come back; when there are none left, it takes another Envoy.
        let mut unseen = Key::pods().iter();
        let mut keys: Vec<_> = unseen.by_ref().take(setup.pods).collect();
        let mesh = Mesh::start(setup, &keys);
        mesh.warm_up(&keys);
        let start = Instant::now();
        for new in unseen.take(repetitions - tally.rotations) {
            let pod = tally.rotations % setup.pods;
            let old = mem::replace(&mut keys[pod], new);
            let others = keys.iter().copied().filter(|key| key.name() != new.name());
            let others: Vec<_> = others.chain([old]).collect();
            let [first, second] = [(); 2].map(|()| {
                let others = others.iter().flat_map(|key| mesh.sign(key, REQUESTS_OF_OTHERS));
                mesh.sign(new, REQUESTS).into_iter().chain(others).collect()
            });

            mesh.restart(pod, new);
            let rotation = Instant::now();
            tally.rotations += 1;
            tally.all_good(&burst(mesh.address(), first), rotation);
            tally.all_good(&burst(mesh.address(), second), rotation);

            thread::sleep(form::pause());
        }
        tally.fetches_of(&mesh, start);
    }
    tally
}

const SHORT_REPETITIONS: usize = 4;
const REQUESTS: usize = 10;
/// Of each other pod's key, and of the one that the pod had before.
const REQUESTS_OF_OTHERS: usize = 3;
