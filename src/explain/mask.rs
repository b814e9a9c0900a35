//! What may be shown of claims: they tell who somebody is.

use serde_json::Value;

/// Whether values of claims are shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mask {
    /// Only their types and sizes.
    Values,
    /// All of them.
    Nothing,
}

impl Mask {
    /// The value of a claim, or what it is like.
    pub(super) fn value(self, value: Option<&Value>) -> String {
        let Some(value) = value else { return "nothing".to_owned() };
        match (self, value) {
            (Self::Nothing, value) => printable(&value.to_string()),
            (Self::Values, Value::Array(items)) => format!("a list of {}", items.len()),
            (Self::Values, Value::Bool(_)) => "a boolean".to_owned(),
            (Self::Values, Value::Null) => "null".to_owned(),
            (Self::Values, Value::Number(_)) => "a number".to_owned(),
            (Self::Values, Value::Object(_)) => "an object".to_owned(),
            (Self::Values, Value::String(text)) => self.text(text),
        }
    }

    /// A text, or its length.
    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::Nothing => format!("{text:?}"),
            Self::Values => format!("a text of {} characters", text.chars().count()),
        }
    }
}

/// The text with what could drive a terminal escaped: it may come from a stranger.
pub(super) fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(escape).collect()
}
