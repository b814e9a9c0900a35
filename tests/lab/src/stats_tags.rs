//! The labels of the filter's metrics, as `envoy/envoy.yaml` has Envoy make them of their names.

use anyhow::{Result, ensure};
use regex_lite::Regex;
use serde_json::{Value, json};

/// Envoy's `stats_config`.
///
/// # Errors
///
/// If `envoy/envoy.yaml` holds no tags of the shape that they have there.
pub fn stats_config() -> Result<Value> {
    let tag = Regex::new(r"\{tag_name: (\w+), regex: '([^']+)'\}")?;
    let tags: Vec<_> = tag
        .captures_iter(include_str!("../../../envoy/envoy.yaml"))
        .map(|found| json!({ "tag_name": &found[1], "regex": &found[2] }))
        .collect();
    ensure!(!tags.is_empty(), "envoy/envoy.yaml has no line `- {{tag_name: NAME, regex: '…'}}`");
    Ok(json!({ "stats_tags": tags }))
}
