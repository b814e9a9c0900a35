//! `mesh-jwt probe`: what an issuer's endpoints publish, and whether they agree.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

use crate::format::{Format, print_json};

mod arguments;
mod chance;
mod diagnosis;
mod fetch;
mod progress;
mod report;
mod rounds;
mod table;
mod target;
mod text;

pub(crate) use arguments::Args;
use diagnosis::Diagnosis;
use fetch::Client;
use report::Report;

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    let mut client = Client::new(args)?;
    let report = rounds::ask(&mut client, args);
    let diagnosis = Diagnosis::of(&report);
    let code = ExitCode::from(diagnosis.exit_code());
    match format {
        Format::Json => print_json(&Whole { diagnosis, report })?,
        Format::Text => text::print(&report, &diagnosis),
    }
    Ok(code)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Whole {
    diagnosis: Diagnosis,
    #[serde(flatten)]
    report: Report,
}
