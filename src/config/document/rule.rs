//! The level `rules[]`.

use crate::config::RuleAccess;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Which requests a rule is for, and which token they need.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct RuleConfig {
    /// The requests that the rule is for.
    #[schemars(extend("x-default" = "any"))]
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matched: Option<MatchConfig>,

    /// Whether requests need a token.
    #[schemars(extend("default" = RuleAccess::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<RuleAccess>,

    /// The names of the providers whose tokens are taken.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("x-default" = "any"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,

    /// What a token must hold besides.
    #[schemars(extend("x-default" = "nothing"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<RequiresConfig>,

    /// The scopes that a token needs: all of them must be in `scope` or `scp`.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,

    /// The claims that a token needs: each must hold one of its values, as in
    /// `{"roles": ["admin", "owner"]}`.
    #[schemars(extend(
        "default" = {},
        "additionalProperties" = {
            "type": "array",
            "items": {"type": ["string", "integer", "boolean"]},
            "minItems": 1
        }
    ))]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<Value>>,
}

/// The requests that a rule is for: all that is named has to match.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct MatchConfig {
    /// Hosts: `api.example.com`, `*.example.com`; with `:8443` or `:*` after it for authorities with a
    /// port.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("x-default" = "any"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,

    /// Methods in capitals, such as `GET`.
    #[schemars(length(min = 1), inner(length(min = 1)), extend("x-default" = "any"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,

    /// Paths: exact, with `*` for one segment, and a final `/**` for the path and all below it. A rule
    /// with `access: required` counts with and without a slash at the end.
    #[schemars(length(min = 1), inner(regex(pattern = "^/")), extend("x-default" = "any"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,

    /// Ports that the connection came to, such as `8080`, which no header changes. In Istio that is the
    /// port of the pod, not of the Service.
    #[schemars(length(min = 1), inner(range(min = 1)), extend("x-default" = "any"))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// What a token must hold besides.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct RequiresConfig {
    /// Audiences of which one must be in `aud`, beside one of the provider's.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    pub audiences: Vec<String>,
}
