//! What goes into a conversion, and what comes out.

use mesh_jwt::config::document::PluginConfig;
use serde_json::Value;

use super::manifest::{Kind, Target};
use super::reader::Ledger;
use crate::tree::Node;

/// What the source does not tell.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Take prefixes for whole segments: no path begins with one but itself and those below it
    #[arg(long)]
    pub(crate) whole_segments: bool,
}

/// A file that was read.
pub(crate) struct Input {
    pub(crate) ledger: Ledger,
    pub(crate) documents: Vec<Node>,
}

/// What a source becomes.
pub(crate) struct Converted {
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    pub(crate) plugin_config: PluginConfig,
    /// Resources of the source without what the filter does now.
    pub(crate) beside: Vec<Value>,
}
