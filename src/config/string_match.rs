//! Reads a list of Istio's `StringMatch`: objects with one of `exact`, `prefix` and `regex`.

use super::error::ConfigError;
use super::object::Object;
use crate::string_match::StringMatch;

/// Reads a list, of which a string has to match any, with `read` for each item. The number of regular
/// expressions is bounded, since each may cost time for every string of a client.
pub(super) fn list(
    object: &mut Object,
    name: &'static str,
    mend_if_missing: &str,
    read: impl Fn(Object) -> Result<StringMatch, ConfigError>,
) -> Result<Vec<StringMatch>, ConfigError> {
    let items = object.objects(name)?;
    if items.is_empty() {
        return Err(object.error(name, format!("is missing or empty; {mend_if_missing}")));
    }
    let items = items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let regexes = items.iter().filter(|item| matches!(item, StringMatch::Regex(_))).count();
    match regexes {
        0..=MAX_REGEXES => Ok(items),
        _ => Err(object.error(
            name,
            format!(
                "has {regexes} items with regex, and at most {MAX_REGEXES} are taken; write one, \
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

const MAX_REGEXES: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::error::Path;
    use super::*;
    use serde_json::{Value, json};

    fn read_at(value: Value) -> Result<StringMatch, ConfigError> {
        read(Object::new(value, Path::default().member("origins").item(1))?)
    }

    #[test]
    fn a_list_is_neither_empty_nor_has_more_expressions_than_a_string_may_cost() {
        let read_list = |kind: &str, number: usize| {
            let list = json!({"origins": vec![json!({kind: "a"}); number]});
            let mut object = Object::new(list, Path::default())?;
            list_of(&mut object).map(|items| items.len())
        };
        for (kind, number) in [("regex", 1), ("regex", MAX_REGEXES), ("exact", 1000)] {
            assert_eq!(read_list(kind, number).unwrap(), number);
        }
        for (number, mend) in [(0, "is missing or empty; name one"), (65, "for several")] {
            let error = read_list("regex", number).expect_err("accepted");
            assert_eq!(error.path(), "origins");
            assert!(error.to_string().contains(mend), "{error}");
        }
    }

    fn list_of(object: &mut Object) -> Result<Vec<StringMatch>, ConfigError> {
        list(object, "origins", "name one", read)
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
