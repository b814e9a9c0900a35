//! The control plane replaces the listener: the filter's configuration changes, or its VMs do.

use super::UNDISTURBED;
use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::Request;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};
use lab::traffic::Traffic;
use lab::upstream::Upstream;

#[test]
fn keeps_the_keys_on_one_worker() {
    assert_keys_are_kept(1);
}

#[test]
fn keeps_the_keys_on_four_workers() {
    assert_keys_are_kept(4);
}

fn assert_keys_are_kept(workers: u32) {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let upstream = Upstream::start();
    let bootstrap = |realm: &str| {
        Bootstrap::new(upstream.address())
            .cluster(ISSUER_CLUSTER, issuer.address())
            .filter("mesh-jwt", &Config::new().set("realm", realm).render())
            .replaceable()
    };
    let envoy = Envoy::start(&bootstrap("first"), workers);
    let traffic = Traffic::start(envoy.address(), &[Token::good()]);
    traffic.flow(REQUESTS);
    assert_eq!(realm(&envoy), "first");
    // Whoever needs a fetch from now on waits in vain.
    issuer.answer(Answer::Hang);

    envoy.replace_listener(&bootstrap("second"));
    assert_eq!(realm(&envoy), "second");
    traffic.flow(REQUESTS);
    // Other VMs: whatever the old ones held in memory is lost.
    envoy.replace_listener(&bootstrap("third").vm_configuration("third"));
    assert_eq!(realm(&envoy), "third");
    traffic.flow(REQUESTS);

    assert_eq!(issuer.fetches().len(), 1);
    traffic.assert_undisturbed(UNDISTURBED);
}

/// The realm that an anonymous request is told.
fn realm(envoy: &Envoy) -> String {
    let response = envoy.send(&Request::get("/"));
    let challenge = response.header("www-authenticate").expect("a challenge");
    let realm = challenge.strip_prefix("Bearer realm=\"").and_then(|rest| rest.split('"').next());
    realm.expect("a realm").to_owned()
}

const REQUESTS: usize = 50;
