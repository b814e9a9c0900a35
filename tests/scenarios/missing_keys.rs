//! Tokens whose key is not known: the key is looked for, at a bounded cost.

use crate::sim::{Sim, config, token};
use crate::token::{Key, Token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_jwt::event::Event;
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn warm(provider: Value) -> Sim {
    let mut sim = Sim::new(&config(provider, json!({})));
    sim.publish(&[Key::alpha()]);
    sim
}

/// A token of a `kid` that nobody has, and so with a signature that nobody checks.
fn junk(number: u32) -> String {
    let token = token().header("kid", format!("junk-{number}"));
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", part(token.header_text()), part(token.payload_text()))
}

/// The most fetches that began within any stretch of time of this length.
fn most_within(fetched_at: &[Duration], stretch: Duration) -> usize {
    let in_stretch = |begin: &Duration| {
        fetched_at.iter().filter(|at| (*begin..*begin + stretch).contains(at)).count()
    };
    fetched_at.iter().map(in_stretch).max().unwrap_or(0)
}

/// A service with one set for each pod, of which the next fetch reaches the next.
struct Pods {
    sets: Vec<String>,
    next: usize,
}

impl Pods {
    fn new(sets: &[Value]) -> Self {
        let sets = sets.iter().map(|key| json!({ "keys": [key] }).to_string());
        Self { sets: sets.collect(), next: 0 }
    }

    fn answer(&mut self, sim: &mut Sim) {
        sim.answer(200, None, &self.sets[self.next % self.sets.len()].clone());
        self.next += 1;
    }

    fn decide(&mut self, sim: &mut Sim, token: &Token) -> &'static str {
        if let Some(verdict) = sim.send_token(1, &token.compact()) {
            return verdict.code();
        }
        while !sim.in_flight.is_empty() && !sim.verdicts.contains_key(&1) {
            self.answer(sim);
        }
        sim.verdict(1)
    }
}

fn was_inconsistent(sim: &Sim) -> usize {
    sim.events.iter().filter(|event| matches!(event, Event::Inconsistent { .. })).count()
}

