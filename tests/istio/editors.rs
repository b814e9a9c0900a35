//! What editors make of the manifests: the schema that a manifest names in its first line.

use std::path::Path;

use serde_json::{Value, json};

use crate::kustomize::{Source, manifests_under};

/// A manifest with the pointer to its plugin configuration.
struct Manifest {
    file: String,
    text: String,
    value: Value,
    config: &'static str,
}

fn manifests(source: &Source) -> Vec<Manifest> {
    let files = manifests_under(Path::new("istio")).into_iter();
    let manifests = files.filter_map(|file| {
        let text = source.text(&file);
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect(&file);
        let [value] = <[Value; 1]>::try_from(documents).ok()?;
        let places = ["/spec/pluginConfig", "/spec/wasm/pluginConfig"];
        let config = places.into_iter().find(|at| value.pointer(at).is_some())?;
        Some(Manifest { file, text, value, config })
    });
    manifests.collect()
}

#[test]
fn each_plugin_configuration_has_a_schema_that_takes_it() {
    let source = Source::checkout();
    let manifests = manifests(&source);
    assert!(manifests.len() > 1, "base and mesh-wide have one");
    for Manifest { file, text, mut value, config } in manifests {
        let line = text.lines().next().and_then(|line| line.strip_prefix(MODELINE));
        let schema = line.unwrap_or_else(|| panic!("{file} begins without {MODELINE}"));
        let schema = Path::new(&file).with_file_name(schema);
        let schema = source.text(schema.to_str().expect("a name in UTF-8"));
        let schema: Value = serde_json::from_str(&schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");

        assert_eq!(validator.validate(&value).err().map(|error| error.to_string()), None, "{file}");

        value.pointer_mut(config).expect(config)["provider"] = json!([]);
        assert!(!validator.is_valid(&value), "{file} may hold any field");
    }
}

const MODELINE: &str = "# yaml-language-server: $schema=";
