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

/// How many answers say that a key is not there, while there is time.
const AMPLE: usize = 29;

/// A proxy that has the key of alpha, and has seen all endpoints publish it.
fn warm(provider: Value) -> Sim {
    warm_with(provider, json!({}))
}

fn warm_with(provider: Value, top: Value) -> Sim {
    let mut sim = Sim::new(&config(provider, top));
    sim.run(SECOND * 30, |sim| sim.publish(&[Key::alpha()]));
    sim.world.fetched_at.clear();
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
        while !sim.world.verdicts.contains_key(&1) {
            sim.run(SECOND / 100, |sim| self.answer(sim));
        }
        sim.verdict(1)
    }
}

fn was_inconsistent(sim: &Sim) -> usize {
    sim.world.events.iter().filter(|event| matches!(event, Event::Inconsistent { .. })).count()
}

#[test]
fn a_rotated_key_is_found_with_one_fetch_that_all_requests_share() {
    let mut sim = warm(json!({}));
    let rotated = token().signed_by(Key::beta()).compact();

    for stream in 1..=5 {
        assert!(sim.send_token(stream, &rotated).is_none());
    }
    assert_eq!(sim.world.in_flight.len(), 1);
    sim.publish(&[Key::alpha(), Key::beta()]);

    for stream in 1..=5 {
        assert_eq!(sim.verdict(stream), "allowed");
    }
    sim.run(MINUTE, |sim| sim.publish(&[Key::alpha(), Key::beta()]));
    assert_eq!(sim.world.fetched_at.len(), 1);
    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn a_key_replaced_at_once_is_no_inconsistency() {
    let mut sim = warm(json!({}));

    assert!(sim.send_token(1, &token().signed_by(Key::beta()).compact()).is_none());
    sim.run(MINUTE * 30, |sim| sim.publish(&[Key::beta()]));

    assert_eq!((sim.verdict(1), was_inconsistent(&sim)), ("allowed", 0));
    // One that finds it, five that tell it from a second pod, twice, and four refreshes with their
    // probes.
    assert!(sim.world.fetched_at.len() <= 1 + 2 * 5 + 4 * 3, "{:?}", sim.world.fetched_at);
}

/// Issuers may publish as many keys as they like, and call them as they like.
#[test]
fn what_the_log_says_of_pods_that_differ_is_short() {
    let kid = "\u{1}".repeat(10_000);
    let set = |name: &str| {
        let mut jwk = Key::alpha().jwk_named(&format!("{name}{kid}"));
        let keys = (0..8).map(|number| {
            let mut modulus = jwk["n"].as_str().unwrap().to_owned();
            modulus.replace_range(100..104, &format!("{name}00{number}"));
            jwk["n"] = json!(modulus);
            jwk.clone()
        });
        json!({"keys": keys.collect::<Vec<_>>()}).to_string()
    };
    let mut pods = Pods { sets: vec![set("a"), set("b")], next: 0 };
    let mut sim = Sim::new(&config(json!({}), json!({})));

    sim.run(MINUTE * 30, |sim| pods.answer(sim));

    assert!(was_inconsistent(&sim) >= 1);
    let configuration = sim.engine().config();
    let lines = sim.world.events.iter().filter_map(|event| event.log_line(configuration));
    let longest = lines.map(|(_, line)| line.len()).max();
    assert!(longest < Some(8_000), "{longest:?}");
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
        assert!(sim.world.fetched_at.len() < 80, "{}", sim.world.fetched_at.len());
    }
}

