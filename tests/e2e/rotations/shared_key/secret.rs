//! What the secret holds, and what the pods are told of it.

use std::fs;

use serde_json::Value;

use lab::checkout;
use lab::services::Environment;
use lab::token::ISSUER;

/// Names of keys in `tests/keys`, by their part in a rotation.
#[derive(Clone, Copy)]
pub(super) struct Secret {
    /// Signs.
    pub(super) current: &'static str,
    /// Is published only, as is the previous one.
    pub(super) next: Option<&'static str>,
    pub(super) previous: Option<&'static str>,
}

impl Secret {
    /// As it is between rotations.
    pub(super) fn of(current: &'static str) -> Self {
        Self { current, next: None, previous: None }
    }

    /// As docs/external-secret.yaml hands it over, and whatever else a pod is told.
    pub(super) fn environment(self, token_lifetime: u64) -> Environment {
        ["JWT_RSA_PRIVATE_KEY", "JWT_RSA_PUBLIC_KEYS"]
            .map(|name| (name, self.fill_in(&template(name))))
            .into_iter()
            .chain([
                ("ISSUER", ISSUER.to_owned()),
                ("TOKEN_LIFETIME_SECONDS", token_lifetime.to_string()),
            ])
            .collect()
    }

    fn fill_in(self, template: &str) -> String {
        let fields =
            [("current", Some(self.current)), ("next", self.next), ("previous", self.previous)];
        let filled = fields.iter().fold(template.to_owned(), |text, (field, key)| {
            text.replace(&format!("{{{{ .{field} }}}}"), &key.map(pem).unwrap_or_default())
        });
        assert!(!filled.contains("{{"), "the secret has no other fields: {template}");
        filled
    }
}

/// What the manifest says that the operator makes of a field.
fn template(name: &str) -> String {
    let path = checkout::root().join("docs/external-secret.yaml");
    let manifest = fs::read_to_string(path).expect("the manifest");
    let manifest: Value = serde_saphyr::from_str(&manifest).expect("YAML");
    let template = &manifest["spec"]["target"]["template"]["data"][name];
    template.as_str().expect("a template").to_owned()
}

fn pem(name: &str) -> String {
    let path = checkout::root().join("tests/keys").join(name).with_extension("pem");
    fs::read_to_string(path).expect("a key in tests/keys")
}
