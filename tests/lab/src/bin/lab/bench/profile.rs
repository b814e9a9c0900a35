//! `lab profile`: what each call of the host costs.
//!
//! Every part of the filter is left out once, of the very module that is shipped, and once made many
//! times over. All those modules run in one Envoy, so that they differ in nothing else, and take turns
//! under load. What is left out is missed in caches as cold as a request leaves them. What is repeated
//! finds them warm, and a header or a value that is there already or no more.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lab::checkout;
use serde_json::{Value, json};

use super::cpus::Cpus;
use super::figures::Spread;
use super::load::{self, Pace};
use super::replay::{self, Call, Instead};
use super::say;
use super::systems::{self, EMPTY_WASM, JWT_AUTHN, MESH_JWT, PLAIN, System, Target, Upstream};
use super::tokens::{SMALL, Tokens};
use crate::table;

/// Measure what each call of the host costs, hot and cold.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Of every run, of which there is one for each module and load in each round.
    #[arg(long, default_value_t = 0.2)]
    seconds: f64,
    /// Another module that is to take turns with ours: the table tells what it costs more.
    #[arg(long)]
    beside: Vec<PathBuf>,
    /// Nothing but those.
    #[arg(long, requires = "beside")]
    only: bool,
}

/// Something that a module does, and can do without.
struct Part {
    name: &'static str,
    /// The functions of the host that it is made of.
    calls: &'static [Call],
    /// Whether its calls can be repeated.
    repeats: bool,
    /// Whether new tokens are judged as ever without it.
    is_for_new_tokens: bool,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let directory = checkout::target().join("profile");
        let cpus = Cpus::of_this_process()?;
        say("signing tokens")?;
        let tokens = Tokens::sign(&directory.join("tokens"), &[SMALL])?;
        let logs = directory.join("logs");
        let upstream = Upstream::start(&logs, &cpus)?;
        say("starting Envoy")?;
        let systems = self.systems(&directory)?;
        let mut target = Target::start(&logs, &systems, upstream.address(), 1, &cpus)?;
        let costs = self.measure(&mut target, &tokens, &cpus)?;
        let text = self.report(&costs);
        let path = directory.join("profile.md");
        fs::write(&path, &text).with_context(|| path.display().to_string())?;
        writeln!(io::stdout(), "{text}")?;
        Ok(ExitCode::SUCCESS)
    }

    /// No filter, an empty one, Envoy's own, the one that is shipped, that without each of its parts and
    /// with more of each, and others.
    fn systems(&self, directory: &Path) -> Result<Vec<System>> {
        let shipped = checkout::find_module()?;
        let module = fs::read(&shipped).with_context(|| shipped.display().to_string())?;
        let mut systems = vec![
            System::new(PLAIN, None),
            System::new(EMPTY_WASM, systems::empty_wasm()?),
            System::new(JWT_AUTHN, systems::jwt_authn(&json!({}))),
            System::new(MESH_JWT, mesh_jwt(&shipped)),
        ];
        let others =
            self.beside.iter().map(|path| System::new(path.to_string_lossy(), mesh_jwt(path)));
        systems.extend(others);
        let mut add = |name: String, calls: &[Call]| -> Result<()> {
            let path = directory.join(format!("{}.wasm", name.replace(' ', "-")));
            fs::write(&path, replay::changed(&module, calls)?)
                .with_context(|| path.display().to_string())?;
            systems.push(System::new(name, mesh_jwt(&path)));
            Ok(())
        };
        for part in self.parts() {
            add(without(part), part.calls)?;
            if part.repeats {
                let calls: Vec<_> = part.calls.iter().map(repeated).collect();
                add(more(part), &calls)?;
            }
        }
        Ok(systems)
    }

    /// Those that are left out and repeated.
    fn parts(&self) -> &'static [Part] {
        if self.only { &[] } else { &PARTS }
    }

    fn report(&self, costs: &Costs) -> String {
        let shown = |spread: Option<Spread>| {
            spread.map_or_else(String::new, |s| format!("{:.1}", s.median))
        };
        let both =
            |one: &str, other: &str| [HOT, COLD].map(|load| shown(costs.beyond(load, one, other)));
        let row =
            |name: &str, [hot, cold]: [String; 2], warm: String| [name.to_owned(), hot, cold, warm];
        let mut rows = vec![
            ["", "hot", "cold", "once more, hot"].map(str::to_owned),
            row("the whole filter", both(MESH_JWT, PLAIN), String::new()),
            row("an empty filter", both(EMPTY_WASM, PLAIN), String::new()),
            row("Envoy's jwt_authn", both(JWT_AUTHN, PLAIN), String::new()),
        ];
        for part in self.parts() {
            let of_each = |more: Spread| format!("{:.1}", more.median / f64::from(MORE));
            let warm = costs.beyond(HOT, &more(part), MESH_JWT).map_or_else(String::new, of_each);
            rows.push(row(part.name, both(MESH_JWT, &without(part)), warm));
        }
        for path in &self.beside {
            let name = path.to_string_lossy();
            rows.push(row(&format!("{name}, more"), both(&name, MESH_JWT), String::new()));
        }
        let table = table::markdown(&rows);
        format!("CPU of a request in µs, medians of {} rounds\n\n{table}\n", self.rounds)
    }

    fn measure(&self, target: &mut Target, tokens: &Tokens, cpus: &Cpus) -> Result<Costs> {
        let mut runs = Vec::new();
        for (load, is_new) in [(tokens.hot(), false), (tokens.cold(), true)] {
            let systems = target.systems().filter(|system| !is_new || is_for_new_tokens(system));
            runs.extend(systems.map(|system| (system.to_owned(), load.clone())));
        }
        say("warming up")?;
        for (system, load) in &runs {
            load::warm_up(target, system, load, cpus)?;
        }
        let mut costs = Costs(BTreeMap::new());
        for round in 1..=self.rounds {
            if round % 10 == 1 {
                say(&format!("round {round} of {}", self.rounds))?;
            }
            for (system, load) in &runs {
                let sample = load::run(target, system, load, self.seconds, Pace::Saturated, cpus)?;
                let key = (load.name.clone(), system.clone());
                costs.0.entry(key).or_default().push(sample.cpu_us);
            }
        }
        Ok(costs)
    }
}

