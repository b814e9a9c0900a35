//! A filter of the manifests, as Istio delivers it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use lab::checkout;
use lab::resources::TYPE;

use super::example;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    TrafficExtension,
    WasmPlugin,
}

/// The WasmPlugin of an example, or what it is turned into.
pub(super) fn resource(kind: Kind, overlay: &str, issuer: &str, stage: usize) -> Value {
    let source = example::edited(overlay, issuer, stage);
    let source = match kind {
        Kind::TrafficExtension => example::as_traffic_extension(&source),
        Kind::WasmPlugin => source,
    };
    let rendered = source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"));
    let mut resources = rendered.into_iter();
    let kind = format!("{kind:?}");
    resources.find(|resource| resource.kind() == kind).expect("one of the kind").value
}

/// The second line of an example.
pub(super) fn authorization_policy(overlay: &str, issuer: &str, stage: usize) -> Value {
    let rendered = example::edited(overlay, issuer, stage).render(example::DIRECTORY);
    let mut resources = rendered.unwrap_or_else(|problem| panic!("{problem}")).into_iter();
    let policy = resources.find(|resource| resource.kind() == "AuthorizationPolicy");
    policy.expect("an AuthorizationPolicy").value
}

/// What a resource says of the module.
pub(super) fn module(resource: &Value) -> &Value {
    let spec = &resource["spec"];
    spec.get("wasm").unwrap_or(spec)
}

/// Envoy's configuration of the filter, as Istio and its agent derive it from a resource.
fn wasm(root: &str, resource: &Value) -> Value {
    let module = module(resource);
    let failure_policy = match module["failStrategy"].as_str() {
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        other => panic!("a failStrategy that is not translated here: {other:?}"),
    };
    json!({
        "name": root,
        "configuration": {
            "@type": format!("{TYPE}/google.protobuf.StringValue"),
            // Istio sorts the members, and so does this.
            "value": module["pluginConfig"].to_string(),
        },
        "failure_policy": failure_policy,
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": checkout::module() } },
        },
    })
}

fn full_name(resource: &Value) -> String {
    let text = |name: &str| resource["metadata"][name].as_str().expect("a text").to_owned();
    format!("{}.{}", text("namespace"), text("name"))
}

/// The file by which Envoy gets to know the filter's configuration; removed with this.
pub(super) struct Discovery {
    /// Of the filter.
    pub(super) name: String,
    /// Of the plugin in its VM.
    root: String,
    pub(super) file: PathBuf,
}

impl Discovery {
    pub(super) fn new(resource: &Value) -> Self {
        let kind = resource["kind"].as_str().expect("a kind").to_lowercase();
        Self::named(&kind, full_name(resource), resource)
    }

    /// That of a WasmPlugin in Istio 1.30 and newer.
    pub(super) fn translated(resource: &Value) -> Self {
        let root = format!("{}~istio-translated-wasmplugin", full_name(resource));
        Self::named("trafficextension", root, resource)
    }

    fn named(kind: &str, root: String, resource: &Value) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let file = format!("ecds-{}-{number}.json", std::process::id());
        let discovery = Self {
            name: format!("extensions.istio.io/{kind}/{root}"),
            root,
            file: Path::new(env!("CARGO_TARGET_TMPDIR")).join(file),
        };
        discovery.update(resource);
        discovery
    }

    pub(super) fn update(&self, resource: &Value) {
        let resource = json!({
            "@type": format!("{TYPE}/envoy.config.core.v3.TypedExtensionConfig"),
            "name": self.name,
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm"),
                "config": wasm(&self.root, resource),
            },
        });
        let whole = self.file.with_extension("new");
        fs::write(&whole, json!({ "resources": [resource] }).to_string())
            .expect("a writable target directory");
        // Envoy acts on a file that is moved to its place, so it never sees half of one.
        fs::rename(&whole, &self.file).expect("a writable target directory");
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // What cannot be removed stays under target/, where `cargo clean` finds it.
        drop(fs::remove_file(&self.file));
    }
}
