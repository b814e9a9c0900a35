//! The JWT Claims Set (RFC 7519 §4), and the names of claims in the configuration.

use super::json;
use crate::reason::Reason;
use crate::time::Timestamp;
use serde_json::{Map, Value};

/// A decoded payload whose registered claims have the types that RFC 7519 §4.1 gives them.
pub(crate) struct Claims {
    members: Map<String, Value>,
    pub(crate) exp: Option<Timestamp>,
    pub(crate) iat: Option<Timestamp>,
    pub(crate) nbf: Option<Timestamp>,
}

impl Claims {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let members = json::parse_object(bytes).map_err(|_| Reason::TokenMalformed)?;

        let numeric_date = |name| match members.get(name) {
            None => Ok(None),
            Some(value) => timestamp(value).map(Some).ok_or(Reason::TokenMalformed),
        };
        let (exp, iat, nbf) = (numeric_date("exp")?, numeric_date("iat")?, numeric_date("nbf")?);
        if !matches!(members.get("iss"), None | Some(Value::String(_))) {
            return Err(Reason::TokenMalformed);
        }
        match members.get("aud") {
            None | Some(Value::String(_)) => {}
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {}
            Some(_) => return Err(Reason::TokenMalformed),
        }
        Ok(Self { members, exp, iat, nbf })
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.members.get("iss").and_then(Value::as_str)
    }

    /// Whether it names a key that the bearer must prove possession of (RFC 7800 §3.1): that of a
    /// client certificate (RFC 8705 §3.1) or of DPoP (RFC 9449 §6), for example.
    pub(crate) fn is_bound(&self) -> bool {
        self.members.contains_key("cnf")
    }

    /// Whether `aud` holds one of `audiences`, compared exactly (RFC 7519 §4.1.3).
    pub(crate) fn is_for_any_of(&self, audiences: &[String]) -> bool {
        let wanted = |aud: &str| audiences.iter().any(|audience| audience == aud);
        match self.members.get("aud") {
            Some(Value::String(aud)) => wanted(aud),
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).any(wanted),
            _ => false,
        }
    }

    /// Whether `scope` or `scp`, as a space-delimited string or an array, grants `scope`.
    pub(crate) fn grants(&self, scope: &str) -> bool {
        ["scope", "scp"].iter().filter_map(|name| self.members.get(*name)).any(
            |value| match value {
                Value::String(text) => text.split(' ').any(|granted| granted == scope),
                Value::Array(items) => items.iter().any(|item| item.as_str() == Some(scope)),
                _ => false,
            },
        )
    }

    /// A claim at the top level.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// About how much memory the claims take, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of_members(&self.members)
    }

    pub(crate) fn find(&self, name: &ClaimName) -> Option<&Value> {
        self.members.get(&name.text).or_else(|| {
            let mut steps = name.steps.iter();
            let first = self.members.get(steps.next()?)?;
            steps.try_fold(first, |value, step| match value {
                Value::Object(members) => members.get(step),
                // Only a JSON Pointer has array indices, without leading zeros (RFC 6901 §4).
                Value::Array(items) if name.is_pointer() => items.get(array_index(step)?),
                _ => None,
            })
        })
    }
}

/// The name of a claim in the configuration: a top-level claim of exactly that name, else a path
/// with steps separated by dots, or by slashes if it begins with one (RFC 6901).
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ClaimName {
    text: String,
    steps: Vec<String>,
}

impl ClaimName {
    pub(crate) fn new(text: &str) -> Self {
        let steps = match text.strip_prefix('/') {
            Some(pointer) => {
                pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
            }
            None => text.split('.').map(str::to_owned).collect(),
        };
        Self { text: text.to_owned(), steps }
    }

    /// The name as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn is_pointer(&self) -> bool {
        self.text.starts_with('/')
    }
}

/// A NumericDate (RFC 7519 §2): a JSON number of seconds, fractions allowed.
fn timestamp(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    match number.as_u64() {
        Some(secs) => Some(Timestamp::from_secs(secs)),
        None => number.as_f64().map(Timestamp::from_secs_f64),
    }
}

