//! Reads a source and keeps the books: what of it was made use of, so that nothing is left out in
//! silence.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use super::report::{Difference, Effect, NotCarriedOver};
use crate::place::Place;
use crate::tree::Node;

/// How the members of a source may be spelt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Naming {
    /// Exactly as they are called.
    Exact,
    /// `from_headers` or `fromHeaders`, as Protocol Buffers take them from JSON.
    Protobuf,
    /// `jwk-set-uri`, `jwkSetUri` or `jwk_set_uri`, as Spring Boot binds them.
    Relaxed,
}

/// The books of one file.
pub(crate) struct Ledger {
    file: String,
    states: RefCell<HashMap<*const Node, State>>,
    not_carried_over: RefCell<Vec<NotCarriedOver>>,
    differences: RefCell<Vec<Difference>>,
}

#[derive(Clone, Copy)]
enum State {
    /// It was looked into: its parts have states of their own.
    Opened,
    /// It was read, or its loss was reported.
    Settled,
}

/// A value of a source, with the way to it.
#[derive(Clone)]
pub(crate) struct Field<'s> {
    ledger: &'s Ledger,
    naming: Naming,
    node: &'s Node,
    /// Of its name, if it has one.
    place: Place,
    path: String,
}

/// Why a source cannot be converted.
#[derive(Debug)]
pub(crate) struct Fault {
    at: String,
    problem: String,
}

impl Ledger {
    pub(crate) fn new(file: impl fmt::Display) -> Self {
        Self {
            file: file.to_string(),
            states: RefCell::default(),
            not_carried_over: RefCell::default(),
            differences: RefCell::default(),
        }
    }

    pub(crate) fn into_findings(self) -> (Vec<NotCarriedOver>, Vec<Difference>) {
        (self.not_carried_over.into_inner(), self.differences.into_inner())
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }
}

impl<'s> Field<'s> {
    /// A document, or a part of one that stands at this path.
    pub(crate) fn new(ledger: &'s Ledger, naming: Naming, node: &'s Node, path: String) -> Self {
        Self { ledger, naming, node, place: node.place(), path }
    }

    /// The member of this name. A `null` is none, as in all of these formats.
    pub(crate) fn member(&self, name: &str) -> Option<Self> {
        self.fields().into_iter().find_map(|(member, field)| {
            (self.naming.normal(&member) == self.naming.normal(name)).then_some(field)
        })
    }

