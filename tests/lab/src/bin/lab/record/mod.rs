//! Records what Prometheus would see of the filter while things go well, and while they go wrong.
//!
//! The tests in `tests/alerts` hold the alert rules against these series. Their time is stretched:
//! the durations of the configuration are `--speed` times shorter than those that a scenario is
//! about, and what is scraped counts as scraped that many times later. So rates are that many times
//! lower than they were, and what the filter itself fixes (a back-off of up to a minute, waits of up
//! to 3 s, the budget of searches) looks that many times longer.

mod scenarios;
mod series;
mod stage;
mod test_file;
mod traffic;

use std::fs;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::builder::PossibleValuesParser;
use lab::checkout;

use scenarios::{SCENARIOS, Scenario};
use stage::Stage;

/// Record the series that the alert rules are tested with, from a real Envoy with the filter.
///
/// All of them are written to `.cache/record/NAME.om`, for `promtool tsdb create-blocks-from
/// openmetrics`; those that rules ask for replace the ones in `tests/alerts/NAME.yaml`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to record, all at once; everything, unless told otherwise.
    #[arg(value_parser = PossibleValuesParser::new(SCENARIOS.map(|scenario| scenario.name)))]
    scenarios: Vec<String>,
    /// How many seconds in the series each second of the recording stands for.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=60))]
    speed: u32,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let is_asked_for = |scenario: &&Scenario| {
            self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == scenario.name)
        };
        let asked: Vec<_> = SCENARIOS.iter().filter(is_asked_for).collect();
        let results: Vec<_> = thread::scope(|scope| {
            let run = |scenario| scope.spawn(move || record(scenario, self.speed));
            let runs: Vec<_> = asked.iter().copied().map(run).collect();
            runs.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for (result, scenario) in results.into_iter().zip(asked) {
            let Ok(result) = result else { bail!("{}: the recorder panicked", scenario.name) };
            result.with_context(|| scenario.name.to_owned())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn record(scenario: &Scenario, speed: u32) -> Result<()> {
    let Scenario { name, play, .. } = scenario;
    let directory = checkout::root().join(RECORDS).join(name);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let mut stage = Stage::set(&directory, scenario, speed)?;
    play(&mut stage)?;
    let series = stage.finish();

    let all = checkout::root().join(RECORDS).join(format!("{name}.om"));
    fs::write(&all, series.open_metrics()).with_context(|| all.display().to_string())?;
    let test = checkout::root().join("tests/alerts").join(format!("{name}.yaml"));
    let kept = test_file::update(&test, &series, speed)?;
    Ok(writeln!(io::stderr(), "{name}: {kept} series in {}", test.display())?)
}

const RECORDS: &str = ".cache/record";
