//! What an edit can get wrong is noticed, with the file and the line.

use crate::render::kustomize::Source;
use crate::{check, example};

#[test]
fn field_that_istio_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  imagePullPolicy: IfNotPresent",
        "  pullPolicy: IfNotPresent",
        "pullPolicy is unknown here",
    );
}

#[test]
fn value_that_istio_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  phase: AUTHN",
        "  phase: AUTHENTICATION",
        "\"AUTHENTICATION\" is none of",
    );
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  - mode: SERVER",
        "  - mode: INBOUND",
        "\"INBOUND\" is none of",
    );
    assert_noticed(
        example::SETTINGS,
        "  sha256: \"0000000000000000000000000000000000000000000000000000000000000000\"",
        "  sha256: \"0.1.0\"",
        "\"0.1.0\" does not match",
    );
}

#[test]
fn value_of_another_type() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/wasm-plugin.yaml",
        "  priority: 100",
        "  priority: high",
        "this should be of type integer",
    );
}

#[test]
fn field_that_the_filter_does_not_know() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "      forwardOriginalToken: true",
        "      forwardToken: true\n      forwardOriginalToken: true",
        "pluginConfig: providers[0].forwardToken",
    );
}

#[test]
fn provider_that_there_is_not() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/wasm-plugin.yaml",
        "      access: public",
        "      access: required\n      providers: [mian]",
        "pluginConfig: rules[0].providers",
    );
}

#[test]
fn plaintext_jwks_without_opt_in() {
    let kustomization = example::text(&Source::checkout(), example::KUSTOMIZATION);
    let source = Source::checkout().with(
        example::KUSTOMIZATION,
        kustomization.replace("- ../components/in-mesh-issuer\n", ""),
    );
    let settings = example::text(&source, example::SETTINGS);
    let uri = settings.lines().find(|line| line.contains("jwksUri: ")).expect("a jwksUri");

    assert_noticed_in(&source, example::SETTINGS, uri, uri, "pluginConfig: providers[0].jwksUri");
}

#[test]
fn filter_that_fails_open() {
    assert_noticed(
        "istio/base/wasm-plugin.yaml",
        "  failStrategy: FAIL_RELOAD",
        "  failStrategy: FAIL_OPEN",
        "failStrategy must be FAIL_CLOSE or FAIL_RELOAD",
    );
}

#[test]
fn opt_out_of_another_plugin() {
    assert_noticed_in(
        &example::edited("mesh-wide", "in-mesh-issuer", 0),
        "istio/mesh-wide/opt-out.yaml",
        "              name: extensions.istio.io/wasmplugin/istio-system.mesh-jwt",
        "              name: extensions.istio.io/wasmplugin/istio-system.jwt",
        "there is no WasmPlugin of this filter's name",
    );
}

#[test]
fn second_line_before_enforcement() {
    let kustomization = example::text(&Source::checkout(), example::KUSTOMIZATION);
    let source = Source::checkout().with(
        example::KUSTOMIZATION,
        kustomization
            .replace("# - ../components/header-identity", "- ../components/header-identity"),
    );

    assert_noticed_in(
        &source,
        "istio/base/wasm-plugin.yaml",
        "    mode: report",
        "    mode: report",
        "the AuthorizationPolicy mesh-jwt denies what this only reports",
    );
}

#[test]
fn kustomization_with_what_the_tests_do_not_render() {
    assert_noticed(
        "istio/workload/kustomization.yaml",
        "resources:",
        "namePrefix: my-\nresources:",
        "namePrefix is unknown here",
    );
    assert_noticed(
        "istio/components/enforce/kustomization.yaml",
        "      path: /spec/pluginConfig/mode",
        "      path: /spec/pluginConfig/mood",
        "there is no /spec/pluginConfig/mood to replace",
    );
}

/// In the example with enforcement, which is what most of the manifests are part of.
fn assert_noticed(file: &str, line: &str, mistake: &str, complaint: &str) {
    let source = example::edited("workload", "in-mesh-issuer", 1);
    assert_noticed_in(&source, file, line, mistake, complaint);
}

/// With a line replaced, there is a complaint about the first line of the replacement or, where it
/// adds lines, about one of those.
fn assert_noticed_in(source: &Source, file: &str, line: &str, mistake: &str, complaint: &str) {
    let text = example::text(source, file);
    let number = 1 + text.lines().position(|other| other == line).expect("the line");
    let changed: Vec<_> =
        text.lines().map(|other| if other == line { mistake } else { other }).collect();
    let source = source.clone().with(file, changed.join("\n"));

    let problems: Vec<_> = match source.render(example::DIRECTORY) {
        Ok(rendered) => check::all(&rendered),
        Err(problem) => vec![problem],
    };
    let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    let lines = number..number + mistake.lines().count();
    let is_said = lines.into_iter().any(|number| {
        let start = format!("{file}:{number}: ");
        said.iter().any(|said| said.starts_with(&start) && said.contains(complaint))
    });
    assert!(is_said, "nothing about {file}:{number} and {complaint:?}, but: {said:#?}");
}
