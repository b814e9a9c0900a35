//! Finds the plugin configurations in a file, whatever form they are in.

use serde::Serialize;
use serde_json::Value;

use crate::place::Place;
use crate::source::{Source, Unreadable};
use crate::tree::Node;

/// A plugin configuration in a file.
pub(crate) struct Found {
    /// What the filter gets: JSON, if it was written so or something else makes it of YAML.
    pub(crate) text: String,
    /// The same, with places in the file.
    pub(crate) node: Node,
    /// The path of the configuration in its document, such as `spec.pluginConfig`; empty if it is all
    /// of the document.
    pub(crate) path: String,
}

impl Found {
    /// One that something between the file and the filter turns into JSON.
    fn of(node: &Node, path: String) -> Self {
        Self { text: node.to_json().to_string(), node: node.clone(), path }
    }

    /// A path in the configuration as one in the document.
    pub(crate) fn path_of(&self, inner: &str) -> String {
        joined(&self.path, inner)
    }
}

fn joined(outer: &str, inner: &str) -> String {
    let dot = if outer.is_empty() || inner.is_empty() { "" } else { "." };
    [outer, dot, inner].concat()
}

/// What keeps a configuration from being read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) severity: Severity,
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) problem: String,
}

impl Fault {
    fn error(place: Place, path: String, problem: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, path, problem: problem.into() }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Every plugin configuration of a file, and what keeps others from being read.
pub(crate) fn find(source: &Source) -> (Vec<Found>, Vec<Fault>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let documents = match source.documents() {
        Ok(documents) => documents,
        Err(Unreadable { place, problem }) => {
            return (found, vec![Fault::error(place, String::new(), problem)]);
        }
    };
    for document in &documents {
        of_document(source, document, "", &mut found, &mut faults);
    }
    if found.is_empty() && faults.is_empty() {
        faults.push(Fault::error(
            documents.first().map(Node::place).unwrap_or_default(),
            String::new(),
            "holds no plugin configuration; expected one (with \"providers\"), a WasmPlugin or \
             TrafficExtension of mesh-jwt, or the filter mesh_jwt in a configuration of Envoy",
        ));
    }
    (found, faults)
}

/// Looks into a document, or an item of a list, which is at `path`.
fn of_document(
    source: &Source,
    document: &Node,
    path: &str,
    found: &mut Vec<Found>,
    faults: &mut Vec<Fault>,
) {
    match document.get("kind").and_then(Node::text) {
        Some("List") => {
            for (index, item) in document.items_of("items").iter().enumerate() {
                let path = joined(path, &format!("items[{index}]"));
                of_document(source, item, &path, found, faults);
            }
        }
        Some("WasmPlugin") => of_manifest(document, &["spec"], path, found, faults),
        Some("TrafficExtension") => of_manifest(document, &["spec", "wasm"], path, found, faults),
        _ if document.get("providers").is_some() => {
            found.push(Found::of(document, path.to_owned()));
        }
        _ => of_envoy(source, document, path, found, faults),
    }
}

/// Looks into a manifest, which has the plugin under the names `plugin`.
fn of_manifest(
    manifest: &Node,
    plugin: &[&str],
    path: &str,
    found: &mut Vec<Found>,
    faults: &mut Vec<Fault>,
) {
    let fields = manifest.find(plugin);
    let text = |name: &str| fields.and_then(|fields| fields.get(name)).and_then(Node::text);
    let configuration = fields.and_then(|fields| fields.get("pluginConfig"));
    let has_providers = configuration.is_some_and(|node| node.get("providers").is_some());
    let name = manifest.find(&["metadata", "name"]).and_then(Node::text);
    let names = [name, text("url"), text("pluginName")];
    if !has_providers && !names.into_iter().flatten().any(is_our_name) {
        return;
    }
    let inner = [&plugin.join("."), "pluginConfig"].join(".");
    let (place, path) = (manifest.place_of(&inner), joined(path, &inner));
    match configuration {
        _ if !has_providers && text("url").is_none() => faults.push(Fault {
            severity: Severity::Warning,
            place,
            path,
            problem:
                "this is a patch, with neither url nor providers: check what `kubectl kustomize` \
                      makes of it"
                    .to_owned(),
        }),
        Some(node) => found.push(Found::of(node, path)),
        None => faults.push(Fault::error(
            place,
            path,
            "is missing; write the plugin configuration there, as an object",
        )),
    }
}

/// Looks for Wasm filters anywhere: in listeners, in resources of discovery, in patches.
fn of_envoy(
    source: &Source,
    document: &Node,
    path: &str,
    found: &mut Vec<Found>,
    faults: &mut Vec<Fault>,
) {
    let mut filters = Vec::new();
    document.walk(path, &mut |path, node| {
        let kind = node.get("@type").and_then(Node::text).unwrap_or_default();
        if kind.ends_with(WASM_FILTER) {
            filters.push((path.to_owned(), node));
        }
    });
    for (path, filter) in filters {
        let Some(configuration) = filter.find(&["config", "configuration"]) else { continue };
        let Some(value) = configuration.get("value") else { continue };
        let path = format!("{path}.config.configuration.value");
        match (value.text(), source.embedded(value)) {
            (Some(text), Ok(Some(node))) if is_ours(filter, &node) => {
                found.push(Found { text: text.to_owned(), node, path });
            }
            (Some(_), Err(Unreadable { place, problem })) if is_ours(filter, value) => {
                faults.push(Fault::error(place, path, problem));
            }
            (None, _) if is_ours(filter, value) => faults.push(Fault::error(
                value.place(),
                path,
                "Envoy hands over only text as it is; write the JSON as the string of a \
                 google.protobuf.StringValue",
            )),
            // Some other filter's.
            _ => {}
        }
    }
}

/// Whether a Wasm filter is this one: by the names around its code, or by its configuration.
fn is_ours(filter: &Node, configuration: &Node) -> bool {
    let named = filter.find(&["config", "vm_config"]).map(Node::to_json);
    let named = named.as_ref().map(Value::to_string).unwrap_or_default();
    is_our_name(&named) || configuration.get("providers").is_some()
}

fn is_our_name(text: &str) -> bool {
    ["mesh_jwt", "mesh-jwt"].iter().any(|name| text.contains(name))
}

const WASM_FILTER: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
