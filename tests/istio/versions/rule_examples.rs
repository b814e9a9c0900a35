//! Every rule is run: for each there is something that it alone refuses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Version;
use crate::schema::Schema;

#[test]
fn every_rule_refuses_what_it_is_about() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        let mut rules = BTreeSet::new();
        let known = |kind: &str| version.crd(of_kind(kind).version(), kind);
        for schema in Schema::of_istio() {
            let Some(crd) = known(schema.kind()) else { continue };
            collect_rules(&crd.text, schema.kind(), &mut rules);
        }
        let mut examples = examples();
        examples.retain(|(kind, ..)| known(kind).is_some());
        for (kind, spec, message) in &examples {
            assert_eq!(said(version, kind, spec), [*message], "{}: {kind} {spec}", version.name);
        }
        let shown =
            examples.iter().map(|(kind, _, message)| format!("{kind}: {message}")).collect();
        assert_eq!(rules, shown, "the rules of {}", version.name);
    }
}

fn said(version: &Version, kind: &str, spec: &Value) -> Vec<String> {
    let crd = version.crd(of_kind(kind).version(), kind).expect("a kind of this version");
    let resource = json!({ "spec": spec });
    crd.validator.iter_errors(&resource).map(|error| error.to_string()).collect()
}

fn of_kind(kind: &str) -> &'static Schema {
    Schema::of_istio().find(|schema| schema.kind() == kind).expect("a schema")
}

fn collect_rules(schema: &Value, kind: &str, rules: &mut BTreeSet<String>) {
    let stated = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.extend(
        stated.map(|rule| format!("{kind}: {}", rule["message"].as_str().expect("a message"))),
    );
    match schema {
        Value::Object(members) => {
            members.values().for_each(|member| collect_rules(member, kind, rules));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_rules(item, kind, rules)),
        _ => {}
    }
}

