//! Checks one token against its provider before the signature check; builds its identity after it.

use crate::claim_text::claim_text;
use crate::config::{ClaimHeader, Encoding, Provider, VerifiedMark};
use crate::filter_state::{self, FilterState};
use crate::grammar::is_header_value;
use crate::jose::{Claims, Token, VerifiedToken};
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::request::HeaderEdit;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// Checks everything that a provider requires of a token except the signature, cheapest first.
pub(crate) fn check(provider: &Provider, token: &Token, now: Timestamp) -> Result<(), Reason> {
    let is_typ_allowed = match token.typ() {
        Some(typ) => provider.takes_token_type(typ),
        None => !provider.require_token_type,
    };
    if !is_typ_allowed {
        return Err(Reason::TypNotAllowed);
    }
    let claims = token.claims();
    check_times(provider, claims, now)?;
    if claims.is_bound() && !provider.allow_bound_tokens {
        return Err(Reason::TokenBound);
    }
    if !provider.audiences.is_empty() && !claims.is_for_any_of(&provider.audiences) {
        return Err(Reason::AudienceNotAllowed);
    }
    match provider.max_lifetime {
        Some(max) if lifetime(claims, provider.clock_skew, now) > max => {
            Err(Reason::LifetimeTooLong)
        }
        _ => Ok(()),
    }
}

fn check_times(provider: &Provider, claims: &Claims, now: Timestamp) -> Result<(), Reason> {
    let skew = provider.clock_skew;
    match claims.exp {
        None if provider.require_expiration => return Err(Reason::ExpirationMissing),
        // RFC 7519 §4.1.4: not accepted *on or* after.
        Some(exp) if now >= exp.saturating_add(skew) => return Err(Reason::TokenExpired),
        _ => {}
    }
    match claims.nbf {
        Some(nbf) if now.saturating_add(skew) < nbf => Err(Reason::TokenNotYetValid),
        _ => Ok(()),
    }
}

/// The total validity of the token. It counts from `iat`, but from no later than `now` plus the
/// skew; without `iat`, from `now`.
pub(crate) fn lifetime(claims: &Claims, skew: Duration, now: Timestamp) -> Duration {
    let Some(exp) = claims.exp else { return Duration::MAX };
    let issued = claims.iat.map_or(now, |iat| iat.min(now.saturating_add(skew)));
    exp.saturating_since(issued)
}

/// A verified token, its provider, and the identity that the upstream gets.
pub(crate) struct Authenticated {
    pub(crate) provider: ProviderId,
    pub(crate) token: VerifiedToken,
    /// The headers that tell the upstream that somebody verified the token, and who is calling.
    pub(crate) identity: Vec<HeaderEdit>,
    /// What access logs and traces are told.
    pub(crate) state: Vec<FilterState>,
}

impl Authenticated {
    pub(crate) fn new(id: ProviderId, provider: &Provider, token: VerifiedToken) -> Self {
        let mut identity: Vec<_> = provider.verified_mark.iter().map(VerifiedMark::edit).collect();
        if let Some(header) = &provider.payload_header {
            let payload = token.payload_segment().as_bytes();
            identity.push(HeaderEdit::Set(header.shared(), payload.into()));
        }
        for output in &provider.claim_headers {
            if let Some(value) = header_value(output, token.claims()) {
                identity.push(HeaderEdit::Set(output.header.shared(), value.as_bytes().into()));
            }
        }
        let state = filter_state::of(&provider.state_outputs, token.token());
        Self { provider: id, token, identity, state }
    }

    /// The token as it came.
    pub(crate) fn text(&self) -> &str {
        self.token.token().as_text()
    }

    /// About how much memory this takes, in bytes.
    pub(crate) fn size(&self) -> usize {
        let values = self.identity.iter().map(|edit| match edit {
            HeaderEdit::Remove(_) => 0,
            HeaderEdit::Set(_, value) => value.len(),
        });
        let edits = self.identity.len().saturating_mul(EDIT_BYTES);
        let state = self.state.iter().fold(0, |sum: usize, state| {
            sum.saturating_add(STATE_BYTES).saturating_add(state.value.len())
        });
        size_of::<Self>()
            .saturating_add(self.token.size())
            .saturating_add(edits)
            .saturating_add(values.sum())
            .saturating_add(state)
    }
}

