//! The plugin configuration as it is written, level by level.
//!
//! These types say what a configuration may look like: its JSON Schema and its reference are made of
//! them, and programs that write configurations build them. What a configuration means is said by
//! the parser of [`super::Config`] alone, which is written by hand for the sake of its errors; tests
//! hold the two against each other. The comments of the fields are the reference's text.

mod keywords;
mod level;
mod plugin;
mod provider;
mod replies;
mod rule;
mod schema;
mod string_match;

#[cfg(test)]
mod tests;

pub use level::{Field, IfAbsent, Level, Word, levels};
pub use plugin::{PluginConfig, TokenCacheConfig, VerifiedHeaderConfig};
pub use provider::{
    FromHeader, Hash, IssuersConfig, JoseHeader, OutputClaimToFilterState, OutputClaimToHeader,
    ProviderConfig,
};
pub use replies::{CorsConfig, RepliesConfig};
pub use rule::{MatchConfig, RequiresConfig, RuleConfig};
pub use schema::{manifest_schema, plugin_config_schema};
pub use string_match::StringMatchConfig;
