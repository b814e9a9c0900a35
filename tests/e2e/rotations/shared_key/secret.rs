//! What the secret holds, and what the pods are told of it.

use std::fs;

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

    /// As docs/external-secret.yaml hands it over.
    pub(super) fn environment(self, token_lifetime: u64) -> Environment {
        let published: Vec<_> = [self.next, self.previous].into_iter().flatten().map(pem).collect();
        vec![
            ("ISSUER", ISSUER.to_owned()),
            ("JWT_RSA_PRIVATE_KEY", pem(self.current)),
            ("JWT_RSA_PUBLIC_KEYS", published.join("\n")),
            ("TOKEN_LIFETIME_SECONDS", token_lifetime.to_string()),
        ]
    }
}

fn pem(name: &str) -> String {
    let path = checkout::root().join("tests/keys").join(name).with_extension("pem");
    fs::read_to_string(path).expect("a key in tests/keys")
}
