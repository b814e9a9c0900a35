//! What Envoy exports for Prometheus, under the names and labels that rules and dashboard ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lab::config::Config;
use lab::http::{Exchange, Request};
use lab::proxy::Proxy;
use lab::stats_tags::stats_config;
use lab::token::Key;
use lab::{crash, resources, wait};
use regex_lite::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

/// A name and labels.
type Series = (String, BTreeMap<String, String>);

#[test]
fn rules_and_dashboard_ask_for_what_envoy_exports() {
    let exported = series(Some(stats_config().expect("tags in envoy.yaml")));
    let exported: BTreeSet<_> = exported.iter().map(|(name, _)| name.as_str()).collect();

    for text in [
        include_str!("../../envoy/dashboards/alerts.yaml"),
        include_str!("../../envoy/dashboards/mesh-jwt.json"),
    ] {
        let names = Regex::new(r"\b(?:mesh_jwt|envoy)_\w+").expect("a regex");
        let asked: BTreeSet<_> = names.find_iter(text).map(|name| name.as_str()).collect();
        assert!(asked.len() > 8, "{asked:?}");
        let absent: Vec<_> = asked.difference(&exported).collect();
        assert!(absent.is_empty(), "{absent:?} are not among {exported:?}");
    }
}

/// As Istio's proxies, which know no tags of the filter.
#[test]
fn relabelling_gives_names_without_tags_the_labels_that_tags_make() {
    let tagged = series(Some(stats_config().expect("tags in envoy.yaml")));
    let untagged = series(None);
    let rules = rules();

    assert!(untagged.is_disjoint(&with_labels(&tagged)), "{untagged:?}");
    assert_eq!(relabelled(&untagged, &rules), tagged);
    assert_eq!(relabelled(&tagged, &rules), tagged);
}

fn with_labels(series: &BTreeSet<Series>) -> BTreeSet<Series> {
    series.iter().filter(|(_, labels)| !labels.is_empty()).cloned().collect()
}

/// What a proxy exports of the filter, one of whose VMs has been replaced.
fn series(stats_config: Option<Value>) -> BTreeSet<Series> {
    let directory = tempfile::tempdir().expect("a writable directory");
    let module = directory.path().join("faulty.wasm");
    crash::write(&module);
    let config = Config::new().inline_keys(&[Key::alpha().jwk()]).render();
    let config = serde_json::from_str(&config).expect("JSON");
    let filter = resources::recommended_filter("mesh_jwt", &module, &config);
    let manager = json!({
        "route_config": resources::route_config(&[]),
        "common_http_protocol_options": { "max_headers_count": 200 },
    });
    let listener = resources::listener("ingress", &[filter], &manager);
    let mut bootstrap = resources::bootstrap(&[listener], &[]);
    bootstrap["stats_config"] = stats_config.unwrap_or_default();
    let proxy = Proxy::start(directory.path(), &bootstrap, &["--concurrency", "1"]);
    let proxy = proxy.expect("Envoy serves");
    let address = proxy.listeners().expect("listeners")["ingress"];
    let bare = Request::get("/");
    let crash = (0..crash::HEADERS).fold(bare.clone(), |crash, _| crash.header("X-Many", "a"));
    let send = |request| Exchange::start(address, request).and_then(Exchange::finish);

    drop(send(&crash));
    wait::until("another VM has taken over", RELOAD_LIMIT, || {
        send(&bare).is_ok_and(|refused| refused.status == 401).then_some(())
    });

    let text = proxy.ask("/stats/prometheus").expect("Envoy tells its stats").text();
    text.lines().filter_map(parse).collect()
}

/// Of a line of `/stats/prometheus`, if it is about the filter.
fn parse(line: &str) -> Option<Series> {
    let (name, labels) = line.rsplit_once(' ')?.0.split_once('{')?;
    let is_of_filter = name.starts_with("mesh_jwt_") || name.contains("_vm_reload");
    let pairs = Regex::new(r#"(\w+)="([^"]*)""#).expect("a regex");
    let labels = pairs.captures_iter(labels).map(|pair| (pair[1].to_owned(), pair[2].to_owned()));
    (is_of_filter && !line.starts_with('#')).then(|| (name.to_owned(), labels.collect()))
}

fn relabelled(series: &BTreeSet<Series>, rules: &[Rule]) -> BTreeSet<Series> {
    let relabel = |(name, labels): &Series| {
        rules.iter().fold((name.clone(), labels.clone()), |(name, mut labels), rule| {
            let regex = Regex::new(&format!("^(?:{})$", rule.regex)).expect("a regex");
            let Some(found) = regex.captures(&name) else { return (name, labels) };
            let mut value = String::new();
            found.expand(&rule.replacement, &mut value);
            if rule.target_label == "__name__" {
                return (value, labels);
            }
            labels.insert(rule.target_label.clone(), value);
            (name, labels)
        })
    };
    series.iter().map(relabel).collect()
}

fn rules() -> Vec<Rule> {
    let config = include_str!("../../envoy/dashboards/prometheus.yaml");
    let config: Prometheus = serde_saphyr::from_str(config).expect("the rules' shape");
    let rules = config.scrape_configs.into_iter().flat_map(|job| job.metric_relabel_configs);
    rules.inspect(|rule| assert_eq!(rule.source_labels, ["__name__"])).collect()
}

#[derive(Deserialize)]
struct Prometheus {
    scrape_configs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    metric_relabel_configs: Vec<Rule>,
}

/// Prometheus' `relabel_config`, as far as it is in use here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    source_labels: Vec<String>,
    regex: String,
    target_label: String,
    #[serde(default = "first_group")]
    replacement: String,
}

fn first_group() -> String {
    "$1".to_owned()
}

/// Envoy waits before it replaces a VM that has just begun.
const RELOAD_LIMIT: Duration = Duration::from_secs(20);
