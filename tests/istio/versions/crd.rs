//! A version's CustomResourceDefinitions as validators: what its API server would refuse, or drop.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::rules;

/// By `group/version Kind`.
pub(crate) struct Crds(BTreeMap<String, Crd>);

pub(crate) struct Crd {
    pub(crate) text: Value,
    pub(crate) validator: Validator,
}

impl Crds {
    pub(crate) fn new(schemas: Value) -> Self {
        let Value::Object(schemas) = schemas else { panic!("this should be an object") };
        Self(schemas.into_iter().map(|(name, schema)| (name, Crd::new(schema))).collect())
    }

    pub(crate) fn of(&self, version: &str, kind: &str) -> Option<&Crd> {
        self.0.get(&format!("{version} {kind}"))
    }
}

impl Crd {
    fn new(text: Value) -> Self {
        let mut whole = text.clone();
        close(&mut whole);
        // What every resource has, which Kubernetes checks by itself.
        for name in ["apiVersion", "kind", "metadata"] {
            whole["properties"][name] = json!(true);
        }
        let validator = jsonschema::options()
            .with_keyword("x-kubernetes-validations", rules::keyword)
            .build(&whole)
            .unwrap_or_else(|error| panic!("{error}"));
        Self { text, validator }
    }
}

/// An API server drops fields that it does not know; here they are refused.
fn close(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    let keeps_unknown = keywords.contains_key("x-kubernetes-preserve-unknown-fields");
    if let Some(Value::Object(properties)) = keywords.get_mut("properties") {
        properties.values_mut().for_each(close);
        if !keeps_unknown {
            keywords.insert("additionalProperties".to_owned(), json!(false));
        }
    }
    for name in ["items", "additionalProperties"] {
        keywords.get_mut(name).map(close);
    }
}