#[test]
fn five_pods_are_all_known_soon_after_the_first_that_differs() {
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
    sim.run(MINUTE, |sim| pods.answer(sim));

    let (provider, _) = sim.engine().config().providers.iter().next().expect("a provider");
    assert_eq!(sim.engine().trusted_keys(provider, sim.now), 5);
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
fn a_missing_key_is_looked_for_until_an_endpoint_with_it_is_improbable() {
    let mut sim = warm(json!({}));
    let start = sim.now;

    assert_eq!(sim.decide(&junk(1)), "key_unknown");

    assert_eq!(sim.world.fetched_at.len(), AMPLE);
    assert!(sim.now.saturating_since(start) < SECOND * 11 / 4);
    sim.run(MINUTE, |sim| sim.publish(&[Key::alpha()]));
    assert_eq!(sim.world.fetched_at.len(), AMPLE);
}

#[test]
fn the_operator_may_say_how_many_endpoints_there_are() {
    for (endpoints, fetches) in [(1, 1), (2, 17), (3, AMPLE)] {
        let mut sim = warm(json!({"jwksEndpoints": endpoints}));

        assert_eq!(sim.decide(&junk(1)), "key_unknown");

        assert_eq!(sim.world.fetched_at.len(), fetches, "{endpoints}");
    }
}

#[test]
fn nothing_is_remembered_of_a_key_that_was_missing() {
    let mut sim = warm(json!({}));
    let rotated = token().signed_by(Key::beta()).compact();
    assert_eq!(sim.decide(&rotated), "key_unknown");

    assert!(sim.send_token(2, &rotated).is_none());
    sim.run(SECOND, |sim| sim.publish(&[Key::alpha(), Key::beta()]));

    assert_eq!(sim.verdict(2), "allowed");
}

#[test]
fn only_fetches_that_begin_after_a_request_came_speak_against_it() {
    let mut sim = warm(json!({}));
    let rotated = token().signed_by(Key::beta()).compact();
    assert!(sim.send_token(1, &rotated).is_none());
    sim.run(SECOND * 2, |sim| sim.publish(&[Key::alpha()]));
    assert_eq!(sim.verdict(1), "paused");
    assert!(sim.send_token(2, &rotated).is_none());
    sim.run(SECOND, |sim| sim.publish(&[Key::alpha()]));
    assert_eq!((sim.verdict(1), sim.verdict(2)), ("key_unknown", "paused"));

    sim.run(SECOND, |sim| sim.publish(&[Key::beta()]));

    assert_eq!(sim.verdict(2), "allowed");
}

#[test]
fn what_could_not_be_settled_in_time_is_not_the_callers_fault() {
    let mut sim = warm(json!({}));
    for number in 0..3 {
        sim.decide(&junk(number));
    }

    // The budget is spent, and four a second are too few to be sure.
    assert_eq!(sim.decide(&junk(4)), "jwks_unavailable");

    let is_suppressed = |event: &&Event| matches!(event, Event::MissSuppressed { .. });
    assert!(sim.world.events.iter().filter(is_suppressed).count() >= 1);
}

#[test]
fn a_search_goes_on_after_its_request_is_gone_and_then_ends() {
    let mut sim = warm(json!({}));
    assert!(sim.send_token(1, &junk(1)).is_none());
    sim.close(1);

    sim.run(MINUTE, |sim| sim.publish(&[Key::alpha()]));

    // As many as make an endpoint improbable, and none for the sake of a wait.
    assert!((18..=19).contains(&sim.world.fetched_at.len()), "{:?}", sim.world.fetched_at);
}

#[test]
fn an_issuer_that_is_slow_is_asked_again_before_it_answers() {
    let mut sim = warm(json!({}));
    assert!(sim.send_token(1, &token().signed_by(Key::beta()).compact()).is_none());

    sim.wait(SECOND * 2);
    assert!((7..=8).contains(&sim.world.in_flight.len()), "{}", sim.world.in_flight.len());
    for _ in 0..4 {
        sim.publish(&[Key::alpha()]);
    }
    sim.publish(&[Key::beta()]);

    assert_eq!(sim.verdict(1), "allowed");
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

    let searches = &sim.world.fetched_at;
    assert!(most_within(searches, SECOND * 10) <= 30 + 40, "{searches:?}");
    assert!(searches.len() <= 30 + 240, "{searches:?}");
    sim.run(SECOND * 4, |sim| sim.publish(&[Key::alpha()]));
    assert_eq!(sim.engine().paused(), 0);
}

#[test]
fn a_rotation_amid_a_flood_is_found_with_the_next_fetch() {
    let mut sim = warm(json!({}));
    let rotated = token().signed_by(Key::beta()).compact();
    let flood = |sim: &mut Sim, numbers: std::ops::Range<u32>, keys: &[&Key]| {
        for number in numbers {
            sim.send_token(number, &junk(number));
            sim.run(SECOND / 10, |sim| sim.publish(keys));
        }
    };
    flood(&mut sim, 0..305, &[Key::alpha()]);

    let mut allowed = 0;
    for number in 0..100 {
        if let Some(verdict) = sim.send_token(100_000 + number, &rotated) {
            assert_eq!(verdict.code(), "allowed");
            allowed += 1;
        }
        flood(&mut sim, 1_000 + number..1_001 + number, &[Key::alpha(), Key::beta()]);
    }
    sim.run(SECOND * 3, |sim| sim.publish(&[Key::alpha(), Key::beta()]));

    let waited = (100_000..100_100).filter_map(|stream| sim.world.verdicts.get(&stream));
    let waited: Vec<_> = waited.collect();
    assert!(waited.iter().all(|code| **code == "allowed"), "{waited:?}");
    // Fetches are half a second apart.
    assert!(allowed >= 94 && allowed + waited.len() == 100, "{allowed} {}", waited.len());
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
fn the_request_with_the_most_answers_against_it_makes_room() {
    let mut sim = warm_with(json!({}), json!({"maxPausedRequests": 2}));
    assert!(sim.send_token(1, &junk(1)).is_none());
    assert!(sim.send_token(2, &junk(2)).is_none());
    // Nothing speaks against any of them yet.
    assert!(sim.send_token(3, &junk(3)).is_some_and(|verdict| verdict.code() == "overloaded"));

    sim.run(SECOND / 2, |sim| sim.publish(&[Key::alpha()]));
    let rotated = token().signed_by(Key::beta()).compact();
    assert!(sim.send_token(4, &rotated).is_none());

    assert_eq!((sim.verdict(1), sim.verdict(2)), ("overloaded", "paused"));
    sim.run(SECOND / 2, |sim| sim.publish(&[Key::beta()]));
    assert_eq!(sim.verdict(4), "allowed");
}

#[test]
fn a_provider_whose_issuer_hangs_keeps_no_place_from_another() {
    let other = json!({"name": "other", "issuer": "https://other", "jwksUri": "https://other/k"});
    let mut document = config(json!({}), json!({"maxPausedRequests": 10}));
    document["providers"].as_array_mut().unwrap().push(other);
    let mut sim = Sim::new(&document);
    // Both answer, and then one of them hangs: nobody ever answers its calls.
    sim.run(SECOND * 30, |sim| sim.publish(&[Key::alpha()]));
    for stream in 0..20 {
        let junk = token().claim("iss", "https://other").header("kid", format!("junk-{stream}"));
        sim.send_token(stream, &junk.compact());
    }
    let hanging = sim.world.in_flight.len();
    assert_eq!((hanging, sim.engine().paused()), (1, 10));

    assert!(sim.send_token(100, &token().signed_by(Key::beta()).compact()).is_none());
    assert_eq!(sim.world.in_flight.len(), hanging + 1);
    sim.world.in_flight.swap(0, hanging);
    sim.publish(&[Key::beta()]);

    assert_eq!(sim.verdict(100), "allowed");
}

#[test]
fn a_token_that_waits_meets_each_key_once_however_the_endpoints_alternate() {
    let key = |name: String| json!({"kty": "RSA", "e": "AQAB", "n": format!("_{name}{}w", "_".repeat(338))});
    let set = |pod: &str| {
        let keys: Vec<_> = (0..5).map(|number| key(format!("{pod}{number}"))).collect();
        json!({ "keys": keys }).to_string()
    };
    let mut pods = Pods { sets: vec![set("a"), set("b")], next: 0 };
    let mut sim = Sim::new(&config(json!({}), json!({})));
    sim.run(SECOND * 30, |sim| pods.answer(sim));
    sim.world.events.clear();

    let stranger =
        crate::token::sign_parts(r#"{"alg":"RS256"}"#, &token().payload_text(), Key::beta());
    assert_eq!(sim.send_token(1, &stranger).map(|verdict| verdict.code()), None);
    sim.run(SECOND * 4, |sim| pods.answer(sim));

    assert_ne!(sim.verdict(1), "paused");
    let is_check = |event: &&Event| matches!(event, Event::SignatureChecked { .. });
    assert_eq!(sim.world.events.iter().filter(is_check).count(), 10);
}

/// What the README advises.
#[test]
fn where_junk_never_ceases_a_longer_wait_or_fewer_endpoints_settle_it() {
    for (provider, top, expected) in [
        (json!({}), json!({}), "jwks_unavailable"),
        (json!({}), json!({"jwksWaitTimeout": "6s"}), "key_unknown"),
        (json!({"jwksEndpoints": 2}), json!({}), "key_unknown"),
    ] {
        let mut sim = warm_with(provider, top);
        for number in 0..300 {
            sim.send_token(number, &junk(number));
            sim.run(SECOND / 10, |sim| sim.publish(&[Key::alpha()]));
        }
        // The burst was spent long before these came.
        let settled: Vec<_> = (150..220).map(|stream| sim.verdict(stream)).collect();

        assert!(settled.iter().all(|code| *code == expected), "{expected}: {settled:?}");
    }
}
