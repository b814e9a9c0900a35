//! Replays the incident that mesh-jwt exists for.

mod filters;
mod report;
mod stage;
mod traffic;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::checkout;

use report::Outcome;
use stage::Stage;

/// Replay the incident that mesh-jwt exists for, and print what Envoy's own jwt_authn and mesh-jwt make
/// of it: they run in the same Envoy and get the same good requests at the same time.
///
/// Exits with 1 if mesh-jwt refuses one of them.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

impl Arguments {
    #[expect(clippy::unused_self, reason = "like the other commands")]
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let scenarios = (1..).zip(&SCENARIOS).map(|(number, scenario)| scenario.replay(number));
        let outcomes = scenarios.collect::<Result<Vec<_>>>()?;
        report::print_table(&outcomes)?;
        report::print_refusals(&outcomes)
    }
}

struct Scenario {
    name: &'static str,
    pods: usize,
    /// What all pods call their keys, though each has its own.
    shared_kid: Option<&'static str>,
    play: fn(&mut Stage) -> Result<()>,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "1 pod", pods: 1, shared_kid: None, play: steady },
    Scenario {
        name: "2 pods, keys with the same `kid`",
        pods: 2,
        shared_kid: Some("main"),
        play: steady,
    },
    Scenario { name: "2 pods, a `kid` each", pods: 2, shared_kid: None, play: steady },
    Scenario { name: "5 pods, a `kid` each", pods: 5, shared_kid: None, play: steady },
    Scenario {
        name: "key rotation, from the new key on",
        pods: 1,
        shared_kid: None,
        play: rotation,
    },
    Scenario {
        name: "outage, once the cache has expired",
        pods: 1,
        shared_kid: None,
        play: outage,
    },
];

fn steady(stage: &mut Stage) -> Result<()> {
    stage.run_for(Duration::from_secs(8))
}

fn rotation(stage: &mut Stage) -> Result<()> {
    stage.run_for(Duration::from_secs(2))?;
    stage.restart_pods()?;
    stage.count_from_now();
    // What a key that nobody publishes has signed is good for one cache duration more: until then
    // the tokens of both keys have to pass.
    stage.run_until(CACHE_DURATION - Duration::from_secs(1))
}

fn outage(stage: &mut Stage) -> Result<()> {
    stage.run_for(Duration::from_secs(1))?;
    stage.stop_pods();
    stage.run_for(CACHE_DURATION + Duration::from_secs(1))?;
    stage.count_from_now();
    stage.run_for(Duration::from_secs(5))
}

impl Scenario {
    fn replay(&self, number: usize) -> Result<Outcome> {
        writeln!(io::stderr(), "[{number}/{}] {} ...", SCENARIOS.len(), self.name)?;
        let logs = checkout::root().join(LOGS).join(number.to_string());
        fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let mut stage = Stage::set(&logs, self)?;
        (self.play)(&mut stage)?;
        stage.outcome(self.name)
    }
}

/// Minutes outside a demo. The same for all filters.
const CACHE_DURATION: Duration = Duration::from_secs(10);
const LOGS: &str = ".cache/demo";
