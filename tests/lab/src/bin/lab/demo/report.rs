//! What came of the scenarios.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use super::filters::Filter;
use super::traffic::Sample;
use super::{CACHE_DURATION, LOGS};
use crate::table;

/// What came of one scenario.
pub(super) struct Outcome {
    pub(super) scenario: &'static str,
    pub(super) samples: Vec<Sample>,
    pub(super) counted_from: Instant,
    /// By filter.
    pub(super) fetches: [u64; 3],
}

impl Outcome {
    /// The part that the scenario is about.
    pub(super) fn counted(&self, filter: Filter) -> impl Iterator<Item = &Sample> {
        self.samples_of(filter).filter(|sample| sample.sent_at >= self.counted_from)
    }

    fn samples_of(&self, filter: Filter) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.filter == filter)
    }

    fn row(&self) -> [String; 7] {
        let [first, second, third] = Filter::ALL.map(|filter| self.share_failed(filter));
        let fetches = self.fetches.map(|fetches| fetches.to_string()).join(" / ");
        let slowest = self.counted(Filter::MeshJwt).map(|sample| sample.took).max();
        let slowest = slowest.unwrap_or_default().as_secs_f64() * 1000.0;
        [
            self.scenario.to_owned(),
            self.counted(Filter::MeshJwt).count().to_string(),
            first,
            second,
            third,
            fetches,
            format!("{slowest:.0} ms"),
        ]
    }

    fn share_failed(&self, filter: Filter) -> String {
        let failed = self.counted(filter).filter(|sample| !sample.is_ok()).count();
        let all = self.counted(filter).count();
        format!("{:.1} %", 100.0 * failed as f64 / all as f64)
    }
}

pub(super) fn print_table(outcomes: &[Outcome]) -> Result<()> {
    let [first, second, third] = Filter::ALL.map(|filter| format!("failed: {}", filter.name()));
    let slowest = format!("slowest: {}", Filter::MeshJwt.name());
    let header = [
        String::new(),
        "good requests".to_owned(),
        first,
        second,
        third,
        "fetches, as left".to_owned(),
        slowest,
    ];
    let rows: Vec<_> = [header].into_iter().chain(outcomes.iter().map(Outcome::row)).collect();
    let mut out = io::stdout();
    writeln!(out, "\n{}", table::markdown(&rows))?;
    writeln!(
        out,
        "\njwt_authn trusts the one key set that it fetched last: other pods' keys, a new key, and \
         (without async_fetch) an outage fail it.\nmesh-jwt trusts every key for {} s from when a \
         pod last published it, longer in an outage, and looks for a key that it does not know.",
        CACHE_DURATION.as_secs()
    )?;
    Ok(out.flush()?)
}

/// Those before the counted part are failures as well.
pub(super) fn print_refusals(outcomes: &[Outcome]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for outcome in outcomes {
        let refused = || outcome.samples_of(Filter::MeshJwt).filter(|sample| !sample.is_ok());
        let reasons: BTreeSet<_> = refused().map(reason).collect();
        if !reasons.is_empty() {
            writeln!(
                io::stderr(),
                "demo: {}: mesh-jwt failed {} good requests ({}); see {LOGS}",
                outcome.scenario,
                refused().count(),
                Vec::from_iter(reasons).join(", "),
            )?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn reason(refused: &Sample) -> String {
    match &refused.outcome {
        Ok(status) => status.to_string(),
        Err(error) => error.clone(),
    }
}
