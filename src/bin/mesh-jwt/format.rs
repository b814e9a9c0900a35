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
    let json = serde_json::to_string_pretty(result)?;
    // JSON leaves alone what drives a terminal, but for the first 32 characters.
    let escape = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_ascii() || c.escape_debug().len() == 1 => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    anstream::println!("{}", json.chars().map(escape).collect::<String>());
    Ok(())
}

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
