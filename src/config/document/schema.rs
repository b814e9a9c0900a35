//! The JSON Schemas for editors.

use super::plugin::PluginConfig;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{RecursiveTransform, RestrictFormats, Transform as _};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value};
use std::time::Duration;

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
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(RecursiveTransform(without_null))
        .with_transform(RecursiveTransform(without_line_ends))
        .with_transform(RestrictFormats::default())
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

/// Istio accepts both spellings, but a configuration needs one alone.
pub(super) fn also_jwks_uri(schema: &mut Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    if let Some(properties) = properties
        && let Some(mut other) = properties.get("jwksUri").cloned()
    {
        if let Some(other) = other.as_object_mut() {
            let description = "The same as `jwksUri`, in Istio's other spelling.";
            other.insert("description".to_owned(), description.into());
        }
        properties.insert("jwks_uri".to_owned(), other);
    }
    let both = json_schema!({"required": ["jwksUri", "jwks_uri"]});
    schema.insert("not".to_owned(), both.to_value());
}

/// The alternatives of one property each, as one object: editors complete that better, and say
/// better what is wrong.
pub(super) fn one_property(schema: &mut Schema) {
    let Some(Value::Array(alternatives)) = schema.remove("oneOf") else { return };
    let mut properties = Map::new();
    for alternative in alternatives {
        let description = alternative.get("description").cloned().unwrap_or_default();
        let of = alternative.get("properties").and_then(Value::as_object).cloned();
        for (name, mut property) in of.into_iter().flatten() {
            if let Some(property) = property.as_object_mut() {
                property.insert("description".to_owned(), description.clone());
            }
            properties.insert(name, property);
        }
    }
    for (keyword, value) in [
        ("type", "object".into()),
        ("properties", properties.into()),
        ("additionalProperties", false.into()),
        ("minProperties", 1.into()),
        ("maxProperties", 1.into()),
    ] {
        schema.insert(keyword.to_owned(), value);
    }
}

/// A duration as a configuration holds it.
pub(super) fn written(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

/// The keyword for a default that depends on something else: what it is, in words.
pub(super) const DEFAULT_IN_WORDS: &str = "x-default";
pub(super) const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
/// A token of RFC 9110 §5.6.2.
pub(super) const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
