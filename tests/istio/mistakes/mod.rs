//! What an edit can get wrong is noticed, with the resource and the field.

mod targets;
mod traffic_extension;

use crate::kustomize::Source;
use crate::{check, example};

#[test]
fn field_that_istio_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  imagePullPolicy: IfNotPresent",
        "  pullPolicy: IfNotPresent",
        &[&plugin("/spec: Additional properties are not allowed ('pullPolicy' was unexpected)")],
    );
}

#[test]
fn value_that_istio_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  phase: AUTHN",
        "  phase: AUTHENTICATION",
        &[
            &plugin(
                "/spec/phase: \"AUTHENTICATION\" is not one of \"UNSPECIFIED_PHASE\", \"AUTHN\" or \
                 2 other candidates",
            ),
            &plugin("/spec/phase: must be AUTHN"),
        ],
    );
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  - mode: SERVER",
        "  - mode: INBOUND",
        &[
            &plugin(
                "/spec/match/0/mode: \"INBOUND\" is not one of \"UNDEFINED\", \"CLIENT\" or \
                 2 other candidates",
            ),
            &plugin("/spec/match/0/mode: must be SERVER or CLIENT"),
        ],
    );
    assert_noticed(
        example::SETTINGS,
        "  sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"",
        "  sha256: \"0.1.0\"",
        &[&plugin("/spec/sha256: \"0.1.0\" does not match \"(^$|^[a-f0-9]{64}$)\"")],
    );
}

#[test]
fn value_of_another_type() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/wasm-plugin.yaml",
        "  priority: 100",
        "  priority: high",
        &[&plugin("/spec/priority: \"high\" is not of type \"integer\"")],
    );
}

#[test]
fn field_that_the_filter_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "      forwardOriginalToken: true",
        "      forwardToken: true\n      forwardOriginalToken: true",
        &[&plugin(
            "/spec/pluginConfig/providers/0/forwardToken: providers[0].forwardToken: unknown field",
        )],
    );
}

#[test]
fn provider_that_there_is_not() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/wasm-plugin.yaml",
        "      access: public",
        "      access: required\n      providers: [mian]",
        &[&plugin(
            "/spec/pluginConfig/rules/0/providers/0: \
             rules[0].providers[0]: there is no provider \"mian\"",
        )],
    );
}

#[test]
fn plaintext_jwks_without_opt_in() {
    assert_noticed_in(
        &Source::checkout(),
        example::KUSTOMIZATION,
        "- ../components/in-mesh-issuer",
        "",
        &[&plugin(
            "/spec/pluginConfig/providers/0/jwksUri: \
             providers[0].jwksUri: keys fetched over http:// can be replaced on the way",
        )],
    );
}

#[test]
fn filter_that_fails_open() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  failStrategy: FAIL_RELOAD",
        "  failStrategy: FAIL_OPEN",
        &[&plugin("/spec/failStrategy: must be FAIL_CLOSE or FAIL_RELOAD")],
    );
}

#[test]
fn opt_out_of_another_plugin() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/opt-out.yaml",
        "              name: extensions.istio.io/wasmplugin/istio-system.mesh-jwt",
        "              name: extensions.istio.io/wasmplugin/istio-system.jwt",
        &["EnvoyFilter mesh-jwt-opt-out (istio/mesh-wide/opt-out.yaml): \
           /spec/configPatches/2/match/listener/filterChain/filter/subFilter/name: \
           nothing here makes a filter of this name"],
    );
}

#[test]
fn second_line_before_enforcement() {
    assert_noticed_in(
        &Source::checkout(),
        example::KUSTOMIZATION,
        "# - ../components/header-identity",
        "- ../components/header-identity",
        &[&plugin(
            "/spec/pluginConfig/mode: \
             the AuthorizationPolicy mesh-jwt denies what this only reports",
        )],
    );
}

#[test]
fn kustomization_that_kustomize_does_not_take() {
    assert_refused(
        "istio/workload/kustomization.yaml",
        "resources:",
        "namePrefx: my-\nresources:",
        "/istio/workload': invalid Kustomization: json: unknown field \"namePrefx\"",
    );
    assert_refused(
        "istio/components/settings/kustomization.yaml",
        "    - spec.sha256",
        "    - spec.sha257",
        r#"/istio/components/settings': unable to find field \"spec.sha257\""#,
    );
}

/// Kustomize itself adds what there is not to replace.
#[test]
fn patch_of_what_there_is_not() {
    assert_noticed(
        "istio/components/enforce/kustomization.yaml",
        "      path: /spec/pluginConfig/mode",
        "      path: /spec/pluginConfig/mood",
        &[&plugin("/spec/pluginConfig/mood: mood: unknown field")],
    );
}

/// In the example with enforcement, which is what most of the manifests are part of.
fn assert_noticed(file: &str, line: &str, mistake: &str, complaints: &[&str]) {
    let source = example::edited("workload", "in-mesh-issuer", 1);
    assert_noticed_in(&source, file, line, mistake, complaints);
}

/// With a line replaced, these are the beginnings of all complaints there are.
fn assert_noticed_in(source: &Source, file: &str, line: &str, mistake: &str, complaints: &[&str]) {
    assert_problems(&with_mistake(source, file, line, mistake), complaints);
}

fn assert_problems(source: &Source, complaints: &[&str]) {
    let rendered = source.render(example::DIRECTORY);
    let problems = check::all(&rendered.unwrap_or_else(|problem| panic!("{problem}")));

    let are_as_expected = problems.len() == complaints.len()
        && problems.iter().zip(complaints).all(|(problem, start)| problem.starts_with(start));
    assert!(are_as_expected, "these are not {complaints:#?}: {problems:#?}");
}

/// With a line replaced, kustomize itself does not go on, and says this.
fn assert_refused(file: &str, line: &str, mistake: &str, complaint: &str) {
    let source = example::edited("workload", "in-mesh-issuer", 1);
    assert_not_rendered(&with_mistake(&source, file, line, mistake), complaint);
}

fn assert_not_rendered(source: &Source, complaint: &str) {
    let rendered = source.render(example::DIRECTORY);

    let problem = rendered.err().expect("kustomize refuses it");
    assert!(problem.contains(complaint), "nothing about {complaint:?}: {problem}");
}

fn with_mistake(source: &Source, file: &str, line: &str, mistake: &str) -> Source {
    let text = source.text(file);
    assert!(text.lines().any(|other| other == line), "{file} does not say {line:?}");
    let changed: Vec<_> =
        text.lines().map(|other| if other == line { mistake } else { other }).collect();
    source.clone().with(file, changed.join("\n"))
}

fn plugin(problem: &str) -> String {
    format!("WasmPlugin mesh-jwt (istio/base/wasm-plugin.yaml): {problem}")
}
