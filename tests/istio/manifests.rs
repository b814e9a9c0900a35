//! Every manifest, in every combination that the README speaks of, is what Istio expects.

use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use crate::extension::{self, names_in_envoy};
use crate::kustomize::{Resource, Source, manifests_under};
use crate::{check, example};

#[test]
fn every_directory_is_valid() {
    every_directory().iter().for_each(|rendered| assert_valid(rendered));
}

#[test]
fn every_overlay_is_valid_with_every_issuer_at_every_stage_as_either_kind() {
    every_example().iter().for_each(|rendered| assert_valid(rendered));
}

/// A file that nothing renders is one that nothing checks.
#[test]
fn no_manifest_is_left_out() {
    for file in manifests_under(Path::new("istio")) {
        let (source, directory) = rendering_with(&file);
        source.render(&directory).unwrap_or_else(|problem| panic!("{problem}"));

        let complaint = source.without(&file).render(&directory).err();

        // A directory without its kustomization is none that kustomize would name a file of.
        let missing = file.strip_suffix("/kustomization.yaml").unwrap_or(&file);
        let missing = missing.rsplit('/').next().expect("a name");
        assert!(
            complaint.as_ref().is_some_and(|complaint| complaint.contains(missing)),
            "{directory} renders without {file}: {complaint:?}"
        );
    }
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
        .into_iter()
        .map(|resource| resource.value)
        .filter(|resource| resource["kind"] != "WasmPlugin" && resource["kind"] != "ConfigMap")
        .filter(|resource| resource.to_string().contains("auth.example.com"))
        .collect();
    assert_eq!(left, Vec::<Value>::new(), "these still have the host of the example");

    for (setting, changed) in [
        ("issuer: https://auth.example.com", json!("https://a.example.org")),
        ("audience: example-api", json!("other-api")),
        ("image: oci://registry.example.com/mesh-jwt:0.1.0", json!("oci://b.example.org/c:d")),
        ("sha256: \"0000", json!("f".repeat(64))),
        ("verifiedSecret: \"0000", json!("0123456789abcdef")),
    ] {
        let settings = Source::checkout().text(example::SETTINGS);
        let line = settings.lines().find(|line| line.contains(setting)).expect("the setting");
        let (name, _) = line.split_once(':').expect("a member");
        let edited = settings.replace(line, &format!("{name}: {changed}"));
        let plugin = self::plugin(&Source::checkout().with(example::SETTINGS, edited));
        assert!(plugin.to_string().contains(&changed.to_string()), "{name}: {plugin}");
    }
}

#[test]
fn mesh_wide_filter_spares_the_issuer_metrics_and_gateways() {
    let source = example::edited("mesh-wide", "in-mesh-issuer", 1);
    let rendered = source.render(example::DIRECTORY).expect("a valid example");
    let named = |name: &str| {
        let found = rendered.iter().find(|resource| resource.name() == name);
        &found.expect(name).value
    };

    let plugin = named("mesh-jwt");
    assert_eq!(plugin["metadata"]["namespace"], "istio-system");
    assert_eq!(plugin["spec"]["match"], json!([{ "mode": "SERVER" }]));
    assert_eq!(plugin["spec"]["selector"], Value::Null);
    let opt_out = named("mesh-jwt-opt-out");
    assert_eq!(opt_out["spec"]["workloadSelector"]["labels"], json!({ "mesh-jwt": "disabled" }));
    let metrics =
        json!({ "match": { "paths": ["/metrics"], "ports": [9090] }, "access": "public" });
    let rules = plugin["spec"]["pluginConfig"]["rules"].as_array().expect("rules");
    assert!(rules.contains(&metrics), "{rules:?}");
    let patches = opt_out["spec"]["configPatches"].as_array().expect("patches").iter();
    let pointer = format!("/match/{}", check::FILTER_NAME);
    let mut names: Vec<_> = patches.map(|patch| patch.pointer(&pointer).expect("a name")).collect();
    names.reverse();
    let plugin = rendered.iter().find(|resource| resource.kind() == "WasmPlugin");
    assert_eq!(json!(names), json!(names_in_envoy(plugin.expect("a WasmPlugin"))));
}

pub(crate) fn plugin(source: &Source) -> Value {
    let rendered = source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"));
    extension::all(&rendered)[0].value.clone()
}

/// A rendering of those that are checked above that should have use for a file: that of its own
/// directory or, since a component renders only as a part of something, the example with it.
fn rendering_with(file: &str) -> (Source, String) {
    let parts: Vec<_> = file.split('/').collect();
    match parts[..] {
        ["istio", "components", component, _] => {
            let (overlay, name) = match component.strip_suffix("-at-waypoint") {
                Some(name) => ("waypoint", name),
                None => ("workload", component),
            };
            let is_issuer = ISSUERS.contains(&name);
            let issuer = if is_issuer { name } else { "in-mesh-issuer" };
            let source = example::edited(overlay, issuer, example::STAGES.len());
            (example::as_traffic_extension(&source), example::DIRECTORY.to_owned())
        }
        ["istio", directory, _] if DIRECTORIES.contains(&directory) => {
            (Source::checkout(), format!("istio/{directory}"))
        }
        _ => panic!("nothing renders {file}"),
    }
}

fn assert_valid(rendered: &[Resource]) {
    let problems = check::all(rendered);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What each directory renders by itself.
pub(crate) fn every_directory() -> Vec<Vec<Resource>> {
    let rendered = DIRECTORIES.map(|name| Source::checkout().render(&format!("istio/{name}")));
    rendered.map(|rendered| rendered.unwrap_or_else(|problem| panic!("{problem}"))).into()
}

/// What the example renders over each overlay, with each component for the issuer, at each stage, as
/// each kind.
pub(crate) fn every_example() -> Vec<Vec<Resource>> {
    let sources: Vec<_> = combinations()
        .map(|(overlay, issuer, stage)| example::edited(overlay, issuer, stage))
        .flat_map(|source| [example::as_traffic_extension(&source), source])
        .collect();
    let render = |source: &Source| {
        source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"))
    };
    thread::scope(|scope| {
        let threads = sources
            .chunks(sources.len() / 4)
            .map(|some| scope.spawn(move || some.iter().map(render).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

/// Every overlay with every issuer at every stage.
pub(crate) fn combinations() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    example::OVERLAYS.into_iter().flat_map(|overlay| {
        let stages = 0..=example::STAGES.len();
        stages.flat_map(move |stage| ISSUERS.map(|issuer| (overlay, issuer, stage)))
    })
}

const ISSUERS: [&str; 2] = ["in-mesh-issuer", "external-issuer"];
/// All but the components, which render only as a part of something.
pub(crate) const DIRECTORIES: [&str; 14] = [
    "base",
    "behind-gateway",
    "behind-gateway-api",
    "behind-waypoint",
    "example",
    "gateway-api",
    "ingress-gateway",
    "issuer",
    "kubernetes-service-accounts",
    "mesh-wide",
    "namespace",
    "waypoint",
    "waypoint-service",
    "workload",
];
