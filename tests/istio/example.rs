//! The example as somebody would edit it who adopts it.

use super::kustomize::Source;

pub(crate) const DIRECTORY: &str = "istio/example";
pub(crate) const KUSTOMIZATION: &str = "istio/example/kustomization.yaml";
pub(crate) const SETTINGS: &str = "istio/example/settings.yaml";

/// The example over another overlay, with another component for its issuer, so far into the roll-out.
pub(crate) fn edited(overlay: &str, issuer: &str, stage: usize) -> Source {
    let mut source = Source::checkout();
    let mut edit = |from: &str, to: &str| source = with_edit(&source, from, to);
    edit("\n- ../workload\n", &format!("\n- ../{overlay}\n"));
    edit("\n- ../components/in-mesh-issuer\n", &format!("\n- {}\n", component(overlay, issuer)));
    for stage in &STAGES[..stage] {
        let line = format!("\n# - ../components/{stage}\n");
        edit(&line, &format!("\n- {}\n", component(overlay, stage)));
    }
    if overlay == "mesh-wide" {
        edit("namespace: shop", "namespace: istio-system");
    }
    let mut settings = source.text(SETTINGS);
    if issuer == "external-issuer" {
        let line = settings.lines().find(|line| line.contains("jwksUri: ")).expect("a jwksUri");
        settings = settings.replace(line, "  jwksUri: https://login.example.org/keys");
    }
    source.with(SETTINGS, settings)
}

/// The same for Istio 1.30 and newer.
pub(crate) fn as_traffic_extension(source: &Source) -> Source {
    let component = "- ../components/traffic-extension\n";
    with_edit(source, &format!("\n# {component}"), &format!("\n{component}"))
}

fn component(overlay: &str, name: &str) -> String {
    let is_another = WAYPOINTS.contains(&overlay) && name != "enforce";
    format!("../components/{name}{}", if is_another { "-at-waypoint" } else { "" })
}

fn with_edit(source: &Source, from: &str, to: &str) -> Source {
    let kustomization = source.text(KUSTOMIZATION);
    assert!(kustomization.contains(from), "{KUSTOMIZATION} does not say {from:?}");
    source.clone().with(KUSTOMIZATION, kustomization.replacen(from, to, 1))
}

pub(crate) const OVERLAYS: [&str; 7] = [
    "workload",
    "namespace",
    "mesh-wide",
    "ingress-gateway",
    "gateway-api",
    "waypoint",
    "waypoint-service",
];
/// Where most components have to be others.
pub(crate) const WAYPOINTS: [&str; 2] = ["waypoint", "waypoint-service"];
/// The components that the roll-out takes in one after the other.
pub(crate) const STAGES: [&str; 2] = ["enforce", "header-identity"];
