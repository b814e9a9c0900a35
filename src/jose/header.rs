//! The JOSE header (RFC 7515 §4): only what affects verification.

use super::json;
use crate::reason::Reason;
use serde_json::Value;

/// The members of a JOSE header that the filter acts on.
///
/// `jwk`, `jku`, `x5u` and `x5c` are not among them: a token never chooses the key to trust.
#[derive(Clone, PartialEq)]
pub(crate) struct Header {
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}

impl Header {
    /// Parses a decoded header; refuses anything but plain RS256.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut members = json::parse_object(bytes).map_err(|_| Reason::TokenMalformed)?;

        match members.get("alg") {
            Some(Value::String(alg)) if alg == "RS256" => {}
            Some(Value::String(_)) => return Err(Reason::AlgNotAllowed),
            _ => return Err(Reason::TokenMalformed),
        }
        // RFC 7515 §4.1.11: an extension that is not understood makes the token invalid. The filter
        // understands none.
        if members.contains_key("crit") {
            return Err(Reason::CritUnsupported);
        }
        let mut string = |name| match members.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Reason::TokenMalformed),
        };
        Ok(Self { kid: string("kid")?, typ: string("typ")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<Reason> {
        Header::parse(text.as_bytes()).err()
    }

    #[test]
    fn kid_and_typ_are_read_and_key_hints_are_ignored() {
        let text = r#"{"alg":"RS256","kid":"k","typ":"JWT","jwk":1,"jku":"http://evil","x5u":[],"x5c":{}}"#;

        let header = Header::parse(text.as_bytes()).unwrap();

        assert_eq!((header.kid.as_deref(), header.typ.as_deref()), (Some("k"), Some("JWT")));
    }

    #[test]
    fn only_exactly_rs256_passes() {
        for alg in ["none", "None", "HS256", "RS384", "PS256", "ES256", "rs256", "RS256 ", ""] {
            let text = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(refusal(&text), Some(Reason::AlgNotAllowed), "{alg:?}");
        }
        for text in ["{}", r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, r#"["RS256"]"#] {
            assert_eq!(refusal(text), Some(Reason::TokenMalformed), "{text}");
        }
    }

    #[test]
    fn any_crit_is_refused() {
        for crit in [r#"["exp"]"#, "[]", "null", r#"["b64"]"#] {
            let text = format!(r#"{{"alg":"RS256","b64":false,"crit":{crit}}}"#);
            assert_eq!(refusal(&text), Some(Reason::CritUnsupported), "{crit}");
        }
    }

    #[test]
    fn kid_and_typ_of_another_type_are_malformed() {
        assert_eq!(refusal(r#"{"alg":"RS256","kid":1}"#), Some(Reason::TokenMalformed));
        assert_eq!(refusal(r#"{"alg":"RS256","typ":null}"#), Some(Reason::TokenMalformed));
    }
}
