//! The issuer is gone for a while.

use std::time::Duration;

use serde_json::{Value, json};

use super::UNDISTURBED;
use super::federation::{Federation, token_of};
use lab::issuer::Answer;
use lab::token::Key;
use lab::traffic::Traffic;
use lab::wait;

#[test]
fn costs_no_request_within_the_stale_duration_on_one_worker() {
    assert_no_request_fails(1);
}

#[test]
fn costs_no_request_within_the_stale_duration_on_four_workers() {
    assert_no_request_fails(4);
}

#[test]
fn beyond_the_stale_duration_is_reported_and_ends_with_the_next_fetch() {
    let federation = start(&json!({ "cacheDuration": "1s", "staleDuration": "1s" }), 4);
    let token = token_of(NAME);
    assert_eq!(federation.send(&token).status, 200);

    federation.issuer(NAME).answer(Answer::Reset);

    let refused = wait::until("the keys are given up", OUTAGE_LIMIT, || {
        let response = federation.send(&token);
        (response.status != 200).then_some(response)
    });
    assert_eq!((refused.status, federation.code(&refused).as_str()), (503, "jwks_unavailable"));
    let retry_after = refused.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(retry_after.is_some_and(|seconds| (1..=10).contains(&seconds)), "{retry_after:?}");

    federation.issuer(NAME).answer(published());
    wait::until("good tokens pass again on every worker", RECOVERY_LIMIT, || {
        (0..20).all(|_| federation.send(&token).status == 200).then_some(())
    });
}

fn assert_no_request_fails(workers: u32) {
    let federation = start(&json!({ "cacheDuration": "1s", "staleDuration": "1h" }), workers);
    let traffic = Traffic::start(federation.address(), &[token_of(NAME)]);
    traffic.flow(20);

    federation.issuer(NAME).answer(Answer::Reset);
    wait::until("expired keys are used", OUTAGE_LIMIT, || {
        (federation.stat(NAME, "stale_served") >= 100).then_some(())
    });
    let fetched = federation.stat(NAME, "fetch_success");
    federation.issuer(NAME).answer(published());
    wait::until("the keys are fetched again", RECOVERY_LIMIT, || {
        (federation.stat(NAME, "fetch_success") > fetched).then_some(())
    });

    traffic.assert_undisturbed(UNDISTURBED);
}

fn start(settings: &Value, workers: u32) -> Federation {
    Federation::start(&[(NAME, published())], settings, workers)
}

fn published() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

const NAME: &str = "wealist";
const OUTAGE_LIMIT: Duration = Duration::from_secs(6);
/// The third retry is due within four seconds of the second.
const RECOVERY_LIMIT: Duration = Duration::from_secs(6);
