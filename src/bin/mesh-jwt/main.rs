//! `mesh-jwt`: what an operator does around the filter, by the filter's own core.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

mod check;
mod completions;
mod configurations;
mod convert;
mod deny_codes;
mod explain;
mod format;
mod http;
mod place;
mod probe;
mod reference;
mod schema;
mod source;
mod tree;
mod why;

use format::Format;

/// Checks configurations of mesh-jwt, explains its decisions, finds out what an issuer publishes, and
/// converts what it replaces.
#[derive(Parser)]
#[command(name = "mesh-jwt", version, disable_help_subcommand = true)]
struct Cli {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Convert(convert::Args),
    Explain(explain::Args),
    Probe(probe::Args),
    Schema(schema::Args),
    Why(why::Args),
    /// Print the completions for a shell
    #[command(after_help = "Example: mesh-jwt completions bash > /etc/bash_completion.d/mesh-jwt")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    sigpipe::reset();
    let Cli { json, command } = Cli::parse();
    let format = if json { Format::Json } else { Format::Text };
    let outcome = match command {
        Command::Check(args) => check::run(&args, format),
        Command::Convert(args) => convert::run(&args, format),
        Command::Explain(args) => explain::run(&args, format),
        Command::Probe(args) => probe::run(&args, format),
        Command::Schema(args) => schema::run(&args, format),
        Command::Why(args) => why::run(&args, format),
        Command::Completions { shell } => {
            completions::print(shell, &mut Cli::command());
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("{ERROR}error:{ERROR:#} {error:#}", ERROR = format::ERROR);
        ExitCode::from(CANNOT)
    })
}

/// The exit code for what could not be done at all, as of clap for a wrong command line; 1 is for
/// findings.
const CANNOT: u8 = 2;
