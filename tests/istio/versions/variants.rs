//! What else a manifest could say: each variant differs from it in one place.

use serde_json::{Value, json};

use crate::kustomize::Resource;

/// With each value in turn removed, repeated or replaced, and each field that the schema knows added.
pub(crate) fn of(resource: &Resource, schema: &Value) -> Vec<Resource> {
    let mut variants = Vec::new();
    let spec = &schema["properties"]["spec"];
    vary(&resource.value["spec"], spec, &mut |changed| {
        let mut value = resource.value.clone();
        value["spec"] = changed;
        variants.push(Resource { value, ..resource.clone() });
    });
    variants
}

fn vary(value: &Value, schema: &Value, add: &mut dyn FnMut(Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let known = &schema["properties"][name];
                let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
                let with = |changed: Value| {
                    let mut members = members.clone();
                    members.insert(name.clone(), changed);
                    Value::Object(members)
                };
                vary(member, schema, &mut |changed| add(with(changed)));
                let mut without = members.clone();
                without.remove(name);
                add(Value::Object(without.clone()));
                for other in ["", "*", "unknown"] {
                    let mut renamed = without.clone();
                    renamed.insert(other.to_owned(), member.clone());
                    add(Value::Object(renamed));
                }
            }
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if !members.contains_key(name) {
                    let mut members = members.clone();
                    members.insert(name.clone(), sample(schema));
                    add(Value::Object(members));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let with = |changed: Value| {
                    let mut items = items.clone();
                    items[index] = changed;
                    Value::Array(items)
                };
                vary(item, &schema["items"], &mut |changed| add(with(changed)));
                let mut repeated = items.clone();
                repeated.push(item.clone());
                add(Value::Array(repeated));
            }
            add(json!([]));
        }
        _ => {
            let others = ["", "*", "a*", "/", "ftp://example.com/a"].map(Value::from);
            let numbers = [-1, 0, 65_536, 1_i64 << 40].map(Value::from);
            others.into_iter().chain(numbers).for_each(&mut *add);
            add("a".repeat(5000).into());
            add(json!(true));
            add(Value::Null);
        }
    }
}

/// The least that a schema accepts.
fn sample(schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    match schema["type"].as_str().expect("a type") {
        "array" => json!([sample(&schema["items"])]),
        "boolean" => json!(true),
        "integer" => json!(schema["minimum"].as_i64().unwrap_or_default().max(1)),
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten();
            let names = required.map(|name| name.as_str().expect("a name"));
            names.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
        }
        _ => json!("a"),
    }
}
