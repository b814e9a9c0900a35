//! A claim as one line of text, for those who read no JSON.

use crate::rules::scalar_text;
use serde_json::Value;

/// A scalar as text, or scalars joined with spaces.
///
/// `None` for what that would garble: an object, an empty text, an item with white space, which
/// would read as two items, and a number that is no 64-bit integer, which might read as another
/// number.
pub(crate) fn claim_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(items) => items
            .iter()
            .map(|item| {
                scalar_text(item).filter(|text| !text.is_empty() && !text.contains(parts_words))
            })
            .collect::<Option<Vec<_>>>()?
            .join(" "),
        scalar => scalar_text(scalar)?,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// Whether some language splits text here: at Unicode white space, at control characters, or at
/// what JavaScript and older Unicode versions count as white space.
fn parts_words(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '\u{180e}' | '\u{feff}')
}
