//! Reads a list of Istio's `StringMatch`: objects with one of `exact`, `prefix` and `regex`.

use super::error::ConfigError;
use super::object::Object;
use crate::string_match::StringMatch;

/// The items of a list, of which a string has to match any, not read yet. Their number is bounded,
/// since each may cost time for every string of a client.
pub(super) fn items(
    object: &mut Object,
    name: &'static str,
    mend_if_missing: &str,
) -> Result<Vec<Object>, ConfigError> {
    let items = object.objects(name)?;
    match items.len() {
        0 => Err(object.error(name, format!("is missing or empty; {mend_if_missing}"))),
        1..=MAX_ITEMS => Ok(items),
        number => Err(object.error(
            name,
            format!(
                "has {number} items, and at most {MAX_ITEMS} are taken; write one prefix or regex, \
                 such as \"a|b\", for several"
            ),
        )),
    }
}

pub(super) fn read(mut object: Object) -> Result<StringMatch, ConfigError> {
    let (exact, prefix, regex) =
        (object.string("exact")?, object.string("prefix")?, object.string("regex")?);
    let path = object.path().clone();
    object.finish()?;
    match (exact, prefix, regex) {
        (Some(exact), None, None) => Ok(StringMatch::Exact(exact)),
        (None, Some(prefix), None) => Ok(StringMatch::Prefix(prefix)),
        (None, None, Some(regex)) => StringMatch::regex(&regex).map_err(|problem| {
            ConfigError::new(
                &path.member("regex"),
                format!("{problem}; write one in the syntax of RE2, without \\p and \\C"),
            )
        }),
        _ => Err(ConfigError::new(
            &path,
            "takes exactly one of exact, prefix and regex; write each as an item of its own",
        )),
    }
}

const MAX_ITEMS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::error::Path;
    use super::*;
    use serde_json::{Value, json};

    fn read_at(value: Value) -> Result<StringMatch, ConfigError> {
        read(Object::new(value, Path::default().member("origins").item(1))?)
    }

    #[test]
    fn a_list_is_neither_empty_nor_longer_than_a_string_may_cost() {
        let read_items = |number: usize| {
            let list = json!({"origins": vec![json!({"exact": "a"}); number]});
            let mut object = Object::new(list, Path::default())?;
            items(&mut object, "origins", "name one").map(|items| items.len())
        };
        for number in [1, MAX_ITEMS] {
            assert_eq!(read_items(number).unwrap(), number);
        }
        for (number, mend) in [(0, "is missing or empty; name one"), (65, "for several")] {
            let error = read_items(number).expect_err("accepted");
            assert_eq!(error.path(), "origins");
            assert!(error.to_string().contains(mend), "{error}");
        }
    }

    #[test]
    fn each_kind_is_read() {
        for (value, matched, other) in [
            (json!({"exact": "a"}), "a", "ab"),
            (json!({"prefix": "a"}), "ab", "ba"),
            (json!({"regex": "a+"}), "aa", "ab"),
        ] {
            let read = read_at(value.clone()).unwrap();

            assert!(read.matches(matched), "{value}");
            assert!(!read.matches(other), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_its_path_and_the_mend() {
        for (value, path, mend) in [
            (json!("a"), "origins[1]", "expected an object, found a string"),
            (json!({}), "origins[1]", "takes exactly one of exact, prefix and regex"),
            (json!({"exact": "a", "regex": "b"}), "origins[1]", "takes exactly one of"),
            (json!({"exact": ""}), "origins[1].exact", "is empty; give it a value or remove it"),
            (json!({"prefix": 7}), "origins[1].prefix", "expected a string, found a number"),
            (json!({"prefx": "a"}), "origins[1].prefx", "\"prefix\"?"),
            (json!({"regex": "["}), "origins[1].regex", "is not a regular expression that"),
            (json!({"regex": "[\n"}), "origins[1].regex", "write one in the syntax of RE2"),
            (json!({"regex": "a{9999}"}), "origins[1].regex", "size limit"),
        ] {
            let error = read_at(value.clone()).expect_err("accepted");

            assert_eq!(error.path(), path, "{value}: {error}");
            assert!(error.to_string().contains(mend), "{value}: {error}");
            assert!(!error.to_string().contains('\n'), "{value}: {error}");
        }
    }
}
