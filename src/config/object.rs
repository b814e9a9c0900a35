//! Reads a JSON object of the configuration: typed members, and nothing left over.
//!
//! Hand-written rather than derived for the sake of the errors: each names the full path and says
//! what to write, and an unknown field names the one that was probably meant.

use super::duration;
use super::error::{ConfigError, Path};
use crate::header_name::HeaderName;
use crate::time::whole_millis;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;
use std::time::Duration;

/// An object whose members are removed as they are read.
pub(crate) struct Object {
    path: Path,
    members: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Object {
    pub(crate) fn new(value: Value, path: Path) -> Result<Self, ConfigError> {
        match value {
            Value::Object(members) => Ok(Self { path, members, known: Vec::new() }),
            other => Err(wrong_type(&path, "an object", &other)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error at a member of this object.
    pub(crate) fn error(&self, name: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(&self.path.member(name), problem)
    }

    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name)
    }

    pub(crate) fn string(&mut self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let path = self.path.member(name);
        self.take(name).map(|value| non_empty_string(value, &path)).transpose()
    }

    /// A string that may be empty. Istio's fields are those of Protocol Buffers, where an empty
    /// string is the same as an absent one.
    pub(crate) fn string_or_empty(&mut self, name: &'static str) -> Result<String, ConfigError> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong_type(&self.path.member(name), "a string", &other)),
        }
    }

    pub(crate) fn required_string(
        &mut self,
        name: &'static str,
        mend: &str,
    ) -> Result<String, ConfigError> {
        if let Some(text) = self.string(name)? {
            return Ok(text);
        }
        let typo = self.members.keys().find(|other| spelling_distance(name, other).is_some());
        Err(match typo {
            Some(typo) => self.error(typo, format!("unknown field; did you mean {name:?}?")),
            None => self.error(name, format!("is missing; {mend}")),
        })
    }

    /// A required header name.
    pub(crate) fn header_name(&mut self, name: &'static str) -> Result<HeaderName, ConfigError> {
        let text = self.required_string(name, "name a header")?;
        HeaderName::parse(&text).map_err(|problem| self.error(name, problem))
    }

    pub(crate) fn bool(&mut self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(value),
            Some(other) => Err(wrong_type(&self.path.member(name), "true or false", &other)),
        }
    }

    pub(crate) fn count(
        &mut self,
        name: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        Ok(self.optional_count(name, range)?.unwrap_or(default))
    }

    pub(crate) fn optional_count(
        &mut self,
        name: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.error(
                name,
                format!(
                    "{} is not a whole number from {} to {}",
                    shown(&value),
                    range.start(),
                    range.end()
                ),
            )),
        }
    }

    /// One of a fixed set of words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> Result<T, ConfigError> {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let chosen = self.word(name, &words)?.and_then(|chosen| choices.get(chosen));
        Ok(chosen.map_or(default, |(_, choice)| *choice))
    }

    /// Which of these words it is, if it is there.
    fn word(&mut self, name: &'static str, words: &[&str]) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let chosen = words.iter().position(|word| value.as_str() == Some(word));
        chosen.map(Some).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
            self.error(name, format!("{} is not one of {}", shown(&value), words.join(", ")))
        })
    }

    pub(crate) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        minimum: Duration,
    ) -> Result<Duration, ConfigError> {
        Ok(self.optional_duration(name, minimum)?.unwrap_or(default))
    }

    pub(crate) fn optional_duration(
        &mut self,
        name: &'static str,
        minimum: Duration,
    ) -> Result<Option<Duration>, ConfigError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Some(duration) = value.as_str().and_then(duration::parse) else {
            return Err(self.error(
                name,
                format!(
                    "{} is not a duration; write a number with a unit, such as \"500ms\", \"5s\", \
                     \"10m\" or \"1h\"",
                    shown(&value)
                ),
            ));
        };
        if duration < minimum {
            return Err(self.error(name, format!("must be at least {} ms", whole_millis(minimum))));
        }
        Ok(Some(duration))
    }

    pub(crate) fn strings(&mut self, name: &'static str) -> Result<Vec<String>, ConfigError> {
        Ok(self.optional_strings(name)?.unwrap_or_default())
    }

    pub(crate) fn optional_strings(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Vec<String>>, ConfigError> {
        let path = self.path.member(name);
        let Some(items) = self.items(name, "an array of strings")? else { return Ok(None) };
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| non_empty_string(item, &path.item(index)))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The objects of an array, not read yet.
    pub(crate) fn objects(&mut self, name: &'static str) -> Result<Vec<Self>, ConfigError> {
        let path = self.path.member(name);
        let items = self.items(name, "an array of objects")?.unwrap_or_default();
        items
            .into_iter()
            .enumerate()
            .map(|(index, item)| Self::new(item, path.item(index)))
            .collect()
    }

    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Self>, ConfigError> {
        let path = self.path.member(name);
        self.take(name).map(|value| Self::new(value, path)).transpose()
    }

    /// The members that were not read, for objects that allow any name.
    pub(crate) fn into_members(self) -> (Path, Map<String, Value>) {
        (self.path, self.members)
    }

    /// Refuses members that were not read.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        let Some(name) = self.members.keys().next() else { return Ok(()) };
        let meant = self
            .known
            .iter()
            .filter_map(|known| Some((spelling_distance(known, name)?, known)))
            .min();
        let mend = match meant {
            Some((_, known)) => format!("did you mean {known:?}?"),
            None => format!("the fields here are {}", self.known.join(", ")),
        };
        Err(self.error(name, format!("unknown field; {mend}")))
    }

    pub(crate) fn items(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Result<Option<Vec<Value>>, ConfigError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type(&self.path.member(name), expected, &other)),
        }
    }
}

/// The distance of two spellings, if one may be a typo of the other.
fn spelling_distance(a: &str, b: &str) -> Option<usize> {
    let normalized = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    Some(strsim::levenshtein(&normalized(a), &normalized(b)))
        .filter(|distance| *distance <= MAX_TYPO_DISTANCE)
}

fn non_empty_string(value: Value, path: &Path) -> Result<String, ConfigError> {
    match value {
        Value::String(text) if text.is_empty() => {
            Err(ConfigError::new(path, "is empty; give it a value or remove it"))
        }
        Value::String(text) => Ok(text),
        other => Err(wrong_type(path, "a string", &other)),
    }
}

/// An error that says which type was expected and which was found.
pub(crate) fn wrong_type(path: &Path, expected: &str, found: &Value) -> ConfigError {
    ConfigError::new(path, format!("expected {expected}, found {}", type_name(found)))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
        Value::Number(_) => "a number",
        Value::Object(_) => "an object",
        Value::String(_) => "a string",
    }
}

/// A value as an error quotes it: short, and never an inline document.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            format!("{:?}", text.chars().take(MAX_SHOWN_CHARS).collect::<String>())
        }
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        other => type_name(other).to_owned(),
    }
}

const MAX_SHOWN_CHARS: usize = 60;
const MAX_TYPO_DISTANCE: usize = 2;
