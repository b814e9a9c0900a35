//! Pods of auth-service share a key pair, which is rotated as docs/rotating-keys.md says, and as it
//! says not to.

mod pods;
mod secret;
mod stage;
mod users;

use std::net::SocketAddr;
use std::time::Duration;

use super::load::{self, send};
use super::setup::Crypto;
use lab::resources::Balancer;
use lab::wait;
use pods::AuthPods;
use secret::Secret;
use stage::{CLOCK_SKEW, Sidecar, config};
use users::{Issued, Users};

#[test]
fn rotated_in_order_costs_no_request_behind_round_robin() {
    assert_order_costs_nothing(Balancer::RoundRobin, Crypto::Host);
}

#[test]
fn rotated_in_order_costs_no_request_behind_random() {
    assert_order_costs_nothing(Balancer::Random, Crypto::Host);
}

#[test]
fn rotated_in_order_costs_no_request_behind_least_request() {
    assert_order_costs_nothing(Balancer::LeastRequest, Crypto::Host);
}

#[test]
fn rotated_in_order_costs_no_request_behind_round_robin_without_host_crypto() {
    assert_order_costs_nothing(Balancer::RoundRobin, Crypto::Wasm);
}

#[test]
fn rotated_in_order_costs_no_request_behind_random_without_host_crypto() {
    assert_order_costs_nothing(Balancer::Random, Crypto::Wasm);
}

#[test]
fn rotated_in_order_costs_no_request_behind_least_request_without_host_crypto() {
    assert_order_costs_nothing(Balancer::LeastRequest, Crypto::Wasm);
}

fn assert_order_costs_nothing(balancer: Balancer, crypto: Crypto) {
    let mut pods = AuthPods::start(Secret::of(OLD), SHORT_LIFETIME);
    let sidecar = Sidecar::start(&pods, balancer, &config("2s", crypto));
    let users = Users::start(sidecar.address(), pods.addresses());
    let kid = kid_at(&pods);
    users.flow(&kid);

    // The next key is published, and does not sign yet.
    pods.roll_out(Secret { next: Some(NEW), ..Secret::of(OLD) }, |pods| users.log_in_at(pods));
    pods.assert_agreed_on(2);
    sidecar.until_trusted(2);
    users.flow(&kid);

    // It signs, and the previous one is published for as long as its tokens live.
    pods.roll_out(Secret { previous: Some(OLD), ..Secret::of(NEW) }, |pods| users.log_in_at(pods));
    pods.assert_agreed_on(2);
    let new_kid = kid_at(&pods);
    assert_ne!(kid, new_kid);
    users.flow(&kid);
    users.flow(&new_kid);
    users.outlive(&kid, CLOCK_SKEW);

    // The previous one goes.
    pods.roll_out(Secret::of(NEW), |pods| users.log_in_at(pods));
    pods.assert_agreed_on(1);
    sidecar.until_trusted(1);
    users.flow(&new_kid);

    users.assert_undisturbed();
}

/// Why the previous key is published for as long as its tokens live: a proxy takes them for up to
/// `cacheDuration`, and one that comes meanwhile not at all.
#[test]
fn dropped_at_once_refuses_its_tokens_in_the_end() {
    let mut pods = AuthPods::start(Secret::of(OLD), LONG_LIFETIME);
    let config = config("10s", Crypto::Host);
    let sidecar = Sidecar::start(&pods, Balancer::Random, &config);
    let old = log_in_at(&pods);
    until_verdict(&sidecar, &old, load::OK, KEY_UNKNOWN);

    pods.roll_out(Secret::of(NEW), drop);

    let new = log_in_at(&pods);
    let answers = [&new, &old].map(|token| send(sidecar.address(), &token.compact).verdict);
    assert_eq!(answers, [load::OK; 2]);
    let late = Sidecar::start(&pods, Balancer::Random, &config);
    until_verdict(&late, &old, KEY_UNKNOWN, load::OK);
    until_verdict(&late, &new, load::OK, KEY_UNKNOWN);
    // In between, both verdicts are seen of the first proxy.
    wait::until("the key's time is up", VERDICT_LIMIT, || {
        assert_eq!(send(sidecar.address(), &new.compact).verdict, load::OK);
        (send(sidecar.address(), &old.compact).verdict == KEY_UNKNOWN).then_some(())
    });
}

/// What to do when the key has leaked: a short `cacheDuration` counts for keys that are there already.
#[test]
fn dropped_at_once_ends_soon_where_the_cache_is_made_short() {
    let mut pods = AuthPods::start(Secret::of(OLD), LONG_LIFETIME);
    let sidecar = Sidecar::start(&pods, Balancer::Random, &config("1h", Crypto::Host));
    let old = log_in_at(&pods);
    until_verdict(&sidecar, &old, load::OK, KEY_UNKNOWN);
    pods.roll_out(Secret::of(NEW), drop);
    let new = log_in_at(&pods);
    let answers = [&new, &old].map(|token| send(sidecar.address(), &token.compact).verdict);
    assert_eq!(answers, [load::OK; 2]);

    sidecar.reconfigure(&config("2s", Crypto::Host));

    wait::until("the key's time is up", VERDICT_LIMIT, || {
        assert_eq!(send(sidecar.address(), &new.compact).verdict, load::OK);
        (send(sidecar.address(), &old.compact).verdict == KEY_UNKNOWN).then_some(())
    });
}

/// Waits for this verdict on the token; while keys are fetched, others may come, but never that one.
fn until_verdict(sidecar: &Sidecar, token: &Issued, wanted: &str, never: &str) {
    wait::until("the token meets its verdict", VERDICT_LIMIT, || {
        let verdict = send(sidecar.address(), &token.compact).verdict;
        assert_ne!(verdict, never);
        (verdict == wanted).then_some(())
    });
}

fn kid_at(pods: &AuthPods) -> String {
    log_in_at(pods).kid
}

fn log_in_at(pods: &AuthPods) -> Issued {
    let any: SocketAddr = pods.addresses()[0];
    Issued::log_in(any).expect("the pod takes logins")
}

const OLD: &str = "pod-1";
const NEW: &str = "pod-2";
/// In seconds. Much longer than keys are trusted, as it is with the defaults: a key that was dropped
/// too early would be missed.
const SHORT_LIFETIME: u64 = 8;
const LONG_LIFETIME: u64 = 600;
const KEY_UNKNOWN: &str = "401 key_unknown";
const VERDICT_LIMIT: Duration = Duration::from_secs(60);
