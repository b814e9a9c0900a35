//! How results are printed: plain text for people, JSON for programs.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

/// What a command prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// Text, coloured where that goes to a terminal.
    Text,
    /// One JSON document.
    Json,
}

/// Prints a result as one JSON document.
pub(crate) fn print_json(result: &impl Serialize) -> anyhow::Result<()> {
    anstream::println!("{}", serde_json::to_string_pretty(result)?);
    Ok(())
}

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
