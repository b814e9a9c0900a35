//! What access logs and traces are told of a verified token, if they are told anything.

use crate::claim_text::claim_text;
use crate::config::{StateOutput, StateSource};
use crate::grammar::is_header_value;
use crate::jose::Token;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::rc::Rc;

/// A value that the proxy keeps with a request.
#[derive(Clone)]
pub struct FilterState {
    /// The name of the property, without the host's prefix.
    pub property: Rc<str>,
    /// Its value.
    pub value: Rc<str>,
}

/// Values are for those who look at the access log, not for the filter's own.
impl fmt::Debug for FilterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilterState({})", self.property)
    }
}

/// The state that these outputs make of a verified token.
pub(crate) fn of(outputs: &[StateOutput], token: &Token) -> Vec<FilterState> {
    let state = |output: &StateOutput| {
        Some(FilterState { property: Rc::clone(&output.property), value: value(output, token)? })
    };
    outputs.iter().filter_map(state).collect()
}

/// The value for an output; `None` if there is none that a log can hold.
fn value(output: &StateOutput, token: &Token) -> Option<Rc<str>> {
    let text = match &output.source {
        StateSource::Claim(name) => claim_text(token.claims().find(name)?)?,
        StateSource::KeyId => token.kid()?.to_owned(),
    };
    if output.is_hashed {
        let nibbles = Sha256::digest(text).into_iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let digits = nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16));
        return Some(digits.collect::<String>().into());
    }
    (text.len() <= MAX_BYTES && is_loggable(&text)).then(|| text.into())
}

/// Whether text stays within its quotes, and on its line, in a log whose format escapes nothing.
fn is_loggable(text: &str) -> bool {
    !text.is_empty() && is_header_value(text) && !text.contains(['"', '\\'])
}

/// Every `sub` fits: it has at most 255 ASCII characters (OpenID Connect Core §2).
const MAX_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    fn states(outputs: Value, header: Value, claims: Value) -> Vec<(String, String)> {
        let config = json!({"providers": [
            {"issuer": "i", "jwksUri": "https://i/", "outputClaimToFilterState": outputs},
        ]});
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let token = format!("{}.{}.c2ln", part(header), part(claims));
        let token = Token::parse(token.as_bytes()).unwrap();
        let provider = config.providers.values().next().unwrap();
        let states = of(&provider.state_outputs, &token);
        states.iter().map(|state| (state.property.to_string(), state.value.to_string())).collect()
    }

    fn value_of(claim: Value) -> Option<String> {
        let outputs = json!([{"name": "c", "claim": "c"}]);
        let states = states(outputs, json!({"alg": "RS256"}), json!({"c": claim}));
        states.into_iter().next().map(|(_, value)| value)
    }

    #[test]
    fn each_output_that_the_token_has_becomes_a_property() {
        let outputs = json!([
            {"name": "tenant", "claim": "tenant"},
            {"name": "roles", "claim": "realm_access.roles"},
            {"name": "absent", "claim": "absent"},
            {"name": "key", "joseHeader": "kid"},
            {"name": "user", "claim": "sub", "hash": "sha256"},
        ]);
        let claims = json!({"tenant": "acme", "sub": "abc", "realm_access": {"roles": ["a", "b"]}});

        let states = states(outputs.clone(), json!({"alg": "RS256", "kid": "k1"}), claims);

        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = [
            ("mesh_jwt.claims.tenant", "acme"),
            ("mesh_jwt.claims.roles", "a b"),
            ("mesh_jwt.claims.key", "k1"),
            ("mesh_jwt.claims.user", digest),
        ];
        assert_eq!(states, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_could_forge_a_line_of_a_log_is_left_out() {
        for (claim, expected) in [
            (json!("a b"), Some("a b")),
            (json!(7), Some("7")),
            (json!("x".repeat(256)), Some(&*"x".repeat(256))),
            (json!("x".repeat(257)), None),
            (json!("a\" 200 \"-"), None),
            (json!("a\\"), None),
            (json!("a\nb"), None),
            (json!("a\u{1b}[2J"), None),
            (json!("a\u{7f}"), None),
            (json!(" a"), None),
            (json!("münchen"), None),
            (json!("a\u{2028}b"), None),
            (json!(""), None),
            (json!(null), None),
            (json!({"a": 1}), None),
        ] {
            assert_eq!(value_of(claim.clone()).as_deref(), expected, "{claim}");
        }
        let outputs = json!([{"name": "key", "joseHeader": "kid"}]);
        for kid in ["", "a\" b", "a\r\n"] {
            let header = json!({"alg": "RS256", "kid": kid});
            assert_eq!(states(outputs.clone(), header, json!({})), [], "{kid:?}");
        }
        assert_eq!(states(outputs, json!({"alg": "RS256"}), json!({})), []);
    }

    #[test]
    fn a_hash_tells_any_text() {
        let outputs = json!([{"name": "c", "claim": "c", "hash": "sha256"}]);
        for claim in [json!("münchen\n"), json!("x".repeat(5000)), json!(["a", "b"])] {
            let header = json!({"alg": "RS256"});
            let states = states(outputs.clone(), header, json!({"c": claim}));
            let [(_, value)] = states.as_slice() else { panic!("{claim}") };
            assert_eq!(value.len(), 64);
            assert!(value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{value}");
        }
    }

    #[test]
    fn debug_output_holds_no_value() {
        let state = FilterState { property: "p".into(), value: "alice".into() };

        assert_eq!(format!("{state:?}"), "FilterState(p)");
    }
}
