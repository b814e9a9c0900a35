//! What runs the filter with a configuration.

use clap::ValueEnum;
use mesh_jwt::config::document::PluginConfig;
use serde::Serialize;
use serde_json::Value;

/// What to print.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Kind {
    /// Istio's WasmPlugin
    WasmPlugin,
    /// Istio's TrafficExtension, for Istio 1.30 and newer
    TrafficExtension,
    /// The filter for an envoy.yaml
    #[value(name = "envoy-filter")]
    EnvoyFilter,
    /// The plugin configuration alone
    #[value(name = "plugin-config")]
    PluginConfig,
}

/// For which workloads it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) metadata: Metadata,
    /// As in Istio.
    pub(crate) selector: Option<Value>,
    pub(crate) target_refs: Vec<Value>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<Value>,
}

/// Something to apply.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Manifest {
    EnvoyFilter(Box<HttpFilter>),
    /// A resource of the source, changed.
    Other(Value),
    PluginConfig(Box<PluginConfig>),
    TrafficExtension(Box<Resource<TrafficExtensionSpec>>),
    WasmPlugin(Box<Resource<WasmPluginSpec>>),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource<S> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: S,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WasmPluginSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target_refs: Vec<Value>,
    #[serde(flatten)]
    module: Module,
    phase: &'static str,
    #[serde(rename = "match")]
    matched: [Mode; 1],
    plugin_config: PluginConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrafficExtensionSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    target_refs: Vec<Value>,
    phase: &'static str,
    #[serde(rename = "match")]
    matched: [Mode; 1],
    wasm: Wasm,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wasm {
    #[serde(flatten)]
    module: Module,
    plugin_config: PluginConfig,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Module {
    url: &'static str,
    sha256: &'static str,
    image_pull_policy: &'static str,
    fail_strategy: &'static str,
}

#[derive(Debug, Serialize)]
struct Mode {
    mode: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct HttpFilter {
    name: &'static str,
    typed_config: Typed<WasmFilter>,
}

#[derive(Debug, Serialize)]
struct WasmFilter {
    config: PluginSettings,
}

#[derive(Debug, Serialize)]
struct PluginSettings {
    failure_policy: &'static str,
    vm_config: VmSettings,
    configuration: Typed<StringValue>,
}

#[derive(Debug, Serialize)]
struct VmSettings {
    vm_id: &'static str,
    runtime: &'static str,
    code: Code,
}

#[derive(Debug, Serialize)]
struct Code {
    local: LocalFile,
}

#[derive(Debug, Serialize)]
struct LocalFile {
    filename: &'static str,
}

#[derive(Debug, Serialize)]
struct StringValue {
    value: String,
}

#[derive(Debug, Serialize)]
struct Typed<T> {
    #[serde(rename = "@type")]
    url: &'static str,
    #[serde(flatten)]
    message: T,
}

impl Default for Target {
    /// A whole namespace, which the user names.
    fn default() -> Self {
        let metadata = Metadata { name: NAME.to_owned(), namespace: None, labels: None };
        Self { metadata, selector: None, target_refs: Vec::new() }
    }
}

impl Target {
    /// Whether it says to be a gateway's, whose listeners count as a client's. A waypoint says so too,
    /// and counts as a server.
    fn is_gateway(&self) -> bool {
        let of_labels = self.selector.as_ref().is_some_and(|selector| {
            let istio = selector.pointer("/matchLabels/istio").and_then(Value::as_str);
            istio.is_some_and(|value| value.ends_with("gateway"))
                || selector.pointer(GATEWAY_LABEL).is_some()
        });
        of_labels
            || self.target_refs.iter().any(|target| {
                let name = target["name"].as_str().unwrap_or_default();
                target["kind"] == "Gateway" && !name.contains("waypoint")
            })
    }
}

/// Puts a checked plugin configuration where it is to run.
pub(crate) fn render(
    kind: Kind,
    target: Target,
    plugin_config: PluginConfig,
) -> Result<Manifest, serde_json::Error> {
    let matched = [Mode { mode: if target.is_gateway() { "CLIENT" } else { "SERVER" } }];
    let module = Module {
        url: IMAGE,
        sha256: DIGEST,
        image_pull_policy: "IfNotPresent",
        fail_strategy: "FAIL_RELOAD",
    };
    let Target { metadata, selector, target_refs } = target;
    Ok(match kind {
        Kind::PluginConfig => Manifest::PluginConfig(Box::new(plugin_config)),
        Kind::WasmPlugin => Manifest::WasmPlugin(Box::new(Resource {
            api_version: EXTENSIONS,
            kind: "WasmPlugin",
            metadata,
            spec: WasmPluginSpec {
                selector,
                target_refs,
                module,
                phase: "AUTHN",
                matched,
                plugin_config,
            },
        })),
        Kind::TrafficExtension => Manifest::TrafficExtension(Box::new(Resource {
            api_version: EXTENSIONS,
            kind: "TrafficExtension",
            metadata,
            spec: TrafficExtensionSpec {
                selector,
                target_refs,
                phase: "AUTHN",
                matched,
                wasm: Wasm { module, plugin_config },
            },
        })),
        Kind::EnvoyFilter => Manifest::EnvoyFilter(Box::new(HttpFilter {
            name: "mesh_jwt",
            typed_config: Typed {
                url: "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                message: WasmFilter {
                    config: PluginSettings {
                        failure_policy: "FAIL_RELOAD",
                        vm_config: VmSettings {
                            vm_id: "mesh_jwt",
                            runtime: "envoy.wasm.runtime.v8",
                            code: Code { local: LocalFile { filename: MODULE } },
                        },
                        configuration: Typed {
                            url: "type.googleapis.com/google.protobuf.StringValue",
                            message: StringValue { value: serde_json::to_string(&plugin_config)? },
                        },
                    },
                },
            },
        })),
    })
}

/// What has to be looked at by hand.
pub(crate) fn doubts(kind: Kind, target: &Target) -> Option<String> {
    let is_for_gateways = target.is_gateway() || !target.target_refs.is_empty();
    let is_resource = matches!(kind, Kind::WasmPlugin | Kind::TrafficExtension);
    (is_for_gateways && is_resource).then(|| {
        "look whether match.mode is right: CLIENT for gateways, SERVER for sidecars and waypoints"
            .to_owned()
    })
}

/// What has to be filled in by hand.
pub(crate) fn placeholders(kind: Kind) -> Option<String> {
    match kind {
        Kind::WasmPlugin | Kind::TrafficExtension => Some(format!(
            "put your image and its digest in the place of {IMAGE} and the zeros (istio/README.md)"
        )),
        Kind::EnvoyFilter => {
            Some(format!("put the module to {MODULE}, or its path into the filter (README.md)"))
        }
        Kind::PluginConfig => None,
    }
}

const NAME: &str = "mesh-jwt";
const EXTENSIONS: &str = "extensions.istio.io/v1alpha1";
const GATEWAY_LABEL: &str = "/matchLabels/gateway.networking.k8s.io~1gateway-name";
/// As in istio/base.
const IMAGE: &str = "oci://registry.example.com/mesh-jwt:0.1.0";
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const MODULE: &str = "/etc/envoy/mesh-jwt.wasm";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mode(target: &Target) -> Value {
        let config = PluginConfig::default();
        let wasm_plugin = render(Kind::WasmPlugin, target.clone(), config).unwrap();
        serde_json::to_value(wasm_plugin).unwrap()["spec"]["match"][0]["mode"].clone()
    }

    #[test]
    fn the_listeners_of_gateways_count_as_a_clients() {
        let selected = |labels: Value| Target {
            selector: Some(json!({ "matchLabels": labels })),
            ..Target::default()
        };
        let referred = |name: &str| Target {
            target_refs: vec![json!({ "kind": "Gateway", "name": name })],
            ..Target::default()
        };

        assert_eq!(mode(&Target::default()), "SERVER");
        assert_eq!(mode(&selected(json!({ "app": "users" }))), "SERVER");
        assert_eq!(mode(&selected(json!({ "istio": "ingressgateway" }))), "CLIENT");
        let label = "gateway.networking.k8s.io/gateway-name";
        assert_eq!(mode(&selected(json!({ label: "edge" }))), "CLIENT");
        assert_eq!(mode(&referred("edge")), "CLIENT");
        assert_eq!(mode(&referred("waypoint")), "SERVER");
    }

    #[test]
    fn placeholders_are_those_of_the_base() {
        let base = include_str!("../../../../istio/base/wasm-plugin.yaml");

        assert!(base.contains(IMAGE));
        assert!(base.contains(DIGEST));
    }
}
