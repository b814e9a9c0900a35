//! What the tests of the sources have in common.

use serde_json::Value;

use super::conversion::{Input, Options};
use super::manifest::Placement;
use super::reader::Ledger;
use super::report::{Effect, Report};
use super::{Output, convert};
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
    let Output { manifests, report, .. } = output(text, options)?;
    let manifests = manifests.iter().map(|manifest| serde_json::to_value(manifest).unwrap());
    Ok((manifests.collect(), report))
}

/// The same, with the policies beside.
pub(super) fn output(text: &str, options: Options) -> anyhow::Result<Output> {
    let documents = serde_saphyr::from_multiple(text).unwrap();
    let input = Input { ledger: Ledger::new("file"), documents };
    convert(vec![input], &Placement::default(), &options)
}

/// The message for a file that cannot be converted.
pub(super) fn refused(text: &str) -> String {
    try_convert(text, Options::default()).unwrap_err().to_string()
}

/// The effects and paths of what was not carried over.
pub(super) fn lost(report: &Report) -> Vec<(Effect, &str)> {
    report.not_carried_over.iter().map(|lost| (lost.effect, lost.path.as_str())).collect()
}
