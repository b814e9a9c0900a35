//! `mesh-jwt schema`: what a plugin configuration may hold, for editors and for readers.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use mesh_jwt::config::document::{manifest_schema, plugin_config_schema};

use crate::format::Format;
use crate::reference;

/// Print the JSON Schema of the plugin configuration, for editors, or its reference
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mesh-jwt schema > plugin-config.schema.json
  mesh-jwt schema --of wasm-plugin > extension.schema.json
  mesh-jwt schema --reference > configuration.md

The first line of a manifest then names its schema, for the editor:
  # yaml-language-server: $schema=extension.schema.json")]
pub(crate) struct Args {
    /// What the schema is of
    #[arg(long, value_enum, default_value_t = Of::PluginConfig)]
    of: Of,

    /// Print the reference instead, in Markdown
    #[arg(long, conflicts_with = "of")]
    reference: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    /// The plugin configuration by itself
    PluginConfig,
    /// A WasmPlugin or TrafficExtension that holds it, or a patch of one
    WasmPlugin,
}

pub(crate) fn run(args: &Args, format: Format) -> Result<ExitCode> {
    if args.reference && format == Format::Json {
        bail!("the reference is Markdown alone; leave out --reference for the schema, or --json");
    }
    std::io::stdout().write_all(text(args)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn text(args: &Args) -> Result<String> {
    if args.reference {
        return Ok(reference::markdown());
    }
    let schema = match args.of {
        Of::PluginConfig => plugin_config_schema(),
        Of::WasmPlugin => manifest_schema(),
    };
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_files_are_what_is_printed() {
        for (file, committed, args) in [
            (
                "istio/plugin-config.schema.json",
                include_str!("../../../istio/plugin-config.schema.json"),
                Args { of: Of::PluginConfig, reference: false },
            ),
            (
                "istio/extension.schema.json",
                include_str!("../../../istio/extension.schema.json"),
                Args { of: Of::WasmPlugin, reference: false },
            ),
            (
                "docs/configuration.md",
                include_str!("../../../docs/configuration.md"),
                Args { of: Of::PluginConfig, reference: true },
            ),
        ] {
            assert!(text(&args).unwrap() == committed, "{file} is out of date: run `make docs`");
        }
    }
}
