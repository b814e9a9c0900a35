//! Istio's `StringMatch`: an exact string, a prefix, or a regular expression.

use regex_lite::{Regex, RegexBuilder};

/// What a string has to be. Case counts, as in Istio.
#[derive(Clone, Debug)]
pub(crate) enum StringMatch {
    /// This.
    Exact(String),
    /// This, and anything after it.
    Prefix(String),
    /// A match of this as a whole. It takes time linear in the string, whatever the expression: a
    /// few microseconds for each byte at worst, so strings of clients are to be short.
    Regex(Regex),
}

impl StringMatch {
    /// An expression that has to match a whole string, as Envoy has RE2 do it.
    ///
    /// # Errors
    ///
    /// What is wrong with the expression.
    pub(crate) fn regex(expression: &str) -> Result<Self, String> {
        // By itself first: the parentheses below could make one of what is none, such as "a)|(?:b".
        compile(expression)?;
        compile(&format!(r"\A(?:{expression})\z")).map(Self::Regex)
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

fn compile(expression: &str) -> Result<Regex, String> {
    if expression.len() > MAX_EXPRESSION_BYTES {
        return Err(format!("is longer than {MAX_EXPRESSION_BYTES} characters"));
    }
    let compiled = RegexBuilder::new(expression).size_limit(MAX_COMPILED_BYTES).build();
    compiled.map_err(|error| format!("is not a regular expression that can be used: {error}"))
}

const MAX_EXPRESSION_BYTES: usize = 1024;
/// The time of a match grows with this as well: it allows for some hundred characters and classes.
const MAX_COMPILED_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(expression: &str) -> StringMatch {
        StringMatch::regex(expression).unwrap()
    }

    #[test]
    fn an_exact_string_matches_itself_alone() {
        let exact = StringMatch::Exact("https://a.example".to_owned());

        assert!(exact.matches("https://a.example"));
        for other in ["", "https://a.example ", "https://A.example", "https://a.exampl", "*"] {
            assert!(!exact.matches(other), "{other:?}");
        }
    }

    #[test]
    fn a_prefix_matches_whatever_begins_with_it() {
        let prefix = StringMatch::Prefix("https://preview-".to_owned());

        assert!(prefix.matches("https://preview-7.example"));
        assert!(prefix.matches("https://preview-"));
        for other in ["", "https://preview", "x https://preview-7", "HTTPS://preview-7"] {
            assert!(!prefix.matches(other), "{other:?}");
        }
    }

    #[test]
    fn an_expression_matches_whole_strings() {
        for (expression, matched, others) in [
            (
                r"https://[a-z0-9-]+\.example\.com",
                &["https://a.example.com", "https://a-1.example.com"][..],
                &[
                    "https://a.b.example.com",
                    "https://a.example.com.evil.org",
                    "x https://a.example.com",
                    "https://a.example.com\n",
                    "https://evil.org#.example.com",
                    "https://a_example.com",
                ][..],
            ),
            // The alternatives as a whole, and the longer one too.
            ("a|ab", &["a", "ab"], &["abc", "b", "xab"]),
            ("(?i)https://A", &["HTTPS://a"], &["HTTPS://ab"]),
            ("(?m)^a$", &["a"], &["a\nb", "b\na"]),
            ("", &[""], &["a"]),
            (".*", &["", "anything", "*"], &["two\nlines"]),
            // Classes are those of ASCII, as in RE2.
            (r"\d\w", &["1a"], &["\u{663}a", "1\u{e9}"]),
        ] {
            for text in matched {
                assert!(regex(expression).matches(text), "{expression} {text:?}");
            }
            for text in others {
                assert!(!regex(expression).matches(text), "{expression} {text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_a_one_is_refused() {
        for expression in [
            "(",
            "a)|(?:b",
            "[a",
            "*",
            r"\p{Greek}",
            r"(?=a)",
            r"(a)\1",
            "(?x)a # comment",
            &"(".repeat(500),
            &"(?:a|".repeat(200),
            "a{1000}{1000}",
            "(?:){4294967295}",
            "(?:(?:){1000}){1000000}",
            "[a-z]{0,4000}",
            &"a".repeat(MAX_EXPRESSION_BYTES + 1),
        ] {
            assert!(StringMatch::regex(expression).is_err(), "{expression}");
        }
    }

    /// The dearest expression that is allowed, with strings that it nearly matches.
    #[test]
    fn an_expression_takes_no_more_steps_for_some_strings_than_for_others() {
        let nested = regex("(?:(?:a*)*)*b");

        assert!(!nested.matches(&"a".repeat(10_000)));
        assert!(nested.matches(&format!("{}b", "a".repeat(10_000))));
    }
}
