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

/// What runs those workloads.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Workload {
    /// A sidecar, whose inbound listeners are a server's
    #[default]
    Sidecar,
    /// A gateway, whose listeners are a client's
    Gateway,
}

/// What to print, and for what.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Placement {
    /// What to print; by default a WasmPlugin, or for Envoy's jwt_authn the filter
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<Kind>,

    /// What the manifest selects, if it has no targetRefs; by default a sidecar
    ///
    /// Gateways need `--workload gateway`: made for sidecars, the filter does not run there.
    #[arg(long, value_name = "WORKLOAD")]
    pub(crate) workload: Option<Workload>,
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
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    matched: Vec<Mode>,
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
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    matched: Vec<Mode>,
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
    /// Whether some of its workloads may be gateways.
    fn may_be_gateways(&self) -> bool {
        let labels =
            self.selector.as_ref().and_then(|selector| selector["matchLabels"].as_object());
        let labels = labels.into_iter().flatten();
        let texts = labels.flat_map(|(name, value)| [Some(name.as_str()), value.as_str()]);
        let mut texts = texts.chain([self.metadata.namespace.as_deref()]).flatten();
        let is_hint = |text: &str| {
            // The installation names its gateways `istio: ingress` and the like.
            text == "istio"
                || text == ROOT_NAMESPACE
                || ["gateway", "ingress", "egress"].iter().any(|hint| text.contains(hint))
        };
        self.selector.is_none() || texts.any(is_hint)
    }
}

impl Placement {
    /// Whether nobody says what the workloads are, and a wrong guess would keep the filter from
    /// running. `default` is the kind to print unless another is told.
    pub(crate) fn is_guessed(&self, default: Kind, target: &Target) -> bool {
        let kind = self.kind.unwrap_or(default);
        matches!(kind, Kind::WasmPlugin | Kind::TrafficExtension)
            && self.workload.is_none()
            && target.target_refs.is_empty()
            && target.may_be_gateways()
    }

    /// The listeners of its workloads. Istio knows itself what targetRefs refer to.
    fn listeners(&self, target: &Target) -> Vec<Mode> {
        if !target.target_refs.is_empty() {
            return Vec::new();
        }
        let mode = match self.workload.unwrap_or_default() {
            Workload::Sidecar => "SERVER",
            Workload::Gateway => "CLIENT",
        };
        vec![Mode { mode }]
    }
}

/// Puts a checked plugin configuration where it is to run.
pub(crate) fn render(
    placement: &Placement,
    default: Kind,
    target: Target,
    plugin_config: PluginConfig,
) -> Result<Manifest, serde_json::Error> {
    let kind = placement.kind.unwrap_or(default);
    let matched = placement.listeners(&target);
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
/// Of which resources are for the whole mesh, unless an installation says otherwise.
pub(crate) const ROOT_NAMESPACE: &str = "istio-system";
/// As in istio/base.
const IMAGE: &str = "oci://registry.example.com/mesh-jwt:0.1.0";
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const MODULE: &str = "/etc/envoy/mesh-jwt.wasm";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selected(namespace: &str, labels: Value) -> Target {
        let metadata =
            Metadata { namespace: Some(namespace.to_owned()), ..Target::default().metadata };
        Target {
            metadata,
            selector: Some(json!({ "matchLabels": labels })),
            target_refs: Vec::new(),
        }
    }

    fn spec(workload: Option<Workload>, target: &Target) -> Value {
        let placement = Placement { kind: None, workload };
        let config = PluginConfig::default();
        let wasm_plugin = render(&placement, Kind::WasmPlugin, target.clone(), config).unwrap();
        serde_json::to_value(wasm_plugin).unwrap()["spec"].clone()
    }

    #[test]
    fn the_listeners_are_those_of_the_workload_and_left_to_target_refs() {
        let users = selected("shop", json!({ "app": "users" }));
        let sidecar = json!([{ "mode": "SERVER" }]);
        assert_eq!(spec(None, &users)["match"], sidecar);
        assert_eq!(spec(Some(Workload::Sidecar), &users)["match"], sidecar);
        assert_eq!(spec(Some(Workload::Gateway), &users)["match"], json!([{ "mode": "CLIENT" }]));

        let edge = vec![json!({ "kind": "Gateway", "name": "edge" })];
        let edge = Target { target_refs: edge, ..Target::default() };
        assert_eq!(spec(None, &edge).get("match"), None);
        assert_eq!(spec(Some(Workload::Gateway), &edge).get("match"), None);
    }

    #[test]
    fn the_workload_is_guessed_where_it_may_be_a_gateway_and_nobody_says() {
        let is_guessed = |target: &Target| {
            let of =
                |kind, workload| Placement { kind, workload }.is_guessed(Kind::WasmPlugin, target);
            assert!(!of(None, Some(Workload::Sidecar)));
            assert!(!of(Some(Kind::PluginConfig), None));
            of(None, None)
        };

        assert!(!is_guessed(&selected("shop", json!({ "app": "users" }))));
        let label = "gateway.networking.k8s.io/gateway-name";
        for labels in [
            json!({ "istio": "ingressgateway" }),
            json!({ "istio": "edge" }),
            json!({ "app": "istio-ingress" }),
            json!({ label: "edge" }),
        ] {
            assert!(is_guessed(&selected("shop", labels.clone())), "{labels}");
        }
        for namespace in ["istio-system", "istio-ingress", "my-gateways"] {
            assert!(is_guessed(&selected(namespace, json!({ "app": "users" }))), "{namespace}");
        }
        assert!(is_guessed(&Target { selector: None, ..selected("shop", json!({})) }));
        let refs = vec![json!({ "kind": "Gateway", "name": "edge" })];
        assert!(!is_guessed(&Target { target_refs: refs, ..Target::default() }));
    }

    #[test]
    fn placeholders_are_those_of_the_base() {
        let base = include_str!("../../../../istio/base/wasm-plugin.yaml");

        assert!(base.contains(IMAGE));
        assert!(base.contains(DIGEST));
    }
}
