//! What proxies of each version were told once the manifests had been applied, in a real mesh.

use std::collections::BTreeSet;
use std::path::Path;

use lab::bootstrap::Bootstrap;
use lab::resources::any_port;
use mesh_jwt::config::Config;
use serde_json::{Value, json};

use super::Version;
use crate::check::{FILTER_NAME, of_kind};
use crate::example;
use crate::extension::names_in_envoy;
use crate::kustomize::Resource;

/// The name that the opt-outs have to say, and the tests take for granted.
#[test]
fn filter_has_the_name_that_patches_say() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        for (situation, rendered) in sidecars() {
            let plugin = of_kind(&rendered, "WasmPlugin")[0];
            let seen: BTreeSet<_> = version.chains(situation).flat_map(names_of_ours).collect();
            // A TrafficExtension's has not been recorded; it is the translated one without its end.
            let [before_1_30, since_1_30, _] = names_in_envoy(plugin);
            let name = if version.minor() < 30 { before_1_30 } else { since_1_30 };
            assert_eq!(seen, BTreeSet::from([name.clone()]), "{}, {situation}", version.name);

            for filter in of_kind(&rendered, "EnvoyFilter") {
                let patches = filter.value["spec"]["configPatches"].as_array().expect("patches");
                let pointer = format!("/match/{FILTER_NAME}");
                let names: Vec<_> =
                    patches.iter().filter_map(|patch| patch.pointer(&pointer)).collect();
                assert!(names.contains(&&json!(name)), "{}: {names:?}", filter.name());
            }
        }
    }
}

/// In front of everything that is received, and before Istio's own authorization.
#[test]
fn filter_is_where_requests_come_in() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        let names = |situation: &str, direction: &str| {
            let chains = version.chains(situation).filter(|chain| chain["direction"] == direction);
            chains.map(|chain| names_of_ours(chain).len()).collect::<BTreeSet<_>>()
        };
        let with = [
            "workload: sidecar with the label",
            "workload with header-identity",
            "mesh-wide: sidecar",
        ];
        for situation in with {
            let place = format!("{}, {situation}", version.name);
            assert_eq!(names(situation, "INBOUND"), BTreeSet::from([1]), "{place}");
            assert_eq!(names(situation, "OUTBOUND"), BTreeSet::from([0]), "{place}");
        }
        // Without the label, and with the one that opts out.
        for situation in ["workload: sidecar without it", "mesh-wide: opted out"] {
            let place = format!("{}, {situation}", version.name);
            assert_eq!(names(situation, "INBOUND"), BTreeSet::from([0]), "{place}");
        }
        // A gateway's listeners count as a client's.
        assert_eq!(names("gateway", "OUTBOUND"), BTreeSet::from([1]), "{}", version.name);

        for chain in version.chains("workload with header-identity") {
            let filters = chain["filters"].as_array().expect("filters");
            let authorization = filters.iter().position(|name| name == "envoy.filters.http.rbac");
            let is_inbound = chain["direction"] == "INBOUND";
            assert_eq!(authorization, is_inbound.then_some(1), "{}: {filters:?}", version.name);
        }
    }
}

/// Which Istio hands over as it is in the manifest; only the audience is another today, and there were
/// no rule with ports and no verified header.
#[test]
fn filter_gets_the_configuration_in_the_manifest() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        for (situation, rendered) in sidecars() {
            let plugin = of_kind(&rendered, "WasmPlugin")[0];
            let names = names_in_envoy(plugin);
            let discovered = version.seen[situation]["extension_configs"].as_array();
            let discovered = discovered.expect("extension configurations").iter();
            let mut ours = discovered.filter(|config| names.iter().any(|n| config["name"] == *n));
            let wasm = &ours.next().expect("the filter's")["typed_config"]["config"];
            assert_eq!(wasm["failure_policy"], plugin.value["spec"]["failStrategy"]);

            let text = wasm["configuration"]["value"].as_str().expect("a text");
            Config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{situation}: {error}"));
            let mut config: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(text, config.to_string(), "its members are sorted");
            let mut stated = plugin.value["spec"]["pluginConfig"].clone();
            config["providers"][0]["audiences"] = stated["providers"][0]["audiences"].clone();
            let members = stated.as_object_mut().expect("a configuration");
            assert!(members.remove("verifiedHeader").is_some(), "it is in the manifest");
            if let Some(Value::Array(rules)) = stated.get_mut("rules") {
                rules.retain(|rule| rule["match"]["ports"].is_null());
            }
            assert_eq!(config, stated, "{}, {situation}", version.name);

            let clusters = version.seen[situation]["clusters"].as_array().expect("clusters");
            let keys = json!("outbound|8080||auth-service.auth.svc.cluster.local");
            assert!(clusters.contains(&keys), "{}, {situation}: {clusters:?}", version.name);
        }
    }
}

/// The end-to-end tests run the filter in a listener of this shape.
#[test]
fn inbound_listener_has_the_shape_that_is_tested() {
    let Some(versions) = super::all() else { return };
    for version in versions {
        let ours = |chain: &Value| names_of_ours(chain).pop().expect("the filter");
        let situation = "workload with header-identity";
        let inbound = version.chains(situation).filter(|chain| chain["direction"] == "INBOUND");
        let plaintext: Vec<_> =
            inbound.filter(|chain| chain["match"]["transport_protocol"] == "raw_buffer").collect();

        let any = json!({ "any": true });
        let bootstrap = Bootstrap::new(any_port())
            .discovered_filter(&ours(plaintext[0]), Path::new("ecds.json"))
            .refuse(&any, &any)
            .inbound(&[8080]);
        let discovery = bootstrap.discovery(Path::new("access.log"));
        let chains = discovery["resources"][0]["filter_chains"].as_array().expect("chains");

        let tested = chains.iter().map(|chain| {
            let filters = &chain["filters"][0]["typed_config"]["http_filters"];
            let filters = filters.as_array().expect("filters").iter();
            let names: Vec<_> = filters.map(|filter| filter["name"].clone()).collect();
            (chain["name"].clone(), chain["filter_chain_match"].clone(), Value::from(names))
        });
        let seen = plaintext.iter().map(|chain| {
            (chain["chain"].clone(), chain["match"].clone(), chain["filters"].clone())
        });
        assert_eq!(tested.collect::<Vec<_>>(), seen.collect::<Vec<_>>(), "{}", version.name);
    }
}

impl Version {
    fn chains(&self, situation: &str) -> impl Iterator<Item = &Value> {
        let chains = self.seen[situation]["http_filters"].as_array();
        chains.unwrap_or_else(|| panic!("{}: there is no {situation}", self.name)).iter()
    }
}

fn names_of_ours(chain: &Value) -> Vec<String> {
    let filters = chain["filters"].as_array().expect("filters").iter().filter_map(Value::as_str);
    filters.filter(|name| name.contains("mesh-jwt")).map(str::to_owned).collect()
}

/// The sidecars that have the filter, with what was applied.
fn sidecars() -> [(&'static str, Vec<Resource>); 3] {
    [
        ("workload: sidecar with the label", example("workload", 1)),
        ("workload with header-identity", example("workload", 2)),
        ("mesh-wide: sidecar", example("mesh-wide", 1)),
    ]
}

fn example(overlay: &str, stage: usize) -> Vec<Resource> {
    let source = example::edited(overlay, "in-mesh-issuer", stage);
    source.render(example::DIRECTORY).unwrap_or_else(|problem| panic!("{problem}"))
}
