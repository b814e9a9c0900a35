//! Reads a `StringMatch` as Istio writes it: an object with one of `exact`, `prefix` and `regex`.

use super::error::ConfigError;
use super::object::Object;
use crate::string_match::StringMatch;

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

#[cfg(test)]
mod tests {
    use super::super::error::Path;
    use super::*;
    use serde_json::{Value, json};

    fn read_at(value: Value) -> Result<StringMatch, ConfigError> {
        read(Object::new(value, Path::default().member("origins").item(1))?)
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
