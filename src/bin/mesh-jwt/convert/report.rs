//! What is told beside the manifest.

use anstyle::Style;
use serde::Serialize;

use crate::format::{BOLD, ERROR, WARNING};
use crate::place::Place;

/// Something of a source that the manifest does not hold.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NotCarriedOver {
    pub(crate) file: String,
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) path: String,
    pub(crate) effect: Effect,
    pub(crate) why: String,
    pub(crate) mend: String,
}

/// What its absence does to decisions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Effect {
    /// Requests pass that were refused.
    Looser,
    /// Nothing.
    None,
    /// Requests are refused that passed.
    Stricter,
    /// Nobody knows.
    Unknown,
}

/// Where the filter behaves otherwise than the source.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Difference {
    /// `FILE:LINE:COLUMN: path`, if it comes from a place in a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    text: String,
}

/// All of it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) not_carried_over: Vec<NotCarriedOver>,
    pub(crate) differences: Vec<Difference>,
    /// What is left to do by hand.
    pub(crate) steps: Vec<String>,
}

impl Difference {
    /// One that is always there.
    pub(crate) fn always(text: impl Into<String>) -> Self {
        Self { at: None, text: text.into() }
    }

    pub(super) fn at(file: &str, place: Place, path: &str, text: String) -> Self {
        let path = if path.is_empty() { String::new() } else { format!(": {path}") };
        Self { at: Some(format!("{file}:{place}{path}")), text }
    }
}

impl Report {
    pub(crate) fn add_differences(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            if !self.differences.contains(&difference) {
                self.differences.push(difference);
            }
        }
    }

    pub(crate) fn add_step(&mut self, step: Option<String>) {
        self.steps.extend(step.filter(|step| !self.steps.contains(step)));
    }

    /// Prints it for people, beside the manifest.
    pub(crate) fn print(&self) {
        if !self.not_carried_over.is_empty() {
            anstream::eprintln!("{BOLD}Not carried over{BOLD:#}");
        }
        for lost in &self.not_carried_over {
            let NotCarriedOver { file, line, column, path, effect, why, mend } = lost;
            let (style, word) = effect.label();
            let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
            anstream::eprintln!(
                "{style}{word:<8}{style:#} {file}:{line}:{column}: {path}{why}; {mend}"
            );
        }
        if !self.differences.is_empty() {
            anstream::eprintln!("{BOLD}Differences{BOLD:#}");
        }
        for Difference { at, text } in &self.differences {
            match at {
                Some(at) => anstream::eprintln!("- {at}: {text}"),
                None => anstream::eprintln!("- {text}"),
            }
        }
        if !self.steps.is_empty() {
            anstream::eprintln!("{BOLD}To do{BOLD:#}");
        }
        for step in &self.steps {
            anstream::eprintln!("- {step}");
        }
    }
}

impl Effect {
    fn label(self) -> (Style, &'static str) {
        match self {
            Self::Looser => (ERROR, "looser"),
            Self::None => (Style::new(), "-"),
            Self::Stricter => (WARNING, "stricter"),
            Self::Unknown => (ERROR, "unknown"),
        }
    }
}
