//! The project's schemas know no field, and accept no value, that a version of Istio does not.
//!
//! This compares keyword by keyword. What `oneOf` and the rules in CEL refuse, `refused` looks at.

use serde_json::{Value, json};

use crate::schema::Schema;

#[test]
fn schemas_are_no_wider_than_any_version() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        for ours in Schema::of_istio() {
            let Some(theirs) = version.crd(ours.version(), ours.kind()) else { continue };
            let theirs = &theirs.text;
            let mut problems = Vec::new();
            let (ours, kind) = (&ours.text["properties"]["spec"], ours.kind());
            compare(ours, &theirs["properties"]["spec"], "/spec", &mut problems);
            assert!(problems.is_empty(), "{kind} of {}: {problems:#?}", version.name);
        }
    }
}

fn compare(ours: &Value, theirs: &Value, at: &str, problems: &mut Vec<String>) {
    let mut must = |is_so: bool, what: &str| {
        if !is_so {
            problems.push(format!("{at}: {what}"));
        }
    };
    if let Some(values) = ours["enum"].as_array() {
        let mut values = values.iter();
        must(values.all(|value| jsonschema::is_valid(theirs, value)), "a value is unknown to it");
        return;
    }
    must(ours["type"] == theirs["type"], "the type is another");
    must(theirs["enum"].is_null(), "only some values are known to it");
    must(
        theirs["pattern"].is_null() || theirs["pattern"] == ours["pattern"],
        "a pattern is missing",
    );
    for limit in ["maxItems", "maxLength", "maxProperties", "maximum"] {
        let is_within = |theirs| ours[limit].as_i64().is_some_and(|ours| ours <= theirs);
        must(theirs[limit].as_i64().is_none_or(is_within), limit);
    }
    for limit in ["minItems", "minLength", "minProperties", "minimum"] {
        let is_within = |theirs| ours[limit].as_i64().is_some_and(|ours| ours >= theirs);
        must(theirs[limit].as_i64().is_none_or(is_within), limit);
    }
    if theirs["format"] == "int32" {
        let range = [&ours["minimum"], &ours["maximum"]];
        must(range == [&json!(i32::MIN), &json!(i32::MAX)], "the integer is larger");
    }
    let is_required = |name| ours["required"].as_array().is_some_and(|ours| ours.contains(name));
    must(theirs["required"].as_array().into_iter().flatten().all(is_required), "required");

    let keeps_unknown = theirs["x-kubernetes-preserve-unknown-fields"] == true;
    match (&ours["additionalProperties"], &theirs["additionalProperties"]) {
        (Value::Bool(true), _) => must(keeps_unknown, "it knows only some fields"),
        (ours @ Value::Object(_), theirs @ Value::Object(_)) => {
            compare(ours, theirs, &format!("{at}/*"), problems);
        }
        (others, _) => {
            must(others == false || ours["type"] != "object", "it knows only some fields");
        }
    }
    if ours["items"].is_object() {
        compare(&ours["items"], &theirs["items"], &format!("{at}/0"), problems);
    }
    for (name, ours) in ours["properties"].as_object().into_iter().flatten() {
        match &theirs["properties"][name] {
            Value::Null => problems.push(format!("{at}/{name}: the field is unknown to it")),
            theirs => compare(ours, theirs, &format!("{at}/{name}"), problems),
        }
    }
}
