//! In what is turned into a TrafficExtension.

use super::{assert_not_rendered, assert_noticed_in, assert_problems, with_mistake};
use crate::example;
use crate::kustomize::Source;

/// Nothing may come after the component, lest it be left out in silence.
#[test]
fn components_after_it() {
    for (component, complaint) in [
        ("in-mesh-issuer", "add operation does not apply: doc is missing path"),
        ("external-issuer", "add operation does not apply: doc is missing path"),
        ("enforce", "replace operation does not apply: doc is missing path"),
        ("header-identity", "replace operation does not apply: doc is missing path"),
        ("settings", "unable to find field"),
    ] {
        let source = extension().with(
            example::KUSTOMIZATION,
            format!("{}- ../components/{component}\n", extension().text(example::KUSTOMIZATION)),
        );
        assert_not_rendered(&source, complaint);
        assert_not_rendered(&source, &format!("/istio/components/{component}'"));
    }
}

#[test]
fn patch_that_is_still_for_a_wasm_plugin() {
    let patched =
        format!("{}patches:\n- path: rules.yaml\n", extension().text(example::KUSTOMIZATION));
    let source = extension().with(example::KUSTOMIZATION, patched);
    let patch = |kind: &str, spec: &str| {
        let head = "apiVersion: extensions.istio.io/v1alpha1";
        let metadata = "metadata: {name: mesh-jwt}";
        let text = format!("{head}\nkind: {kind}\n{metadata}\nspec: {spec}\n");
        source.clone().with("istio/example/rules.yaml", text)
    };

    let unexpected =
        problem("/spec: Additional properties are not allowed ('pluginConfig' was unexpected)");
    assert_problems(&patch("WasmPlugin", "{pluginConfig: {realm: shop}}"), &[&unexpected]);
    let in_its_place = patch("TrafficExtension", "{wasm: {pluginConfig: {realm: shop}}}");
    assert_problems(&in_its_place, &[]);
    let rendered = in_its_place.render(example::DIRECTORY).expect("a valid example");
    let extension = rendered.iter().find(|resource| resource.kind() == "TrafficExtension");
    assert_eq!(extension.expect("one").text("/spec/wasm/pluginConfig/realm"), "shop");
}

#[test]
fn value_that_istio_does_not_know() {
    assert_noticed_in(
        &extension(),
        "istio/base/wasm-plugin.yaml",
        "  phase: AUTHN",
        "  phase: UNSPECIFIED_PHASE",
        &[
            &problem(
                "/spec/phase: \"UNSPECIFIED_PHASE\" is not one of \"UNSPECIFIED\", \"AUTHN\" or \
                 2 other candidates",
            ),
            &problem("/spec/phase: must be AUTHN"),
        ],
    );
}

#[test]
fn field_that_the_component_does_not_move() {
    assert_noticed_in(
        &extension(),
        "istio/base/wasm-plugin.yaml",
        "  imagePullPolicy: IfNotPresent",
        "  imagePullPolicy: IfNotPresent\n  imagePullSecret: registry",
        &[&problem(
            "/spec: Additional properties are not allowed ('imagePullSecret' was unexpected)",
        )],
    );
    assert_not_rendered(
        &with_mistake(
            &extension(),
            "istio/base/wasm-plugin.yaml",
            "  imagePullPolicy: IfNotPresent",
            "",
        ),
        "/istio/components/traffic-extension': error in move for path: 'imagePullPolicy'",
    );
}

#[test]
fn filter_that_fails_open() {
    assert_noticed_in(
        &extension(),
        "istio/base/wasm-plugin.yaml",
        "  failStrategy: FAIL_RELOAD",
        "  failStrategy: FAIL_OPEN",
        &[&problem("/spec/wasm/failStrategy: must be FAIL_CLOSE or FAIL_RELOAD")],
    );
}

fn extension() -> Source {
    example::as_traffic_extension(&example::edited("workload", "in-mesh-issuer", 1))
}

fn problem(problem: &str) -> String {
    format!("TrafficExtension mesh-jwt (istio/base/wasm-plugin.yaml): {problem}")
}
