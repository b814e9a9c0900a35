//! What can be wrong with a set of manifests beyond what a schema says.

use http::Uri;
use serde_json::{Value, json};

use crate::extension::{self, Place};
use crate::kustomize::Resource;
use crate::{plugin_config, schema};

/// Everything that is wrong with what one kustomization renders.
pub(crate) fn all(resources: &[Resource]) -> Vec<String> {
    let mut problems: Vec<_> = resources.iter().flat_map(schema::check).collect();
    let extensions = extension::all(resources);
    for extension in &extensions {
        let place = extension::place(extension, resources);
        problems.extend(plugin_config::check(extension));
        problems.extend(safety(extension, place));
        problems.extend(cluster(extension, place, resources));
        if let Some(policy) = of_kind(resources, "AuthorizationPolicy").first() {
            problems.extend(second_line(extension, place, policy));
        }
    }
    for filter in of_kind(resources, "EnvoyFilter") {
        problems.extend(filter_names(filter, &extensions));
    }
    problems
}

pub(crate) fn of_kind<'all>(resources: &'all [Resource], kind: &str) -> Vec<&'all Resource> {
    resources.iter().filter(|resource| resource.kind() == kind).collect()
}

/// An authentication filter must not fail open, run after authorization, let anybody swap its image,
/// ask outbound requests for tokens or miss those that it is for.
fn safety(extension: &Resource, place: Place) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |pointer: &str, allowed: &[&str]| {
        if !allowed.contains(&extension.text(pointer)) {
            problems.push(extension.problem(pointer, format!("must be {}", allowed.join(" or "))));
        }
    };
    let of_module = |member| extension::of_module(extension, member);
    must(&of_module("failStrategy"), &["FAIL_CLOSE", "FAIL_RELOAD"]);
    must("/spec/phase", &["AUTHN"]);
    must("/spec/match/0/mode", extension::modes(place));
    if extension.get("/spec/match/1").is_some() {
        problems.push(extension.problem("/spec/match", "must say SERVER, or CLIENT for a gateway"));
    }
    let digest = of_module("sha256");
    if extension.get(&digest).is_none() {
        problems.push(extension.problem(&digest, "is missing, so any image would do"));
    }
    problems
}

/// A patch that names a filter that is not there does nothing, and nobody is told.
fn filter_names(filter: &Resource, extensions: &[&Resource]) -> Vec<String> {
    let known: Vec<_> = extensions.iter().flat_map(|one| extension::names_in_envoy(one)).collect();
    let patches = filter.get("/spec/configPatches").and_then(Value::as_array);
    (0..patches.map_or(0, Vec::len))
        .map(|index| format!("/spec/configPatches/{index}/match/{FILTER_NAME}"))
        .filter(|pointer| {
            filter.get(pointer).is_some_and(|name| known.iter().all(|known| known != name))
        })
        .map(|pointer| filter.problem(&pointer, "nothing here makes a filter of this name"))
        .collect()
}

/// The cluster that keys are fetched from has to be the one that the ServiceEntry makes and, at a
/// waypoint, one that a waypoint has.
fn cluster(extension: &Resource, place: Place, all: &[Resource]) -> Option<String> {
    let provider = extension::of_module(extension, "pluginConfig/providers/0");
    let uri: Option<Uri> = extension.text(&format!("{provider}/jwksUri")).parse().ok();
    let made = match of_kind(all, "ServiceEntry").first() {
        Some(entry) => {
            let port = entry.get("/spec/ports/0/number")?;
            extension::cluster(place, entry.text("/spec/hosts/0"), port)
        }
        None if place == Place::Waypoint => {
            let uri = uri.filter(|uri| uri.scheme_str() == Some("http"))?;
            extension::cluster(place, uri.host()?, &json!(uri.port_u16().unwrap_or(80)))
        }
        None => return None,
    };
    let pointer = format!("{provider}/jwksCluster");
    (extension.text(&pointer) != made)
        .then(|| extension.problem(&pointer, format!("must be {made:?}, which Istio makes")))
}

/// In report mode requests without an identity pass, and the policy would refuse them. In ambient,
/// ztunnel would deny everything for a policy that it is to enforce, and that asks for headers.
fn second_line(extension: &Resource, place: Place, policy: &Resource) -> Option<String> {
    let name = policy.name();
    let pointer = extension::of_module(extension, "pluginConfig/mode");
    if extension.get(&pointer).is_some_and(|mode| mode != "enforce") {
        let problem = format!("the AuthorizationPolicy {name} denies what this only reports");
        return Some(extension.problem(&pointer, problem));
    }
    let targets = "/spec/targetRefs";
    (place == Place::Waypoint && policy.get(targets) != extension.get(targets))
        .then(|| policy.problem(targets, "must be where the filter is, at the waypoint"))
}

/// Below a `match`, where an EnvoyFilter names the HTTP filter that it is about.
pub(crate) const FILTER_NAME: &str = "listener/filterChain/filter/subFilter/name";
