//! What whoever is on call reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use lab::checkout;
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::promtool::scenarios;

#[test]
fn every_alert_says_how_bad_it_is_and_where_the_mend_is_told() {
    let sections: BTreeSet<_> =
        DOCUMENT.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();

    for Alert { alert, labels, annotations } in &alerts {
        assert!(["critical", "warning"].contains(&labels["severity"].as_str()), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(!annotations[annotation].is_empty(), "{alert}: {annotation}");
        }
        let link = format!("/docs/alerts.md#{}", alert.to_lowercase());
        assert!(annotations["runbook_url"].ends_with(&link), "{alert}: {annotations:?}");
    }
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.alert.as_str()).collect();
    assert_eq!(names, sections);
}

#[test]
fn every_section_tells_what_the_alert_means_what_to_check_and_how_to_mend() {
    for section in DOCUMENT.split("\n## ").skip(1) {
        let (title, _) = section.split_once('\n').expect("a title");
        for part in ["**Means.** ", "**Check.** ", "**Mend.** "] {
            assert_eq!(section.matches(part).count(), 1, "{title}: {part}");
        }
    }
}

#[test]
fn every_alert_fires_in_a_scenario() {
    let texts: Vec<_> =
        scenarios().iter().map(|file| fs::read_to_string(file).expect("a readable file")).collect();
    for Alert { alert, .. } in alerts() {
        let fires = format!(r#"alertname="{alert}""#);
        assert!(texts.iter().any(|text| text.contains(&fires)), "{alert}");
    }
}

/// The operator's resource is made of the rule file by the command in the document.
#[test]
fn command_in_the_document_makes_a_prometheus_rule() {
    let (_, command) = DOCUMENT.split_once("```sh\n").expect("a command");
    let (command, _) = command.split_once(" > target/prometheus-rule.yaml").expect("its end");

    let output = Command::new("sh").args(["-c", command]).current_dir(checkout::root()).output();

    let resource = String::from_utf8(output.expect("sh can be executed").stdout).expect("text");
    let resource: Value = serde_saphyr::from_str(&resource).expect("YAML");
    assert_eq!(resource["kind"], "PrometheusRule");
    let rules: Value = serde_saphyr::from_str(RULES).expect("YAML");
    assert!(rules["groups"][0]["rules"].is_array());
    assert_eq!(resource["spec"], rules);
}

#[test]
fn compose_file_mounts_the_rules_where_prometheus_looks_for_them() {
    let prometheus: Value = serde_saphyr::from_str(PROMETHEUS).expect("YAML");
    let compose: Value = serde_saphyr::from_str(COMPOSE).expect("YAML");
    let mounts = compose["services"]["prometheus"]["volumes"].as_array().expect("volumes");

    for file in prometheus["rule_files"].as_array().expect("rules") {
        let file = file.as_str().expect("a file");
        let mount = format!("./dashboards/{file}:/etc/prometheus/{file}:ro");
        assert!(mounts.contains(&mount.clone().into()), "{mount}");
    }
}

#[test]
fn every_query_of_the_dashboard_heeds_the_chosen_namespace() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let metric = Regex::new(r"\b(?:mesh_jwt|envoy)_\w+").expect("a regex");
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = target["expr"].as_str().expect("a query");
            let chosen = query.matches(r#"{namespace=~"$namespace""#).count();
            assert_eq!(metric.find_iter(query).count(), chosen, "{query}");
            assert_ne!(chosen, 0, "{query}");
        }
    }
}

fn alerts() -> Vec<Alert> {
    let rules: Rules = serde_saphyr::from_str(RULES).expect("alerts with labels and annotations");
    let alerts: Vec<_> = rules.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(!alerts.is_empty());
    alerts
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    alert: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

const RULES: &str = include_str!("../../envoy/dashboards/alerts.yaml");
const DASHBOARD: &str = include_str!("../../envoy/dashboards/mesh-jwt.json");
const PROMETHEUS: &str = include_str!("../../envoy/dashboards/prometheus.yaml");
const COMPOSE: &str = include_str!("../../envoy/docker-compose.yaml");
const DOCUMENT: &str = include_str!("../../docs/alerts.md");
