//! What a check costs, beside Envoy's own jwt_authn and beside no check at all.
//!
//! All systems run in one Envoy, each with a listener and a VM of its own, and take turns under load: so
//! they share a layout of memory, and what else happens on the machine happens to all of them. Linux
//! only, for its accounting of CPU time.

mod cpus;
mod figures;
mod load;
mod measure;
pub(crate) mod profile;
mod replay;
mod report;
mod scaling;
mod startup;
mod switch;
mod systems;
mod tokens;
mod wrk;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use lab::checkout;
use serde::Serialize;

use cpus::Cpus;
use figures::{About, Results};
use load::{Load, Pace, Sample};
use measure::Memory;
use scaling::Point;
use systems::{System, Target, Upstream};
use tokens::Tokens;

/// Measure what a check costs, beside Envoy's own jwt_authn and beside no check at all.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(default_value = "short")]
    mode: Mode,
    /// Instead of the mode's.
    #[arg(long)]
    rounds: Option<u32>,
    /// Of every run, instead of the mode's.
    #[arg(long)]
    seconds: Option<f64>,
}

#[derive(Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Over in a minute and a half.
    Short,
    /// For figures to publish.
    Full,
}

#[derive(Clone, Copy, Serialize)]
struct Plan {
    mode: Mode,
    rounds: u32,
    /// Of one run, of which there is one for each system and load in each round.
    saturated_seconds: f64,
    paced_seconds: f64,
    /// Of Envoy, to see how long it takes.
    starts: u32,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        bench(&self.plan())?;
        Ok(ExitCode::SUCCESS)
    }

    fn plan(&self) -> Plan {
        let (rounds, saturated, paced, starts) = match self.mode {
            Mode::Short => (3, 0.2, 0.15, 1),
            Mode::Full => (7, 2.0, 2.0, 3),
        };
        Plan {
            mode: self.mode,
            rounds: self.rounds.unwrap_or(rounds),
            saturated_seconds: self.seconds.unwrap_or(saturated),
            paced_seconds: self.seconds.unwrap_or(paced),
            starts,
        }
    }
}

fn bench(plan: &Plan) -> Result<()> {
    let directory = checkout::target().join("bench");
    let cpus = Cpus::of_this_process()?;
    say("signing tokens")?;
    let tokens = Tokens::sign(&directory.join("tokens"), &scaling::token_sizes(plan.mode))?;
    let compared = systems::compared()?;
    let points = scaling::points(plan.mode)?;
    let logs = directory.join("logs");
    let upstream = Upstream::start(&logs, &cpus)?;
    say("starting Envoy")?;
    let start = |system: &System, workers| {
        Target::start(&logs, [system], upstream.address(), workers, &cpus)
    };
    let starts = startup::measure(plan.starts, &compared, &tokens, start)?;
    let memory = measure_memory(&compared, &tokens, &cpus, start)?;
    say("starting Envoy with all of them")?;
    let all = compared.iter().chain(points.iter().map(|point| &point.system));
    let mut target = Target::start(&logs, all, upstream.address(), 1, &cpus)?;
    let records = take_turns(plan, &mut target, &compared, &points, &tokens, &cpus)?;
    drop(target);
    say("throwing the switch")?;
    let switch = switch::measure(plan, &logs, &upstream, &tokens, &cpus)?;
    let about = About::of(plan, &records, &cpus)?;
    let results = Results::of(about, records, &points, &memory, &starts, switch);
    publish(&results, &directory)
}

/// What a process of each system takes that has been under load: with one worker, and with several.
fn measure_memory(
    compared: &[System],
    tokens: &Tokens,
    cpus: &Cpus,
    start: impl Fn(&System, u32) -> Result<Target>,
) -> Result<Vec<(String, Memory, Option<Memory>)>> {
    let cold = tokens.cold();
    let loaded = |system: &System, workers: u32| {
        let mut target = start(system, workers)?;
        // Enough for each worker to have seen more tokens than it remembers.
        let seconds = 0.3 + 0.2 * f64::from(workers);
        load::warm_up(&mut target, &system.name, &cold, cpus)?;
        load::run(&mut target, &system.name, &cold, seconds, Pace::Saturated, cpus)?;
        target.memory()
    };
    let of = |system: &System| {
        let is_crowded = systems::CROWDED.contains(&system.name.as_str());
        let crowd = is_crowded.then(|| loaded(system, systems::CROWD)).transpose()?;
        Ok((system.name.clone(), loaded(system, 1)?, crowd))
    };
    compared.iter().map(of).collect()
}

fn publish(results: &Results, directory: &Path) -> Result<()> {
    let text = report::markdown(results);
    let json = serde_json::to_string_pretty(results)?;
    for (name, content) in [("report.md", &text), ("report.json", &json)] {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    let mut output = io::stdout();
    writeln!(output, "\n{text}")?;
    output.flush()?;
    let shown = directory.strip_prefix(checkout::root()).unwrap_or(directory);
    say(&format!("the same is in report.md and report.json in {}", shown.display()))
}

/// What one system did in one run.
#[derive(Serialize)]
struct Record {
    round: u32,
    phase: &'static str,
    load: String,
    system: String,
    #[serde(flatten)]
    sample: Sample,
}

struct Phase<'a> {
    name: &'static str,
    /// Systems and loads.
    runs: &'a [(String, Load)],
    seconds: f64,
    pace: Pace,
}

/// One record for each run, with the runs of all systems interleaved.
fn take_turns(
    plan: &Plan,
    target: &mut Target,
    compared: &[System],
    points: &[Point],
    tokens: &Tokens,
    cpus: &Cpus,
) -> Result<Vec<Record>> {
    let all_of =
        |load: Load| compared.iter().map(move |system| (system.name.clone(), load.clone()));
    let matrix: Vec<_> = tokens.loads().into_iter().flat_map(all_of).collect();
    let scaled = scaling::runs(points, tokens);
    say("warming up")?;
    let both: BTreeMap<_, _> =
        matrix.iter().chain(&scaled).map(|(system, load)| ((system, &load.name), load)).collect();
    for ((system, _), load) in both {
        load::warm_up(target, system, load, cpus)?;
    }
    let (saturated, paced) = (plan.saturated_seconds, plan.paced_seconds);
    let phases = [
        Phase { name: "saturated", runs: &matrix, seconds: saturated, pace: Pace::Saturated },
        Phase { name: "paced", runs: &matrix, seconds: paced, pace: Pace::Paced },
        Phase { name: "scaling", runs: &scaled, seconds: saturated, pace: Pace::Saturated },
    ];
    let mut records = Vec::new();
    for round in 1..=plan.rounds {
        say(&format!("round {round} of {}", plan.rounds))?;
        for phase in &phases {
            phase.play(round, target, cpus, &mut records)?;
        }
    }
    Ok(records)
}

impl Phase<'_> {
    fn play(
        &self,
        round: u32,
        target: &mut Target,
        cpus: &Cpus,
        records: &mut Vec<Record>,
    ) -> Result<()> {
        for (system, load) in self.runs {
            let sample = load::run(target, system, load, self.seconds, self.pace, cpus)?;
            let (load, system) = (load.name.clone(), system.clone());
            records.push(Record { round, phase: self.name, load, system, sample });
        }
        Ok(())
    }
}

fn say(what: &str) -> Result<()> {
    Ok(writeln!(io::stderr(), "bench: {what}")?)
}
