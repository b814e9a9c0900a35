//! At gateways and waypoints.

use super::{assert_not_rendered, assert_noticed_in, plugin, with_mistake};
use crate::example;

#[test]
fn target_that_istio_does_not_look_at() {
    assert_noticed_in(
        &example::edited("waypoint-service", "in-mesh-issuer", 1),
        "istio/waypoint-service/target.yaml",
        "  - group: \"\"",
        "  - group: gateway.networking.k8s.io",
        &[&plugin(
            "/spec/targetRefs/0: {\"group\":\"gateway.networking.k8s.io\",\"kind\":\"Service\"",
        )],
    );
}

#[test]
fn target_beside_a_selector() {
    assert_noticed_in(
        &example::edited("gateway-api", "in-mesh-issuer", 1),
        "istio/gateway-api/target.yaml",
        "  targetRefs:",
        "  selector: {}\n  targetRefs:",
        &[&plugin("/spec: {\"required\":[\"selector\",\"targetRefs\"]} is not allowed")],
    );
}

/// A filter that would be in no chain at all.
#[test]
fn requests_of_the_other_side() {
    assert_noticed_in(
        &example::edited("gateway-api", "in-mesh-issuer", 1),
        "istio/gateway-api/target.yaml",
        "  - mode: CLIENT",
        "  - mode: SERVER",
        &[&plugin("/spec/match/0/mode: must be CLIENT")],
    );
    assert_noticed_in(
        &example::edited("waypoint", "in-mesh-issuer", 1),
        "istio/base/wasm-plugin.yaml",
        "  - mode: SERVER",
        "  - mode: CLIENT",
        &[&plugin("/spec/match/0/mode: must be SERVER")],
    );
}

#[test]
fn issuer_that_a_waypoint_does_not_know() {
    for (issuer, cluster) in [
        ("in-mesh-issuer", "inbound-vip|8080|http|auth-service.auth.svc.cluster.local"),
        ("external-issuer", "inbound-vip|8443|http|login.example.org"),
    ] {
        assert_noticed_in(
            &example::edited("waypoint", issuer, 1),
            example::KUSTOMIZATION,
            &format!("- ../components/{issuer}-at-waypoint"),
            &format!("- ../components/{issuer}"),
            &[&plugin(&format!(
                "/spec/pluginConfig/providers/0/jwksCluster: must be {cluster:?}, which Istio makes"
            ))],
        );
    }
}

#[test]
fn issuer_without_a_port_at_a_waypoint() {
    let source = with_mistake(
        &example::edited("waypoint", "in-mesh-issuer", 1),
        example::SETTINGS,
        "  jwksUri: http://auth-service.auth.svc.cluster.local:8080/actuator/jwks",
        "  jwksUri: http://auth-service.auth.svc.cluster.local/actuator/jwks",
    );
    assert_not_rendered(
        &source,
        "/istio/components/in-mesh-issuer-at-waypoint': options.index 1 is out of bounds for value \
         auth-service.auth.svc.cluster.local",
    );
}

/// ztunnel would deny every connection.
#[test]
fn second_line_of_sidecars_at_a_waypoint() {
    assert_noticed_in(
        &example::edited("waypoint", "in-mesh-issuer", 2),
        example::KUSTOMIZATION,
        "- ../components/header-identity-at-waypoint",
        "- ../components/header-identity",
        &["AuthorizationPolicy mesh-jwt \
           (istio/components/header-identity/authorization-policy.yaml): \
           /spec/targetRefs: must be where the filter is, at the waypoint"],
    );
}

/// And there is nothing that it could be copied from.
#[test]
fn second_line_of_a_waypoint_without_one() {
    let source = with_mistake(
        &example::edited("workload", "in-mesh-issuer", 2),
        example::KUSTOMIZATION,
        "- ../components/header-identity",
        "- ../components/header-identity-at-waypoint",
    );
    assert_not_rendered(
        &source,
        "/istio/components/header-identity-at-waypoint': fieldPath `spec.targetRefs` is missing",
    );
}
