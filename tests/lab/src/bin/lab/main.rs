//! What the Makefile's targets call, beside cargo.

#![allow(clippy::arithmetic_side_effects, reason = "nobody feeds it numbers that could overflow")]

mod bench;
mod compose;
mod demo;
#[cfg(feature = "image")]
mod image;
mod module;
mod record;
mod run;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lab::interrupt::{self, Interrupted};

/// The tools of this repository.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Arguments),
    Compose(compose::Arguments),
    Demo(demo::Arguments),
    #[cfg(feature = "image")]
    Image(image::Arguments),
    Module(module::Arguments),
    Profile(bench::profile::Arguments),
    Record(record::Arguments),
    Run(run::Arguments),
}

fn main() -> ExitCode {
    let (name, result) = match Arguments::parse().command {
        Command::Bench(arguments) => ("bench", watched(|| arguments.execute())),
        Command::Compose(arguments) => ("compose", watched(|| arguments.execute())),
        Command::Demo(arguments) => ("demo", watched(|| arguments.execute())),
        #[cfg(feature = "image")]
        Command::Image(arguments) => ("image", arguments.execute()),
        Command::Module(arguments) => ("module", arguments.execute()),
        Command::Profile(arguments) => ("profile", watched(|| arguments.execute())),
        Command::Record(arguments) => ("record", watched(|| arguments.execute())),
        Command::Run(arguments) => ("run", watched(|| arguments.execute())),
    };
    result.unwrap_or_else(|error| {
        if !error.is::<Interrupted>() {
            // Who has closed standard error does not want to know.
            let _ = writeln!(std::io::stderr(), "{name}: {error:#}");
        }
        ExitCode::FAILURE
    })
}

/// Ctrl-C ends what waits with an error, so that all that was started stops in order.
fn watched(execute: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    interrupt::watch()?;
    execute()
}
