//! `mesh-jwt convert`: what the filter replaces becomes its manifest.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::Value;

use crate::format::{Format, print_json};
use crate::source::Source;
use conversion::{Converted, Input, Options};
use manifest::{Kind, Manifest, Placement, Target};
use reader::{Fault, Ledger};
use report::Report;

mod conversion;
mod envoy;
mod istio;
mod manifest;
mod paths;
mod reader;
mod report;
mod rule;
mod spring;

#[cfg(test)]
mod tests;

/// Make a manifest of what the filter replaces, and list what could not be carried over
///
/// Takes Istio's RequestAuthentication, with the AuthorizationPolicy for the same workloads, Envoy's
/// jwt_authn (an envoy.yaml, or the filter alone), and routes of a Spring Cloud Gateway with the
/// filter JwtAuth. The manifest goes to the standard output, all else to the standard error.
///
/// Exits with 0 if everything is in the manifest, 1 if something is not, and 2 if there is none.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of YAML or JSON; `-` is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    placement: Placement,

    /// Print the AuthorizationPolicies instead that take the places of their namesakes: the last step
    #[arg(long)]
    policies: bool,

    #[command(flatten)]
    options: Options,
}

const EXAMPLES: &str = "Examples:
  mesh-jwt convert request-authentication.yaml authorization-policy.yaml > mesh-jwt.yaml
  mesh-jwt convert request-authentication.yaml authorization-policy.yaml --policies > policies.yaml
  kubectl get requestauthentications,authorizationpolicies -n shop -o yaml | mesh-jwt convert -
  mesh-jwt convert envoy.yaml --whole-segments
  mesh-jwt convert ingress.yaml --workload gateway
  mesh-jwt convert application.yml --kind trafficextension
  mesh-jwt convert envoy.yaml --json | jq '.notCarriedOver[] | select(.effect == \"looser\")'";

/// While both are there, what is replaced goes on refusing. Once the filter enforces, it takes tokens away
/// that the other would look for.
const FIRST_STEPS: [&str; 2] = [
    "begin with mode: report in the plugin configuration, beside what it replaces, and compare",
    "then leave mode out, and do the rest at once",
];

/// Above the manifest, for who applies it without having read the report.
const FIRST_LINE: &str =
    "# Begin with mode: report in the plugin configuration, beside what it replaces.";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    manifests: Vec<Manifest>,
    /// Apart, since they ask for no tokens: without the filter they would let in what was refused.
    policies: Vec<Value>,
    #[serde(flatten)]
    report: Report,
}

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    let mut inputs = Vec::new();
    for file in &args.files {
        let source = Source::read(file)?;
        let ledger = Ledger::new(source.name());
        let documents =
            source.documents().map_err(|error| anyhow::anyhow!("{}:{error}", source.name()))?;
        inputs.push(Input { ledger, documents });
    }
    let output = convert(inputs, &args.placement, &args.options)?;
    match format {
        Format::Json => print_json(&output)?,
        Format::Text => {
            match (args.policies, args.placement.kind) {
                (true, _) => print_yaml(&output.policies)?,
                (false, Some(Kind::PluginConfig)) => {
                    output.manifests.iter().try_for_each(print_json)?;
                }
                (false, _) => {
                    anstream::println!("{FIRST_LINE}");
                    print_yaml(&output.manifests)?;
                }
            }
            output.report.print();
        }
    }
    Ok(ExitCode::from(u8::from(!output.report.not_carried_over.is_empty())))
}

fn convert(inputs: Vec<Input>, placement: &Placement, options: &Options) -> Result<Output> {
    let mut report = Report::default();
    let mut converted = istio::convert(&inputs, placement, options, &mut report)?;
    for input in &inputs {
        converted.extend(envoy_filters(input, options, &mut report)?);
        converted.extend(spring::convert(input, &mut report)?);
    }
    if converted.is_empty() {
        let names: Vec<_> = inputs.iter().map(|input| input.ledger.file()).collect();
        bail!(
            "{}: holds no RequestAuthentication, no jwt_authn filter and no Spring Cloud Gateway \
             route with a JwtAuth filter; name a file that does",
            names.join(", ")
        );
    }
    let (mut manifests, mut policies, mut before) = (Vec::new(), Vec::new(), Vec::new());
    for Converted { kind: default, target, plugin_config, beside } in converted {
        // Of a source that is no resource, the user writes the selector.
        if target == Target::default() && placement.is_guessed(default, &target) {
            before.push(
                "give it a namespace and a selector; for a gateway, convert with --workload gateway"
                    .to_owned(),
            );
        }
        manifests.push(manifest::render(placement, default, target, plugin_config)?);
        policies.extend(beside);
        before.extend(manifest::placeholders(placement.kind.unwrap_or(default)));
    }
    let last = std::mem::take(&mut report.steps);
    for step in before.into_iter().chain(FIRST_STEPS.map(str::to_owned)).chain(last) {
        report.add_step(Some(step));
    }
    for input in inputs {
        let (lost, differences) = input.ledger.into_findings();
        report.not_carried_over.extend(lost);
        report.differences.extend(differences);
    }
    Ok(Output { manifests, policies, report })
}

fn envoy_filters(
    input: &Input,
    options: &Options,
    report: &mut Report,
) -> Result<Vec<Converted>, Fault> {
    let mut all = Vec::new();
    for document in &input.documents {
        let found = envoy::Found::in_document(&input.ledger, document);
        for filter in &found.filters {
            let config = envoy::convert(filter, options)?;
            all.push(Converted {
                kind: Kind::EnvoyFilter,
                target: Target::default(),
                plugin_config: config,
                beside: Vec::new(),
            });
            report.add_differences(envoy::differences());
            report.add_step(Some("put the filter in the place of jwt_authn".into()));
        }
        found.lose_per_route();
    }
    Ok(all)
}

fn print_yaml(resources: &[impl Serialize]) -> Result<()> {
    for (index, resource) in resources.iter().enumerate() {
        if index > 0 {
            anstream::println!("---");
        }
        anstream::print!("{}", serde_saphyr::to_string(resource)?);
    }
    Ok(())
}
