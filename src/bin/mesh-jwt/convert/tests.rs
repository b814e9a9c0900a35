//! What the tests of the sources have in common.

use serde_json::Value;

use super::conversion::{Input, Options};
use super::convert;
use super::manifest::Placement;
use super::reader::Ledger;
use super::report::{Effect, Report};
use crate::tree::Node;

/// The only document of a text.
pub(super) fn node(text: &str) -> Node {
    serde_saphyr::from_str(text).unwrap()
}

/// What a file of this text becomes.
pub(super) fn converted(text: &str) -> (Vec<Value>, Report) {
    try_convert(text, Options::default()).unwrap()
}

pub(super) fn try_convert(text: &str, options: Options) -> anyhow::Result<(Vec<Value>, Report)> {
    let documents = serde_saphyr::from_multiple(text).unwrap();
    let input = Input { ledger: Ledger::new("file"), documents };
    let (manifests, report) = convert(vec![input], &Placement::default(), &options)?;
    let manifests = manifests.iter().map(|manifest| serde_json::to_value(manifest).unwrap());
    Ok((manifests.collect(), report))
}

/// The message for a file that cannot be converted.
pub(super) fn refused(text: &str) -> String {
    try_convert(text, Options::default()).unwrap_err().to_string()
}

/// The effects and paths of what was not carried over.
pub(super) fn lost(report: &Report) -> Vec<(Effect, &str)> {
    report.not_carried_over.iter().map(|lost| (lost.effect, lost.path.as_str())).collect()
}
