//! Issuers that misbehave, each in its own way, when their keys are known and have to be refreshed.

use std::time::Duration;

use serde_json::json;

use super::UNDISTURBED;
use super::federation::{Federation, token_of};
use lab::issuer::Answer;
use lab::token::Key;
use lab::traffic::Traffic;
use lab::wait;

#[test]
fn that_misbehave_disturb_no_request_on_one_worker() {
    assert_no_request_is_disturbed(1);
}

#[test]
fn that_misbehave_disturb_no_request_on_four_workers() {
    assert_no_request_is_disturbed(4);
}

fn assert_no_request_is_disturbed(workers: u32) {
    let misbehaviours = misbehaviours();
    let members: Vec<_> = misbehaviours.iter().map(|(name, _)| (*name, published())).collect();
    // A refresh that is due when 90 % have passed times out before the keys expire.
    let settings = json!({ "cacheDuration": "3s", "timeout": "250ms", "staleDuration": "1h" });
    let federation = Federation::start(&members, &settings, workers);
    let tokens: Vec<_> = members.iter().map(|(name, _)| token_of(name)).collect();
    let traffic = Traffic::start(federation.address(), &tokens);
    for (name, _) in &members {
        wait::until(&format!("the keys of {name} are known"), KNOWN_LIMIT, || {
            (federation.stat(name, "keys") == 1).then_some(())
        });
    }

    for (name, misbehaviour) in misbehaviours {
        federation.issuer(name).answer(misbehaviour);
    }

    for (name, _) in members {
        wait::until(&format!("{name} is noticed"), NOTICE_LIMIT, || {
            let is_stale = federation.stat(name, "stale_served") >= 1;
            let is_noticed = match name {
                // Its good half keeps the keys fresh.
                FLAPPING => federation.stat(name, "fetch_failed") >= 1,
                // In time, unless the machine is so busy that it is too slow.
                SLOW => is_stale || federation.stat(name, "fetch_success") >= 2,
                _ => is_stale,
            };
            is_noticed.then_some(())
        });
    }
    traffic.assert_undisturbed(UNDISTURBED);
}

fn misbehaviours() -> Vec<(&'static str, Answer)> {
    let error = Answer::raw("500 Internal Server Error", "", b"");
    let location = "Location: http://elsewhere.example.com/jwks\r\n";
    let page = b"<!doctype html><title>Sign in</title>";
    vec![
        (FLAPPING, Answer::Cycle(vec![error, published()])),
        ("half-body", Answer::CutOff),
        ("hanging", Answer::Hang),
        ("html", Answer::raw("200 OK", "Content-Type: text/html\r\n", page)),
        ("redirecting", Answer::raw("302 Found", location, b"")),
        (SLOW, Answer::Trickle(Duration::from_millis(50), vec![Key::alpha().jwk()])),
    ]
}

fn published() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

const FLAPPING: &str = "flapping";
const SLOW: &str = "slow";
const KNOWN_LIMIT: Duration = Duration::from_secs(3);
const NOTICE_LIMIT: Duration = Duration::from_secs(6);
