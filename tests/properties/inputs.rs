//! Random sequences of everything that can happen to the VMs of a proxy.

use crate::tokens::{KEYS, Token};
use crate::world::PROVIDERS;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;
use std::time::Duration;

/// What the operator configured for one provider.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) cache: Duration,
    pub(crate) stale: Duration,
    pub(crate) cooldown: Duration,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Close {
        vm: usize,
        nth: usize,
    },
    /// So many writes to the shared data fail, as if another VM had been faster.
    Contend {
        writes: u32,
    },
    /// Something else writes to the shared data.
    Corrupt {
        provider: usize,
        how: Corruption,
    },
    /// From now on, the endpoints of an issuer behave like this.
    Issuer {
        provider: usize,
        issuer: Issuer,
    },
    /// The wall clock is put ahead.
    JumpAhead(Duration),
    Pass(Duration),
    Request {
        vm: usize,
        provider: usize,
        token: Token,
    },
    Restart {
        vm: usize,
    },
    /// An answer that nobody waits for: to a fetch of long ago, or to one that never was.
    Stray {
        vm: usize,
        nth: usize,
        reply: Reply,
    },
    /// Requests with a key just before its time is up, and then again.
    TryEnd {
        vm: usize,
        provider: usize,
        key: usize,
        end: End,
        again_after: Duration,
    },
    /// The wall clock is put back.
    TurnBack(Duration),
}

/// Of which time, counted from the latest publication.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Cache,
    Stale,
}

#[derive(Clone, Debug)]
pub(crate) struct Issuer {
    /// One for each endpoint.
    pub(crate) replies: Vec<Reply>,
    /// `None` when it hangs.
    pub(crate) latency: Option<Duration>,
    pub(crate) balancer: Balancer,
}

/// Which endpoint a fetch reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Balancer {
    Random,
    RoundRobin,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Error,
    Garbage,
    /// The keys whose bits are set, none of them perhaps.
    Set {
        keys: u8,
        max_age: Option<u32>,
    },
    Status(u16),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Corruption {
    Cut,
    Erase,
    Garbage,
    /// Puts back what once stood there.
    Replay,
}

/// What a sequence may hold besides requests, answers, closed streams and time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) most_vms: usize,
    pub(crate) clock_steps: bool,
    pub(crate) restarts: bool,
    pub(crate) corruption: bool,
}

impl Extent {
    pub(crate) const EVERYTHING: Self =
        Self { most_vms: 3, clock_steps: true, restarts: true, corruption: true };
}

#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) vms: usize,
    /// Of what is random in the world.
    pub(crate) seed: u64,
    pub(crate) settings: Vec<Settings>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn story(extent: Extent) -> impl Strategy<Value = Story> {
    (1..=extent.most_vms, any::<u64>(), vec(settings(), PROVIDERS), vec(step(extent), 1..40))
        .prop_map(|(vms, seed, settings, steps)| Story { vms, seed, settings, steps })
}

/// Issuers that always answer, good requests, and many that no key can help.
pub(crate) fn flood(
    replies: impl Strategy<Value = Reply> + 'static,
) -> impl Strategy<Value = Story> {
    let latency = prop_oneof![Just(0), Just(20), Just(1_500)].prop_map(Duration::from_millis);
    let issuer =
        (vec(replies, 1..4), latency, balancer()).prop_map(|(replies, latency, balancer)| Issuer {
            replies,
            latency: Some(latency),
            balancer,
        });
    let issuers = vec(issuer, PROVIDERS).prop_map(|issuers| {
        let steps = issuers.into_iter().enumerate();
        steps.map(|(provider, issuer)| Step::Issuer { provider, issuer }).collect::<Vec<_>>()
    });
    let token = prop_oneof![
        4 => (0..200_u32).prop_map(|number| Token::Junk { number }),
        1 => (0..KEYS).prop_map(|key| Token::Forged { key }),
        1 => (0..KEYS).prop_map(|key| Token::Good { key }),
        1 => (0..KEYS).prop_map(|key| Token::WithoutKid { key }),
    ];
    let request = (0..3_usize, 0..PROVIDERS, token)
        .prop_map(|(vm, provider, token)| Step::Request { vm, provider, token });
    let pass = prop_oneof![
        8 => 1..400_u64,
        2 => 400..4_000_u64,
        1 => 4_000..40_000_u64,
    ];
    let pass = pass.prop_map(|millis| Step::Pass(Duration::from_millis(millis)));
    let contend = (1..5_u32).prop_map(|writes| Step::Contend { writes });
    let restart = (0..4_usize).prop_map(|vm| Step::Restart { vm });
    let steps = vec(prop_oneof![30 => request, 20 => pass, 2 => contend, 1 => restart], 1..120);
    (1..=4_usize, any::<u64>(), vec(settings(), PROVIDERS), issuers, steps).prop_map(
        |(vms, seed, settings, issuers, steps)| Story {
            vms,
            seed,
            settings,
            steps: issuers.into_iter().chain(steps).collect(),
        },
    )
}

