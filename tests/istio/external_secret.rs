//! The manifest of docs/rotating-keys.md is what External Secrets Operator expects. That its template
//! makes variables that auth-service takes is shown by `tests/e2e/rotations/shared_key`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::kustomize::Resource;
use crate::schema;

#[test]
fn external_secret_is_valid() {
    assert_eq!(schema::check(&manifest()), [""; 0]);
}

#[test]
fn mistakes_in_an_external_secret_are_found() {
    for (pointer, wrong) in [
        ("/spec/refreshInterval", json!("5 minutes")),
        ("/spec/secretStoreRef/kind", json!("Store")),
        ("/spec/target/template/data", json!({ "JWT_RSA_PUBLIC_KEYS": null })),
        ("/spec/dataFrom/0/extract", json!({ "keys": "auth-service/keys" })),
    ] {
        let mut manifest = manifest();
        *manifest.value.pointer_mut(pointer).expect(pointer) = wrong;

        let problems = schema::check(&manifest);

        assert!(problems.iter().any(|problem| problem.contains(pointer)), "{problems:?}");
    }
}

fn manifest() -> Resource {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = fs::read_to_string(path).expect(FILE);
    let value: Value = serde_saphyr::from_str(&text).expect("YAML");
    Resource { value, file: FILE.to_owned() }
}

const FILE: &str = "docs/external-secret.yaml";
