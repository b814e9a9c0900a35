//! The example as somebody would edit it who adopts it.

use super::kustomize::Source;

pub(crate) const DIRECTORY: &str = "istio/example";
pub(crate) const KUSTOMIZATION: &str = "istio/example/kustomization.yaml";
pub(crate) const SETTINGS: &str = "istio/example/settings.yaml";

/// The example over another overlay, with another component for its issuer, so far into the roll-out.
pub(crate) fn edited(overlay: &str, issuer: &str, stage: usize) -> Source {
    let source = Source::checkout();
    let mut kustomization = source.text(KUSTOMIZATION);
    let mut edit = |from: &str, to: &str| {
        assert!(kustomization.contains(from), "{KUSTOMIZATION} does not say {from:?}");
        kustomization = kustomization.replacen(from, to, 1);
    };
    edit("\n- ../workload\n", &format!("\n- ../{overlay}\n"));
    edit("\n- ../components/in-mesh-issuer\n", &format!("\n- ../components/{issuer}\n"));
    for component in &STAGES[..stage] {
        edit(&format!("# - ../components/{component}"), &format!("- ../components/{component}"));
    }
    if overlay == "mesh-wide" {
        edit("namespace: shop", "namespace: istio-system");
    }
    let mut settings = source.text(SETTINGS);
    if issuer == "external-issuer" {
        let line = settings.lines().find(|line| line.contains("jwksUri: ")).expect("a jwksUri");
        settings = settings.replace(line, "  jwksUri: https://login.example.org/keys");
    }
    source.with(KUSTOMIZATION, kustomization).with(SETTINGS, settings)
}

pub(crate) const OVERLAYS: [&str; 4] = ["workload", "namespace", "mesh-wide", "ingress-gateway"];
/// The components that the roll-out takes in one after the other.
pub(crate) const STAGES: [&str; 2] = ["enforce", "header-identity"];
