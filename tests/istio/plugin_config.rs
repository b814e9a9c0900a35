//! The plugin configuration inside a WasmPlugin, as the filter's own parser sees it.

use mesh_jwt::config::Config;

use crate::render::node::{Node, Place, Problem};

pub(crate) fn check(plugin: &Node) -> Option<Problem> {
    let Some(config) = plugin.at(&["spec", "pluginConfig"]) else {
        return Some(plugin.place.problem("without pluginConfig the filter refuses to start"));
    };
    let error = Config::parse(config.json().to_string().as_bytes()).err()?;
    Some(place(config, error.path()).problem(format!("pluginConfig: {error}")))
}

/// Where the manifest says what is at a path such as `providers[0].issuer`, or would have to.
fn place<'node>(config: &'node Node, path: &str) -> &'node Place {
    let mut place = &config.place;
    let mut node = config;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match step.strip_suffix(']') {
            Some(index) => {
                let index: usize = index.parse().expect("a number between brackets");
                node.items().and_then(|items| items.get(index)).map(|item| (&item.place, item))
            }
            None => node.members().and_then(|members| {
                let found = members.iter().find(|(key, _)| key.name == step);
                found.map(|(_, value)| (&value.place, value))
            }),
        };
        let Some((at, value)) = next else { break };
        (place, node) = (at, value);
    }
    place
}
