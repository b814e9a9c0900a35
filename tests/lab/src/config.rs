//! The plugin configuration that most tests start from.

use serde_json::{Value, json};

use crate::token::{AUDIENCE, ISSUER};

#[derive(Clone)]
pub struct Config(Value);

impl Config {
    /// One provider whose keys come from the cluster `issuer`.
    pub fn new() -> Self {
        Self(json!({
            "realm": REALM,
            "providers": [{
                "name": "wealist",
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwksUri": "http://auth.example.com/jwks",
                "jwksCluster": ISSUER_CLUSTER,
                "allowPlaintextJwks": true,
                "outputPayloadToHeader": "X-Jwt-Payload",
                "outputClaimToHeaders": [
                    { "header": "X-User-Id", "claim": "sub" },
                    { "header": "X-Scopes", "claim": "scope" },
                    { "header": "X-Tenant", "claim": "tenant", "default": "default" },
                ],
            }],
        }))
    }

    /// Sets a top-level field.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// Sets a field of the first provider.
    pub fn provider(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["providers"][0][field] = value.into();
        self
    }

    /// The first provider has these keys and fetches none.
    pub fn inline_keys(self, keys: &[Value]) -> Self {
        ["jwksUri", "jwksCluster", "allowPlaintextJwks"]
            .iter()
            .fold(self, |config, field| config.provider_without(field))
            .provider("jwks", json!({ "keys": keys }))
    }

    /// The first provider's tokens come in any kind of location.
    pub fn tokens_from_everywhere(self) -> Self {
        // Istio's default for the headers holds only where no other location is configured.
        let from_headers = json!([{ "name": "Authorization", "prefix": "Bearer " }]);
        self.provider("fromHeaders", from_headers)
            .provider("fromCookies", json!([TOKEN_NAME]))
            .provider("fromParams", json!([TOKEN_NAME]))
    }

    /// Leaves a top-level field out.
    pub fn without(mut self, field: &str) -> Self {
        remove(&mut self.0, field);
        self
    }

    /// Leaves a field of the first provider out.
    pub fn provider_without(mut self, field: &str) -> Self {
        remove(&mut self.0["providers"][0], field);
        self
    }

    pub fn add_provider(mut self, provider: Value) -> Self {
        self.0["providers"].as_array_mut().expect("an array").push(provider);
        self
    }

    pub fn render(&self) -> String {
        self.0.to_string()
    }
}

fn remove(object: &mut Value, field: &str) {
    let removed = object.as_object_mut().and_then(|fields| fields.remove(field));
    assert!(removed.is_some(), "there is no {field} to leave out");
}

const TOKEN_NAME: &str = "access_token";
pub const REALM: &str = "e2e";
/// The cluster that leads to the test's issuer.
pub const ISSUER_CLUSTER: &str = "issuer";
