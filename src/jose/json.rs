//! Strict JSON: no duplicate members, bounded depth, nothing after the value.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// The most levels of arrays and objects, including the outermost.
pub(crate) const MAX_DEPTH: usize = 32;
/// The most values in one object of a token: each takes many times the two bytes of its text.
const MAX_VALUES: usize = 4096;

/// Parses a JSON object of a token, with at most [`MAX_VALUES`] values.
///
/// RFC 7515 §4 and RFC 7519 §4 let a parser refuse duplicate member names or take the last one. Two
/// parsers that choose differently see two tokens, so this one refuses them.
///
/// # Errors
///
/// If the text is not exactly one such object; the message names line and column.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    match parse_within(bytes, MAX_VALUES)? {
        Value::Object(members) => Ok(members),
        _ => Err(serde_json::Error::custom("expected a JSON object")),
    }
}

/// Parses any JSON value as strictly as [`parse_object`], with any number of values.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    parse_within(bytes, usize::MAX)
}

fn parse_within(bytes: &[u8], max_values: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let values_left = Cell::new(max_values);
    let strict = Strict { depth: MAX_DEPTH, values_left: &values_left };
    let value = strict.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict<'v> {
    depth: usize,
    values_left: &'v Cell<usize>,
}

impl Strict<'_> {
    fn descend<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.values_left.get().checked_sub(1) else {
            return Err(D::Error::custom("too many values"));
        };
        self.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.descend()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.descend()?;
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom("duplicate member name"));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = br#"{"a":[null,true,-1,2,1.5,"x\u00e9"],"b":{}}"#;

        let members = parse_object(text).unwrap();

        assert_eq!(Value::Object(members), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"a":1} {}"#,
            r#"{"a":1}x"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{'a':1}"#,
            r#"{"a":1,}"#,
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
            "[]",
            "null",
            "",
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn the_number_of_values_in_a_token_is_bounded() {
        let object = |zeros: usize| format!(r#"{{"a":[0{}]}}"#, ",0".repeat(zeros - 1));
        // The object and the array count as values.
        let most = MAX_VALUES - 2;

        assert!(parse_object(object(most).as_bytes()).is_ok());
        assert!(parse_object(object(most + 1).as_bytes()).is_err());
        assert!(parse(object(most + 1).as_bytes()).is_ok());
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));

        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("[".repeat(1_000_000).as_bytes()).is_err());
    }
}
