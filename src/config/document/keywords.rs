//! What the types have their schemas say beyond names and types.

use schemars::{Schema, json_schema};
use serde_json::{Map, Value};
use std::time::Duration;

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