/// The same set at every endpoint, with at least one key.
pub(crate) fn one_set() -> impl Strategy<Value = Reply> {
    Just(Reply::Set { keys: 0b011, max_age: None })
}

/// Every key that there is, at every endpoint.
pub(crate) fn all_keys() -> impl Strategy<Value = Reply> {
    Just(Reply::Set { keys: (1 << KEYS) - 1, max_age: None })
}

/// Any set with at least one key.
pub(crate) fn some_set() -> impl Strategy<Value = Reply> {
    (1..1_u8 << KEYS).prop_map(|keys| Reply::Set { keys, max_age: None })
}

fn settings() -> impl Strategy<Value = Settings> {
    let seconds =
        |choices: &'static [u64]| proptest::sample::select(choices).prop_map(Duration::from_secs);
    (seconds(&[60, 600]), seconds(&[0, 120, 3_600]), seconds(&[5, 10]))
        .prop_map(|(cache, stale, cooldown)| Settings { cache, stale, cooldown })
}

fn step(extent: Extent) -> impl Strategy<Value = Step> {
    let vm = 0..extent.most_vms;
    let provider = 0..PROVIDERS;
    let weight = |is_allowed, weight| if is_allowed { weight } else { 0 };
    prop_oneof![
        10 => (vm.clone(), provider.clone(), token())
            .prop_map(|(vm, provider, token)| Step::Request { vm, provider, token }),
        8 => duration().prop_map(Step::Pass),
        6 => (provider.clone(), issuer())
            .prop_map(|(provider, issuer)| Step::Issuer { provider, issuer }),
        6 => try_end(vm.clone()),
        2 => prop_oneof![
            (vm.clone(), 0..8_usize).prop_map(|(vm, nth)| Step::Close { vm, nth }),
            (1..20_u32).prop_map(|writes| Step::Contend { writes }),
        ],
        2 => (vm.clone(), 0..32_usize, reply())
            .prop_map(|(vm, nth, reply)| Step::Stray { vm, nth, reply }),
        weight(extent.restarts, 1) => vm.prop_map(|vm| Step::Restart { vm }),
        weight(extent.corruption, 1) => (provider, corruption())
            .prop_map(|(provider, how)| Step::Corrupt { provider, how }),
        weight(extent.clock_steps, 1) => duration().prop_map(Step::TurnBack),
        weight(extent.clock_steps, 1) => duration().prop_map(Step::JumpAhead),
    ]
}

fn try_end(vm: Range<usize>) -> impl Strategy<Value = Step> {
    let end = prop_oneof![Just(End::Cache), Just(End::Stale)];
    // The longer one is more than what an unseen step of the clock is worth.
    let again_after = prop_oneof![Just(1), Just(70_000)].prop_map(Duration::from_millis);
    (vm, 0..PROVIDERS, 0..KEYS, end, again_after).prop_map(
        |(vm, provider, key, end, again_after)| Step::TryEnd {
            vm,
            provider,
            key,
            end,
            again_after,
        },
    )
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![
        8 => (0..KEYS).prop_map(|key| Token::Good { key }),
        2 => (0..KEYS).prop_map(|key| Token::WithoutKid { key }),
        2 => (0..KEYS).prop_map(|key| Token::Forged { key }),
        3 => (0..20_u32).prop_map(|number| Token::Junk { number }),
    ]
}

fn issuer() -> impl Strategy<Value = Issuer> {
    // 4.9 s is just in time, and 7 s too late.
    let latency = prop_oneof![
        4 => proptest::sample::select(&[0, 20, 400, 2_000, 4_900, 7_000][..]).prop_map(Some),
        1 => Just(None),
    ];
    let replies = prop_oneof![
        3 => vec(reply(), 1..=3),
        1 => failure().prop_map(|failure| vec![failure]),
    ];
    (replies, latency, balancer()).prop_map(|(replies, latency, balancer)| Issuer {
        replies,
        latency: latency.map(Duration::from_millis),
        balancer,
    })
}

fn balancer() -> impl Strategy<Value = Balancer> {
    prop_oneof![Just(Balancer::Random), Just(Balancer::RoundRobin)]
}

fn reply() -> impl Strategy<Value = Reply> {
    let max_age = prop_oneof![3 => Just(None), 1 => (0..1_000_u32).prop_map(Some)];
    prop_oneof![
        6 => (0..1_u8 << KEYS, max_age).prop_map(|(keys, max_age)| Reply::Set { keys, max_age }),
        3 => failure(),
    ]
}

fn failure() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Garbage),
        Just(Reply::Error),
        proptest::sample::select(&[204, 301, 404, 503][..]).prop_map(Reply::Status),
    ]
}

fn corruption() -> impl Strategy<Value = Corruption> {
    prop_oneof![
        Just(Corruption::Cut),
        Just(Corruption::Erase),
        Just(Corruption::Garbage),
        Just(Corruption::Replay),
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    let millis = prop_oneof![
        3 => 1..1_000_u64,
        4 => 1_000..30_000_u64,
        3 => 30_000..1_200_000_u64,
        1 => 1_200_000..6_000_000_u64,
    ];
    millis.prop_map(Duration::from_millis)
}
