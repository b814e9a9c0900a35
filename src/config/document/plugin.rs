//! The top level.

use super::keywords::{DURATION, HEADER_NAME, written};
use super::provider::ProviderConfig;
use super::replies::RepliesConfig;
use super::rule::RuleConfig;
use crate::config::verified_header::MIN_SECRET_BYTES;
use crate::config::{
    DEFAULT_BYPASS_CORS_PREFLIGHT, DEFAULT_JWKS_WAIT_TIMEOUT, DEFAULT_MAX_PAUSED_REQUESTS,
    DEFAULT_MAX_TOKEN_BYTES, DEFAULT_TOKEN_CACHE_ENTRIES, FilterStateDetail, HostCrypto, MAX_COUNT,
    Mode,
};
use schemars::JsonSchema;
use serde::Serialize;

/// The whole plugin configuration. What the filter refuses besides, it names at load, with its path and
/// the mend.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields, title = "The plugin configuration of mesh-jwt")]
#[serde(rename_all = "camelCase")]
pub struct PluginConfig {
    /// What becomes of a request that the filter refuses.
    #[schemars(extend("default" = Mode::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,

    /// The `realm` of the `WWW-Authenticate` challenge.
    #[schemars(length(min = 1), extend("x-default" = "the request's authority"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,

    /// The issuers whose tokens are accepted.
    #[schemars(length(min = 1))]
    pub providers: Vec<ProviderConfig>,

    /// Which requests need which token: the first rule that matches decides. What matches none needs a
    /// token of any provider.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleConfig>,

    /// Whether rules ignore the case of ASCII letters in paths, for services that do.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_insensitive_paths: Option<bool>,

    /// What the filter's own replies tell, and to whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replies: Option<RepliesConfig>,

    /// Whether CORS preflights pass without a token: no upgrade, body, `Authorization` or method
    /// override.
    #[schemars(extend("default" = DEFAULT_BYPASS_CORS_PREFLIGHT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass_cors_preflight: Option<bool>,

    /// How long a request may wait for keys.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_JWKS_WAIT_TIMEOUT)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_wait_timeout: Option<String>,

    /// How many requests may wait, per worker. Providers share the places fairly.
    #[schemars(range(max = MAX_COUNT), extend("default" = DEFAULT_MAX_PAUSED_REQUESTS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_paused_requests: Option<u32>,

    /// The longest token in bytes; longer ones are refused.
    #[schemars(range(min = 1, max = MAX_COUNT), extend("default" = DEFAULT_MAX_TOKEN_BYTES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_token_bytes: Option<u32>,

    /// The verified tokens that a worker remembers.
    #[schemars(extend("default" = {"maxEntries": DEFAULT_TOKEN_CACHE_ENTRIES}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokenCacheConfig>,

    /// What access logs are told of each decision.
    #[schemars(extend("default" = FilterStateDetail::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_state: Option<FilterStateDetail>,

    /// Whether Envoy is to choose the route anew, by what the filter made of the request.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_route_cache: Option<bool>,

    /// Tells services that a request's token was verified. Services that insist on the header notice
    /// when no filter is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_header: Option<VerifiedHeaderConfig>,

    /// Who checks signatures.
    #[schemars(extend("default" = HostCrypto::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_crypto: Option<HostCrypto>,
}

/// The tokens that a worker remembers, so that it verifies each once.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct TokenCacheConfig {
    /// How many verified tokens a worker remembers, in about 4 MiB at most; `0`: none.
    #[schemars(range(max = MAX_COUNT), extend("default" = DEFAULT_TOKEN_CACHE_ENTRIES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u32>,
}

/// The header by which a service can tell that the filter stands before it.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedHeaderConfig {
    /// The header, such as `X-Mesh-Jwt`: removed from every request, and set on those with a verified
    /// token only, to `verified;provider="NAME"` (RFC 8941).
    #[schemars(regex(pattern = HEADER_NAME))]
    pub name: String,

    /// What the header ends with (`;secret="…"`), so that who reaches a service past the filter cannot
    /// forge it: 16 characters or more of printable ASCII, without quotes and backslashes.
    #[schemars(regex(pattern = r"^[ !#-\[\]-~]*$"), length(min = MIN_SECRET_BYTES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}
