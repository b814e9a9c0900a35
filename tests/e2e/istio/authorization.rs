//! Istio's own authorization comes after the filter, and goes by what it sets.

use serde_json::{Value, json};

use lab::http::Request;
use lab::upstream::received;

use super::plugin::{Discovery, Kind, authorization_policy, resource};
use super::proxy::{IN_MESH, Proxy};

#[test]
fn second_line_sees_the_identity_that_the_filter_sets() {
    let plugin = resource(Kind::WasmPlugin, "mesh-wide", "in-mesh-issuer", 2);
    let policy = authorization_policy("mesh-wide", "in-mesh-issuer", 2);
    let (permission, principal) = translated(&policy["spec"]["rules"][0]);
    let proxy =
        Proxy::adapted(vec![Discovery::translated(&plugin)], &plugin, IN_MESH, |bootstrap| {
            bootstrap.refuse(&permission, &principal).inbound(&[8080])
        });
    let get = || Request::get("/orders").going_to(8080);
    let good = proxy.token();

    let seen = received(&proxy.envoy.send(&get().bearer(&good.clone().compact())));

    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(proxy.decide(&get()), "401 token_missing");
    // The filter lets them through, without an identity or with one that is not theirs.
    let nobody = good.without_claim("sub").compact();
    assert_eq!(proxy.decide(&get().bearer(&nobody)), "403 allowed");
    let impostor = get().bearer(&nobody).header("X-User-Id", "root");
    assert_eq!(proxy.decide(&impostor), "403 allowed");
    let keys = Request::get("/actuator/jwks").going_to(8080);
    assert_eq!(proxy.decide(&keys), "403 public");
    // What the policy spares.
    let metrics = || Request::get("/metrics").going_to(9090);
    assert_eq!(proxy.decide(&metrics()), "200 public");
    let query = Request::get("/metrics?name=up").going_to(9090);
    assert_eq!(proxy.decide(&query), "200 public");
    // Nothing else that the port serves.
    let beside = Request::get("/orders").going_to(9090).bearer(&nobody);
    assert_eq!(proxy.decide(&beside), "403 allowed");
    let preflight = Request::new("OPTIONS", "/orders").going_to(8080);
    let preflight = preflight
        .header("Origin", "https://app.example.com")
        .header("Access-Control-Request-Method", "POST");
    assert_eq!(proxy.decide(&preflight), "200 cors_preflight");
}

/// The permission and the principal that Istio makes of such a rule.
pub(super) fn translated(rule: &Value) -> (Value, Value) {
    let operations = rule["to"].as_array().expect("operations").iter();
    let any = operations.map(|to| permission(&to["operation"])).collect();

    let when = &rule["when"][0];
    assert_eq!(when["notValues"], json!(["*"]));
    let key = when["key"].as_str().expect("a text");
    let header = key.strip_prefix("request.headers[").and_then(|rest| rest.strip_suffix(']'));
    let is_there = json!({ "header": { "name": header, "present_match": true } });
    (or(any), json!({ "not_id": is_there }))
}

/// All that an operation says has to hold, and of each list any item, or none where it begins with `not`.
fn permission(operation: &Value) -> Value {
    let operation = operation.as_object().expect("an operation");
    let all = operation.iter().map(|(name, values)| {
        let values = values.as_array().expect("an array").iter();
        let texts = values.map(|value| value.as_str().expect("a text"));
        match name.as_str() {
            "notMethods" => not(or(texts.map(method).collect())),
            "notPaths" => not(or(texts.map(path).collect())),
            "notPorts" => not(or(texts.map(port).collect())),
            "ports" => or(texts.map(port).collect()),
            other => panic!("{other} has no translation here"),
        }
    });
    json!({ "and_rules": { "rules": all.collect::<Vec<_>>() } })
}

fn method(method: &str) -> Value {
    json!({ "header": { "name": ":method", "string_match": { "exact": method } } })
}

/// Without its query.
fn path(path: &str) -> Value {
    json!({ "url_path": { "path": { "exact": path } } })
}

fn port(port: &str) -> Value {
    json!({ "destination_port": port.parse::<u16>().expect("a port") })
}

fn or(rules: Vec<Value>) -> Value {
    json!({ "or_rules": { "rules": rules } })
}

fn not(rule: Value) -> Value {
    json!({ "not_rule": rule })
}
