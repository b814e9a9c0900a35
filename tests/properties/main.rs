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
#[path = "../support/shared_store.rs"]
mod shared_store;
mod tokens;
mod world;

use inputs::{
    Balancer, Extent, Issuer, Reply, Settings, Step, Story, all_keys, flood, one_set, some_set,
    story,
};
use mesh_jwt::engine::MAX_TIMEOUT;
use model::{Doubt, Model};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokens::{KEYS, Token, members, secrets};
use world::{Fact, GIVE_UP, MIN_TICK, PATIENCE, PROVIDERS, World};

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

/// The most fetches of a provider that are under way at once, in all VMs of the proxy.
fn most_at_once(world: &World, provider: usize) -> usize {
    let mut under_way: Vec<(world::FetchName, Duration)> = Vec::new();
    let mut most = 0;
    for (now, fact) in world.facts() {
        match fact {
            Fact::FetchDispatched { fetch } if fetch.provider == provider => {
                under_way.retain(|(_, since)| *now < *since + GIVE_UP);
                under_way.push((*fetch, *now));
                most = most.max(under_way.len());
            }
            Fact::FetchAnswered { fetch, .. } => under_way.retain(|(other, _)| other != fetch),
            _ => {}
        }
    }
    most
}

#[test]
fn a_proxy_has_at_most_eight_fetches_under_way_per_provider() {
    let extent = Extent { clock_steps: false, corruption: false, ..Extent::EVERYTHING };
    check(24, story(extent), |story| {
        let world = World::after(story);
        for provider in 0..PROVIDERS {
            prop_assert!(most_at_once(&world, provider) <= 8);
        }
        Ok(())
    });
}

