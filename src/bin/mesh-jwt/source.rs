//! Files of YAML or JSON documents.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::place::Place;
use crate::tree::Node;

/// A file, or the standard input.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: PathBuf,
    text: String,
}

impl Source {
    /// Reads a file; `-` is the standard input.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = String::from_utf8(read_bytes(path)?)
            .with_context(|| format!("{} cannot be read as text", path.display()))?;
        Ok(Self { name: path.to_owned(), text })
    }

    /// What to call it in messages.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        self.name.display()
    }

    /// Its documents, of which YAML may have several. JSON is read as the YAML that it is.
    ///
    /// # Errors
    ///
    /// Where it is neither, with file, line and column.
    pub(crate) fn documents(&self) -> Result<Vec<Node>, Unreadable> {
        parse(&self.text)
    }

    /// The document that a string of this file holds, such as a configuration as JSON in the YAML of
    /// Envoy. Places are those in the file.
    pub(crate) fn embedded(&self, node: &Node) -> Result<Option<Node>, Unreadable> {
        let Some(text) = node.text() else { return Ok(None) };
        let start = node.place();
        let (column, skipped) = match self.is_quoted(start) {
            true => (start.column.saturating_add(1), 0),
            // A block begins with its first line that is not blank.
            false => (start.column, text.lines().take_while(|line| line.is_empty()).count()),
        };
        let in_file = |inner: Place| {
            let number = index(inner.line);
            let below = u64::try_from(number.saturating_sub(skipped)).unwrap_or(u64::MAX);
            let line = start.line.saturating_add(below);
            let text = text.lines().nth(number).unwrap_or_default();
            // Escapes and folded lines stand elsewhere.
            match self.has(Place { line, column }, text) {
                true => {
                    Place { line, column: column.saturating_add(inner.column.saturating_sub(1)) }
                }
                false => start,
            }
        };
        let mut documents = parse(text).map_err(|Unreadable { place, problem }| Unreadable {
            place: in_file(place),
            problem,
        })?;
        for document in &mut documents {
            document.shift(&in_file);
        }
        Ok(documents.into_iter().next())
    }

    fn is_quoted(&self, place: Place) -> bool {
        matches!(self.rest_of_line(place).next(), Some('"' | '\''))
    }

    /// Whether this text stands there.
    fn has(&self, place: Place, text: &str) -> bool {
        let mut there = self.rest_of_line(place);
        text.chars().all(|char| there.next() == Some(char))
    }

    fn rest_of_line(&self, place: Place) -> impl Iterator<Item = char> {
        let line = self.text.lines().nth(index(place.line)).unwrap_or_default();
        line.chars().skip(index(place.column))
    }
}

/// From 0 what a [`Place`] counts from 1.
fn index(number: u64) -> usize {
    usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// Reads a file, text or not; `-` is the standard input.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).context("the standard input cannot be read")?;
        return Ok(bytes);
    }
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What is neither YAML nor JSON.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) place: Place,
    pub(crate) problem: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for Unreadable {}

fn parse(text: &str) -> Result<Vec<Node>, Unreadable> {
    serde_saphyr::from_multiple(text).map_err(|error| Unreadable {
        place: error.location().map(Place::from).unwrap_or_default(),
        problem: format!("is neither YAML nor JSON: {}", first_line(&error.to_string())),
    })
}

/// The message without the excerpt of the file, which may be secret, and without its place.
fn first_line(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match line.split_once(": ") {
        Some((place, problem)) if place.starts_with("line ") => problem,
        _ => line,
    }
}
