//! A YAML value that knows the file and the line where it is written.

use std::fmt;
use std::rc::Rc;

use serde_json::{Map, Number, Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The name of a member, which may be on another line than its value.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Prints as `istio/base/wasm-plugin.yaml:7`.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: Rc<str>,
    line: usize,
}

/// What is wrong with a manifest, and where.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) place: Place,
    pub(crate) what: String,
}

impl Place {
    pub(crate) fn new(file: &Rc<str>, line: usize) -> Self {
        Self { file: Rc::clone(file), line }
    }

    pub(crate) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem { place: self.clone(), what: what.into() }
    }

    /// This many lines further down.
    pub(crate) fn below(&self, lines: usize) -> Self {
        Self { file: Rc::clone(&self.file), line: self.line + lines }
    }

    pub(crate) fn file(&self) -> &Rc<str> {
        &self.file
    }

    pub(crate) fn line(&self) -> usize {
        self.line
    }
}

impl Node {
    pub(crate) fn string(place: &Place, text: &str) -> Self {
        Self { place: place.clone(), content: Content::String(text.to_owned()) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let members = self.members()?;
        members.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }

    /// The value at the end of these names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    pub(crate) fn members(&self) -> Option<&[(Key, Self)]> {
        match &self.content {
            Content::Map(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::String(text) => Some(text),
            _ => None,
        }
    }

    /// The member of this name, made if need be.
    pub(crate) fn entry(&mut self, name: &str) -> Result<&mut Self, Problem> {
        let place = self.place.clone();
        let Content::Map(members) = &mut self.content else {
            return Err(place.problem(format!("this has no {name}, for it is no mapping")));
        };
        let index = members.iter().position(|(key, _)| key.name == name).unwrap_or_else(|| {
            let key = Key { name: name.to_owned(), place: place.clone() };
            members.push((key, Self { place, content: Content::Map(Vec::new()) }));
            members.len() - 1
        });
        Ok(&mut members[index].1)
    }

    pub(crate) fn json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => json!(value),
            Content::Number(value) => json!(value),
            Content::String(text) => json!(text),
            Content::List(items) => items.iter().map(Self::json).collect(),
            Content::Map(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, value)| (key.name.clone(), value.json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
