//! Finds the plugin configurations in a file, whatever form they are in.

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
        match (self.path.as_str(), inner) {
            ("", inner) => inner.to_owned(),
            (path, "") => path.to_owned(),
            (path, inner) => format!("{path}.{inner}"),
        }
    }
}

/// What keeps a configuration from being read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) problem: String,
}

impl From<Unreadable> for Fault {
    fn from(Unreadable { place, problem }: Unreadable) -> Self {
        Self { place, path: String::new(), problem }
    }
}

/// Every plugin configuration of a file, and what keeps others from being read.
pub(crate) fn find(source: &Source) -> (Vec<Found>, Vec<Fault>) {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let documents = match source.documents() {
        Ok(documents) => documents,
        Err(unreadable) => return (found, vec![unreadable.into()]),
    };
    for document in &documents {
        match document.get("kind").and_then(Node::text) {
            Some("WasmPlugin") => {
                of_manifest(document, &["spec", "pluginConfig"], &mut found, &mut faults)
            }
            Some("TrafficExtension") => {
                of_manifest(document, &["spec", "wasm", "pluginConfig"], &mut found, &mut faults);
            }
            _ if document.get("providers").is_some() => {
                found.push(Found::of(document, String::new()));
            }
            _ => of_envoy(source, document, &mut found, &mut faults),
        }
    }
    if found.is_empty() && faults.is_empty() {
        faults.push(Fault {
            place: documents.first().map(Node::place).unwrap_or_default(),
            path: String::new(),
            problem:
                "holds no plugin configuration; expected one (with \"providers\"), a WasmPlugin, \
                      a TrafficExtension, or the filter mesh_jwt in a configuration of Envoy"
                    .to_owned(),
        });
    }
    (found, faults)
}

fn of_manifest(document: &Node, path: &[&str], found: &mut Vec<Found>, faults: &mut Vec<Fault>) {
    let text = path.join(".");
    match document.find(path) {
        Some(node) => found.push(Found::of(node, text)),
        None => faults.push(Fault {
            place: document.place_of(&text),
            problem: "is missing; write the plugin configuration there, as an object".to_owned(),
            path: text,
        }),
    }
}

/// Looks for Wasm filters anywhere: in listeners, in resources of discovery, in patches.
fn of_envoy(source: &Source, document: &Node, found: &mut Vec<Found>, faults: &mut Vec<Fault>) {
    let mut filters = Vec::new();
    document.walk("", &mut |path, node| {
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
                faults.push(Fault { place, path, problem });
            }
            (None, _) if is_ours(filter, value) => faults.push(Fault {
                place: value.place(),
                path,
                problem: "Envoy hands over only text as it is; write the JSON as the string of a \
                          google.protobuf.StringValue"
                    .to_owned(),
            }),
            // Some other filter's.
            _ => {}
        }
    }
}

/// Whether a Wasm filter is this one: by the names around its code, or by its configuration.
fn is_ours(filter: &Node, configuration: &Node) -> bool {
    let named = filter.find(&["config", "vm_config"]).map(Node::to_json);
    let named = named.as_ref().map(Value::to_string).unwrap_or_default();
    ["mesh_jwt", "mesh-jwt"].iter().any(|name| named.contains(name))
        || configuration.get("providers").is_some()
}

const WASM_FILTER: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
