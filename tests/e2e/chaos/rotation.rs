//! The issuer changes its key, and tokens of the new one come at once.

use std::slice;

use super::UNDISTURBED;
use lab::config::Config;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};
use lab::traffic::Traffic;

#[test]
fn costs_no_request_on_one_worker() {
    assert_no_request_fails(1);
}

#[test]
fn costs_no_request_on_four_workers() {
    assert_no_request_fails(4);
}

fn assert_no_request_fails(workers: u32) {
    let (alpha, beta, gamma) = (Key::alpha(), Key::beta(), Key::gamma());
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Keys(vec![alpha.jwk()]), workers);
    let [of_alpha, of_beta, of_gamma] =
        [alpha, beta, gamma].map(|key| Token::good().signed_by(key));
    let traffic = Traffic::start(sidecar.address(), slice::from_ref(&of_alpha));
    traffic.flow(REQUESTS);

    // As it should be done: both keys are published for a while.
    sidecar.issuer.answer(Answer::Keys(vec![alpha.jwk(), beta.jwk()]));
    traffic.switch_to(&[of_alpha, of_beta.clone()]);
    traffic.flow(REQUESTS);
    sidecar.issuer.answer(Answer::Keys(vec![beta.jwk()]));
    traffic.switch_to(slice::from_ref(&of_beta));
    traffic.flow(REQUESTS);
    // As a restart does it: tokens of the old key are still about, but nobody publishes it.
    sidecar.issuer.answer(Answer::Keys(vec![gamma.jwk()]));
    traffic.switch_to(&[of_beta, of_gamma]);
    traffic.flow(REQUESTS);

    traffic.assert_undisturbed(UNDISTURBED);
}

const REQUESTS: usize = 100;
