//! The JSON Schemas for editors.

use super::keywords::DEFAULT_IN_WORDS;
use super::plugin::PluginConfig;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, RestrictFormats, Transform as _};
use schemars::{Schema, json_schema};
use serde_json::Value;

/// The JSON Schema of the plugin configuration.
#[must_use]
pub fn plugin_config_schema() -> Schema {
    let mut schema = annotated();
    RecursiveTransform(told_default).transform(&mut schema);
    schema
}

/// The JSON Schema of Istio's resources that hold a plugin configuration, WasmPlugin and
/// TrafficExtension, and of patches of them. It says nothing of the rest of the resource.
#[must_use]
pub fn manifest_schema() -> Schema {
    let mut generator = generator();
    let config = generator.subschema_for::<PluginConfig>();
    let mut definitions = generator.take_definitions(true);
    if let Some(Value::Object(config)) = definitions.get_mut("PluginConfig") {
        config.remove("required");
    }
    // A patch is merged into what names the module, and so may leave out what it does not change.
    let extension = json_schema!({
        "type": "object",
        "properties": {"pluginConfig": config},
        "if": {"required": ["url"]},
        "then": {"properties": {"pluginConfig": {"required": ["providers"]}}}
    });
    let mut spec = extension.clone();
    if let Some(Value::Object(properties)) = spec.get_mut("properties") {
        properties.insert("wasm".to_owned(), extension.to_value());
    }
    let mut schema = json_schema!({
        "$schema": generator.settings().meta_schema,
        "title": "A WasmPlugin or TrafficExtension with mesh-jwt, or a patch of one",
        "description": "Says what its plugin configuration may hold, and nothing of the rest.",
        "type": "object",
        "properties": {"spec": spec},
        "$defs": definitions
    });
    RecursiveTransform(told_default).transform(&mut schema);
    schema
}

/// The schema of the plugin configuration, in which [`DEFAULT_IN_WORDS`] stands by itself.
pub(super) fn annotated() -> Schema {
    generator().into_root_schema_for::<PluginConfig>()
}

fn generator() -> SchemaGenerator {
    // Those of integers are of no standard.
    let mut no_formats = RestrictFormats::default();
    no_formats.infer_from_meta_schema = false;
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(without_line_ends))
        .with_transform(no_formats)
        .into_generator()
}

/// The parser takes no null: what is absent is left out.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        only.into_iter().for_each(|(key, value)| _ = object.entry(key).or_insert(value));
    }
}

/// Comments are wrapped, descriptions are not.
fn without_line_ends(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
}

/// Tells in the description what is not a value and so cannot be a `default`.
fn told_default(schema: &mut Schema) {
    let Some(Value::String(default)) = schema.remove(DEFAULT_IN_WORDS) else { return };
    if let Some(Value::String(description)) = schema.get_mut("description") {
        description.push_str(&format!(" Default: {default}."));
    }
}
