//! What the manifests say, where that is more than being valid.

use http::Uri;
use serde_json::{Value, json};

use crate::kustomize::{Resource, Source};
use crate::manifests::{combinations, plugin};
use crate::{check, example};

/// What one kind says, the other says in its own place, whatever else is taken in.
#[test]
fn traffic_extension_says_what_the_wasm_plugin_says() {
    for (overlay, issuer, stage) in combinations() {
        let source = example::edited(overlay, issuer, stage);
        let plugin = plugin(&source);
        let extension = self::plugin(&example::as_traffic_extension(&source));

        let mut expected = plugin.clone();
        expected["kind"] = json!("TrafficExtension");
        let spec = expected["spec"].as_object_mut().expect("a spec");
        let of_module = ["failStrategy", "imagePullPolicy", "pluginConfig", "sha256", "url"];
        let wasm = of_module.map(|name| (name.to_owned(), spec.remove(name).expect(name)));
        spec.insert("wasm".to_owned(), Value::Object(wasm.into_iter().collect()));
        assert_eq!(extension, expected, "{overlay}, {issuer}, {stage}");
    }
}

#[test]
fn filter_is_attached_where_an_overlay_says() {
    let attached = |overlay: &str| {
        let spec = &plugin(&example::edited(overlay, "in-mesh-issuer", 1))["spec"];
        let modes: Vec<_> = spec["match"].as_array().expect("a match").iter().collect();
        let [only] = modes[..] else { panic!("{overlay}: {modes:?}") };
        (spec["selector"].clone(), spec["targetRefs"].clone(), only["mode"].clone())
    };
    let to = |group: &str, kind: &str, name: &str| json!([{ "group": group, "kind": kind, "name": name }]);
    let labels = |name: &str, value: &str| json!({ "matchLabels": { name: value } });
    let gateway = "gateway.networking.k8s.io";
    for (overlay, selector, targets, mode) in [
        ("workload", labels("mesh-jwt", "enabled"), Value::Null, "SERVER"),
        ("namespace", Value::Null, Value::Null, "SERVER"),
        ("mesh-wide", Value::Null, Value::Null, "SERVER"),
        ("ingress-gateway", labels("istio", "ingressgateway"), Value::Null, "CLIENT"),
        ("gateway-api", Value::Null, to(gateway, "Gateway", "gateway"), "CLIENT"),
        ("waypoint", Value::Null, to(gateway, "Gateway", "waypoint"), "SERVER"),
        ("waypoint-service", Value::Null, to("", "Service", "orders"), "SERVER"),
    ] {
        assert_eq!(attached(overlay), (selector, targets, json!(mode)), "{overlay}");
    }
}

/// In ambient the second line is the waypoint's, and pods are left to those who come through it.
#[test]
fn waypoint_has_the_second_line_and_pods_behind_it_want_the_waypoint() {
    for overlay in example::WAYPOINTS {
        let source = example::edited(overlay, "external-issuer", 2);
        let rendered = source.render(example::DIRECTORY).expect("a valid example");
        let named = |kind: &str| &check::of_kind(&rendered, kind)[0].value;

        let policy = &named("AuthorizationPolicy")["spec"];
        assert_eq!(policy["selector"], Value::Null, "{overlay}");
        assert_eq!(policy["targetRefs"], named("WasmPlugin")["spec"]["targetRefs"], "{overlay}");
        let uses = &named("ServiceEntry")["metadata"]["labels"]["istio.io/use-waypoint"];
        assert_eq!(uses, "waypoint", "{overlay}");
    }
    let policy = policy(&Source::checkout(), "istio/behind-waypoint");
    assert_eq!(policy["action"], "DENY");
    let rules = json!([{ "from": [{ "source": {
        "notPrincipals": ["cluster.local/ns/shop/sa/waypoint"],
    } }] }]);
    assert_eq!(policy["rules"], rules, "ztunnel sees nothing but connections");
}

