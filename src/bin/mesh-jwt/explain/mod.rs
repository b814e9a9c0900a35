//! `mesh-jwt explain`: the way to a decision, step by step.

mod keys;
mod report;
mod request;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail, ensure};
use mesh_jwt::config::Config;
use mesh_jwt::explain::{Decision, Explainer, Mask};
use mesh_jwt::time::Timestamp;

use crate::configurations;
use crate::format::{Format, print_json};
use crate::source::{Source, read_bytes};
use keys::JwksArg;
use request::Request;

/// Explain why a token or a request is let through or refused, step by step
///
/// The filter's own engine decides. Values of claims are masked, and no signature is ever printed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = clap::ArgGroup::new("asked").required(true))]
pub(crate) struct Args {
    /// The configuration: of the plugin, a manifest, or Envoy's
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Which of several configurations in that file, from 1
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    number: usize,

    /// What the issuer publishes: a file or a URL; with several issuers NAME=FILE, once for each
    #[arg(long, value_name = "[NAME=]FILE|URL")]
    jwks: Vec<JwksArg>,

    /// A file with the token alone; `-` is the standard input, as tokens on the command line end up in
    /// histories
    #[arg(long, value_name = "FILE", group = "asked")]
    token: Option<PathBuf>,

    /// A file with the head of a request, as HTTP/1.1 or as `curl -v` prints it; `-` is the standard input
    #[arg(long, value_name = "FILE", group = "asked", conflicts_with_all = ["method", "path", "host"])]
    request: Option<PathBuf>,

    /// The method of the request that carries the token
    #[arg(long, default_value = "GET")]
    method: String,

    /// Its path
    #[arg(long, default_value = "/")]
    path: String,

    /// Its host
    #[arg(long, default_value = "localhost")]
    host: String,

    /// The port that its connection came to, for rules with `match.ports`
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,

    /// Decide as at this time, such as 2026-01-31T12:00:00Z; now if absent
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_rfc3339_weak)]
    at: Option<SystemTime>,

    /// Print values of claims too: they tell who somebody is
    #[arg(long)]
    show_claims: bool,
}

const EXAMPLES: &str = "\
Examples:
  pbpaste | mesh-jwt explain --config wasm-plugin.yaml --jwks https://auth.example.com/jwks --token -
  mesh-jwt explain --config envoy.yaml --jwks jwks.json --request head.txt --at 2026-01-31T12:00:00Z

Exit codes: 0 if the request passes, 1 if it is refused or, in report mode, would be, 2 if that cannot
be told.";

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    let mut explainer = Explainer::new(configuration(args)?);
    for jwks in &args.jwks {
        jwks.publish(&mut explainer)?;
    }
    let mask = if args.show_claims { Mask::Nothing } else { Mask::Values };
    ensure!(
        args.port.is_some() || !explainer.needs_port(),
        "rules of this configuration go by the port that the connection came to; give it with --port"
    );
    let head = match request(args)? {
        Request::Whole(head) => head,
        Request::Token(head, token) => head.with_token(&explainer.place_of(&token), &token)?,
    };
    let explanation = explainer.explain(&head.as_request(args.port), now(args)?, mask);

    match format {
        Format::Json => print_json(&explanation)?,
        Format::Text => report::print(&explanation),
    }
    match &explanation.decision {
        Decision::Passes { .. } => Ok(ExitCode::SUCCESS),
        Decision::Refused { .. } => Ok(ExitCode::FAILURE),
        Decision::NeedsKeys { provider } => {
            let fetched = explainer.fetched().find(|(name, _)| name == provider);
            let place = fetched.map(|(_, place)| place).unwrap_or_default();
            bail!(
                "it depends on the keys of the provider {provider:?}; give them with --jwks, a file or \
                 what {place} leads to"
            )
        }
    }
}

fn configuration(args: &Args) -> Result<Config> {
    let source = Source::read(&args.config)?;
    let (found, faults) = configurations::find(&source);
    let file = source.name();
    if let (true, Some(fault)) = (found.is_empty(), faults.first()) {
        bail!("{file}:{}: {}", fault.place, fault.problem);
    }
    let found =
        args.number.checked_sub(1).and_then(|index| found.get(index)).with_context(|| {
            format!("{file} holds {} configurations; --number is {}", found.len(), args.number)
        })?;
    Config::parse(found.text.as_bytes()).map_err(|error| {
        let (place, path) = (found.node.place_of(error.path()), found.path_of(error.path()));
        anyhow::anyhow!("{file}:{place}: {path}: {}", error.problem())
    })
}

fn request(args: &Args) -> Result<Request> {
    let asked = args.request.as_deref().or(args.token.as_deref());
    ensure!(
        args.config != Path::new("-") || asked != Some(Path::new("-")),
        "the standard input is one file: give the configuration or the token by its name"
    );
    if let Some(file) = &args.request {
        return Request::parse(&read_bytes(file)?).with_context(|| file.display().to_string());
    }
    let file = args.token.as_deref().context("neither --token nor --request")?;
    let token = read_bytes(file)?;
    let token = token.trim_ascii();
    ensure!(!token.is_empty(), "{} holds no token", file.display());
    Ok(Request::with_token(&args.method, &args.path, &args.host, token))
}

fn now(args: &Args) -> Result<Timestamp> {
    let at = args.at.unwrap_or_else(SystemTime::now);
    let since = at.duration_since(SystemTime::UNIX_EPOCH).context("the time is before 1970")?;
    Ok(Timestamp::EPOCH.saturating_add(since))
}
