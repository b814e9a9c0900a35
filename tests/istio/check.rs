//! What can be wrong with a set of manifests beyond what a schema says.

use serde_json::Value;

use crate::kustomize::Resource;
use crate::{plugin_config, schema};

/// Everything that is wrong with what one kustomization renders.
pub(crate) fn all(resources: &[Resource]) -> Vec<String> {
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

pub(crate) fn of_kind<'all>(resources: &'all [Resource], kind: &str) -> Vec<&'all Resource> {
    resources.iter().filter(|resource| resource.kind() == kind).collect()
}

/// An authentication filter must not fail open, run after authorization, let anybody swap its image
/// or ask outbound requests for tokens.
fn safety(plugin: &Resource) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |pointer: &str, allowed: &[&str]| {
        if !allowed.contains(&plugin.text(pointer)) {
            problems.push(plugin.problem(pointer, format!("must be {}", allowed.join(" or "))));
        }
    };
    must("/spec/failStrategy", &["FAIL_CLOSE", "FAIL_RELOAD"]);
    must("/spec/phase", &["AUTHN"]);
    must("/spec/match/0/mode", &["SERVER", "CLIENT"]);
    if plugin.get("/spec/match/1").is_some() {
        problems.push(plugin.problem("/spec/match", "must say SERVER, or CLIENT for a gateway"));
    }
    if plugin.get("/spec/sha256").is_none() {
        problems.push(plugin.problem("/spec/sha256", "is missing, so any image would do"));
    }
    problems
}

/// A patch that names a filter that is not there does nothing, and nobody is told.
fn filter_names(filter: &Resource, plugins: &[&Resource]) -> Vec<String> {
    let known: Vec<_> = plugins.iter().flat_map(|plugin| names_in_envoy(plugin)).collect();
    let patches = filter.get("/spec/configPatches").and_then(Value::as_array);
    (0..patches.map_or(0, Vec::len))
        .map(|index| format!("/spec/configPatches/{index}/match/{FILTER_NAME}"))
        .filter(|pointer| {
            filter.get(pointer).is_some_and(|name| known.iter().all(|known| known != name))
        })
        .map(|pointer| filter.problem(&pointer, "there is no WasmPlugin of this filter's name"))
        .collect()
}

/// What Istio before 1.30 calls a WasmPlugin's filter, and what it has called it since.
pub(crate) fn names_in_envoy(plugin: &Resource) -> [String; 2] {
    let name = format!("{}.{}", plugin.text("/metadata/namespace"), plugin.name());
    [
        format!("extensions.istio.io/wasmplugin/{name}"),
        format!("extensions.istio.io/trafficextension/{name}~istio-translated-wasmplugin"),
    ]
}

/// The cluster that keys are fetched from has to be the one that the ServiceEntry makes.
fn cluster(plugin: &Resource, entry: &Resource) -> Option<String> {
    let port = entry.get("/spec/ports/0/number")?;
    let made = format!("outbound|{port}||{}", entry.text("/spec/hosts/0"));
    let pointer = "/spec/pluginConfig/providers/0/jwksCluster";
    (plugin.text(pointer) != made)
        .then(|| plugin.problem(pointer, format!("must be {made:?}, which the ServiceEntry makes")))
}

/// In report mode requests without an identity pass, and the policy would refuse them.
fn second_line(plugin: &Resource, policy: &Resource) -> Option<String> {
    let pointer = "/spec/pluginConfig/mode";
    (plugin.get(pointer)? != "enforce").then(|| {
        let name = policy.name();
        plugin.problem(
            pointer,
            format!("the AuthorizationPolicy {name} denies what this only reports"),
        )
    })
}

/// Below a `match`, where an EnvoyFilter names the HTTP filter that it is about.
pub(crate) const FILTER_NAME: &str = "listener/filterChain/filter/subFilter/name";
