//! Pods that each publish only their own key, over several refreshes.

use std::time::Duration;

use serde_json::json;

use super::UNDISTURBED;
use super::federation::{Federation, token_of};
use lab::issuer::Answer;
use lab::token::Key;
use lab::traffic::Traffic;
use lab::wait;

#[test]
fn cost_no_request_on_one_worker() {
    assert_no_request_fails(1);
}

#[test]
fn cost_no_request_on_four_workers() {
    assert_no_request_fails(4);
}

fn assert_no_request_fails(workers: u32) {
    let (alpha, beta) = (Key::alpha(), Key::beta());
    let own = vec![vec![alpha.jwk()], vec![beta.jwk()]];
    let shared = vec![vec![alpha.jwk_named(SHARED)], vec![beta.jwk_named(SHARED)]];
    let members = [("own-kids", Answer::Pods(own)), ("shared-kid", Answer::Pods(shared))];
    // So short that every key would be lost several times if refreshes did not cover both pods.
    let federation = Federation::start(&members, &json!({ "cacheDuration": "1s" }), workers);
    let tokens = [
        token_of("own-kids").signed_by(alpha),
        token_of("own-kids").signed_by(beta),
        token_of("shared-kid").signed_by(alpha).header("kid", SHARED),
        token_of("shared-kid").signed_by(beta).header("kid", SHARED),
    ];

    let traffic = Traffic::start(federation.address(), &tokens);

    for name in ["own-kids", "shared-kid"] {
        wait::until("the keys are refreshed a few times", REFRESH_LIMIT, || {
            (federation.stat(name, "inconsistent") >= 4).then_some(())
        });
    }
    traffic.assert_undisturbed(UNDISTURBED);
}

const SHARED: &str = "main";
const REFRESH_LIMIT: Duration = Duration::from_secs(8);
