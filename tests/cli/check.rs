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
        (
            "kind: WasmPlugin\nspec: {url: oci://x/mesh-jwt}\n",
            "2:1: error: spec.pluginConfig: is missing",
        ),
        ("providers: [}\n", "1:12: error: is neither YAML nor JSON"),
        ("a: 1\n", "1:1: error: holds no plugin configuration"),
        (
            "providers:\n- issuer: https://a.example\nrules:\n- claims: {a.b: [x], \"c\": []}\n",
            "4:22: error: rules[0].claims.c",
        ),
        (
            "providers:\n- issuer: https://a.example\nrules:\n- claims:\n    a: [x]\n    a.b: [x, {}]\n",
            "6:14: error: rules[0].claims.a.b[1]",
        ),
        (
            "providers:\n- issuer: https://a.example\nrules:\n- claims:\n    \"a[0]\\t\": [{}]\n",
            "5:16: error: rules[0].claims.a[0]\\t[0]",
        ),
        ("", "1:1: error: holds no plugin configuration"),
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
        (
            format!(
                "{string}|\n\n            {{\"providers\": [\n             {{\"issuer\": 7}}]}}"
            ),
            "12:15",
        ),
        (format!("{string}'{{\"providers\": [{{\"issuer\": 7}}]}}'"), "9:35"),
        // Where quotes or folds hide the place, that of the whole.
        (format!("{string}'{{\"providers\": [\n            {{\"issuer\": 7}}]}}'"), "9:18"),
        (format!("{string}\"{{\\\"providers\\\": [{{\\\"issuer\\\": 7}}]}}\""), "9:18"),
        (
            format!("{string}>\n            {{\"providers\": [\n            {{\"issuer\": 7}}]}}"),
            "10:13",
        ),
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

const OURS: &str = "kind: WasmPlugin
metadata: {name: mesh-jwt}
spec:
  url: oci://registry.example/mesh-jwt
  pluginConfig:
    providers: [{issuer: https://a.example, audiences: [a]}]
";

#[test]
fn plugins_of_others_are_left_alone() {
    for other in [
        "kind: WasmPlugin\nmetadata: {name: limiter}\nspec: {url: oci://x, pluginConfig: {rate: 1}}\n",
        "kind: WasmPlugin\nmetadata: {name: limiter}\nspec: {url: oci://x}\n",
        "kind: TrafficExtension\nmetadata: {name: limiter}\nspec: {wasm: {url: oci://x}}\n",
    ] {
        let (both, alone) =
            (check(&format!("{other}---\n{OURS}"), &["--strict"]), check(other, &[]));

        assert_eq!((both.code, &*both.stdout), (0, "ok: the filter takes 1 configuration\n"));
        assert!(alone.stdout.contains("holds no plugin configuration"), "{alone:?}");
    }
    for ours in [
        "kind: WasmPlugin\nmetadata: {name: mesh-jwt}\nspec: {url: oci://x, pluginConfig: {}}\n",
        "kind: WasmPlugin\nspec: {url: oci://x, pluginName: mesh_jwt, pluginConfig: {}}\n",
        "kind: TrafficExtension\nspec: {wasm: {url: oci://x/mesh-jwt:1, pluginConfig: {}}}\n",
    ] {
        let run = check(ours, &[]);

        assert!(run.stdout.contains("pluginConfig.providers: is missing or empty"), "{run:?}");
    }
}

#[test]
fn items_of_a_list_are_checked() {
    let item = OURS.replace('\n', "\n  ").replace("https://a.example", "7");

    let run = check(&format!("kind: List\nitems:\n- kind: Pod\n- {item}\n"), &[]);

    let told = "FILE:9:20: error: items[1].spec.pluginConfig.providers[0].issuer: ";
    assert!(run.stdout.starts_with(told), "{run:?}");
}

#[test]
fn a_patch_is_left_to_what_kustomize_makes_of_it() {
    for (spec, place) in
        [("spec:\n  priority: 100\n", "3:1"), ("spec:\n  pluginConfig:\n    rules: []\n", "4:3")]
    {
        let patch = format!("kind: WasmPlugin\nmetadata: {{name: mesh-jwt}}\n{spec}");

        let run = check(&patch, &[]);

        let told = format!("FILE:{place}: warning: spec.pluginConfig: this is a patch");
        assert!(run.stdout.starts_with(&told), "{run:?}");
        assert_eq!((run.stdout.lines().count(), run.code), (1, 0), "{run:?}");
    }
}

#[test]
fn whole_numbers_are_taken_however_they_are_written() {
    let with = |number| {
        let provider = "providers: [{issuer: https://a.example, audiences: [a]}]";
        check(&format!("{provider}\nmaxTokenBytes: {number}\n"), &[])
    };

    for number in ["8192.0", "1e3", "8.192e+3"] {
        assert_eq!(with(number).stdout, "ok: the filter takes 1 configuration\n", "{number}");
    }
    for number in ["8192.5", "1e300"] {
        assert!(with(number).stdout.contains("2:1: error: maxTokenBytes: "), "{number}");
    }
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
