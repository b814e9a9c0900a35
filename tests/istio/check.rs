//! What can be wrong with a set of manifests beyond what a schema says.

use crate::render::node::{Node, Problem};
use crate::{plugin_config, schema};

/// Everything that is wrong with what one kustomization renders.
pub(crate) fn all(resources: &[Node]) -> Vec<Problem> {
    let mut problems: Vec<_> = resources.iter().flat_map(schema::check).collect();
    let plugins = of_kind(resources, "WasmPlugin");
    problems.extend(plugins.iter().filter_map(|plugin| plugin_config::check(plugin)));
    problems.extend(plugins.iter().flat_map(|plugin| safety(plugin)));
    for filter in of_kind(resources, "EnvoyFilter") {
        problems.extend(filter_names(filter, &plugins));
    }
    for entry in of_kind(resources, "ServiceEntry") {
        problems.extend(plugins.iter().filter_map(|plugin| cluster(plugin, entry)));
    }
    if let Some(policy) = of_kind(resources, "AuthorizationPolicy").first() {
        problems.extend(plugins.iter().filter_map(|plugin| second_line(plugin, policy)));
    }
    problems
}

fn of_kind<'node>(resources: &'node [Node], kind: &str) -> Vec<&'node Node> {
    resources
        .iter()
        .filter(|resource| resource.get("kind").and_then(Node::text) == Some(kind))
        .collect()
}

/// An authentication filter must not fail open, run after authorization, let anybody swap its image
/// or ask outbound requests for tokens.
fn safety(plugin: &Node) -> Vec<Problem> {
    let field = |name: &str| plugin.at(&["spec", name]);
    let mut problems = Vec::new();
    let mut must = |name: &str, allowed: &[&str]| {
        let stated = field(name).and_then(Node::text).unwrap_or_default();
        if !allowed.contains(&stated) {
            let place = field(name).map_or(&plugin.place, |node| &node.place);
            problems.push(place.problem(format!("{name} must be {}", allowed.join(" or "))));
        }
    };
    must("failStrategy", &["FAIL_CLOSE", "FAIL_RELOAD"]);
    must("phase", &["AUTHN"]);
    if field("sha256").is_none() {
        problems.push(plugin.place.problem("sha256 is missing, so any image would do"));
    }
    let modes = field("match").and_then(Node::items).unwrap_or_default();
    if !matches!(modes, [one] if matches!(one.get("mode").and_then(Node::text), Some("SERVER" | "CLIENT")))
    {
        problems.push(plugin.place.problem("match must say SERVER, or CLIENT for a gateway"));
    }
    problems
}

/// A patch that names a filter that is not there does nothing, and nobody is told.
fn filter_names(filter: &Node, plugins: &[&Node]) -> Vec<Problem> {
    let known: Vec<_> = plugins
        .iter()
        .filter_map(|plugin| {
            let name = plugin.at(&["metadata", "name"])?.text()?;
            Some(format!("{}.{name}", plugin.at(&["metadata", "namespace"])?.text()?))
        })
        .flat_map(|name| {
            [
                format!("extensions.istio.io/wasmplugin/{name}"),
                format!("extensions.istio.io/trafficextension/{name}~istio-translated-wasmplugin"),
            ]
        })
        .collect();
    let patches = filter.at(&["spec", "configPatches"]).and_then(Node::items).unwrap_or_default();
    patches
        .iter()
        .filter_map(|patch| {
            let path = ["match", "listener", "filterChain", "filter", "subFilter", "name"];
            let name = patch.at(&path)?;
            let is_known = known.iter().any(|known| Some(known.as_str()) == name.text());
            (!is_known).then(|| name.place.problem("there is no WasmPlugin of this filter's name"))
        })
        .collect()
}

/// The cluster that keys are fetched from has to be the one that the ServiceEntry makes.
fn cluster(plugin: &Node, entry: &Node) -> Option<Problem> {
    let provider = plugin.at(&["spec", "pluginConfig", "providers"])?.items()?.first()?;
    let host = entry.at(&["spec", "hosts"])?.items()?.first()?.text()?;
    let port = entry.at(&["spec", "ports"])?.items()?.first()?.get("number")?.json();
    let made = format!("outbound|{port}||{host}");
    let stated = provider.get("jwksCluster");
    let place = stated.map_or(&provider.place, |stated| &stated.place);
    (stated.and_then(Node::text) != Some(&made))
        .then(|| place.problem(format!("jwksCluster must be {made:?}")))
}

/// In report mode requests without an identity pass, and the policy would refuse them.
fn second_line(plugin: &Node, policy: &Node) -> Option<Problem> {
    let mode = plugin.at(&["spec", "pluginConfig", "mode"])?;
    (mode.text() != Some("enforce")).then(|| {
        let who = policy.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
        mode.place.problem(format!("the AuthorizationPolicy {who} denies what this only reports"))
    })
}
