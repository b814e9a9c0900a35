//! `mesh-jwt check`: what the filter would refuse, and what is risky.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use mesh_jwt::advice::advise;
use mesh_jwt::config::Config;
use serde::Serialize;

use crate::configurations::{self, Fault, Found, Severity};
use crate::format::{ERROR, Format, GOOD, WARNING, print_json};
use crate::place::Place;
use crate::source::Source;

/// Check configurations: what the filter would refuse, and what is risky
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Plugin configurations in JSON or YAML, manifests of a WasmPlugin or TrafficExtension, or
    /// configurations of Envoy; `-` is the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Exit with 1 for warnings too
    #[arg(long)]
    strict: bool,
}

const EXAMPLES: &str = "\
Examples:
  mesh-jwt check plugin-config.yaml
  mesh-jwt check envoy/envoy.yaml
  kubectl kustomize overlays/production | mesh-jwt check -

Exit codes: 0 without errors, 1 with some, 2 if a file cannot be read.";

/// Something to mend.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    file: String,
    #[serde(flatten)]
    place: Place,
    severity: Severity,
    /// The JSON path in the document.
    path: String,
    message: String,
}

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    let (mut findings, mut configurations) = (Vec::new(), 0_usize);
    for path in &args.files {
        let source = Source::read(path)?;
        let (found, faults) = configurations::find(&source);
        configurations = configurations.saturating_add(found.len());
        let file = source.name().to_string();
        findings.extend(faults.into_iter().map(|Fault { severity, place, path, problem }| {
            Finding { file: file.clone(), place, severity, path, message: problem }
        }));
        findings.extend(found.iter().flat_map(|found| check(&file, found)));
    }
    match format {
        Format::Json => print_json(&findings)?,
        Format::Text => print(&findings, configurations),
    }
    let fails = |finding: &Finding| args.strict || finding.severity == Severity::Error;
    Ok(ExitCode::from(u8::from(findings.iter().any(fails))))
}

fn check(file: &str, found: &Found) -> Vec<Finding> {
    let finding = |severity, path: &str, message: &str| Finding {
        file: file.to_owned(),
        place: found.node.place_of(path),
        severity,
        path: found.path_of(path),
        message: message.to_owned(),
    };
    match Config::parse(found.text.as_bytes()) {
        Err(error) => vec![finding(Severity::Error, error.path(), error.problem())],
        Ok(config) => {
            let risks = advise(&config, &found.node.to_json()).into_iter();
            risks.map(|risk| finding(Severity::Warning, &risk.path, &risk.text)).collect()
        }
    }
}

fn print(findings: &[Finding], configurations: usize) {
    for Finding { file, place, severity, path, message } in findings {
        let (style, word) = match severity {
            Severity::Error => (ERROR, "error"),
            Severity::Warning => (WARNING, "warning"),
        };
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        anstream::println!("{file}:{place}: {style}{word}:{style:#} {path}{message}");
    }
    let is_refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    if configurations > 0 && !is_refused {
        let plural = if configurations == 1 { "" } else { "s" };
        anstream::println!(
            "{GOOD}ok:{GOOD:#} the filter takes {configurations} configuration{plural}"
        );
    }
}