fn repeated(call: &Call) -> Call {
    Call { instead: Instead::Calls(1 + MORE), ..*call }
}

fn without(part: &Part) -> String {
    format!("without {}", part.name)
}

fn more(part: &Part) -> String {
    format!("more {}", part.name)
}

fn is_for_new_tokens(system: &str) -> bool {
    PARTS
        .iter()
        .all(|part| system != more(part) && (part.is_for_new_tokens || system != without(part)))
}

fn mesh_jwt(module: &Path) -> Value {
    systems::mesh_jwt_of(module, &[systems::provider(1)], 1, &json!({}))
}

/// The CPU of a request in microseconds in each round, by load and system.
struct Costs(BTreeMap<(String, String), Vec<f64>>);

impl Costs {
    /// How much more one system costs than another in the same round; nothing where there was no run.
    fn beyond(&self, load: &str, one: &str, other: &str) -> Option<Spread> {
        let of = |system: &str| self.0.get(&(load.to_owned(), system.to_owned()));
        let both = of(one)?.iter().zip(of(other)?);
        Some(both.map(|(one, other)| one - other).collect())
    }
}

const HOT: &str = "hot";
const COLD: &str = "cold";
/// How many more calls there are where they are repeated.
const MORE: i32 = 20;

const fn silent(name: &'static str) -> Call {
    Call { name, instead: Instead::Nothing }
}

const SET_PROPERTY: Call = silent("proxy_set_property");
const REMOVE: Call = silent("proxy_remove_header_map_value");
const REPLACE: Call = silent("proxy_replace_header_map_value");
const TIME: Call = Call { name: "proxy_get_current_time_nanoseconds", instead: Instead::Number };
/// The first call that succeeds is a probe, which gives nothing.
const HEADER_MAP: Call =
    Call { name: "proxy_get_header_map_pairs", instead: Instead::Bytes { of_call: 2 } };
/// The first three are the known answers.
const VERIFY: Call =
    Call { name: "proxy_call_foreign_function", instead: Instead::Bytes { of_call: 4 } };

const NO_PART: Part = Part { name: "", calls: &[], repeats: false, is_for_new_tokens: true };
const PARTS: [Part; 7] = [
    Part { name: "read the header map", calls: &[HEADER_MAP], is_for_new_tokens: false, ..NO_PART },
    Part { name: "read the time", calls: &[TIME], repeats: true, ..NO_PART },
    Part { name: "check a signature", calls: &[VERIFY], ..NO_PART },
    Part { name: "remove headers", calls: &[REMOVE], repeats: true, ..NO_PART },
    Part { name: "set headers", calls: &[REPLACE], repeats: true, ..NO_PART },
    Part { name: "set filter state", calls: &[SET_PROPERTY], repeats: true, ..NO_PART },
    Part { name: "all of the last three", calls: &[REMOVE, REPLACE, SET_PROPERTY], ..NO_PART },
];
