//! The levels of the configuration with their fields, for its reference.

use super::keywords::DEFAULT_IN_WORDS;
use super::schema::annotated;
use serde_json::Value;

/// Objects of the configuration that have the same fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Where they are, such as `providers[].issuers`; empty for the whole configuration.
    pub paths: Vec<String>,
    /// What they are.
    pub description: String,
    /// What may be in them: first what has to be, then by name.
    pub fields: Vec<Field>,
}

/// A field of a [`Level`].
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it means.
    pub description: String,
    /// What holds where it is left out.
    pub if_absent: IfAbsent,
    /// The words that it may be, if those are all.
    pub words: Vec<Word>,
}

/// What holds where a field is left out.
#[derive(Clone, Debug, PartialEq)]
pub enum IfAbsent {
    /// This value does.
    Default(Value),
    /// What it does is told in words.
    InWords(String),
    /// Nothing.
    Nothing,
    /// It is required, unless another one of these is there.
    OneOf(Vec<String>),
    /// It is required.
    Required,
}

/// A word that a field may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The word.
    pub word: String,
    /// What it means.
    pub description: String,
}

/// Every level of the configuration, each before those inside it.
#[must_use]
pub fn levels() -> Vec<Level> {
    let root = annotated();
    let mut walk = Walk { root: root.as_value(), known: Vec::new() };
    walk.enter(String::new(), root.as_value());
    walk.known.into_iter().map(|(_, level)| level).collect()
}

struct Walk<'s> {
    root: &'s Value,
    /// The levels so far, with their schemas.
    known: Vec<(&'s Value, Level)>,
}

impl<'s> Walk<'s> {
    fn enter(&mut self, path: String, schema: &'s Value) {
        let mut same = self.known.iter_mut().filter(|(known, _)| std::ptr::eq(*known, schema));
        if let Some((_, level)) = same.next() {
            level.paths.push(path);
            return;
        }
        let properties = properties(schema);
        let mut fields: Vec<_> = properties
            .clone()
            .map(|(name, property)| Field {
                name: name.clone(),
                description: text(property, "description"),
                if_absent: if_absent(schema, name, property),
                words: words(property),
            })
            .collect();
        fields.sort_by_key(|field| match field.if_absent {
            IfAbsent::Required => 0,
            IfAbsent::OneOf(_) => 1,
            IfAbsent::Default(_) | IfAbsent::InWords(_) | IfAbsent::Nothing => 2,
        });
        let parent = path.clone();
        let level = Level { paths: vec![path], description: text(schema, "description"), fields };
        self.known.push((schema, level));
        for (name, property) in properties {
            let (suffix, inner) = self.target(property);
            if inner.get("properties").is_some() {
                let dot = if parent.is_empty() { "" } else { "." };
                self.enter(format!("{parent}{dot}{name}{suffix}"), inner);
            }
        }
    }

    /// The schema of what a field holds, or of each of its items, and how to write that.
    fn target(&self, property: &'s Value) -> (&'static str, &'s Value) {
        let (suffix, schema) = match property.get("items") {
            Some(items) => ("[]", items),
            None => ("", property),
        };
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| self.root.pointer(target.strip_prefix('#')?));
        (suffix, target.unwrap_or(schema))
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> + Clone {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn if_absent(level: &Value, name: &str, property: &Value) -> IfAbsent {
    let one_of: Vec<_> = match level.get("maxProperties").and_then(Value::as_u64) {
        Some(1) => properties(level).map(|(name, _)| name.as_str()).collect(),
        _ => items(level, "oneOf").flat_map(|choice| strings(choice, "required")).collect(),
    };
    if strings(level, "required").any(|required| required == name) {
        IfAbsent::Required
    } else if one_of.contains(&name) {
        let others = one_of.into_iter().filter(|other| *other != name);
        IfAbsent::OneOf(others.map(str::to_owned).collect())
    } else if let Some(default) = property.get("default") {
        IfAbsent::Default(default.clone())
    } else if let Some(default) = property.get(DEFAULT_IN_WORDS) {
        IfAbsent::InWords(default.as_str().unwrap_or_default().to_owned())
    } else {
        IfAbsent::Nothing
    }
}

fn words(property: &Value) -> Vec<Word> {
    let read =
        |choice| Word { word: text(choice, "const"), description: text(choice, "description") };
    items(property, "oneOf").map(read).collect()
}

fn items<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s Value> + use<'s> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn strings<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s str> + use<'s> {
    items(schema, keyword).filter_map(Value::as_str)
}

fn text(schema: &Value, keyword: &str) -> String {
    schema.get(keyword).and_then(Value::as_str).unwrap_or_default().to_owned()
}