/// Tokens are secrets, and so is the identity.
impl fmt::Debug for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticated({:?})", self.provider)
    }
}

/// The header value for a claim. The default stands in for an absent claim only. A claim that is
/// present but cannot be a header value is left out: it does not have the default's value.
fn header_value(output: &ClaimHeader, claims: &Claims) -> Option<String> {
    let text = match claims.find(&output.claim) {
        None | Some(Value::Null) => output.default.clone()?,
        Some(value) => claim_text(value)?,
    };
    match output.encoding {
        Encoding::Base64Url => Some(URL_SAFE_NO_PAD.encode(text)),
        Encoding::Plain => is_header_value(&text).then_some(text),
    }
}

/// The size of an edit, with the overhead of its value's allocation.
const EDIT_BYTES: usize = size_of::<HeaderEdit>() + 16;
/// The same for what access logs are told.
const STATE_BYTES: usize = size_of::<FilterState>() + 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::rc::Rc;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn provider(fields: &str) -> Rc<Provider> {
        let json = format!(r#"{{"providers":[{{"issuer":"i","jwksUri":"https://i/"{fields}}}]}}"#);
        let config = Config::parse(json.as_bytes()).unwrap();
        Rc::clone(config.providers.values().next().unwrap())
    }

    fn token(header: &str, claims: &str) -> Token {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = format!(r#"{}.{}.c2ln"#, part(header), part(claims));
        Token::parse(text.as_bytes()).unwrap()
    }

    fn outcome(fields: &str, claims: &str) -> Result<(), Reason> {
        check(&provider(fields), &token(r#"{"alg":"RS256"}"#, claims), NOW)
    }

    #[test]
    fn times_are_checked_with_the_skew_on_both_sides() {
        for (claims, expected) in [
            (r#"{"exp":1000000}"#, Ok(())),
            (r#"{"exp":999881}"#, Ok(())),
            (r#"{"exp":999880.5}"#, Ok(())),
            (r#"{"exp":999880}"#, Err(Reason::TokenExpired)),
            (r#"{"exp":0}"#, Err(Reason::TokenExpired)),
            (r#"{"exp":-1}"#, Err(Reason::TokenExpired)),
            (r#"{"exp":99999999999999}"#, Ok(())),
            (r#"{"exp":1000001,"nbf":1000120}"#, Ok(())),
            (r#"{"exp":1000001,"nbf":1000121}"#, Err(Reason::TokenNotYetValid)),
            (r#"{"exp":1000001,"nbf":1e300}"#, Err(Reason::TokenNotYetValid)),
            ("{}", Err(Reason::ExpirationMissing)),
        ] {
            assert_eq!(outcome("", claims), expected, "{claims}");
        }
        assert_eq!(outcome(r#","requireExpiration":false"#, "{}"), Ok(()));
        assert_eq!(
            outcome(r#","clockSkew":"0s""#, r#"{"exp":1000000}"#),
            Err(Reason::TokenExpired)
        );
    }

    #[test]
    fn the_lifetime_counts_from_the_issue_but_never_from_the_future() {
        let fields = r#","maxLifetime":"1h","requireExpiration":false"#;
        for (claims, expected) in [
            (r#"{"exp":1003600,"iat":1000000}"#, Ok(())),
            (r#"{"exp":1003600}"#, Ok(())),
            (r#"{"exp":1003660,"iat":1000060}"#, Ok(())),
            (r#"{"exp":1003601,"iat":1000000}"#, Err(Reason::LifetimeTooLong)),
            (r#"{"exp":1000001,"iat":900000}"#, Err(Reason::LifetimeTooLong)),
            (r#"{"exp":1009000,"iat":1008000}"#, Err(Reason::LifetimeTooLong)),
            ("{}", Err(Reason::LifetimeTooLong)),
        ] {
            assert_eq!(outcome(fields, claims), expected, "{claims}");
        }
    }

    #[test]
    fn the_audience_matters_only_when_configured() {
        let exp = r#""exp":1000001"#;

        assert_eq!(outcome("", &format!("{{{exp}}}")), Ok(()));
        let fields = r#","audiences":["a","b"]"#;
        assert_eq!(outcome(fields, &format!(r#"{{{exp},"aud":["x","b"]}}"#)), Ok(()));
        assert_eq!(outcome(fields, &format!("{{{exp}}}")), Err(Reason::AudienceNotAllowed));
    }

    #[test]
    fn typ_is_a_media_type_in_any_case() {
        let outcome = |typ: &str| {
            let header = format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#);
            check(&provider(""), &token(&header, r#"{"exp":1000001}"#), NOW)
        };

        for typ in ["JWT", "jwt", "at+jwt", "application/AT+JWT"] {
            assert_eq!(outcome(typ), Ok(()), "{typ}");
        }
        for typ in ["", "JOSE", "dpop+jwt", "application/"] {
            assert_eq!(outcome(typ), Err(Reason::TypNotAllowed), "{typ}");
        }
    }

    #[test]
    fn typ_may_be_required() {
        let outcome = |header: &str| {
            let provider = provider(r#","requireTokenType":true"#);
            check(&provider, &token(header, r#"{"exp":1000001}"#), NOW)
        };

        assert_eq!(outcome(r#"{"alg":"RS256"}"#), Err(Reason::TypNotAllowed));
        assert_eq!(outcome(r#"{"alg":"RS256","typ":"JWT"}"#), Ok(()));
    }

    #[test]
    fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
        for cnf in [r#"{"jkt":"x"}"#, r#"{"x5t#S256":"x"}"#, r#"{"jwk":{}}"#, "{}", "null", "7"] {
            let claims = format!(r#"{{"exp":1000001,"cnf":{cnf}}}"#);

            assert_eq!(outcome("", &claims), Err(Reason::TokenBound), "{cnf}");
            assert_eq!(outcome(r#","allowBoundTokens":true"#, &claims), Ok(()), "{cnf}");
        }
    }

    #[test]
    fn claims_become_header_values_or_count_as_absent() {
        let value = |claims: &str, fields: &str| {
            let output =
                format!(r#","outputClaimToHeaders":[{{"header":"x","claim":"c"{fields}}}]"#);
            let claims = Claims::parse(claims.as_bytes()).ok().unwrap();
            header_value(&provider(&output).claim_headers[0], &claims)
        };

        for (claims, expected) in [
            (r#"{"c":"a b"}"#, Some("a b")),
            (r#"{"c":7}"#, Some("7")),
            (r#"{"c":true}"#, Some("true")),
            (r#"{"c":["a",1,false]}"#, Some("a 1 false")),
            (r#"{"c":["a b"]}"#, None),
            (r#"{"c":[["a"]]}"#, None),
            (r#"{"c":[]}"#, None),
            (r#"{"c":{"d":1}}"#, None),
            (r#"{"c":""}"#, None),
            (r#"{"c":" root"}"#, None),
            (r#"{"c":"root "}"#, None),
            (r#"{"c":18446744073709551615}"#, Some("18446744073709551615")),
            (r#"{"c":18446744073709551616}"#, None),
            (r#"{"c":[1.5]}"#, None),
            (r#"{"c":"a\r\nx-admin: 1"}"#, None),
            (r#"{"c":"a\u0000"}"#, None),
            (r#"{"c":"é"}"#, None),
        ] {
            // A present claim never becomes the default.
            for default in ["", r#","default":"d""#] {
                assert_eq!(value(claims, default).as_deref(), expected, "{claims}");
            }
        }
        for absent in ["{}", r#"{"c":null}"#] {
            assert_eq!(value(absent, ""), None);
            assert_eq!(value(absent, r#","default":"d""#).as_deref(), Some("d"));
        }
        let base64 = r#","encoding":"base64url""#;
        for space in ["\u{9}", "\u{85}", "\u{a0}", "\u{2028}", "\u{3000}", "\u{feff}", "\u{1f}"] {
            let claims = serde_json::json!({"c": [format!("a{space}admin")]}).to_string();
            assert_eq!(value(&claims, base64), None, "{space:?}");
        }
        assert_eq!(value(r#"{"c":["é","b"]}"#, base64).as_deref(), Some("w6kgYg"));
        assert_eq!(value(r#"{"c":"é"}"#, base64).as_deref(), Some("w6k"));
        assert_eq!(value(r#"{"c":{}}"#, base64), None);
    }
}