#[test]
fn a_rotated_key_is_found_with_one_fetch_that_all_requests_share() {
    let mut sim = warm(json!({}));
    sim.wait(MINUTE);
    let rotated = token().signed_by(Key::beta()).compact();

    for stream in 1..=5 {
        assert!(sim.send_token(stream, &rotated).is_none());
    }
    assert_eq!(sim.in_flight.len(), 1);
    sim.publish(&[Key::alpha(), Key::beta()]);

    for stream in 1..=5 {
        assert_eq!(sim.verdict(stream), "allowed");
    }
    assert_eq!(sim.fetched_at.len(), 2);
    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn a_key_replaced_at_once_is_no_inconsistency() {
    let mut sim = warm(json!({}));
    sim.wait(MINUTE);

    assert!(sim.send_token(1, &token().signed_by(Key::beta()).compact()).is_none());
    sim.run(MINUTE * 30, |sim| sim.publish(&[Key::beta()]));

    assert_eq!((sim.verdict(1), was_inconsistent(&sim)), ("allowed", 0));
    assert!(sim.fetched_at.len() <= 12, "{:?}", sim.fetched_at);
}

#[test]
fn two_pods_with_a_key_each_cost_no_request_and_are_reported() {
    for shared_kid in [false, true] {
        let kid = |name| if shared_kid { "main" } else { name };
        let mut pods =
            Pods::new(&[Key::alpha().jwk_named(kid("a")), Key::beta().jwk_named(kid("b"))]);
        let mut sim = Sim::new(&config(json!({}), json!({})));
        pods.answer(&mut sim);
        let tokens = [
            token().signed_by(Key::alpha()).header("kid", kid("a")),
            token().signed_by(Key::beta()).header("kid", kid("b")),
        ];

        for _ in 0..600 {
            for token in &tokens {
                assert_eq!(pods.decide(&mut sim, token), "allowed", "{:?}", sim.elapsed());
            }
            sim.run(SECOND * 6, |sim| pods.answer(sim));
        }

        assert!(was_inconsistent(&sim) >= 1);
        // An hour of one proxy.
        assert!(sim.fetched_at.len() < 80, "{}", sim.fetched_at.len());
    }
}

#[test]
fn five_pods_are_all_known_after_the_first_that_differs() {
    // Only the signatures of two keys are needed; the other pods just stand between them.
    let stranger = |n: u8| {
        let mut jwk = Key::alpha().jwk_named(&format!("stranger-{n}"));
        let modulus = jwk["n"].as_str().map(|text| text.replacen('a', &format!("{n}"), 1));
        jwk["n"] = json!(modulus);
        jwk
    };
    let mut pods =
        Pods::new(&[Key::alpha().jwk(), stranger(1), stranger(2), stranger(3), Key::beta().jwk()]);
    let mut sim = Sim::new(&config(json!({}), json!({})));
    pods.answer(&mut sim);

    assert_eq!(pods.decide(&mut sim, &token().signed_by(Key::beta())), "allowed");

    assert_eq!(sim.engine.trusted_keys(0, sim.now), 5);
}

#[test]
fn a_bad_signature_under_a_known_kid_may_be_another_pods_key() {
    let mut sim = warm(json!({}));
    let other = token().signed_by(Key::beta()).header("kid", "alpha");

    assert!(sim.send_token(1, &other.compact()).is_none());
    let set = json!({"keys": [Key::beta().jwk_named("alpha")]}).to_string();
    sim.answer(200, None, &set);

    assert_eq!(sim.verdict(1), "allowed");
}

#[test]
fn a_missing_key_is_looked_for_three_times_and_then_not_again_for_a_while() {
    let mut sim = warm(json!({}));

    assert_eq!(sim.decide(&junk(1)), "key_unknown");
    assert_eq!(sim.fetched_at.len(), 1 + 3);
    // The same one, another one, and a bad signature are answered at once.
    let forged = token().signed_by(Key::beta()).header("kid", "alpha").compact();
    for token in [junk(1), junk(2), forged] {
        assert!(sim.send_token(1, &token).is_some());
    }
    assert_eq!(sim.fetched_at.len(), 1 + 3);

    sim.wait(SECOND * 10);
    assert_eq!(sim.decide(&junk(1)), "key_unknown");
    assert_eq!(sim.fetched_at.len(), 1 + 6);
}

#[test]
fn a_key_that_was_missing_is_looked_for_again_however_slow_the_issuer_is() {
    let mut sim = warm(json!({"refetchCooldown": "1s"}));
    sim.wait(MINUTE);
    let rotated = token().signed_by(Key::beta()).compact();

    // The ration in which it was looked for is over before the request is.
    assert!(sim.send_token(1, &rotated).is_none());
    sim.wait(SECOND * 3 / 2);
    sim.publish(&[Key::alpha()]);
    sim.wait(SECOND * 3 / 2);
    assert_eq!(sim.verdict(1), "key_unknown");
    sim.publish(&[Key::alpha()]);
    sim.wait(MINUTE);

    assert!(sim.send_token(2, &rotated).is_none());
    sim.publish(&[Key::alpha(), Key::beta()]);
    assert_eq!(sim.verdict(2), "allowed");
}

#[test]
fn a_flood_of_made_up_kids_causes_a_bounded_number_of_fetches() {
    let mut sim = warm(json!({}));
    let good = token().compact();

    for number in 0..6_000 {
        sim.send_token(number, &junk(number));
        assert!(sim.send_token(u32::MAX, &good).is_some_and(|v| v.code() == "allowed"));
        sim.run(SECOND / 100, |sim| sim.publish(&[Key::alpha()]));
    }

    let searches = &sim.fetched_at[1..];
    assert!(most_within(searches, SECOND * 10) <= 3 + 1, "{searches:?}");
    assert!(searches.len() <= 3 * 6 + 1, "{searches:?}");
    sim.wait(SECOND * 4);
    assert_eq!(sim.engine.paused(), 0);
}

#[test]
fn a_rotation_amid_a_flood_is_found_when_the_next_fetch_comes() {
    let mut sim = warm(json!({}));
    let rotated = token().signed_by(Key::beta()).compact();
    let flood = |sim: &mut Sim, numbers: std::ops::Range<u32>, keys: &[&Key]| {
        for number in numbers {
            sim.send_token(number, &junk(number));
            sim.run(SECOND / 10, |sim| sim.publish(keys));
        }
    };
    flood(&mut sim, 0..305, &[Key::alpha()]);

    let (mut allowed, mut refused) = (0, 0);
    for number in 0..100 {
        match sim.send_token(100_000 + number, &rotated) {
            Some(verdict) if verdict.code() == "allowed" => allowed += 1,
            Some(_) => refused += 1,
            None => {}
        }
        flood(&mut sim, 1_000 + number..1_001 + number, &[Key::alpha(), Key::beta()]);
    }
    sim.wait(SECOND * 3);

    // Three fetches in ten seconds are 3.3 seconds apart, and a request waits for three.
    assert!(refused <= 4, "{refused}");
    assert!(allowed > 60, "{allowed}");
}

#[test]
fn an_issuer_that_cannot_be_asked_is_not_the_callers_fault() {
    let mut sim = warm(json!({}));
    sim.run(MINUTE * 10, |sim| sim.fail());

    let verdict = sim.send_token(1, &junk(1));

    let code = verdict.map(|verdict| verdict.code());
    assert!(code.is_none_or(|code| code == "jwks_unavailable"), "{code:?}");
    sim.run(SECOND * 3, |sim| sim.fail());
    assert!(code.is_some() || sim.verdict(1) == "jwks_unavailable");
    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn an_issuer_that_hangs_delays_a_miss_no_longer_than_any_wait() {
    let mut sim = warm(json!({}));
    assert!(sim.send_token(1, &junk(1)).is_none());

    sim.wait(SECOND * 3);

    assert_eq!(sim.verdict(1), "jwks_unavailable");
}

#[test]
fn places_are_kept_for_requests_that_wait_for_any_keys_at_all() {
    let mut sim = Sim::new(&config(json!({}), json!({"maxPausedRequests": 4})));
    sim.publish(&[Key::alpha()]);

    for stream in 1..=2 {
        assert!(sim.send_token(stream, &junk(stream)).is_none());
    }

    assert!(sim.send_token(3, &junk(3)).is_some_and(|verdict| verdict.code() == "key_unknown"));
}
