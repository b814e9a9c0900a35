//! Every manifest, in every combination that the README speaks of, is what Istio expects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::render::kustomize::Source;
use crate::render::node::Node;
use crate::{check, example};

#[test]
fn every_directory_renders_and_is_valid() {
    for directory in ["base", "workload", "namespace", "mesh-wide", "ingress-gateway"]
        .iter()
        .chain(&["behind-gateway", "issuer", "example"])
    {
        assert_valid(&Source::checkout(), &format!("istio/{directory}"));
    }
}

#[test]
fn every_overlay_is_valid_with_every_issuer_at_every_stage() {
    for overlay in example::OVERLAYS {
        for issuer in ISSUERS {
            for stage in 0..=example::STAGES.len() {
                assert_valid(&example::edited(overlay, issuer, stage), example::DIRECTORY);
            }
        }
    }
}

/// A file that nothing renders is one that nothing checks.
#[test]
fn no_manifest_is_left_out() {
    let mut used = BTreeSet::new();
    for overlay in example::OVERLAYS {
        for issuer in ISSUERS {
            let source = example::edited(overlay, issuer, example::STAGES.len());
            source.render(example::DIRECTORY).expect("a valid example");
            used.append(&mut source.files_read());
        }
    }
    for directory in ["istio/behind-gateway", "istio/issuer"] {
        let source = Source::checkout();
        source.render(directory).expect("a valid kustomization");
        used.append(&mut source.files_read());
    }

    assert_eq!(manifests(Path::new("istio")), used);
}

#[test]
fn roll_out_goes_from_report_to_enforce_to_header_identity() {
    let stages = [0, 1, 2].map(|stage| {
        let plugin = plugin(&example::edited("workload", "in-mesh-issuer", stage));
        let config = &plugin["spec"]["pluginConfig"];
        (config["mode"].clone(), config["providers"][0]["forwardOriginalToken"].clone())
    });

    assert_eq!(
        stages,
        [
            (json!("report"), json!(true)),
            (json!("enforce"), json!(true)),
            (json!("enforce"), json!(false)),
        ]
    );
}

#[test]
fn settings_reach_every_place() {
    let plugin = plugin(&example::edited("workload", "external-issuer", 0));
    let provider = &plugin["spec"]["pluginConfig"]["providers"][0];
    assert_eq!(plugin["metadata"]["namespace"], "shop");
    assert_eq!(provider["jwksUri"], "https://login.example.org/keys");
    assert_eq!(provider["jwksCluster"], "outbound|8443||login.example.org");

    let source = example::edited("workload", "external-issuer", 0);
    let rendered = source.render(example::DIRECTORY).expect("a valid example");
    let left: Vec<_> = rendered
        .iter()
        .map(Node::json)
        .filter(|resource| resource["kind"] != "WasmPlugin" && resource["kind"] != "ConfigMap")
        .filter(|resource| resource.to_string().contains("auth.example.com"))
        .collect();
    assert_eq!(left, Vec::<Value>::new(), "these still have the host of the example");

    for (setting, changed) in [
        ("issuer: https://auth.example.com", json!("https://a.example.org")),
        ("audience: example-api", json!("other-api")),
        ("image: oci://registry.example.com/mesh-jwt:0.1.0", json!("oci://b.example.org/c:d")),
        ("sha256: \"0000", json!("f".repeat(64))),
    ] {
        let settings = example::text(&Source::checkout(), example::SETTINGS);
        let line = settings.lines().find(|line| line.contains(setting)).expect("the setting");
        let (name, _) = line.split_once(':').expect("a member");
        let edited = settings.replace(line, &format!("{name}: {changed}"));
        let plugin = self::plugin(&Source::checkout().with(example::SETTINGS, edited));
        assert!(plugin.to_string().contains(&changed.to_string()), "{name}: {plugin}");
    }
}

#[test]
fn mesh_wide_filter_spares_the_issuer_the_metrics_port_and_gateways() {
    let source = example::edited("mesh-wide", "in-mesh-issuer", 1);
    let rendered = source.render(example::DIRECTORY).expect("a valid example");
    let named = |name: &str| {
        let resources = rendered.iter().map(Node::json);
        resources.into_iter().find(|resource| resource["metadata"]["name"] == name).expect(name)
    };

    let plugin = named("mesh-jwt");
    assert_eq!(plugin["metadata"]["namespace"], "istio-system");
    assert_eq!(plugin["spec"]["match"], json!([{ "mode": "SERVER" }]));
    assert_eq!(plugin["spec"]["selector"], Value::Null);
    let opt_out = named("mesh-jwt-opt-out");
    assert_eq!(opt_out["spec"]["workloadSelector"]["labels"], json!({ "mesh-jwt": "disabled" }));
    let metrics = named("mesh-jwt-metrics-port");
    for patch in metrics["spec"]["configPatches"].as_array().expect("patches") {
        assert_eq!(patch["patch"], json!({ "operation": "REMOVE" }));
        assert_eq!(patch["match"]["listener"]["filterChain"]["destinationPort"], 9090);
    }
}

fn plugin(source: &Source) -> Value {
    let rendered = source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"));
    let mut resources = rendered.iter().map(Node::json);
    resources.find(|resource| resource["kind"] == "WasmPlugin").expect("a WasmPlugin")
}

fn assert_valid(source: &Source, directory: &str) {
    let rendered = source.render(directory).unwrap_or_else(|problem| panic!("{problem}"));
    let problems: Vec<_> = check::all(&rendered).iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{directory}:\n{}", problems.join("\n"));
}

fn manifests(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join(directory)).expect("a directory") {
        let path = directory.join(entry.expect("an entry").file_name());
        if root.join(&path).is_dir() {
            found.append(&mut manifests(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(path.to_str().expect("a name in UTF-8").to_owned());
        }
    }
    found
}

const ISSUERS: [&str; 2] = ["in-mesh-issuer", "external-issuer"];
