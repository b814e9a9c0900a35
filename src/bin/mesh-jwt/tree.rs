//! A YAML or JSON value that knows where each of its parts stands.

use std::fmt;

use mesh_jwt::config::ConfigError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use crate::place::Place;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    place: Place,
    tree: Tree,
}

#[derive(Clone, Debug)]
enum Tree {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    place: Place,
}

impl Node {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The member of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        self.members().find_map(|(member, _, node)| (member == name).then_some(node))
    }

    /// Goes down by the names of members.
    pub(crate) fn find(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.tree {
            Tree::Scalar(Value::String(text)) => Some(text),
            Tree::Scalar(_) | Tree::List(_) | Tree::Map(_) => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match &self.tree {
            Tree::List(items) => items,
            Tree::Scalar(_) | Tree::Map(_) => &[],
        }
    }

    /// The items of the list of this name.
    pub(crate) fn items_of(&self, name: &str) -> &[Self] {
        self.get(name).map(Self::items).unwrap_or_default()
    }

    /// The members: name, place of the name, and value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, Place, &Self)> {
        let members: &[_] = match &self.tree {
            Tree::Map(members) => members,
            Tree::Scalar(_) | Tree::List(_) => &[],
        };
        members.iter().map(|(key, node)| (key.name.as_str(), key.place, node))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.tree, Tree::Scalar(Value::Null))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.tree, Tree::List(_))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.tree, Tree::Map(_))
    }

    /// The same without places, and as kubectl passes it on: whole numbers are integers, however
    /// they are written.
    pub(crate) fn to_json(&self) -> Value {
        match &self.tree {
            Tree::Scalar(Value::Number(number)) => number
                .as_f64()
                .and_then(as_integer)
                .map_or_else(|| number.clone().into(), Value::from),
            Tree::Scalar(value) => value.clone(),
            Tree::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Tree::Map(members) => Value::Object(
                members.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect(),
            ),
        }
    }

    /// Where something stands that an error calls `path`, such as `providers[0].issuer`; if there is
    /// no such thing, what should hold it.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let (mut place, mut node, mut rest) = (self.place, self, path);
        while !rest.is_empty() {
            let Some(next) = node.step(rest) else { break };
            (place, node, rest) = next;
            rest = rest.strip_prefix('.').unwrap_or(rest);
        }
        place
    }

    /// What a path as [`ConfigError::path`] writes it leads to first: its place, itself, and the
    /// rest of the path. Names may hold dots and brackets too, so the longest that fits is meant.
    fn step<'n, 'p>(&'n self, path: &'p str) -> Option<(Place, &'n Self, &'p str)> {
        if self.is_list() {
            let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
            let item = self.items().get(index.parse::<usize>().ok()?)?;
            return Some((item.place, item, rest));
        }
        let fitting = self.members().filter_map(|(name, place, node)| {
            let rest = path.strip_prefix(&ConfigError::name_in_path(name))?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((place, node, rest))
        });
        fitting.min_by_key(|(_, _, rest)| rest.len())
    }

    /// Every node with its path below `path`, each before what it holds.
    pub(crate) fn walk<'n>(&'n self, path: &str, visit: &mut impl FnMut(&str, &'n Self)) {
        visit(path, self);
        match &self.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.walk(&format!("{path}[{index}]"), visit);
                }
            }
            Tree::Map(members) => {
                for (key, member) in members {
                    let dot = if path.is_empty() { "" } else { "." };
                    member.walk(&format!("{path}{dot}{}", key.name), visit);
                }
            }
        }
    }

    /// Moves every place by that of the text in which this was found.
    pub(crate) fn shift(&mut self, by: &impl Fn(Place) -> Place) {
        self.place = by(self.place);
        match &mut self.tree {
            Tree::Scalar(_) => {}
            Tree::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Tree::Map(members) => members.iter_mut().for_each(|(key, member)| {
                key.place = by(key.place);
                member.shift(by);
            }),
        }
    }
}

/// The same as an integer, if it is one and no other number rounds to it.
fn as_integer(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= MAX_EXACT)
        .then(|| format!("{number:.0}").parse().ok())?
}

/// 2^53 - 1
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

impl From<Spanned<Tree>> for Node {
    fn from(Spanned { value: tree, referenced, .. }: Spanned<Tree>) -> Self {
        Self { place: referenced.into(), tree }
    }
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        // 0 if it is not known.
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Tree>::deserialize(deserializer).map(Self::from)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some((Spanned { value: name, referenced, .. }, node)) =
            members.next_entry::<Spanned<String>, _>()?
        {
            map.push((Key { name, place: referenced.into() }, node));
        }
        Ok(Tree::Map(map))
    }
}
