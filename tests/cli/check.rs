//! `mesh-jwt check`: where a fault stands, and what is found in which kind of file.

use std::fs;

use serde_json::Value;

use crate::command::{Run, mesh_jwt};

#[test]
fn faults_are_told_with_line_column_path_and_mend() {
    for (text, line) in [
        (
            "providers:\n- issuer: https://a.example\n  audience: x\n",
            "3:3: error: providers[0].audience: unknown field; did you mean \"audiences\"?",
        ),
        (
            "{\n\t\"providers\": [{\"issuer\": \"https://a.example\",\n\t\t\"timeout\": 5}]}",
            "3:3: error: providers[0].timeout: 5 is not a duration; write a number with a unit",
        ),
        (
            "kind: WasmPlugin\nspec:\n  pluginConfig:\n    providers:\n    - issuer: https://a.example\n    mode: dry\n",
            "6:5: error: spec.pluginConfig.mode: ",
        ),
        (
            "kind: TrafficExtension\nspec:\n  wasm:\n    pluginConfig: {providers: []}\n",
            "4:20: error: spec.wasm.pluginConfig.providers: is missing or empty",
        ),
        ("kind: WasmPlugin\nspec: {url: x}\n", "2:1: error: spec.pluginConfig: is missing"),
        ("providers: [}\n", "1:12: error: is neither YAML nor JSON"),
        ("a: 1\n", "1:1: error: holds no plugin configuration"),
        (
            "providers:\n- issuer: https://a.example\nrules:\n- claims: {a.b: [x], \"c\": []}\n",
            "4:22: error: rules[0].claims.c",
        ),
    ] {
        let run = check(text, &[]);

        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stdout.starts_with(&format!("FILE:{line}")), "{line}: {}", run.stdout);
    }
}

#[test]
fn a_configuration_in_an_envoy_yaml_is_found_in_each_form() {
    let envoy = |value: &str| {
        format!(
            "static_resources:\n  http_filters:\n  - name: mesh_jwt\n    typed_config:\n      \
             \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n      \
             config:\n        configuration:\n          {value}\n"
        )
    };
    let string = "\"@type\": type.googleapis.com/google.protobuf.StringValue\n          value: ";
    for (value, place) in [
        (
            format!("{string}|\n            {{\"providers\": [\n             {{\"issuer\": 7}}]}}"),
            "11:15",
        ),
        (format!("{string}'{{\"providers\": [{{\"issuer\": 7}}]}}'"), "9:35"),
    ] {
        let run = check(&envoy(&value), &[]);

        let told = format!("FILE:{place}: error: static_resources.http_filters[0].typed_config.");
        assert!(run.stdout.starts_with(&told), "{told}: {}", run.stdout);
        assert!(run.stdout.contains(".value.providers[0].issuer: expected a string"), "{run:?}");
    }
    let yaml = check(&envoy(&format!("{string}'providers: [{{issuer: https://a.example}}]'")), &[]);
    assert!(yaml.stdout.contains("FILE:9:19: error: "), "{yaml:?}");
    assert!(yaml.stdout.contains("is not valid JSON"), "the filter gets it as it is: {yaml:?}");
    let object = string.replace("StringValue", "Struct");
    let object = check(&envoy(&format!("{object}{{providers: []}}")), &[]);
    assert!(object.stdout.contains("FILE:9:18: error: "), "{object:?}");
    assert!(object.stdout.contains("google.protobuf.StringValue"), "{object:?}");
    // Some other filter's.
    assert!(
        check(&envoy(&format!("{string}hello")), &[]).stdout.contains("no plugin configuration")
    );
}

#[test]
fn risks_are_warnings_which_fail_only_if_asked() {
    let risky = "providers:\n- issuer: https://a.example\n  staleDuration: 48h\n";

    let (run, strict) = (check(risky, &[]), check(risky, &["--strict"]));

    assert!(run.stdout.contains("FILE:2:3: warning: providers[0].audiences: "), "{run:?}");
    assert!(run.stdout.contains("FILE:3:3: warning: providers[0].staleDuration: "), "{run:?}");
    assert!(run.stdout.ends_with("ok: the filter takes 1 configuration\n"), "{run:?}");
    assert_eq!((run.code, strict.code), (0, 1));
}

#[test]
fn programs_get_the_findings_as_json() {
    let run = check("providers: []\n", &["--json"]);

    let findings: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let finding = &findings[0];
    assert_eq!((&finding["line"], &finding["column"]), (&1.into(), &1.into()));
    assert_eq!((&finding["severity"], &finding["path"]), (&"error".into(), &"providers".into()));
}

#[test]
fn several_files_and_documents_are_checked_and_what_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.yaml");
    let good = "providers: [{issuer: https://a.example, audiences: [a]}]\n";
    fs::write(&file, format!("{good}---\n{good}")).expect("a writable folder");
    let file = file.to_str().expect("UTF-8");

    let both = mesh_jwt(&["check", file, file]);
    let missing = mesh_jwt(&["check", file, "/nowhere.yaml"]);

    assert_eq!(both.stdout, "ok: the filter takes 4 configurations\n");
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("/nowhere.yaml cannot be read"), "{missing:?}");
}

/// Checks a file with this text, which is called FILE in what is printed.
fn check(text: &str, options: &[&str]) -> Run {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&file, text).expect("a writable file");
    let name = file.path().to_str().expect("UTF-8");
    let mut run = mesh_jwt(&[&["check", name], options].concat());
    run.stdout = run.stdout.replace(name, "FILE");
    run
}
