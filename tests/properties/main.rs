//! What holds whatever happens: random sequences of inputs in virtual time.
//!
//! The cases are the same in every run. `PROPTEST_RNG_SEED=1 PROPTEST_CASES=10000` has others tried,
//! and more of them.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod inputs;
mod model;
mod tokens;
mod world;

use inputs::{Extent, Issuer, Reply, Step, Story, flood, one_set, some_set, story};
use mesh_jwt::engine::MAX_TIMEOUT;
use model::{Doubt, Model};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};
use std::collections::BTreeMap;
use std::time::Duration;
use tokens::{KEYS, Token, secrets};
use world::{FETCH_TIMEOUT, Fact, GIVE_UP, MIN_TICK, PATIENCE, PROVIDERS, World};

/// Tries a property with many stories, and tells the shortest one that breaks it.
fn check(
    cases: u32,
    stories: impl Strategy<Value = Story>,
    property: impl Fn(&Story) -> TestCaseResult,
) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(0);
    }
    let result = TestRunner::new(config).run(&stories, |story| property(&story));
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

const TRANQUIL: Extent =
    Extent { most_vms: 1, clock_steps: false, restarts: false, corruption: false };

#[test]
fn a_vm_has_at_most_one_fetch_in_flight_per_provider() {
    check(24, story(Extent::EVERYTHING), |story| {
        let mut open: Vec<(world::FetchName, Duration)> = Vec::new();
        for (now, fact) in World::after(story).facts {
            match fact {
                Fact::FetchWanted { fetch } => {
                    for (other, since) in &open {
                        let is_rival = (other.vm, other.provider) == (fetch.vm, fetch.provider);
                        prop_assert!(!is_rival || now >= *since + FETCH_TIMEOUT, "{fetch:?}");
                    }
                    open.push((fetch, now));
                }
                Fact::FetchDispatched { fetch } => {
                    open.retain(|(other, _)| *other != fetch);
                    open.push((fetch, now));
                }
                Fact::FetchAnswered { fetch, .. } | Fact::FetchSpared { fetch } => {
                    open.retain(|(other, _)| *other != fetch);
                }
                // Every deadline may be over.
                Fact::ClockJumpedAhead => open.clear(),
                _ => {}
            }
        }
        Ok(())
    });
}

#[test]
fn a_proxy_has_at_most_one_fetch_in_flight_per_provider_while_its_lease_lasts() {
    let extent = Extent { clock_steps: false, corruption: false, ..Extent::EVERYTHING };
    check(24, story(extent), |story| {
        let mut open: Vec<(world::FetchName, Duration)> = Vec::new();
        for (now, fact) in World::after(story).facts {
            match fact {
                Fact::FetchDispatched { fetch } => {
                    for (other, since) in &open {
                        let is_rival = other.provider == fetch.provider;
                        prop_assert!(!is_rival || now >= *since + GIVE_UP, "{fetch:?} {other:?}");
                    }
                    open.push((fetch, now));
                }
                Fact::FetchAnswered { fetch, .. } => open.retain(|(other, _)| *other != fetch),
                _ => {}
            }
        }
        Ok(())
    });
}

#[test]
fn every_paused_request_is_decided_or_closed_in_time() {
    check(24, story(Extent::EVERYTHING), |story| {
        let mut world = World::after(story);
        world.pass(MAX_TIMEOUT);

        let mut paused = BTreeMap::new();
        for (now, fact) in world.facts {
            match fact {
                Fact::Requested { request, .. } => {
                    paused.insert(request, (now, now + PATIENCE + MIN_TICK));
                }
                Fact::Closed { request } | Fact::Decided { request, .. } => {
                    let (since, until) = paused.remove(&request).expect("a request");
                    prop_assert!(now <= until, "{request} waited from {since:?} to {now:?}");
                }
                // How much of the wait was over by then cannot be known.
                Fact::ClockSteppedBack { .. } => {
                    paused.values_mut().for_each(|(_, until)| *until += PATIENCE);
                }
                _ => {}
            }
        }
        prop_assert!(paused.is_empty(), "{paused:?} hang");
        Ok(())
    });
}

