//! Keys over time.

use crate::sim::{START, Sim, config, token};
use crate::token::Key;
use mesh_jwt::config::DEFAULT_CACHE_DURATION;
use mesh_jwt::event::Event;
use mesh_jwt::jwks::{JwksResponse, refresh_window};
use mesh_jwt::time::Timestamp;
use serde_json::json;
use std::time::Duration;

/// How many answers say that a key is not there, while there is time.
const AMPLE: usize = 29;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A proxy that has the keys of alpha.
fn warm(provider: serde_json::Value) -> Sim {
    let mut sim = Sim::new(&config(provider, json!({})));
    sim.publish(&[Key::alpha()]);
    sim
}

/// The times between fetches, in seconds.
fn intervals(sim: &Sim) -> Vec<f64> {
    sim.world.fetched_at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

/// The times from each refresh, with the probes that follow it, to the next; in seconds.
fn refresh_intervals(sim: &Sim) -> Vec<f64> {
    intervals(sim).into_iter().filter(|seconds| *seconds > 10.0).collect()
}

#[test]
fn keys_are_refreshed_ahead_of_expiry_at_moments_of_their_own() {
    let mut sim = warm(json!({}));

    sim.run(HOUR * 10, |sim| sim.publish(&[Key::alpha()]));

    let probes = intervals(&sim).len() - refresh_intervals(&sim).len();
    let intervals = refresh_intervals(&sim);
    // Four at the start, and two after each refresh.
    assert!((4 + 2 * intervals.len() - 2..=4 + 2 * intervals.len()).contains(&probes), "{probes}");
    assert!(intervals.iter().all(|s| (420.0..=540.0).contains(s)), "{intervals:?}");
    let spread = intervals.iter().cloned().fold(f64::MIN, f64::max)
        - intervals.iter().cloned().fold(f64::MAX, f64::min);
    assert!(spread > 60.0, "{intervals:?}");
}

#[test]
fn cache_control_shortens_the_interval_within_bounds() {
    for (cache_control, range) in [
        ("max-age=100", 70.0..=90.0),
        ("max-age=1", 21.0..=27.0),
        ("max-age=86400", 420.0..=540.0),
        ("no-store", 420.0..=540.0),
    ] {
        let mut sim = Sim::new(&config(json!({}), json!({})));
        let set = json!({"keys": [Key::alpha().jwk()]}).to_string();

        sim.run(HOUR, |sim| sim.answer(200, Some(cache_control), &set));

        let intervals = refresh_intervals(&sim);
        assert!(intervals.iter().all(|s| range.contains(s)), "{cache_control} {intervals:?}");
        // What the command line tells of it.
        let answer = JwksResponse { status: 200, body: b"", cache_control: Some(cache_control) };
        let window = refresh_window(answer.max_age(), DEFAULT_CACHE_DURATION);
        assert_eq!(window.map(|time| time.as_secs_f64().round()), [*range.start(), *range.end()]);
    }
}

#[test]
fn failures_back_off_exponentially_to_a_cap() {
    let mut sim = warm(json!({}));

    sim.run(HOUR, |sim| sim.fail());

    let intervals = intervals(&sim);
    for (index, waited) in intervals.iter().skip(1).enumerate() {
        let full = f64::powi(2.0, i32::try_from(index).unwrap()).min(60.0);
        assert!((full / 2.0..=full).contains(waited), "{intervals:?}");
    }
}

#[test]
fn without_any_key_attempts_come_more_often_but_still_back_off() {
    let mut sim = Sim::new(&config(json!({}), json!({})));

    sim.run(MINUTE * 10, |sim| sim.fail());

    let longest = intervals(&sim).into_iter().fold(0.0, f64::max);
    assert!((5.0..=10.0).contains(&longest), "{longest}");
}

#[test]
fn an_outage_costs_nothing_until_the_stale_window_ends() {
    let mut sim = warm(json!({}));
    let good = token().compact();

    for _ in 0..69 {
        sim.run(MINUTE, |sim| sim.fail());
        assert_eq!(sim.decide(&good), "allowed", "{:?}", sim.elapsed());
    }
    sim.run(MINUTE, |sim| sim.fail());
    assert!(sim.send_token(1, &good).is_none_or(|verdict| verdict.code() == "jwks_unavailable"));
    sim.run(SECOND * 3, |sim| sim.fail());
    sim.run(SECOND * 10, |sim| sim.publish(&[Key::alpha()]));

    assert_eq!(sim.decide(&good), "allowed");
}

#[test]
fn without_a_stale_window_keys_end_with_the_cache() {
    let mut sim = warm(json!({"cacheDuration": "1m", "staleDuration": "0s"}));

    sim.run(SECOND * 59, |sim| sim.fail());
    assert_eq!(sim.decide(&token().compact()), "allowed");
    sim.run(SECOND, |sim| sim.fail());

    let verdict = sim.send_token(1, &token().compact());
    assert!(verdict.is_none_or(|verdict| verdict.code() == "jwks_unavailable"));
}

#[test]
fn a_withdrawn_key_is_trusted_no_longer_than_a_plain_cache_would() {
    let mut sim = warm(json!({}));

    sim.run(MINUTE * 10 - SECOND, |sim| sim.publish(&[Key::beta()]));
    assert_eq!(sim.decide(&token().compact()), "allowed");
    sim.run(SECOND, |sim| sim.publish(&[Key::beta()]));

    assert_eq!(sim.decide(&token().compact()), "key_unknown");
    assert_eq!(sim.decide(&token().signed_by(Key::beta()).compact()), "allowed");
}

#[test]
fn an_outage_does_not_bring_a_withdrawn_key_back() {
    let mut sim = warm(json!({}));
    let withdrawn = token().compact();

    // Refreshed without it, long enough for a survey to tell that no endpoint has it.
    sim.run(MINUTE * 9 + SECOND * 30, |sim| sim.publish(&[Key::beta()]));
    assert_eq!(sim.decide(&withdrawn), "allowed");
    sim.run(SECOND * 31, |sim| sim.fail());
    let verdict = sim.send_token(1, &withdrawn);
    assert!(verdict.is_none_or(|verdict| verdict.code() == "key_unknown"));
    sim.run(MINUTE * 20, |sim| sim.fail());

    let verdict = sim.send_token(2, &withdrawn);
    assert!(verdict.is_none_or(|verdict| verdict.code() == "jwks_unavailable"));
    let current = token().signed_by(Key::beta()).compact();
    assert!(sim.send_token(3, &current).is_some_and(|verdict| verdict.code() == "allowed"));
}

#[test]
fn an_empty_set_withdraws_every_key_and_is_asked_about_again_soon() {
    let mut sim = warm(json!({}));

    sim.run(MINUTE * 10, |sim| sim.answer(200, None, r#"{"keys":[]}"#));
    assert!(sim.send_token(1, &token().compact()).is_none_or(|v| v.code() == "jwks_unavailable"));
    sim.run(SECOND * 10, |sim| sim.publish(&[Key::alpha()]));

    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn a_set_without_a_key_does_not_end_its_time_early() {
    let mut sim = warm(json!({}));
    let tokens = [token().compact(), token().signed_by(Key::beta()).compact()];

    sim.run(MINUTE * 9, |sim| sim.publish(&[Key::beta()]));

    for token in &tokens {
        assert_eq!(sim.decide(token), "allowed");
    }
}

#[test]
fn two_keys_under_one_kid_both_verify() {
    let mut sim = Sim::new(&config(json!({}), json!({})));
    let set = json!({"keys": [Key::alpha().jwk_named("k"), Key::beta().jwk_named("k")]});
    sim.answer(200, None, &set.to_string());

    for key in [Key::alpha(), Key::beta()] {
        assert_eq!(sim.decide(&token().signed_by(key).header("kid", "k").compact()), "allowed");
    }
}

#[test]
fn a_token_without_kid_is_tried_with_a_bounded_number_of_keys() {
    let mut sim = Sim::new(&config(json!({}), json!({})));
    let mut keys: Vec<_> = (0..500).map(|n| Key::beta().jwk_named(&n.to_string())).collect();
    keys.insert(0, Key::alpha().jwk());
    sim.answer(200, None, &json!({ "keys": keys }).to_string());
    let no_kid = |key| {
        let token = token().signed_by(key);
        let header = token.header_text().replacen(r#""kid""#, r#""x""#, 1);
        crate::token::sign_parts(&header, &token.payload_text(), key)
    };

    assert_eq!(sim.decide(&no_kid(Key::alpha())), "allowed");
    sim.world.events.clear();
    let token = no_kid(Key::alpha());
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(sim.decide(&format!("{signed}.{}", "A".repeat(342))), "signature_invalid");

    // Once: looking for another key brought none that was not tried.
    let checks = sim
        .world
        .events
        .iter()
        .filter(|event| matches!(event, Event::SignatureChecked { .. }))
        .count();
    assert_eq!((checks, sim.world.fetched_at.len()), (8, 1 + AMPLE));
}

#[test]
fn configured_keys_serve_until_the_first_fetch_replaces_them() {
    let jwks = json!({"keys": [Key::alpha().jwk()]});
    let mut sim = Sim::new(&config(json!({"jwks": jwks}), json!({})));
    assert_eq!(sim.decide(&token().compact()), "allowed");

    sim.run(HOUR * 48, |sim| sim.fail());
    assert_eq!(sim.decide(&token().compact()), "allowed");
    sim.run(MINUTE * 2, |sim| sim.publish(&[Key::beta()]));

    assert_eq!(sim.decide(&token().compact()), "key_unknown");
    assert_eq!(sim.decide(&token().signed_by(Key::beta()).compact()), "allowed");
}

#[test]
fn inline_keys_are_never_fetched() {
    let mut config = config(json!({"jwks": {"keys": [Key::alpha().jwk()]}}), json!({}));
    config["providers"][0].as_object_mut().unwrap().remove("jwksUri");
    let mut sim = Sim::new(&config);

    assert_eq!(sim.engine().poll_timeout(), None);
    sim.wait(HOUR * 48);

    assert_eq!(sim.decide(&token().compact()), "allowed");
    assert_eq!(sim.world.fetched_at, []);
}

#[test]
fn a_clock_that_steps_back_neither_extends_trust_nor_delays_refreshes() {
    let mut sim = warm(json!({}));
    // The last probe comes 24 seconds after the start, at the latest.
    sim.run(MINUTE, |sim| sim.publish(&[Key::alpha()]));

    sim.set_clock(Timestamp::from_secs(START - 3600));
    let good = token().claim("nbf", START - 7200).compact();
    assert_eq!(sim.decide(&good), "allowed");
    let (next, _) = sim.engine().poll_timeout().unwrap();
    assert!(next.saturating_since(sim.now) <= MINUTE * 9);
    // Nine of the ten minutes are left, and what the probes added; how long ago the VM saw the clock
    // before it stepped back, nobody knows.
    sim.run(MINUTE * 10 + SECOND * 24, |sim| sim.answer(200, None, r#"{"keys":[]}"#));

    assert!(sim.send_token(1, &good).is_none_or(|v| v.code() == "jwks_unavailable"));
}

#[test]
fn a_clock_that_steps_back_does_not_keep_requests_waiting() {
    let mut sim = Sim::new(&config(json!({}), json!({})));
    assert!(sim.send_token(1, &token().compact()).is_none());

    sim.set_clock(Timestamp::from_secs(START - 3600));
    sim.wait(SECOND * 3);

    assert_eq!(sim.verdict(1), "jwks_unavailable");
}

#[test]
fn a_clock_that_jumps_ahead_causes_one_fetch() {
    let mut sim = warm(json!({}));

    sim.set_clock(Timestamp::from_secs(START + 86_400));
    assert!(sim.send_token(1, &token().compact()).is_none());
    assert_eq!(sim.world.in_flight.len(), 1);
    sim.publish(&[Key::alpha()]);

    assert_eq!(sim.verdict(1), "allowed");
    assert_eq!(sim.world.fetched_at.len(), 2);
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut sim = warm(json!({}));
        for stream in 0..10 {
            sim.run(MINUTE * 7, |sim| {
                if stream % 3 == 0 { sim.fail() } else { sim.publish(&[Key::beta()]) }
            });
            sim.send_token(stream, &token().compact());
        }
        (sim.world.printed, sim.world.fetched_at)
    };

    assert_eq!(run(), run());
}
