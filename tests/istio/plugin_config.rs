//! The plugin configuration inside a WasmPlugin, as the filter's own parser sees it.

use mesh_jwt::config::Config;

use crate::kustomize::Resource;

pub(crate) fn check(plugin: &Resource) -> Option<String> {
    let Some(config) = plugin.get(CONFIG) else {
        return Some(plugin.problem(CONFIG, "without it the filter refuses to start"));
    };
    let error = Config::parse(config.to_string().as_bytes()).err()?;
    Some(plugin.problem(&format!("{CONFIG}{}", pointer(error.path())), &error))
}

/// `providers[0].issuer` as a JSON pointer.
fn pointer(path: &str) -> String {
    path.split(['.', '[']).filter(|step| !step.is_empty()).fold(String::new(), |pointer, step| {
        format!("{pointer}/{}", step.strip_suffix(']').unwrap_or(step))
    })
}

const CONFIG: &str = "/spec/pluginConfig";