#[test]
fn no_request_gets_two_verdicts_and_no_closed_one_gets_any() {
    check(24, story(Extent::EVERYTHING), |story| {
        let mut world = World::after(story);
        world.pass(MAX_TIMEOUT);

        let mut settled = Vec::new();
        for (_, fact) in world.facts {
            match fact {
                Fact::Closed { request } | Fact::Decided { request, .. } => {
                    prop_assert!(!settled.contains(&request), "{request}");
                    settled.push(request);
                }
                Fact::VerdictForNobody => prop_assert!(false, "a verdict for nobody"),
                _ => {}
            }
        }
        Ok(())
    });
}

#[test]
fn nothing_is_due_once_a_timeout_is_handled_and_nothing_is_absurdly_far() {
    check(24, story(Extent::EVERYTHING), |story| {
        let longest = story.settings.iter().map(|settings| settings.cache).max();
        for (now, fact) in World::after(story).facts {
            if let Fact::Drained { after_timeout, timeout } = fact {
                prop_assert!(!after_timeout || timeout > Duration::ZERO, "busy at {now:?}");
                prop_assert!(Some(timeout) <= longest, "sleeps for {timeout:?} at {now:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn unknown_kids_cause_three_fetches_per_cooldown_and_no_more() {
    check(24, flood(one_set()), |story| {
        let world = World::after(story);
        for (provider, settings) in story.settings.iter().enumerate() {
            let began = dispatched(&world, provider);
            // The fetch that was due anyway comes on top.
            let most = most_within(&began, settings.cooldown);
            prop_assert!(most <= 3 + 1, "{most}: {began:?}");
        }
        Ok(())
    });
}

#[test]
fn unknown_kids_cause_a_bounded_number_of_fetches_though_endpoints_disagree() {
    check(24, flood(some_set()), |story| {
        let world = World::after(story);
        for (provider, settings) in story.settings.iter().enumerate() {
            let began = dispatched(&world, provider);
            let stretch = settings.cache / 2;
            let rations = stretch.as_secs() / settings.cooldown.as_secs() + 1;
            // Each VM has surveys of its own, and those of two halves may meet.
            let surveys = 2 * 20 * story.vms;
            let most = most_within(&began, stretch);
            let bound = 3 * usize::try_from(rations).expect("few") + surveys + 1;
            prop_assert!(most <= bound, "{most} > {bound}: {began:?}");
        }
        Ok(())
    });
}

/// When the fetches of a provider began.
fn dispatched(world: &World, provider: usize) -> Vec<Duration> {
    let of_provider = |(now, fact): &(Duration, Fact)| match fact {
        Fact::FetchDispatched { fetch } if fetch.provider == provider => Some(*now),
        _ => None,
    };
    world.facts.iter().filter_map(of_provider).collect()
}

/// The most of these moments that fall into any stretch of time of this length.
fn most_within(moments: &[Duration], stretch: Duration) -> usize {
    let from = |begin: &Duration| {
        moments.iter().filter(|at| (*begin..*begin + stretch).contains(at)).count()
    };
    moments.iter().map(from).max().unwrap_or(0)
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    check(24, story(Extent::EVERYTHING), |story| {
        prop_assert_eq!(World::after(story).printed, World::deaf_to_strays(story).printed);
        Ok(())
    });
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    check(24, story(Extent::EVERYTHING), |story| {
        prop_assert_eq!(World::after(story).printed, World::after(story).printed);
        Ok(())
    });
}

#[test]
fn tokens_that_are_remembered_change_no_verdict_and_no_fetch() {
    check(24, story(Extent::EVERYTHING), |story| {
        let facts = World::forgetful(story).facts;
        prop_assert_eq!(format!("{:?}", World::after(story).facts), format!("{facts:?}"));
        Ok(())
    });
}

#[test]
fn nothing_that_is_printed_holds_a_part_of_a_token() {
    check(24, story(Extent::EVERYTHING), |story| {
        let printed = World::after(story).printed;
        for part in (0..PROVIDERS).flat_map(secrets) {
            prop_assert!(!printed.contains(part), "{part}");
        }
        Ok(())
    });
}

#[test]
fn whatever_happened_all_keys_are_there_soon_after_it_ends() {
    check(24, story(Extent::EVERYTHING), |story| {
        let mut world = World::after(story);
        let issuer = Issuer {
            replies: vec![Reply::Set { keys: 0b111, max_age: None }],
            latency: Some(Duration::from_millis(20)),
        };
        for provider in 0..PROVIDERS {
            world.apply(&Step::Issuer { provider, issuer: issuer.clone() });
        }
        // The longest pause between attempts, and the fetch that hung.
        world.pass(MAX_TIMEOUT + GIVE_UP);

        for vm in 0..world.vms() {
            for (provider, key) in (0..PROVIDERS).flat_map(|p| (0..KEYS).map(move |k| (p, k))) {
                let request = world.request(vm, provider, Token::Good { key });
                world.pass(PATIENCE);
                let code = world.code_of(request);
                prop_assert_eq!(code, Some("allowed"), "key {} of {}", key, provider);
            }
        }
        Ok(())
    });
}

#[test]
fn only_keys_that_were_published_lately_allow_anything() {
    check(24, story(Extent::EVERYTHING), |story| {
        let mut requests = BTreeMap::new();
        let mut trust = [[Trust::default(); KEYS]; PROVIDERS];
        for (now, fact) in World::after(story).facts {
            match fact {
                Fact::Requested { request, provider, token } => {
                    requests.insert(request, (provider, token));
                }
                Fact::FetchAnswered { fetch, reply: Reply::Set { keys, .. } } => {
                    let settings = &story.settings[fetch.provider];
                    for key in tokens::members(keys) {
                        let until = now + settings.cache + settings.stale;
                        trust[fetch.provider][key] = Trust { until, unknown: Duration::ZERO };
                    }
                }
                Fact::ClockSteppedBack { by } => {
                    for trust in trust.iter_mut().flatten() {
                        trust.until += by.min(MAX_TIMEOUT);
                        trust.unknown += by.saturating_sub(MAX_TIMEOUT);
                    }
                }
                Fact::VmStarted => {
                    for trust in trust.iter_mut().flatten() {
                        trust.until += std::mem::take(&mut trust.unknown);
                    }
                }
                Fact::Decided { request, code: "allowed" } => {
                    let (provider, token) = requests[&request];
                    let until = token.signer().map(|key| trust[provider][key].until);
                    prop_assert!(Some(now) < until, "{token:?} at {now:?}, not {until:?}");
                }
                _ => {}
            }
        }
        Ok(())
    });
}

/// The most that a key may be trusted.
#[derive(Clone, Copy, Default)]
struct Trust {
    until: Duration,
    /// How far the clock has stepped back, as far as only VMs know that were running then.
    unknown: Duration,
}

#[test]
fn a_vm_trusts_exactly_the_keys_that_the_model_trusts() {
    check(192, story(TRANQUIL), |story| {
        let mut models: Vec<_> = story.settings.iter().map(Model::new).collect();
        let mut paused = BTreeMap::new();
        for (now, fact) in World::after(story).facts {
            match fact {
                Fact::FetchDispatched { fetch } => models[fetch.provider].asked(fetch, now),
                Fact::FetchAnswered { fetch, reply } => {
                    models[fetch.provider].answered(fetch, &reply, now);
                }
                Fact::Requested { request, provider, token, .. } => {
                    paused.insert(request, (provider, token));
                }
                Fact::Closed { request } => {
                    paused.remove(&request);
                }
                Fact::Decided { request, code } => {
                    let (provider, token) = paused.remove(&request).expect("a request");
                    let model = &models[provider];
                    let is_usable =
                        |doubt| token.signer().is_some_and(|key| model.is_usable(key, doubt, now));
                    let context = format!("{code} for {token:?} at {now:?}: {model:?}");
                    match code {
                        "allowed" => prop_assert!(is_usable(Doubt::Generous), "{context}"),
                        _ => prop_assert!(!is_usable(Doubt::Strict), "{context}"),
                    }
                    if matches!(code, "key_unknown" | "signature_invalid") {
                        prop_assert!(model.has_usable_key(Doubt::Generous, now), "{context}");
                    }
                }
                // A request whose key is there does not wait.
                Fact::Drained { .. } => {
                    for (provider, token) in paused.values() {
                        let usable = token.signer().is_some_and(|key| {
                            models[*provider].is_usable(key, Doubt::Strict, now)
                        });
                        prop_assert!(!usable, "{token:?} waits at {now:?}");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    });
}