/// A kind, its spec, and the message of the rule that refuses it.
fn examples() -> Vec<(&'static str, Value, &'static str)> {
    let label = |name: &str, value: &str| json!({ "matchLabels": { name: value } });
    let target = json!({ "kind": "Gateway", "name": "a" });
    let elsewhere = json!([{ "kind": "Gateway", "name": "a", "namespace": "b" }]);
    let entry = |member: &str, value: Value| json!({ "hosts": ["a.example.com"], "resolution": "STATIC", member: value });
    let endpoint = |endpoint: Value| entry("endpoints", json!([endpoint]));
    let plugin = |member: &str, value: Value| {
        let mut spec = json!({ "url": "oci://a.example.com/b:c" });
        spec[member] = value;
        spec
    };
    let extension = |member: &str, value: Value| {
        let mut spec = json!({ "wasm": { "url": "oci://a.example.com/b:c" } });
        spec[member] = value;
        spec
    };
    let from_host = json!({ "env": [{ "name": "A", "valueFrom": "HOST", "value": "b" }] });
    let no_value = "value may only be set when valueFrom is INLINE";
    let scheme = "url must have schema one of [http, https, file, oci]";
    let no_star_in_key = "wildcard not allowed in label key match";
    let no_star_in_value = "wildcard not allowed in label value match";
    let no_empty_key = "key must not be empty";
    let one_target = "only one of targetRefs or selector can be set";
    let own_namespace = "cross namespace referencing is not currently supported";
    let port = "port must be between 1-65535";
    let no_star = "wildcard is not supported in selector";
    vec![
        ("AuthorizationPolicy", json!({ "selector": label("a*", "b") }), no_star_in_key),
        ("AuthorizationPolicy", json!({ "selector": label("a", "b*") }), no_star_in_value),
        ("AuthorizationPolicy", json!({ "selector": label("", "b") }), no_empty_key),
        ("AuthorizationPolicy", json!({ "selector": {}, "targetRefs": [target] }), one_target),
        ("AuthorizationPolicy", json!({ "targetRefs": elsewhere }), own_namespace),
        (
            "AuthorizationPolicy",
            json!({ "rules": [{ "from": [{ "source": {
                "serviceAccounts": ["a/b"], "principals": ["c"],
            } }] }] }),
            "Cannot set serviceAccounts with namespaces or principals",
        ),
        (
            "DestinationRule",
            json!({ "host": "a", "trafficPolicy": { "outlierDetection": { "interval": "1us" } } }),
            "must be a valid duration greater than 1ms",
        ),
        (
            "DestinationRule",
            json!({ "host": "a", "workloadSelector": label("a*", "b") }),
            no_star_in_key,
        ),
        (
            "DestinationRule",
            json!({ "host": "a", "workloadSelector": label("a", "b*") }),
            no_star_in_value,
        ),
        (
            "DestinationRule",
            json!({ "host": "a", "workloadSelector": label("", "b") }),
            no_empty_key,
        ),
        ("EnvoyFilter", json!({ "workloadSelector": { "labels": { "a": "*" } } }), no_star),
        (
            "EnvoyFilter",
            json!({ "workloadSelector": {}, "targetRefs": [target] }),
            "only one of targetRefs or workloadSelector can be set",
        ),
        ("EnvoyFilter", json!({ "targetRefs": elsewhere }), own_namespace),
        (
            "EnvoyFilter",
            json!({ "configPatches": [{ "match": { "context": "WAYPOINT" } }] }),
            "only support waypointMatch when context is WAYPOINT",
        ),
        (
            "EnvoyFilter",
            json!({ "configPatches": [{ "match": {
                "context": "WAYPOINT", "waypoint": { "portNumber": 0 },
            } }] }),
            port,
        ),
        ("PeerAuthentication", json!({ "selector": label("a*", "b") }), no_star_in_key),
        ("PeerAuthentication", json!({ "selector": label("a", "b*") }), no_star_in_value),
        ("PeerAuthentication", json!({ "selector": label("", "b") }), no_empty_key),
        (
            "PeerAuthentication",
            json!({ "portLevelMtls": { "80": {} } }),
            "portLevelMtls requires selector",
        ),
        (
            "PeerAuthentication",
            json!({ "selector": label("a", "b"), "portLevelMtls": { "65536": {} } }),
            port,
        ),
        ("ServiceEntry", entry("hosts", json!(["*"])), "hostname cannot be wildcard"),
        ("ServiceEntry", entry("ports", json!([{ "name": "a", "number": 0 }])), port),
        (
            "ServiceEntry",
            entry("ports", json!([{ "name": "a", "number": 1 }, { "name": "b", "number": 1 }])),
            "port number cannot be duplicated",
        ),
        ("ServiceEntry", entry("workloadSelector", json!({ "labels": { "a": "*" } })), no_star),
        (
            "ServiceEntry",
            json!({
                "hosts": ["a"], "resolution": "STATIC",
                "workloadSelector": {}, "endpoints": [{ "address": "192.0.2.1" }],
            }),
            "only one of WorkloadSelector or Endpoints can be set",
        ),
        (
            "ServiceEntry",
            json!({ "hosts": ["a"], "resolution": "DNS", "addresses": ["192.0.2.0/24"] }),
            "CIDR addresses are allowed only for NONE/STATIC resolution types",
        ),
        (
            "ServiceEntry",
            json!({ "hosts": ["a"], "endpoints": [{ "address": "192.0.2.1" }] }),
            "NONE mode cannot set endpoints",
        ),
        (
            "ServiceEntry",
            json!({
                "hosts": ["a"], "resolution": "DNS_ROUND_ROBIN",
                "endpoints": [{ "address": "192.0.2.1" }, { "address": "192.0.2.2" }],
            }),
            "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
        ),
        ("ServiceEntry", endpoint(json!({})), "Address is required"),
        (
            "ServiceEntry",
            endpoint(json!({ "address": "unix:///a", "ports": { "a": 1 } })),
            "UDS may not include ports",
        ),
        (
            "ServiceEntry",
            endpoint(json!({ "address": "unix://a" })),
            "UDS must be an absolute path or abstract socket",
        ),
        ("ServiceEntry", endpoint(json!({ "address": "unix:///a/" })), "UDS may not be a dir"),
        (
            "ServiceEntry",
            endpoint(json!({ "address": "192.0.2.1", "ports": { "-": 1 } })),
            "port name must be valid",
        ),
        ("TrafficExtension", extension("selector", label("a*", "b")), no_star_in_key),
        ("TrafficExtension", extension("selector", label("a", "b*")), no_star_in_value),
        ("TrafficExtension", extension("selector", label("", "b")), no_empty_key),
        (
            "TrafficExtension",
            json!({ "wasm": { "url": "oci://a" }, "selector": {}, "targetRefs": [target] }),
            one_target,
        ),
        ("TrafficExtension", extension("targetRefs", elsewhere.clone()), own_namespace),
        ("TrafficExtension", json!({ "wasm": { "url": "ftp://a.example.com/b" } }), scheme),
        (
            "TrafficExtension",
            json!({ "wasm": { "url": "oci://a", "vmConfig": from_host } }),
            no_value,
        ),
        ("TrafficExtension", json!({}), "exactly one of wasm or lua must be set"),
        ("WasmPlugin", plugin("selector", label("a*", "b")), no_star_in_key),
        ("WasmPlugin", plugin("selector", label("a", "b*")), no_star_in_value),
        ("WasmPlugin", plugin("selector", label("", "b")), no_empty_key),
        (
            "WasmPlugin",
            json!({ "url": "oci://a", "selector": {}, "targetRefs": [target] }),
            one_target,
        ),
        ("WasmPlugin", plugin("targetRefs", elsewhere), own_namespace),
        ("WasmPlugin", plugin("url", json!("ftp://a.example.com/b")), scheme),
        ("WasmPlugin", plugin("vmConfig", from_host), no_value),
    ]
}
