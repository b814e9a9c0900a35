//! The resource that puts the filter into proxies: a WasmPlugin or, since Istio 1.30, a
//! TrafficExtension, which says the same of traffic, and of the module one level deeper.

use serde_json::Value;

use crate::kustomize::Resource;

pub(crate) fn all(resources: &[Resource]) -> Vec<&Resource> {
    resources.iter().filter(|resource| KINDS.contains(&resource.kind())).collect()
}

/// The JSON pointer of something that is said of the module, such as `pluginConfig`.
pub(crate) fn of_module(extension: &Resource, member: &str) -> String {
    let at = if extension.kind() == "TrafficExtension" { "/spec/wasm" } else { "/spec" };
    format!("{at}/{member}")
}

/// What Istio calls the filter: of a WasmPlugin before 1.30 and since, and of a TrafficExtension.
pub(crate) fn names_in_envoy(extension: &Resource) -> [String; 3] {
    let name = format!("{}.{}", extension.text("/metadata/namespace"), extension.name());
    [
        format!("extensions.istio.io/wasmplugin/{name}"),
        format!("extensions.istio.io/trafficextension/{name}~istio-translated-wasmplugin"),
        format!("extensions.istio.io/trafficextension/{name}"),
    ]
}

/// Where the filter listens.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Place {
    /// In pods that a selector chooses: sidecars, or a gateway of Istio's own.
    Selected,
    /// At a Gateway of the Kubernetes Gateway API.
    GatewayApi,
    Waypoint,
}

/// Whether a Gateway is a waypoint, its class says, which only its own manifest does.
pub(crate) fn place(extension: &Resource, all: &[Resource]) -> Place {
    let Some(target) = extension.get("/spec/targetRefs/0") else { return Place::Selected };
    let is_waypoint = |gateway: &Resource| {
        gateway.kind() == "Gateway"
            && target["name"] == gateway.name()
            && gateway.text("/spec/gatewayClassName") == "istio-waypoint"
    };
    if target["kind"] == "Gateway" && !all.iter().any(is_waypoint) {
        Place::GatewayApi
    } else {
        Place::Waypoint
    }
}

/// What requests are the filter's at such a place.
pub(crate) fn modes(place: Place) -> &'static [&'static str] {
    match place {
        Place::Selected => &["SERVER", "CLIENT"],
        Place::GatewayApi => &["CLIENT"],
        Place::Waypoint => &["SERVER"],
    }
}

/// The cluster of a host at such a place, as Istio names it.
pub(crate) fn cluster(place: Place, host: &str, port: &Value) -> String {
    match place {
        Place::Waypoint => format!("inbound-vip|{port}|http|{host}"),
        _ => format!("outbound|{port}||{host}"),
    }
}

pub(crate) const KINDS: [&str; 2] = ["TrafficExtension", "WasmPlugin"];