    /// Goes down by the names of members.
    pub(crate) fn descend(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |field, name| field.member(name))
    }

    /// All members that are not `null`, by their names.
    pub(crate) fn fields(&self) -> Vec<(String, Self)> {
        self.set(State::Opened);
        let members = self.node.members().filter(|(_, _, node)| !node.is_null());
        let field = |(name, place, node): (&str, Place, &'s Node)| {
            let path = match self.path.as_str() {
                "" => name.to_owned(),
                parent => format!("{parent}.{name}"),
            };
            (name.to_owned(), Self { place, node, path, ..self.clone() })
        };
        members.map(field).collect()
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Result<Vec<Self>, Fault> {
        if !self.node.is_list() {
            return Err(self.fault("is not a list; write one"));
        }
        self.set(State::Opened);
        let item = |(index, node): (usize, &'s Node)| Self {
            place: node.place(),
            node,
            path: format!("{}[{index}]", self.path),
            ..self.clone()
        };
        Ok(self.node.items().iter().enumerate().map(item).collect())
    }

    /// The items of the list of this name; none if it is not there.
    pub(crate) fn list(&self, name: &str) -> Result<Vec<Self>, Fault> {
        self.member(name).map_or_else(|| Ok(Vec::new()), |list| list.items())
    }

    pub(crate) fn text(&self) -> Result<String, Fault> {
        let text = self.node.text().map(str::to_owned);
        self.read(text, "is not a text; write one, in quotes if need be")
    }

    /// The texts in the list of this name.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        self.list(name)?.iter().map(Self::text).collect()
    }

    pub(crate) fn flag(&self) -> Result<bool, Fault> {
        self.read(self.to_json().as_bool(), "is neither true nor false; write one of them")
    }

    /// Whether the flag of this name is there and set.
    pub(crate) fn is_set(&self, name: &str) -> Result<bool, Fault> {
        self.member(name).map_or(Ok(false), |flag| flag.flag())
    }

    /// A whole number, which Protocol Buffers also take as a text.
    pub(crate) fn number(&self) -> Result<u64, Fault> {
        let number = match self.to_json() {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        self.read(number, "is not a whole number; write one such as 60")
    }

    /// A text, number or flag, as it is written.
    pub(crate) fn scalar(&self) -> Result<String, Fault> {
        let text = match self.to_json() {
            Value::String(text) => Some(text),
            scalar @ (Value::Bool(_) | Value::Number(_)) => Some(scalar.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        self.read(text, "is not a single value; write one")
    }

    /// All of it, as JSON.
    pub(crate) fn whole(&self) -> Value {
        self.settle();
        self.to_json()
    }

    /// The same, without counting as read.
    pub(crate) fn copy(&self) -> Value {
        self.to_json()
    }

    pub(crate) fn is_map(&self) -> bool {
        self.node.is_map()
    }

    pub(crate) fn is_list(&self) -> bool {
        self.node.is_list()
    }

    /// It, with all of its parts, needs no more attention.
    pub(crate) fn settle(&self) {
        self.set(State::Settled);
    }

    /// It is not carried over: why, and what to do about it.
    pub(crate) fn lose(&self, effect: Effect, why: impl Into<String>, mend: impl Into<String>) {
        self.settle();
        self.report(effect, why.into(), mend.into());
    }

    /// It was read, and yet something about it is not carried over.
    pub(crate) fn lose_part(
        &self,
        effect: Effect,
        why: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.report(effect, why.into(), mend.into());
    }

    /// It is carried over with a difference in behaviour.
    pub(crate) fn differ(&self, text: impl Into<String>) {
        let difference = Difference::at(&self.ledger.file, self.place, &self.path, text.into());
        let mut differences = self.ledger.differences.borrow_mut();
        if !differences.contains(&difference) {
            differences.push(difference);
        }
    }

    /// A reason not to convert anything; `problem` tells the mend as well.
    pub(crate) fn fault(&self, problem: impl Into<String>) -> Fault {
        let Place { line, column } = self.place;
        let at = format!("{}:{line}:{column}", self.ledger.file);
        match self.path.as_str() {
            "" => Fault { at, problem: problem.into() },
            path => Fault { at: format!("{at}: {path}"), problem: problem.into() },
        }
    }

    /// Reports all that nobody has read.
    pub(crate) fn lose_rest(&self) {
        let state = self.ledger.states.borrow().get(&std::ptr::from_ref(self.node)).copied();
        match state {
            Some(State::Settled) => {}
            Some(State::Opened) if self.node.is_map() => {
                self.fields().iter().for_each(|(_, field)| field.lose_rest());
            }
            Some(State::Opened) if self.node.is_list() => {
                self.items().iter().flatten().for_each(Self::lose_rest);
            }
            Some(State::Opened) | None => self.lose(
                Effect::Unknown,
                "is not known here",
                "look up what it does, and carry it over by hand",
            ),
        }
    }

    fn to_json(&self) -> Value {
        self.node.to_json()
    }

    fn read<T>(&self, value: Option<T>, problem: &str) -> Result<T, Fault> {
        self.settle();
        value.ok_or_else(|| self.fault(problem))
    }

    /// What is settled remains so.
    fn set(&self, state: State) {
        let mut states = self.ledger.states.borrow_mut();
        let known = states.entry(std::ptr::from_ref(self.node)).or_insert(state);
        if matches!(state, State::Settled) {
            *known = state;
        }
    }

    fn report(&self, effect: Effect, why: String, mend: String) {
        let Place { line, column } = self.place;
        self.ledger.not_carried_over.borrow_mut().push(NotCarriedOver {
            file: self.ledger.file.clone(),
            line,
            column,
            path: self.path.clone(),
            effect,
            why,
            mend,
        });
    }
}

impl Naming {
    fn normal(self, name: &str) -> String {
        match self {
            Self::Exact => name.to_owned(),
            Self::Protobuf => {
                let mut snake = String::new();
                for character in name.chars() {
                    if character.is_ascii_uppercase() {
                        snake.push('_');
                    }
                    snake.push(character.to_ascii_lowercase());
                }
                snake
            }
            Self::Relaxed => {
                name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_lowercase()
            }
        }
    }
}

impl Fault {
    /// What cannot be.
    pub(crate) fn bug(what: &str) -> Self {
        Self { at: "convert".to_owned(), problem: format!("{what}; report this as a bug") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::super::tests::node;
    use super::*;

    fn lost(ledger: Ledger) -> Vec<String> {
        ledger.into_findings().0.into_iter().map(|lost| lost.path).collect()
    }

    #[test]
    fn what_nobody_has_read_is_reported_with_its_place() {
        let node = node("a: 1\nb:\n  c: x\n  d: [1, {e: 2}]\nf: {}\ng: null\n");
        let ledger = Ledger::new("file");
        let root = Field::new(&ledger, Naming::Exact, &node, String::new());

        root.descend(&["b", "c"]).unwrap().text().unwrap();
        root.lose_rest();

        let (lost, _) = ledger.into_findings();
        let places: Vec<_> =
            lost.iter().map(|lost| (lost.path.as_str(), lost.line, lost.column)).collect();
        assert_eq!(places, [("a", 1, 1), ("b.d", 4, 3), ("f", 5, 1)]);
    }

    #[test]
    fn a_part_that_is_read_leaves_its_siblings_unread() {
        let node = node("list: [{a: 1, b: 2}, {a: 3}]");
        let ledger = Ledger::new("file");
        let root = Field::new(&ledger, Naming::Exact, &node, String::new());

        for item in root.list("list").unwrap() {
            item.member("a").unwrap().number().unwrap();
        }
        root.lose_rest();

        assert_eq!(lost(ledger), ["list[0].b"]);
    }

    #[test]
    fn a_single_value_in_the_place_of_a_map_is_reported() {
        let node = node("a: text");
        let ledger = Ledger::new("file");
        let root = Field::new(&ledger, Naming::Exact, &node, String::new());

        assert!(root.descend(&["a", "b"]).is_none());
        root.lose_rest();

        assert_eq!(lost(ledger), ["a"]);
    }

    #[test]
    fn a_second_spelling_of_a_member_is_reported() {
        let node = node("from_params: [a]\nfromParams: [b]");
        let ledger = Ledger::new("file");
        let root = Field::new(&ledger, Naming::Protobuf, &node, String::new());

        assert_eq!(root.texts("from_params").unwrap(), ["a"]);
        root.lose_rest();

        assert_eq!(lost(ledger), ["fromParams"]);
    }

    #[test]
    fn wrong_types_are_faults_with_file_line_column_and_path() {
        let node = node("a:\n  b: [1]");
        let ledger = Ledger::new("file.yaml");
        let root = Field::new(&ledger, Naming::Exact, &node, String::new());

        let fault = root.descend(&["a", "b"]).unwrap().text().unwrap_err();

        let expected = "file.yaml:2:3: a.b: is not a text; write one, in quotes if need be";
        assert_eq!(fault.to_string(), expected);
    }
}
