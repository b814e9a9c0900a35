//! Many requests wait for one answer of the issuer, so many are settled at once. Each refusal calls
//! back into the filter before it returns, and the host's stack is not deep.

use std::time::Duration;

use crate::harness::config::Config;
use crate::harness::http::Request;
use crate::harness::issuer::Answer;
use crate::harness::sidecar::Sidecar;
use crate::harness::token::{Key, Token};
use crate::harness::wait;

#[test]
fn of_junk_does_not_stop_the_filter_when_keys_come() {
    assert_crowd_is_harmless(published());
}

#[test]
fn does_not_stop_the_filter_when_no_keys_come() {
    assert_crowd_is_harmless(Answer::Reset);
}

fn assert_crowd_is_harmless(answer: Answer) {
    let config = Config::new().set("jwksWaitTimeout", "8s");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);
    let crowd: Vec<_> = (0..CROWD).map(|number| sidecar.open(&junk(number))).collect();
    wait::until("all of them wait", WAIT_LIMIT, || (sidecar.stat("paused") == CROWD).then_some(()));

    sidecar.issuer.answer(answer);

    for exchange in crowd {
        let response = exchange.finish().expect("an answer in time");
        let body = response.text();
        let is_of_filter =
            ["key_unknown", "jwks_unavailable"].iter().any(|code| body.contains(code));
        assert!(is_of_filter, "{} {body}", response.status);
    }
    sidecar.issuer.answer(published());
    wait::until("good tokens pass", WAIT_LIMIT, || {
        let good = Request::get("/").bearer(&Token::good().compact());
        (sidecar.send(&good).status == 200).then_some(())
    });
}

fn published() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

/// A token with a `kid` of its own, which nobody has signed.
fn junk(number: u64) -> Request {
    let token = Token::good().header("kid", format!("junk-{number}"));
    Request::get("/").bearer(&token.compact_with(|_| vec![0x5a; 256]))
}

/// Less than may wait, and three times as many as the stack is deep.
const CROWD: u64 = 900;
const WAIT_LIMIT: Duration = Duration::from_secs(6);
