//! `mesh-jwt schema`: what a plugin configuration may hold, for editors.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use mesh_jwt::config::document::{manifest_schema, plugin_config_schema};

/// Print the JSON Schema of the plugin configuration, for editors
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mesh-jwt schema > plugin-config.schema.json
  mesh-jwt schema --of wasm-plugin > extension.schema.json

The first line of a manifest then names its schema, for the editor:
  # yaml-language-server: $schema=extension.schema.json")]
pub(crate) struct Args {
    /// What the schema is of
    #[arg(long, value_enum, default_value_t = Of::PluginConfig)]
    of: Of,
}

#[derive(Clone, Copy, ValueEnum)]
enum Of {
    /// The plugin configuration by itself
    PluginConfig,
    /// A WasmPlugin or TrafficExtension that holds it, or a patch of one
    WasmPlugin,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    anstream::print!("{}", text(args)?);
    Ok(ExitCode::SUCCESS)
}

fn text(args: &Args) -> Result<String> {
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
                Args { of: Of::PluginConfig },
            ),
            (
                "istio/extension.schema.json",
                include_str!("../../../istio/extension.schema.json"),
                Args { of: Of::WasmPlugin },
            ),
        ] {
            assert!(text(&args).unwrap() == committed, "{file} is out of date: run `make docs`");
        }
    }
}
