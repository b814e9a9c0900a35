//! The level `replies`.

use super::string_match::StringMatchConfig;
use crate::config::replies::DEFAULT_EXPOSED;
use crate::reply::Detail;
use schemars::JsonSchema;
use serde::Serialize;

/// What the filter's own replies tell, and to whom.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct RepliesConfig {
    /// The pages of other origins that may read the filter's own replies, as in Istio's `corsPolicy`.
    /// All other responses are the `cors` filter's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsConfig>,

    /// How much a reply tells.
    #[schemars(extend("default" = Detail::default()))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,

    /// An `https://` URL, for `resource_metadata` in every challenge (RFC 9728), which MCP clients go
    /// by. Where it is served behind the same filter, its path needs a `public` rule.
    #[schemars(regex(pattern = "^[Hh][Tt][Tt][Pp][Ss]://"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_metadata: Option<String>,
}

/// The pages of other origins that may read the filter's own replies.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct CorsConfig {
    /// The origins whose pages may read the filter's own replies. `{"exact": "*"}` is any origin; a
    /// `regex` is one for the whole origin.
    #[schemars(length(min = 1))]
    pub allow_origins: Vec<StringMatchConfig>,

    /// Whether pages may read replies to requests with cookies too. Refused with origins that are
    /// plainly anybody's; a `prefix` takes longer hosts too.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_credentials: Option<bool>,

    /// The headers that pages may read.
    #[schemars(inner(length(min = 1)), extend("default" = DEFAULT_EXPOSED))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose_headers: Option<Vec<String>>,
}