#[test]
fn a_proxy_that_nobody_asks_for_a_key_has_at_most_one_fetch_under_way_per_provider() {
    let extent = Extent { clock_steps: false, corruption: false, ..Extent::EVERYTHING };
    check(24, story(extent), |story| {
        let mut story = story.clone();
        story.steps.retain(|step| !matches!(step, Step::Request { .. } | Step::TryEnd { .. }));
        let world = World::after(&story);
        for provider in 0..PROVIDERS {
            prop_assert!(most_at_once(&world, provider) <= 1);
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
        for (now, fact) in world.facts().iter().cloned() {
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
        for (_, fact) in world.facts().iter().cloned() {
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
        for (now, fact) in World::after(story).facts().iter().cloned() {
            if let Fact::CarriedOut { after_timeout, timeout } = fact {
                prop_assert!(!after_timeout || timeout > Duration::ZERO, "busy at {now:?}");
                prop_assert!(Some(timeout) <= longest, "sleeps for {timeout:?} at {now:?}");
            }
        }
        Ok(())
    });
}

/// The most fetches on account of missing keys: a burst of 30, and 40 in each cooldown. Each new key
/// allows another burst.
fn most_searches(settings: &Settings, stretch: Duration, new_keys: usize) -> usize {
    let interval = settings.cooldown / 40;
    let regained = stretch.as_nanos() / interval.as_nanos() + 1;
    30 * (1 + new_keys) + usize::try_from(regained).expect("few")
}

#[test]
fn missing_keys_cause_a_bounded_number_of_fetches() {
    check(24, flood(one_set()), |story| {
        let world = World::after(story);
        for (provider, settings) in story.settings.iter().enumerate() {
            let began = dispatched(&world, provider);
            for stretch in [1, 10, 60, 600].map(Duration::from_secs) {
                // Each refresh comes with two probes, and the first one with four.
                let refreshes = stretch.as_secs() / (settings.cache.as_secs() * 7 / 10) + 1;
                let refreshes = 5 + 3 * usize::try_from(refreshes).expect("few");
                // The first set is news, too.
                let bound = most_searches(settings, stretch, 1) + refreshes;
                let most = most_within(&began, stretch);
                prop_assert!(most <= bound, "{most} > {bound} in {stretch:?}: {began:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn missing_keys_cause_a_bounded_number_of_fetches_though_endpoints_disagree() {
    check(24, flood(some_set()), |story| {
        let world = World::after(story);
        for (provider, settings) in story.settings.iter().enumerate() {
            let began = dispatched(&world, provider);
            let stretch = settings.cache / 2;
            // Surveys of two halves may meet.
            let surveys = 2 * 20 + 2 * 5;
            let bound = most_searches(settings, stretch, KEYS) + surveys;
            let most = most_within(&began, stretch);
            prop_assert!(most <= bound, "{most} > {bound}: {began:?}");
        }
        Ok(())
    });
}

/// The guarantee, whatever else is asked for and by whom.
#[test]
fn a_token_is_refused_for_want_of_a_key_only_on_fetches_that_began_after_it_came() {
    let extent = Extent { clock_steps: false, corruption: false, ..Extent::EVERYTHING };
    let stories = prop_oneof![
        2 => flood(some_set()).boxed(),
        1 => story(extent).boxed(),
    ];
    check(96, stories, |story| {
        let mut open: BTreeMap<u32, Open> = BTreeMap::new();
        let mut fetches: BTreeMap<(u32, u32), Duration> = BTreeMap::new();
        for (order, (now, fact)) in World::after(story).facts().iter().enumerate() {
            match fact {
                Fact::Requested { request, provider, token } => {
                    let signer = token.signer();
                    let open_now =
                        Open { provider: *provider, since: order, signer, sets: Vec::new() };
                    open.insert(*request, open_now);
                }
                Fact::FetchDispatched { fetch } => {
                    fetches.insert(fetch.number(), *now);
                    for request in open.values_mut().filter(|r| r.provider == fetch.provider) {
                        request.sets.push((*fetch, None));
                    }
                }
                // What comes too late is not heard.
                Fact::FetchAnswered { fetch, reply: Reply::Set { keys, .. } }
                    if *now < fetches[&fetch.number()] + GIVE_UP =>
                {
                    let asked = open.values_mut().flat_map(|request| &mut request.sets);
                    for (_, answer) in asked.filter(|(asked, _)| asked == fetch) {
                        *answer = Some(*keys);
                    }
                }
                Fact::Closed { request } => _ = open.remove(request),
                Fact::Decided { request, code } => {
                    let Some(Open { signer, sets, since, .. }) = open.remove(request) else {
                        continue;
                    };
                    if !matches!(*code, "key_unknown" | "signature_invalid") {
                        continue;
                    }
                    let answers: Vec<_> = sets.iter().filter_map(|(_, keys)| *keys).collect();
                    let sets: BTreeSet<_> = answers.iter().filter(|keys| **keys != 0).collect();
                    let with_keys = answers.iter().filter(|keys| **keys != 0).count();
                    let enough = enough(sets.len());
                    prop_assert!(with_keys >= enough, "{with_keys} answers at {now:?} for {since}");
                    if let Some(key) = signer {
                        let has_key = answers.iter().any(|keys| members(*keys).any(|k| k == key));
                        prop_assert!(!has_key, "refused at {now:?} though the key was there");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    });
}

/// A request without a verdict: which fetches began since it came, and what they brought.
struct Open {
    provider: usize,
    since: usize,
    signer: Option<usize>,
    sets: Vec<(world::FetchName, Option<u8>)>,
}

/// How many answers make it improbable that an endpoint was missed: out of three, or of one more than
/// have shown that they do not have the key.
fn enough(sets: usize) -> usize {
    let (endpoints, improbable) = if sets < 3 { (3.0, 1e-3) } else { (sets as f64 + 1.0, 1e-4) };
    let missed = |answers: &usize| f64::powf(1.0 - 1.0 / endpoints, *answers as f64);
    (0..).find(|answers| missed(answers) < improbable).expect("enough of them")
}

#[test]
fn a_key_that_every_endpoint_publishes_is_found_whatever_else_is_asked_for() {
    check(48, flood(all_keys()), |story| {
        let mut story = story.clone();
        for step in &mut story.steps {
            if let Step::Issuer { issuer, .. } = step {
                issuer.latency = issuer.latency.map(|latency| latency.min(MAX_LATENCY));
            }
        }
        let mut world = World::after(&story);
        world.pass(PATIENCE);
        let mut good = Vec::new();
        for (_, fact) in world.facts() {
            match fact {
                Fact::Requested { request, token, .. } if token.signer().is_some() => {
                    good.push(*request);
                }
                Fact::Decided { request, code } if good.contains(request) => {
                    prop_assert_eq!(*code, "allowed", "request {}", request);
                    good.retain(|other| other != request);
                }
                Fact::Closed { request } => good.retain(|other| other != request),
                _ => {}
            }
        }
        prop_assert!(good.is_empty(), "{good:?} hang");
        Ok(())
    });
}

/// A fraction of how long requests wait.
const NOTICEABLE: Duration = Duration::from_secs(1);

/// So that there is time for a second answer.
const MAX_LATENCY: Duration = Duration::from_millis(500);

#[test]
fn what_happens_to_one_provider_changes_no_verdict_of_another() {
    let extent = Extent { clock_steps: false, restarts: false, ..Extent::EVERYTHING };
    let stories = prop_oneof![flood(some_set()).boxed(), story(extent).boxed()];
    check(48, stories, |story| {
        let mut story = story.clone();
        // They concern whatever provider writes next, and which endpoint comes next for all.
        story.steps.retain(|step| !matches!(step, Step::Contend { .. } | Step::Stray { .. }));
        for step in &mut story.steps {
            if let Step::Issuer { issuer, .. } = step {
                issuer.replies.truncate(1);
            }
        }
        let mut alone = story.clone();
        alone.steps.retain(|step| match step {
            Step::Request { provider, .. }
            | Step::Issuer { provider, .. }
            | Step::Corrupt { provider, .. } => *provider == 0,
            _ => true,
        });
        // Which of them it closes depends on how many wait.
        for steps in [&mut story.steps, &mut alone.steps] {
            steps.retain(|step| !matches!(step, Step::Close { .. } | Step::TryEnd { .. }));
        }
        let verdicts = |story: &Story| {
            let mut world = World::after(story);
            world.pass(PATIENCE);
            let mut verdicts = BTreeMap::new();
            for (now, fact) in world.facts() {
                match fact {
                    Fact::Requested { request, provider: 0, .. } => {
                        verdicts.insert(*request, (*now, None));
                    }
                    Fact::Decided { request, code } => {
                        let decided = |verdict: &mut (Duration, Option<&str>)| {
                            *verdict = (*now, Some(*code));
                        };
                        verdicts.entry(*request).and_modify(decided);
                    }
                    _ => {}
                }
            }
            verdicts.into_values().collect::<Vec<_>>()
        };
        let (with_others, alone) = (verdicts(&story), verdicts(&alone));
        prop_assert_eq!(with_others.len(), alone.len());
        for ((at, verdict), (alone_at, alone)) in with_others.into_iter().zip(alone) {
            prop_assert_eq!(verdict, alone);
            // Timers are set in whole milliseconds, and which VM is the first to fetch may depend on
            // that, with the pauses that it chooses.
            let apart = at.abs_diff(alone_at);
            prop_assert!(apart <= NOTICEABLE, "at {:?}, alone at {:?}", at, alone_at);
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
    world.facts().iter().filter_map(of_provider).collect()
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
        let (world, deaf) = (World::after(story), World::deaf_to_strays(story));
        prop_assert_eq!(world.printed(), deaf.printed());
        Ok(())
    });
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    check(24, story(Extent::EVERYTHING), |story| {
        let (world, again) = (World::after(story), World::after(story));
        prop_assert_eq!(world.printed(), again.printed());
        Ok(())
    });
}

#[test]
fn tokens_that_are_remembered_change_no_verdict_and_no_fetch() {
    check(24, story(Extent::EVERYTHING), |story| {
        let facts = |world: World| format!("{:?}", world.facts());
        prop_assert_eq!(facts(World::after(story)), facts(World::forgetful(story)));
        Ok(())
    });
}

#[test]
fn nothing_that_is_printed_holds_a_part_of_a_token() {
    check(24, story(Extent::EVERYTHING), |story| {
        let world = World::after(story);
        let printed = world.printed();
        for part in (0..PROVIDERS).flat_map(secrets) {
            prop_assert!(!printed.contains(part), "{part}");
        }
        Ok(())
    });
}

#[test]
fn counters_show_every_verdict_within_half_a_second() {
    check(100, story(Extent::EVERYTHING), |story| {
        let mut world = World::after(story);
        world.pass(MAX_TIMEOUT);

        let mut verdicts = 0;
        for (_, fact) in world.facts() {
            match fact {
                Fact::Decided { .. } => verdicts += 1,
                Fact::Told { after } => prop_assert!(*after <= TELL_WITHIN, "{after:?}"),
                _ => {}
            }
        }
        prop_assert_eq!(world.verdicts_counted(), verdicts);
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
            balancer: Balancer::Random,
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
        for (now, fact) in World::after(story).facts().iter().cloned() {
            match fact {
                Fact::Requested { request, provider, token } => {
                    requests.insert(request, (provider, token));
                }
                Fact::FetchAnswered { fetch, reply: Reply::Set { keys, .. } } => {
                    let settings = &story.settings[fetch.provider];
                    for key in members(keys) {
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
        for (now, fact) in World::after(story).facts().iter().cloned() {
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
                Fact::CarriedOut { .. } => {
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

/// Half a second, and the shortest timer: what was to come with one tick may come with the next.
const TELL_WITHIN: Duration = Duration::from_millis(501);
