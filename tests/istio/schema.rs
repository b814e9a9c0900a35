//! Checks a resource against its schema: what Kubernetes would refuse, and also what it would only
//! drop in silence, such as a field that it does not know.

use serde_json::Value;

use crate::render::node::{Content, Key, Node, Problem};

pub(crate) fn check(resource: &Node) -> Vec<Problem> {
    let mut problems = Vec::new();
    let text = |name| resource.get(name).and_then(Node::text).unwrap_or_default();
    if (text("apiVersion"), text("kind")) == ("v1", "ConfigMap") {
        object(resource, &parse(CONFIG_MAP), &mut problems);
        return problems;
    }
    let schema = SCHEMAS.iter().map(|schema| parse(schema)).find(|schema| {
        schema["kind"] == text("kind") && schema["apiVersion"] == text("apiVersion")
    });
    let Some(mut schema) = schema else {
        let kind = format!("there is no schema for {} {}", text("apiVersion"), text("kind"));
        return vec![resource.place.problem(kind)];
    };
    let mut whole = parse(RESOURCE);
    whole["properties"]["spec"] = schema["spec"].take();
    object(resource, &whole, &mut problems);
    problems
}

fn value(node: &Node, schema: &Value, problems: &mut Vec<Problem>) {
    let refuse = |what: String| node.place.problem(what);
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    match (&node.content, schema["type"].as_str()) {
        (_, None) => {}
        (Content::Map(_), Some("object")) => object(node, schema, problems),
        (Content::List(items), Some("array")) => {
            if limit("maxItems").is_some_and(|limit| items.len() > limit) {
                problems.push(refuse(format!("these are more than {}", schema["maxItems"])));
            }
            for item in items {
                value(item, &schema["items"], problems);
            }
        }
        (Content::String(text), Some("string")) => {
            if let Some(choices) = schema["enum"].as_array()
                && !choices.iter().any(|choice| choice == text)
            {
                problems.push(refuse(format!("{text:?} is none of {}", schema["enum"])));
            }
            if limit("minLength").is_some_and(|limit| text.len() < limit)
                || limit("maxLength").is_some_and(|limit| text.len() > limit)
            {
                problems.push(refuse(format!("{text:?} is too short or too long")));
            }
            if schema["pattern"].as_str().is_some_and(|pattern| !is_match(pattern, text)) {
                problems.push(refuse(format!("{text:?} does not match {}", schema["pattern"])));
            }
        }
        (Content::Number(number), Some("integer")) => {
            let number = number.as_i64();
            if number.is_none()
                || schema["minimum"].as_i64().is_some_and(|limit| number < Some(limit))
                || schema["maximum"].as_i64().is_some_and(|limit| number > Some(limit))
            {
                problems.push(refuse("this number is not allowed here".to_owned()));
            }
        }
        (Content::Bool(_), Some("boolean")) => {}
        (_, Some(wanted)) => problems.push(refuse(format!("this should be of type {wanted}"))),
    }
}

fn object(node: &Node, schema: &Value, problems: &mut Vec<Problem>) {
    let members = node.members().unwrap_or_default();
    for (Key { name, place }, member) in members {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(true)) => {}
            (Value::Null, others @ Value::Object(_)) => value(member, others, problems),
            (Value::Null, _) => problems.push(place.problem(format!("{name} is unknown here"))),
            (known, _) => value(member, known, problems),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if node.get(name).is_none() {
            problems.push(node.place.problem(format!("{name} is missing")));
        }
    }
}

/// The one pattern in the schemas that is worth a look.
fn is_match(pattern: &str, text: &str) -> bool {
    assert_eq!(pattern, "(^$|^[a-f0-9]{64}$)", "a pattern that is not known here");
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.is_empty() || (text.len() == 64 && text.as_bytes().iter().all(is_digit))
}

fn parse(schema: &str) -> Value {
    serde_json::from_str(schema).expect("a schema in tests/istio/schemas")
}

const SCHEMAS: &[&str] = &[
    include_str!("schemas/AuthorizationPolicy.json"),
    include_str!("schemas/DestinationRule.json"),
    include_str!("schemas/EnvoyFilter.json"),
    include_str!("schemas/PeerAuthentication.json"),
    include_str!("schemas/ServiceEntry.json"),
    include_str!("schemas/WasmPlugin.json"),
];
const RESOURCE: &str = include_str!("schemas/resource.json");
const CONFIG_MAP: &str = include_str!("schemas/ConfigMap.json");
