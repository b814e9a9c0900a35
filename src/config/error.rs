//! The error for a refused configuration: where, and what to write instead.

use std::fmt;

/// The first problem of a plugin configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    path: Path,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(path: &Path, problem: impl Into<String>) -> Self {
        Self { path: path.clone(), problem: problem.into() }
    }

    /// The JSON path of the problem, such as `providers[0].issuer`; empty for the whole document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path.0
    }

    /// A member's name as [`path`](Self::path) writes it, for those who look up what it names.
    #[must_use]
    pub fn name_in_path(name: &str) -> String {
        one_line(name)
    }

    /// What is wrong, and what to write instead.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.0.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// A JSON path in the configuration, written as one would index into it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Path(String);

impl Path {
    /// Escapes the name, which may be anything, so that an error stays one line.
    pub(crate) fn member(&self, name: &str) -> Self {
        match self.0.as_str() {
            "" => Self(one_line(name)),
            parent => Self(format!("{parent}.{}", one_line(name))),
        }
    }

    pub(crate) fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// The text with its control characters escaped.
fn one_line(text: &str) -> String {
    let quoted = format!("{text:?}");
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}
