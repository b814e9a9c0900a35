//! `mesh-jwt why`: what a code of the filter means, and what to do about it.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::deny_codes::{self, DenyCode, plain};
use crate::format::{BOLD, Format, print_json};

/// Tell what a code means, how to find its cause, and the mend
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  mesh-jwt why key_unknown\n  mesh-jwt why            # all codes"
)]
pub(crate) struct Args {
    /// A code from a reply, an access log or a metric; all of them without it
    code: Option<String>,
}

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    let codes = deny_codes::all();
    let Some(wanted) = &args.code else {
        match format {
            Format::Json => print_json(&codes)?,
            Format::Text => codes.iter().for_each(|code| {
                anstream::println!("{BOLD}{:<22}{BOLD:#} {}", code.code, code.status);
            }),
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(code) = codes.iter().find(|code| code.code == wanted) else {
        bail!(
            "{wanted:?} is no code of the filter; `mesh-jwt why` lists them{}",
            meant(&codes, wanted)
        );
    };
    match format {
        Format::Json => print_json(code)?,
        Format::Text => print(code),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(code: &DenyCode) {
    anstream::println!(
        "{BOLD}{}{BOLD:#} ({}, at fault: {})",
        code.code,
        code.status,
        code.at_fault
    );
    for (title, text) in [("Cause", code.cause), ("Check", code.check), ("Mend", code.mend)] {
        anstream::println!("\n{BOLD}{title}{BOLD:#}\n{}", plain(text));
    }
}

fn meant(codes: &[DenyCode], wanted: &str) -> String {
    let distance = |code: &&DenyCode| strsim::damerau_levenshtein(code.code, wanted);
    codes
        .iter()
        .min_by_key(distance)
        .filter(|code| distance(code) <= MAX_TYPOS)
        .map(|code| format!("; did you mean {:?}?", code.code))
        .unwrap_or_default()
}

const MAX_TYPOS: usize = 3;
