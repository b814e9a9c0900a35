//! The plugin configuration inside a WasmPlugin or a TrafficExtension, as the filter's own parser sees it.

use mesh_jwt::config::Config;

use crate::extension;
use crate::kustomize::Resource;

pub(crate) fn check(extension: &Resource) -> Option<String> {
    let at = extension::of_module(extension, "pluginConfig");
    let Some(config) = extension.get(&at) else {
        return Some(extension.problem(&at, "without it the filter refuses to start"));
    };
    let error = Config::parse(config.to_string().as_bytes()).err()?;
    Some(extension.problem(&format!("{at}{}", pointer(error.path())), &error))
}

/// `providers[0].issuer` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.split(['.', '[']).filter(|step| !step.is_empty()).fold(String::new(), |pointer, step| {
        format!("{pointer}/{}", step.strip_suffix(']').unwrap_or(step))
    })
}