fn size_of_members(members: &Map<String, Value>) -> usize {
    // A map keeps its members in nodes of eleven, at worst half empty.
    let nodes = members.len().div_ceil(NODE_FILL).saturating_mul(NODE_BYTES);
    members.iter().fold(nodes, |sum, (name, value)| {
        sum.saturating_add(name.len()).saturating_add(size_of_content(value))
    })
}

fn size_of_content(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().fold(0, |sum: usize, item| {
            sum.saturating_add(size_of::<Value>()).saturating_add(size_of_content(item))
        }),
        Value::Bool(_) | Value::Null | Value::Number(_) => 0,
        Value::Object(members) => size_of_members(members),
        Value::String(text) => text.len(),
    }
}

const NODE_FILL: usize = 6;
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>());

fn array_index(step: &str) -> Option<usize> {
    let canonical = step == "0" || !step.starts_with(['0', '+']);
    canonical.then(|| step.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Claims {
        Claims::parse(text.as_bytes()).ok().unwrap()
    }

    #[test]
    fn registered_claims_of_another_type_are_malformed() {
        for text in [
            r#"{"exp":"1"}"#,
            r#"{"nbf":null}"#,
            r#"{"iat":[1]}"#,
            r#"{"iss":1}"#,
            r#"{"aud":1}"#,
            r#"{"aud":["a",1]}"#,
            r#"{"aud":{}}"#,
            r#"[["iss","a"]]"#,
        ] {
            assert_eq!(
                Claims::parse(text.as_bytes()).err(),
                Some(Reason::TokenMalformed),
                "{text}"
            );
        }
    }

    #[test]
    fn dates_may_have_fractions_and_any_magnitude() {
        let claims = claims(r#"{"exp":1.5,"nbf":-7,"iat":99999999999999}"#);

        assert_eq!(claims.exp, Some(Timestamp::from_nanos(1_500_000_000)));
        assert_eq!(claims.nbf, Some(Timestamp::EPOCH));
        assert_eq!(claims.iat, Some(Timestamp::MAX));
    }

    #[test]
    fn audience_is_one_string_or_several_and_compared_exactly() {
        let wanted = ["api".to_owned()];

        assert!(claims(r#"{"aud":"api"}"#).is_for_any_of(&wanted));
        assert!(claims(r#"{"aud":["x","api"]}"#).is_for_any_of(&wanted));
        for text in ["{}", r#"{"aud":[]}"#, r#"{"aud":"API"}"#, r#"{"aud":"api/"}"#] {
            assert!(!claims(text).is_for_any_of(&wanted), "{text}");
        }
    }

    #[test]
    fn scopes_come_from_scope_or_scp_as_string_or_array() {
        for text in
            [r#"{"scope":"a b"}"#, r#"{"scope":["a","b"]}"#, r#"{"scp":"b"}"#, r#"{"scp":["b"]}"#]
        {
            assert!(claims(text).grants("b"), "{text}");
        }
        for text in [r#"{"scope":"ab"}"#, r#"{"scope":{"b":1}}"#, r#"{"scope":["a b"]}"#, "{}"] {
            assert!(!claims(text).grants("b"), "{text}");
        }
    }

    #[test]
    fn claim_names_are_exact_first_then_dotted_or_pointers() {
        let claims = claims(
            r#"{"a.b":1,"a":{"b":2,"c":3,"d/e":4},"https://x.io/t":5,"l":["zero",{"m":6}]}"#,
        );
        let find = |name| claims.find(&ClaimName::new(name)).and_then(Value::as_u64);

        assert_eq!(find("a.b"), Some(1));
        assert_eq!(find("a.c"), Some(3));
        assert_eq!(find("/a/b"), Some(2));
        assert_eq!(find("/a/d~1e"), Some(4));
        assert_eq!(find("https://x.io/t"), Some(5));
        assert_eq!(find("/l/1/m"), Some(6));
        for absent in ["l.1.m", "/l/01/m", "/l/+1/m", "a.b.c", "x", "/x", "/", "."] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }
}
