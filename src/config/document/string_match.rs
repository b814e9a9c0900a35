//! Istio's `StringMatch`.

use super::keywords::one_property;
use schemars::JsonSchema;
use serde::Serialize;

/// Istio's `StringMatch`: exactly one of `exact`, `prefix` and `regex`.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(transform = one_property)]
#[serde(rename_all = "camelCase")]
pub enum StringMatchConfig {
    /// The whole text.
    Exact(#[schemars(length(min = 1))] String),
    /// How the text begins.
    Prefix(#[schemars(length(min = 1))] String),
    /// A regular expression of RE2 for the whole text.
    Regex(#[schemars(length(min = 1))] String),
}
