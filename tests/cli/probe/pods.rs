//! Pods behind one address, which a real Envoy balances.

use std::net::SocketAddr;

use lab::issuer::{Answer, Issuer};
use lab::pods::Pods;
use lab::proxy::Proxy;
use lab::resources::{self, Balancer};
use lab::services::Service;
use lab::{checkout, token::Key};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{order, probe, verdict};
use crate::command::mesh_jwt;

#[test]
fn pods_with_one_set_agree() {
    let sets = vec![vec![Key::alpha().jwk()], vec![Key::alpha().jwk()]];
    let pods = Pods::start(sets);
    let service = Balanced::start(&pods.addresses(), Balancer::RoundRobin);

    let run = probe(service.address, &[]);

    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    run.assert_prints(&[
        "A 10 times",
        "All 10 answers agree.",
        "A second pod",
        "with probability 0.098 %",
    ]);
}

#[test]
fn pods_with_a_key_each_disagree_whatever_the_balancer() {
    let pods = Pods::start(vec![vec![Key::alpha().jwk()], vec![Key::beta().jwk()]]);
    for balancer in [Balancer::RoundRobin, Balancer::Random] {
        let service = Balanced::start(&pods.addresses(), balancer);

        let run = probe(service.address, &["--times", "40", "--json"]);

        // In random order both sets come, and the first comes back, but for once in 10^10 runs.
        assert_eq!(verdict(&run), ("disagree".to_owned(), 1), "{run:?}");
        let seen = &run.json()["diagnosis"]["endpoints"][0];
        let counts = seen["counts"].as_object().expect("counts");
        assert_eq!(counts.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 40);
        let missed = seen["missedAnotherPod"].as_f64().expect("a probability");
        assert!((missed - (2.0_f64 / 3.0).powi(40)).abs() < 1e-12, "{missed}");
    }
}

#[test]
fn the_keys_that_pods_lack_are_named_with_the_mend() {
    let pods = Pods::start(vec![vec![Key::alpha().jwk()], vec![Key::beta().jwk()]]);
    let service = Balanced::start(&pods.addresses(), Balancer::RoundRobin);

    let run = probe(service.address, &[]);

    assert_eq!(run.code, 1);
    run.assert_prints(&[
        "Pods disagree: 10 answers showed 2 different sets.",
        "gave A 5 times, B 5 times: there are several pods behind this address.",
        "The key alpha (",
        "The key beta (",
        "have all pods sign with one key pair",
        "docs/rotating-keys.md",
        "A third pod",
    ]);
}

#[test]
fn one_kid_for_different_keys_is_called_the_worst_case() {
    let keys = [Key::alpha(), Key::beta()].map(|key| vec![key.jwk_named("shared")]);
    let pods = Pods::start(keys.to_vec());
    let service = Balanced::start(&pods.addresses(), Balancer::RoundRobin);

    let run = probe(service.address, &[]);

    assert_eq!(run.code, 1);
    run.assert_prints(&["The kid shared names different keys", "worst case"]);
}

#[test]
fn replicas_of_the_demo_that_make_a_key_each_disagree() {
    let logs = tempfile::tempdir_in(checkout::scratch()).expect("a directory");
    let start = |name: &str| Service::start("auth-service", logs.path().join(name), Vec::new());
    let replicas = ["one", "two"].map(|name| start(name).expect("auth-service listens"));
    let service = Balanced::start(&replicas.each_ref().map(Service::address), Balancer::RoundRobin);

    let url = format!("http://{}/actuator/jwks", service.address);
    let run = mesh_jwt(&["probe", &url]);

    assert_eq!(run.code, 1, "{run:?}");
    run.assert_prints(&[
        "Pods disagree",
        "Cache-Control: public, max-age=300",
        "after 210 to 270 s",
    ]);
}

#[test]
fn a_set_that_is_replaced_for_good_has_changed() {
    let [old, new] = [Key::alpha(), Key::beta()].map(|key| Answer::Keys(vec![key.jwk()]));
    // The first fetch takes the second answer, and the last one the first.
    let answers = [vec![new.clone()], vec![old; 5], vec![new; 4]].concat();
    let issuer = Issuer::start(Answer::Cycle(answers));

    let run = probe(issuer.address(), &["--json"]);

    assert_eq!(order(&run), "AAAAABBBBB");
    assert_eq!(verdict(&run), ("changed".to_owned(), 0));
}

#[test]
fn a_rotation_is_told_with_the_keys_that_came_and_went() {
    let [old, new] = [Key::alpha(), Key::beta()].map(|key| Answer::Keys(vec![key.jwk()]));
    let answers = [vec![new.clone()], vec![old; 5], vec![new; 4]].concat();
    let issuer = Issuer::start(Answer::Cycle(answers));

    let run = probe(issuer.address(), &[]);

    assert_eq!(run.code, 0);
    run.assert_prints(&[
        "The set changed",
        "by chance with probability 0.79 %",
        "The key alpha (",
        "is in A, not in B",
    ]);
}

#[test]
fn a_set_that_comes_last_only_may_be_either() {
    let [old, new] = [Key::alpha(), Key::beta()].map(|key| Answer::Keys(vec![key.jwk()]));
    let answers = [vec![new], vec![old; 9]].concat();
    let issuer = Issuer::start(Answer::Cycle(answers));

    let run = probe(issuer.address(), &[]);

    assert_eq!(run.code, 1);
    run.assert_prints(&["Pods disagree, or the set has just changed", "20 %", "more --times"]);
    assert!(!run.stdout.contains("there are several pods"), "{run:?}");
}

/// One address with pods behind it, as that of a Service.
struct Balanced {
    address: SocketAddr,
    // Before its directory.
    _envoy: Proxy,
    _directory: TempDir,
}

impl Balanced {
    fn start(pods: &[SocketAddr], balancer: Balancer) -> Self {
        let directory = tempfile::tempdir_in(checkout::scratch()).expect("a directory");
        let routes = resources::route_config(&[resources::route_to("pods")]);
        let listener = resources::listener("service", &[], &json!({ "route_config": routes }));
        let cluster = resources::cluster("pods", pods, balancer);
        let bootstrap = resources::bootstrap(&[listener], &[cluster]);
        // Each worker would take turns on its own.
        let envoy = Proxy::start(directory.path(), &bootstrap, &["--concurrency", "1"]);
        let envoy = envoy.expect("Envoy serves");
        let listeners = envoy.listeners().expect("Envoy tells its listeners");
        Self { address: listeners["service"], _envoy: envoy, _directory: directory }
    }
}
