//! Keys over time: rotation, pods that publish different sets, and outages.

use std::time::{Duration, Instant};

use lab::config::Config;
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{self, Key, Token};
use lab::wait;

/// The incident that this filter exists for: two pods behind one address, each with its own key,
/// and half of all requests refused at random.
#[test]
fn pods_with_a_key_each_cost_no_request() {
    let pods = Answer::Pods(vec![vec![Key::alpha().jwk()], vec![Key::beta().jwk()]]);
    let sidecar = Sidecar::start_with(&Config::new(), pods, 1);
    let of_alpha = Token::good().signed_by(Key::alpha());
    let of_beta = Token::good().signed_by(Key::beta());

    assert_all_pass(&sidecar, &[of_alpha, of_beta]);

    assert!(sidecar.stat("jwks.wealist.inconsistent") >= 1);
    assert_eq!(sidecar.stat("jwks.wealist.keys"), 2);
}

/// The same, where both pods call their key by the same name.
#[test]
fn pods_that_share_a_kid_cost_no_request() {
    let pods = vec![vec![Key::alpha().jwk_named("main")], vec![Key::beta().jwk_named("main")]];
    let sidecar = Sidecar::start_with(&Config::new(), Answer::Pods(pods), 1);
    let of_alpha = Token::good().signed_by(Key::alpha()).header("kid", "main");
    let of_beta = Token::good().signed_by(Key::beta()).header("kid", "main");

    assert_all_pass(&sidecar, &[of_alpha, of_beta]);
}

#[test]
fn rotated_key_is_fetched_when_it_is_first_used() {
    let sidecar = Sidecar::start(&Config::new());
    sidecar.assert_good_token_passes();
    let fetches = sidecar.issuer.fetches().len();

    sidecar.issuer.answer(Answer::Keys(vec![Key::beta().jwk()]));

    sidecar.assert_passes(&Token::good().signed_by(Key::beta()));
    let caused = sidecar.issuer.fetches().len() - fetches;
    // One finds it. The old key is gone at once, which could also mean that there are two pods:
    // five more tell.
    assert!((1..=6).contains(&caused), "{caused} fetches");
    assert!(sidecar.counted("jwks.wealist.miss") >= 1);
    assert_eq!(sidecar.stat("jwks.wealist.inconsistent"), 0);
    // Tokens of the old key live on until its time is up.
    sidecar.assert_good_token_passes();
}

#[test]
fn rotation_with_an_overlap_takes_one_fetch() {
    let sidecar = Sidecar::start(&Config::new());
    sidecar.assert_good_token_passes();
    let fetches = sidecar.issuer.fetches().len();

    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk(), Key::beta().jwk()]));

    for _ in 0..5 {
        sidecar.assert_passes(&Token::good().signed_by(Key::beta()));
        sidecar.assert_good_token_passes();
    }
    assert_eq!(sidecar.issuer.fetches().len(), fetches + 1);
}

#[test]
fn junk_kids_cause_a_bounded_number_of_fetches() {
    let sidecar = Sidecar::start(&Config::new());
    sidecar.assert_good_token_passes();
    let fetches = sidecar.issuer.fetches().len();

    let junk = |number: usize| {
        let token = Token::good().header("kid", format!("junk-{number}"));
        sidecar.open(&Request::get("/").bearer(&token.compact()))
    };
    // One search tells all that wait for it.
    for waiting in (0..30).map(junk).collect::<Vec<_>>() {
        assert_eq!(waiting.finish().expect("an answer").json()["code"], "key_unknown");
    }
    // And then the budget is spent: it will take some time to be sure again.
    let answers = (0..3).map(|number| junk(number).finish().expect("an answer").status);
    assert!(answers.collect::<Vec<_>>().contains(&503));

    let caused = sidecar.issuer.fetches().len() - fetches;
    // The burst, four a second while five such waits last, and the probes after the start.
    assert!((18..=30 + 4 * 15 + 4).contains(&caused), "{caused} fetches");
    assert!(sidecar.counted("jwks.wealist.miss_suppressed") >= 1);
}

#[test]
fn expired_keys_are_served_stale_during_an_outage() {
    let config = Config::new().provider("cacheDuration", "1s").provider("staleDuration", "1h");
    let sidecar = Sidecar::start(&config);
    sidecar.assert_good_token_passes();

    sidecar.issuer.answer(Answer::raw("503 Service Unavailable", "", b""));

    wait::until("stale keys are used", EXPIRY_LIMIT, || {
        sidecar.assert_good_token_passes();
        (sidecar.stat("jwks.wealist.stale_served") >= 1).then_some(())
    });
}

#[test]
fn time_of_the_last_success_stands_still_while_fetches_fail() {
    let config = Config::new().provider("cacheDuration", "2s");
    let before = token::now();
    let sidecar = Sidecar::start_with(&config, Answer::Keys(vec![Key::alpha().jwk()]), 2);
    let last_success = || sidecar.stat("jwks.wealist.last_success_timestamp_seconds");
    let failures = || sidecar.stat("jwks.wealist.fetch_failed");
    let wait_for = |what: &str, is_so: &dyn Fn() -> bool| {
        wait::until(what, EXPIRY_LIMIT, || is_so().then_some(()));
    };
    wait_for("a refresh has succeeded", &|| last_success() > before + 1);

    sidecar.issuer.answer(Answer::raw("503 Service Unavailable", "", b""));
    wait_for("a fetch has failed", &|| failures() >= 1);
    let (at_failure, now) = (last_success(), token::now());
    wait_for("another second has passed, and another fetch has failed", &|| {
        failures() >= 2 && token::now() > now + 1
    });

    assert!((before..=now).contains(&at_failure), "{before} {at_failure} {now}");
    assert_eq!(last_success(), at_failure);
    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    wait_for("it goes on", &|| last_success() > now + 1);
}

#[test]
fn expired_keys_are_dropped_where_none_may_be_stale() {
    let config = Config::new()
        .provider("cacheDuration", "1s")
        .provider("staleDuration", "0s")
        .set("jwksWaitTimeout", "200ms");
    let sidecar = Sidecar::start(&config);
    sidecar.assert_good_token_passes();

    sidecar.issuer.answer(Answer::raw("503 Service Unavailable", "", b""));

    let good = Request::get("/").bearer(&Token::good().compact());
    wait::until("the keys are gone", EXPIRY_LIMIT, || {
        (sidecar.decide(&good) == "503 jwks_unavailable").then_some(())
    });
}

/// Sends fresh tokens of each kind in turn for a while, and none may be refused.
fn assert_all_pass(sidecar: &Sidecar, kinds: &[Token]) {
    let end = Instant::now() + Duration::from_secs(1);
    for (number, token) in kinds.iter().cycle().enumerate() {
        // Fresh, so that no verdict comes from the cache of verified tokens.
        sidecar.assert_passes(&token.clone().claim("jti", number));
        if number >= MIN_REQUESTS && Instant::now() > end {
            return;
        }
    }
}

const MIN_REQUESTS: usize = 20;
const EXPIRY_LIMIT: Duration = Duration::from_secs(5);
