//! Holds the JSON Schema for editors (istio/plugin-config.schema.json) against the parser.

use super::tests::{
    BOOLEANS, OBJECT_ARRAYS, OBJECTS, STRING_ARRAYS, STRINGS, full, known_fields, readme_fields,
    with_tenants,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../istio/plugin-config.schema.json")).unwrap()
}

fn refusal(document: &Value) -> Option<String> {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.validate(document).err().map(|error| error.to_string())
}

/// The schemas of a level's fields; a level is written as in the README.
fn properties<'s>(schema: &'s Value, level: &str) -> &'s Map<String, Value> {
    let at = level.split('.').filter(|step| !step.is_empty()).fold(schema, |at, step| {
        let field = &at["properties"][step.trim_end_matches("[]")];
        let field = if step.ends_with("[]") { &field["items"] } else { field };
        if field["$ref"].is_null() { field } else { &schema["$defs"]["stringMatch"] }
    });
    at["properties"].as_object().unwrap_or_else(|| panic!("{level} has no fields"))
}

#[test]
fn what_the_parser_takes_is_valid() {
    for document in [full(), with_tenants(json!({"maxTenants": 7}))] {
        assert_eq!(refusal(&document), None);
    }
}

#[test]
fn it_has_the_fields_that_the_parser_knows() {
    let schema = schema();
    for (pointer, level) in [
        ("", ""),
        ("/tokenCache", "tokenCache"),
        ("/verifiedHeader", "verifiedHeader"),
        ("/providers/0", "providers[]"),
        ("/providers/0/issuers", "providers[].issuers"),
        ("/providers/0/fromHeaders/0", "providers[].fromHeaders[]"),
        ("/providers/0/outputClaimToHeaders/0", "providers[].outputClaimToHeaders[]"),
        ("/providers/0/outputClaimToFilterState/0", "providers[].outputClaimToFilterState[]"),
        ("/rules/0", "rules[]"),
        ("/rules/0/match", "rules[].match"),
        ("/rules/1/requires", "rules[].requires"),
        ("/replies", "replies"),
        ("/replies/cors", "replies.cors"),
        ("/replies/cors/allowOrigins/0", "replies.cors.allowOrigins[]"),
    ] {
        let fields: BTreeSet<_> = properties(&schema, level).keys().cloned().collect();

        assert_eq!(fields, known_fields(pointer).into_iter().collect(), "{level}");
    }
}

#[test]
fn wrong_types_and_unknown_fields_are_invalid() {
    let wrong = |fields: &[(&'static str, &str)], value: Value| {
        let with_value = |(pointer, _): &(&'static str, &str)| (*pointer, value.clone());
        fields.iter().map(with_value).collect::<Vec<_>>()
    };
    let changes = [
        wrong(STRINGS, json!(7)),
        wrong(STRINGS, json!("")),
        wrong(STRING_ARRAYS, json!("a")),
        wrong(STRING_ARRAYS, json!([7])),
        wrong(OBJECT_ARRAYS, json!({})),
        wrong(OBJECT_ARRAYS, json!(["a"])),
        wrong(OBJECTS, json!("a")),
        wrong(BOOLEANS, json!("true")),
        vec![
            ("/unknown", json!(1)),
            ("/providers/0/unknown", json!(1)),
            ("/rules/0/match/unknown", json!(1)),
            ("/rules/0/match/ports", json!([65_536])),
            ("/mode", json!("dry-run")),
            ("/jwksWaitTimeout", json!("3")),
            ("/providers/0/issuers", json!({})),
            ("/providers", json!([])),
        ],
    ];
    for (pointer, value) in changes.into_iter().flatten() {
        let mut document = full();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            object => object[name] = value.clone(),
        }
        assert!(refusal(&document).is_some(), "{pointer}: {value}");
    }
}

#[test]
fn it_names_the_defaults_of_the_readme_and_describes_every_field() {
    let schema = schema();
    for (names, default) in readme_fields() {
        for name in names {
            let (level, field) = name.rsplit_once('.').unwrap_or(("", &name));
            let field = &properties(&schema, level)[field];
            let is_of_string_match = level.ends_with("allowOrigins[]");
            assert!(field["description"].is_string() || is_of_string_match, "{name}");
            let Some(default) = default.strip_prefix('`').and_then(|text| text.strip_suffix('`'))
            else {
                continue;
            };
            if default.contains('`') || name.ends_with(".prefix") || name.ends_with("[].name") {
                continue;
            }
            let default = serde_json::from_str(default).unwrap_or_else(|_| json!(default));
            assert_eq!(field["default"], default, "{name}");
        }
    }
}
