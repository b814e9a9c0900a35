//! The level `providers[]`.

use super::keywords::{DURATION, HEADER_NAME, also_jwks_uri, written};
use super::string_match::StringMatchConfig;
use crate::config::Encoding;
use crate::config::provider::{
    DEFAULT_CLOCK_SKEW, DEFAULT_REQUIRE_EXPIRATION, DEFAULT_TOKEN_TYPES,
};
use crate::config::remote::{
    DEFAULT_CACHE_DURATION, DEFAULT_REFETCH_COOLDOWN, DEFAULT_STALE_DURATION, DEFAULT_TIMEOUT,
    MAX_JWKS_ENDPOINTS,
};
use crate::config::tenants::{DEFAULT_MAX_TENANTS, MAX_TENANTS};
use crate::location::BEARER;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// An issuer, its keys, and the handling of its tokens. It takes every field of Istio's
/// `RequestAuthentication` `jwtRules[]` under its name, with its meaning.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["issuer"]}, {"required": ["issuers"]}]),
    transform = also_jwks_uri
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderConfig {
    /// The exact `iss` of its tokens.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,

    /// The tenants of one identity service, each with keys of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuers: Option<IssuersConfig>,

    /// The label in metrics and logs, which must be unique.
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]+$"), extend("x-default" = "host of `issuer`"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,

    /// The audiences that are accepted: any one must be in `aud`. Where it is empty, `aud` is not
    /// checked.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,

    /// Where the keys are. Without it and `jwks`, the issuer's discovery document says so (OpenID
    /// Connect, RFC 8414).
    #[schemars(length(min = 1), extend("x-default" = "discovered"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,

    /// Other hosts than the issuer's that a discovered `jwks_uri` may lead to.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwks_hosts: Vec<String>,

    /// A JWK Set, as a string or an object: the only keys, or with `jwksUri` those until the first
    /// fetch.
    #[schemars(extend("type" = ["string", "object"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<Value>,

    /// The cluster of `jwksUri`, or of the issuer's own host.
    #[schemars(
        length(min = 1),
        extend("x-default" = "`outbound|<port>||<host>` of what is called")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_cluster: Option<String>,

    /// Whether to allow `http://` for `jwksUri` and for the issuer's discovery document, where the mesh
    /// encrypts the call.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_plaintext_jwks: Option<bool>,

    /// How long one fetch may take, at most `1h`. A discovery document may take half of it.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_TIMEOUT)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,

    /// How long a key is trusted after it was last published.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_CACHE_DURATION)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_duration: Option<String>,

    /// How much longer than `cacheDuration` a key is trusted while refreshes fail; `0s`: not at all.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_STALE_DURATION)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_duration: Option<String>,

    /// The time in which at most 40 fetches look for missing keys, after a burst of 30.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_REFETCH_COOLDOWN)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refetch_cooldown: Option<String>,

    /// How many endpoints the issuer has, 1 to 16: how many answers say that a key is not there.
    #[schemars(
        range(min = 1, max = MAX_JWKS_ENDPOINTS),
        extend("x-default" = "3, or more if seen")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_endpoints: Option<u32>,

    /// The tolerance for `exp` and `nbf`.
    #[schemars(regex(pattern = DURATION), extend("default" = written(DEFAULT_CLOCK_SKEW)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<String>,

    /// Whether to refuse tokens without `exp`.
    #[schemars(extend("default" = DEFAULT_REQUIRE_EXPIRATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_expiration: Option<bool>,

    /// The most that `exp` may be after `iat`, or after now.
    #[schemars(regex(pattern = DURATION))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<String>,

    /// The `typ` that are accepted. A token without `typ` is accepted.
    #[schemars(inner(length(min = 1)), extend("default" = DEFAULT_TOKEN_TYPES))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_types: Option<Vec<String>>,

    /// Whether to refuse tokens without `typ`.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_token_type: Option<bool>,

    /// Whether to take tokens with `cnf` (DPoP, mutual TLS) though nobody proves possession of the key.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_bound_tokens: Option<bool>,

    /// The headers that hold a token. The default counts only where `fromCookies` and `fromParams` are
    /// left out as well.
    #[schemars(extend("default" = [{"name": "Authorization", "prefix": BEARER}]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_headers: Vec<FromHeader>,

    /// The cookies that hold a token.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_cookies: Vec<String>,

    /// The query parameters that hold a token.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_params: Vec<String>,

    /// The claims that are lists in a string, besides `scope` and `permission`.
    #[schemars(inner(length(min = 1)), extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub space_delimited_claims: Vec<String>,

    /// Whether to leave the token in the request.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_original_token: Option<bool>,

    /// The header for the payload, in base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,

    /// Headers for single claims. Arrays are joined with a space.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_claim_to_headers: Vec<OutputClaimToHeader>,

    /// What access logs and traces are told of a token that is allowed, without a header.
    #[schemars(extend("default" = []))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_claim_to_filter_state: Vec<OutputClaimToFilterState>,
}

/// The tenants of one identity service, each with keys of its own.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct IssuersConfig {
    /// The issuer with `{tenant}` as a segment of its path: `https://login.example.com/{tenant}/v2.0`.
    /// `jwksUri`, if it is there, holds `{tenant}` too. Another provider's exact `issuer` goes first.
    #[schemars(regex(pattern = r"/\{tenant\}(/|$)"))]
    pub template: String,

    /// What `{tenant}` may be: any of `{"exact": "acme"}`, `{"prefix": "eu-"}`,
    /// `{"regex": "[0-9a-f-]{36}"}`.
    #[schemars(length(min = 1))]
    pub tenants: Vec<StringMatchConfig>,

    /// How many tenants' keys are kept, up to 1000, and as many more while they are new. The least
    /// recently used give way.
    #[schemars(range(min = 1, max = MAX_TENANTS), extend("default" = DEFAULT_MAX_TENANTS))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tenants: Option<u32>,
}

/// A header that holds a token.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct FromHeader {
    /// The name of the header.
    #[schemars(regex(pattern = HEADER_NAME))]
    pub name: String,

    /// What stands before the token, such as `"Bearer "`.
    #[schemars(extend("default" = ""))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// A header for a claim.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct OutputClaimToHeader {
    /// The name of the header.
    #[schemars(regex(pattern = HEADER_NAME))]
    pub header: String,

    /// The claim: `sub`, `realm_access.roles` or a JSON Pointer.
    #[schemars(length(min = 1))]
    pub claim: String,

    /// The value when the claim is absent.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,

    /// How the claim is written.
    #[schemars(extend("default" = Encoding::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
}

/// What access logs and traces are told of a token that is allowed.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["claim"]}, {"required": ["joseHeader"]}])
)]
#[serde(rename_all = "camelCase")]
pub struct OutputClaimToFilterState {
    /// The end of the filter state's name, of small letters, digits and `_`: the whole is
    /// `wasm.mesh_jwt.claims.<name>`.
    #[schemars(regex(pattern = "^[a-z0-9_]+$"))]
    pub name: String,

    /// The claim to tell, such as `jti`, `realm_access.roles` or a JSON Pointer.
    #[schemars(length(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,

    /// What to tell of the token's JOSE header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jose_header: Option<JoseHeader>,

    /// Tells a hash alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<Hash>,
}

/// What can be told of a JOSE header.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub enum JoseHeader {
    /// the name of the key
    Kid,
}

/// How a value is hashed.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// only the SHA-256 is told, in hexadecimal
    Sha256,
}