/// Services that speak TLS to the issuer themselves must not have it encrypted twice.
#[test]
fn external_issuer_has_a_port_that_is_the_filters_alone() {
    let source = example::edited("workload", "external-issuer", 0);
    let rendered = source.render(example::DIRECTORY).expect("a valid example");
    let spec = |kind: &str| &check::of_kind(&rendered, kind)[0].value["spec"];

    let port =
        json!([{ "number": 8443, "targetPort": 443, "name": "http-jwks", "protocol": "HTTP" }]);
    assert_eq!(spec("ServiceEntry")["ports"], port);
    let policy = spec("DestinationRule")["trafficPolicy"].as_object().expect("a policy");
    assert_eq!(policy.keys().collect::<Vec<_>>(), ["portLevelSettings"]);
    let [settings] = &policy["portLevelSettings"].as_array().expect("ports")[..] else {
        panic!("one port should be enough: {policy:?}");
    };
    assert_eq!(settings["port"]["number"], 8443);
    assert_eq!(settings["tls"]["mode"], "SIMPLE");
    assert_eq!(settings["tls"]["subjectAltNames"], json!(["login.example.org"]));
}

/// The second line matches where the header is absent, and neither preflights nor metrics.
#[test]
fn second_line_refuses_what_comes_without_an_identity() {
    let policy = policy(&example::edited("workload", "in-mesh-issuer", 2), example::DIRECTORY);

    assert_eq!(policy["selector"], json!({ "matchLabels": { "mesh-jwt": "enabled" } }));
    assert_eq!(policy["action"], "DENY");
    let rule = &policy["rules"][0];
    assert_eq!(rule["when"], json!([{ "key": "request.headers[x-user-id]", "notValues": ["*"] }]));
    let operations = json!([
        { "operation": { "notMethods": ["OPTIONS"], "notPorts": ["9090"] } },
        { "operation": {
            "notMethods": ["OPTIONS"], "ports": ["9090"], "notPaths": ["/metrics"],
        } },
    ]);
    assert_eq!(rule["to"], operations);
}

#[test]
fn identity_comes_from_the_gateway_alone() {
    for (directory, account) in
        [("istio/behind-gateway", "istio-ingress"), ("istio/behind-gateway-api", "gateway-istio")]
    {
        let policy = policy(&Source::checkout(), directory);

        let gateway = format!("cluster.local/ns/istio-ingress/sa/{account}");
        let refused = |header: &str| {
            json!({
                "from": [{ "source": { "notPrincipals": [gateway] } }],
                "when": [{ "key": format!("request.headers[{header}]"), "values": ["*"] }],
            })
        };
        assert_eq!(policy["action"], "DENY", "{directory}");
        let headers = ["x-user-id", "x-scopes", "x-mesh-jwt"];
        assert_eq!(policy["rules"], json!(headers.map(refused)), "{directory}");
    }
}

/// Every container of a pod can ask the sidecar for a host of the mesh, and would be given the credential.
#[test]
fn no_route_leads_to_the_cluster_with_the_credential() {
    let (source, directory) = (Source::checkout(), "istio/kubernetes-service-accounts");
    let rendered = source.render(directory).expect("valid manifests");
    let kinds: Vec<_> = rendered.iter().map(Resource::kind).collect();
    assert_eq!(kinds, ["ConfigMap", "EnvoyFilter"], "these make no hosts");

    let patches = rendered[1].get("/spec/configPatches").and_then(Value::as_array);
    let [patch] = &patches.expect("patches")[..] else { panic!("one should be enough") };
    assert_eq!(patch["applyTo"], "CLUSTER");
    assert_eq!(patch["match"], json!({ "context": "SIDECAR_OUTBOUND" }));
    assert_eq!(patch["patch"]["operation"], "ADD");
    let cluster = &patch["patch"]["value"];
    let name = cluster["name"].as_str().expect("a name");
    assert!(!name.contains('|'), "{name} could be one of Istio's, to which routes lead");
    assert_eq!(cluster["load_assignment"]["cluster_name"], name);

    let provider = source.text(&format!("{directory}/provider.json"));
    let provider: Value = serde_json::from_str(&provider).expect("JSON");
    assert_eq!(provider["jwksCluster"], name);
    let matched = cluster.to_string();
    let keys: Uri = provider["jwksUri"].as_str().expect("a text").parse().expect("a URI");
    let only = format!(r#""value_match":{{"exact":"{}"}}"#, keys.path());
    assert!(matched.contains(&only), "{matched}");
}

fn policy(source: &Source, directory: &str) -> Value {
    let rendered = source.render(directory).unwrap_or_else(|problem| panic!("{problem}"));
    check::of_kind(&rendered, "AuthorizationPolicy")[0].value["spec"].clone()
}
