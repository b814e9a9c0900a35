//! Checks a resource against its schema: what Kubernetes would refuse, and also what it would only
//! drop in silence, such as a field that it does not know.

use std::sync::LazyLock;

use jsonschema::{Registry, Validator};
use serde_json::Value;

use crate::kustomize::Resource;

pub(crate) fn check(resource: &Resource) -> Vec<String> {
    let (version, kind) = (resource.text("/apiVersion"), resource.kind());
    match Schema::of(version, kind) {
        Some(schema) => problems(&schema.validator, resource),
        None => vec![resource.problem("", format!("there is no schema for {version} {kind}"))],
    }
}

/// What a validator has to say about a resource.
pub(crate) fn problems(validator: &Validator, resource: &Resource) -> Vec<String> {
    validator
        .iter_errors(&resource.value)
        .map(|error| resource.problem(error.instance_path().as_str(), &error))
        .collect()
}

/// A file in tests/istio/schemas, with what it refers to put in its place.
pub(crate) struct Schema {
    pub(crate) text: Value,
    pub(crate) validator: Validator,
}

impl Schema {
    pub(crate) fn of(version: &str, kind: &str) -> Option<&'static Self> {
        SCHEMAS.iter().find(|schema| (schema.version(), schema.kind()) == (version, kind))
    }

    /// Those of Istio's own resources.
    pub(crate) fn of_istio() -> impl Iterator<Item = &'static Self> {
        SCHEMAS.iter().filter(|schema| schema.version().contains(".istio.io/"))
    }

    pub(crate) fn version(&self) -> &str {
        self.constant("apiVersion")
    }

    pub(crate) fn kind(&self) -> &str {
        self.constant("kind")
    }

    fn constant(&self, property: &str) -> &str {
        self.text["properties"][property]["const"].as_str().expect("a constant")
    }

    fn parse(text: &str) -> Self {
        let parse = |text| -> Value { serde_json::from_str(text).expect("JSON") };
        let registry = PARTS.iter().fold(Registry::new(), |registry, (name, part)| {
            registry.add(format!("{BASE}{name}"), parse(part)).expect("a URI")
        });
        let registry = registry.prepare().expect("schemas");
        let options = jsonschema::options().with_base_uri(BASE).with_registry(&registry);
        let text = options.dereference(&parse(text)).expect("a schema");
        Self { validator: options.build(&text).expect("a schema"), text }
    }
}

static SCHEMAS: LazyLock<Vec<Schema>> = LazyLock::new(|| {
    [
        include_str!("schemas/AuthorizationPolicy.json"),
        include_str!("schemas/ConfigMap.json"),
        include_str!("schemas/DestinationRule.json"),
        include_str!("schemas/EnvoyFilter.json"),
        include_str!("schemas/ExternalSecret.json"),
        include_str!("schemas/Gateway.json"),
        include_str!("schemas/PeerAuthentication.json"),
        include_str!("schemas/ServiceEntry.json"),
        include_str!("schemas/TrafficExtension.json"),
        include_str!("schemas/WasmPlugin.json"),
    ]
    .map(Schema::parse)
    .into()
});
/// What the schemas refer to.
const PARTS: [(&str, &str); 4] = [
    ("extension.json", include_str!("schemas/extension.json")),
    ("labels.json", include_str!("schemas/labels.json")),
    ("metadata.json", include_str!("schemas/metadata.json")),
    ("targetRefs.json", include_str!("schemas/targetRefs.json")),
];
const BASE: &str = "file:///schemas/";
