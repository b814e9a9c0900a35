//! What became of the requests of a scenario, and what the issuer had to bear.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::load::Answer;
use super::mesh::Mesh;
use super::setup::Setup;
use lab::token::Key;

#[derive(Default)]
pub(super) struct Tally {
    /// How many keys were replaced; or how many times Envoy started.
    pub(super) rotations: usize,
    /// Of good requests.
    waits: Vec<Duration>,
    refused: BTreeMap<String, usize>,
    first_refusals: Vec<String>,
    junk: BTreeMap<String, usize>,
    is_junk_let_through: bool,
    fetches: usize,
    peak_second: usize,
    peak_minute: usize,
    observed: Duration,
}

impl Tally {
    /// Takes the answer to a good request, sent after the rotation at this moment.
    pub(super) fn good(&mut self, key: &Key, answer: &Answer, rotation: Instant) {
        self.waits.push(answer.took);
        if answer.is_ok() {
            return;
        }
        *self.refused.entry(answer.verdict.clone()).or_default() += 1;
        if self.first_refusals.len() < REFUSALS_TOLD {
            let Answer { verdict, sent, took } = answer;
            let since = sent.saturating_duration_since(rotation);
            let refusal = format!(
                "rotation {}: {verdict} after {took:?} for {}, {since:?} after the rotation",
                self.rotations,
                key.name()
            );
            self.first_refusals.push(refusal);
        }
    }

    pub(super) fn all_good(&mut self, answers: &[(&Key, Answer)], rotation: Instant) {
        for (key, answer) in answers {
            self.good(key, answer, rotation);
        }
    }

    pub(super) fn junk(&mut self, answer: &Answer) {
        self.is_junk_let_through |= answer.is_ok();
        *self.junk.entry(answer.verdict.clone()).or_default() += 1;
    }

    /// Counts the fetches from this mesh since that moment.
    pub(super) fn fetches_of(&mut self, mesh: &Mesh, start: Instant) {
        let times = mesh.fetches_since(start);
        self.observed += start.elapsed();
        self.fetches += times.len();
        self.peak_second = self.peak_second.max(peak(&times, Duration::from_secs(1)));
        self.peak_minute = self.peak_minute.max(peak(&times, Duration::from_secs(60)));
    }

    /// How many fetches there were in a minute; a dash if it was not watched for long enough to say.
    fn a_minute(&self) -> String {
        if self.observed < LONG_ENOUGH {
            return "-".to_owned();
        }
        let fetches = f64::from(u32::try_from(self.fetches).expect("not many"));
        format!("{:.0}", fetches * 60.0 / self.observed.as_secs_f64())
    }
}

/// The most of them within so long.
fn peak(times: &[Instant], span: Duration) -> usize {
    let within = |first: usize| {
        times[first..].iter().take_while(|time| **time < times[first] + span).count()
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}

pub(super) struct Row<'a> {
    pub(super) scenario: &'a str,
    pub(super) setup: Setup,
    pub(super) tally: Tally,
}

impl Row<'_> {
    /// What is wrong, if anything is.
    pub(super) fn failure(&self) -> Option<String> {
        let Tally { refused, first_refusals, is_junk_let_through, .. } = &self.tally;
        let is_wrong = !refused.is_empty() || *is_junk_let_through;
        // Indented, so that it is not taken for one more row of the long form's table.
        is_wrong.then(|| format!("  {self}\n    {}", first_refusals.join("\n    ")))
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, setup: Setup { balancer, pods, workers, kids, crypto }, tally } = self;
        let mut waits = tally.waits.clone();
        waits.sort();
        let [median, high, max] = [50, 99, 100].map(|share| percentile(&waits, share));
        write!(f, "| {scenario}, {kids} | {} | {pods} | {workers} | {crypto} ", balancer.policy())?;
        write!(f, "| {} | {} | {} ", tally.rotations, waits.len(), counts(&tally.refused))?;
        write!(f, "| {median} ms | {high} ms | {max} ms | {} ", tally.fetches)?;
        write!(f, "| {} | {} | {} ", tally.peak_minute, tally.a_minute(), tally.peak_second)?;
        write!(f, "| {} |", counts(&tally.junk))
    }
}

/// In milliseconds.
fn percentile(sorted: &[Duration], share: usize) -> u128 {
    let rank = (sorted.len() * share).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0, Duration::as_millis)
}

fn counts(by_verdict: &BTreeMap<String, usize>) -> String {
    let each: Vec<_> = by_verdict.iter().map(|(verdict, n)| format!("{verdict}: {n}")).collect();
    let total: usize = by_verdict.values().sum();
    if each.is_empty() { total.to_string() } else { format!("{total} ({})", each.join(", ")) }
}

/// What the cells of a [`Row`] are.
pub(super) const HEAD: &str = "\
| scenario | balancer | pods | workers | crypto | rotations | good requests | refused (by code) \
| p50 | p99 | max wait | fetches | peak 60 s | fetches a minute | peak 1 s | junk (by code) |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";
const REFUSALS_TOLD: usize = 5;
const LONG_ENOUGH: Duration = Duration::from_secs(30);
