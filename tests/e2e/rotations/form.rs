//! The short form and the long one: which setups are run, how often, and what is said about them.

use std::env;
use std::str::FromStr;
use std::sync::Once;
use std::time::Duration;

use super::setup::{Crypto, Kids, Setup};
use super::tally::{HEAD, Row, Tally};
use lab::resources::Balancer;

/// How often the long form repeats each scenario; `None`: this is the short one.
pub(super) fn repetitions() -> Option<usize> {
    variable("ROTATIONS")
}

/// How long something takes in the short form and in the long one.
pub(super) fn either(short: Duration, long: Duration) -> Duration {
    repetitions().map_or(short, |_| long)
}

/// Between the restarts of a rolling one.
pub(super) fn gap() -> Duration {
    variable("ROTATIONS_GAP").map_or(GAP, Duration::from_secs_f64)
}

/// Between restarts that have nothing to do with each other.
pub(super) fn pause() -> Duration {
    let default = || either(SHORT_PAUSE, LONG_PAUSE);
    variable("ROTATIONS_PAUSE").map_or_else(default, Duration::from_secs_f64)
}

/// What the short form is to run, given as pods, workers, `kid`s and crypto; or what the variables
/// of the long form come to.
pub(super) fn setups(balancer: Balancer, short: &[(usize, u32, Kids, Crypto)]) -> Vec<Setup> {
    if repetitions().is_none() {
        let setup =
            |&(pods, workers, kids, crypto)| Setup { balancer, pods, workers, kids, crypto };
        return short.iter().map(setup).collect();
    }
    let mut setups = Vec::new();
    for pods in list("ROTATIONS_PODS", &[2, 3]) {
        for kids in list("ROTATIONS_KIDS", &[Kids::Own, Kids::Shared]) {
            for workers in list("ROTATIONS_WORKERS", &[2]) {
                for crypto in list("ROTATIONS_CRYPTO", &[Crypto::Host]) {
                    setups.push(Setup { balancer, pods, workers, kids, crypto });
                }
            }
        }
    }
    setups
}

/// The same beside junk, where the row says how many pods there are and what they call their keys.
pub(super) fn setups_beside_junk(pods: usize, kids: Kids) -> Vec<Setup> {
    if repetitions().is_none() {
        let (balancer, crypto) = (Balancer::Random, Crypto::Host);
        return vec![Setup { balancer, pods, workers: 2, kids, crypto }];
    }
    let mut setups = Vec::new();
    for balancer in list("ROTATIONS_JUNK_BALANCERS", &[Balancer::Random]) {
        for workers in list("ROTATIONS_WORKERS", &[1, 2]) {
            for crypto in list("ROTATIONS_CRYPTO", &[Crypto::Host]) {
                setups.push(Setup { balancer, pods, workers, kids, crypto });
            }
        }
    }
    setups
}

/// Runs a scenario with each setup, and fails the test if a good request was refused: after the
/// first one in the short form, after all in the long one.
pub(super) fn run(scenario: &str, setups: Vec<Setup>, observe: impl Fn(&Setup) -> Tally) {
    let is_long = repetitions().is_some();
    let mut failed = Vec::new();
    for (number, setup) in setups.into_iter().enumerate() {
        let row = Row { scenario, setup, tally: observe(&setup) };
        if is_long {
            if number == 0 {
                // The test's name has begun a line.
                println!();
            }
            static ONCE: Once = Once::new();
            ONCE.call_once(|| println!("{HEAD}"));
            println!("{row}");
        }
        if let Some(failure) = row.failure() {
            assert!(is_long, "{HEAD}\n{failure}");
            failed.push(failure);
        }
    }
    assert!(failed.is_empty(), "not every good request passed:\n{}", failed.join("\n"));
}

fn list<T: Copy + FromStr>(name: &str, default: &[T]) -> Vec<T> {
    let parse = |part: &str| part.trim().parse().ok().unwrap_or_else(|| unreadable(name, part));
    env::var(name).map_or_else(|_| default.to_vec(), |list| list.split(',').map(parse).collect())
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().ok().unwrap_or_else(|| unreadable(name, &text)))
}

fn unreadable<T>(name: &str, text: &str) -> T {
    panic!("{name} cannot be {text:?}")
}

const GAP: Duration = Duration::from_millis(1500);
const SHORT_PAUSE: Duration = Duration::from_millis(500);
const LONG_PAUSE: Duration = Duration::from_secs(3);
