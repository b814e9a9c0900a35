//! Verifies tokens as services do that no filter stands before.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::identity::Identity;
use crate::jwks::{Jwks, Unavailable};
use crate::key::verifying_key;
use crate::refusal::Refusal;

/// Takes RS256 tokens of one issuer for one audience.
pub(crate) struct Verifier {
    jwks: Jwks,
    validation: Validation,
    issuer: String,
    audience: String,
}

impl Verifier {
    pub(crate) fn new(issuer: String, audience: String, jwks_uri: String) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = CLOCK_SKEW_SECONDS;
        Self { jwks: Jwks::new(jwks_uri), validation, issuer, audience }
    }

    pub(crate) async fn identity(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        let token = bearer(headers)?;
        let header = decode_header(token).map_err(|error| refusal(&error))?;
        if header.alg != Algorithm::RS256 {
            return Err(refusal(&ErrorKind::InvalidAlgorithm.into()));
        }
        if header.crit.is_some() {
            return Err(Refusal::of_caller(
                "crit_unsupported",
                "the token relies on an extension, and this service knows none",
            ));
        }
        let kid = header.kid.as_deref();
        if let Some(keys) = self.jwks.fresh()
            && let Some(outcome) = self.judge(token, kid, &keys)
        {
            return outcome;
        }
        let keys = self.jwks.renewed().await.map_err(|Unavailable| {
            Refusal::of_operator("jwks_unavailable", "the issuer's keys cannot be had")
        })?;
        self.judge(token, kid, &keys).unwrap_or_else(|| {
            Err(Refusal::of_caller("key_unknown", "the issuer publishes no key of this name"))
        })
    }

    /// Who the token is of; `None` if these keys cannot tell, because its own is not among them.
    ///
    /// A key without a name may be that of any token.
    fn judge(
        &self,
        token: &str,
        kid: Option<&str>,
        keys: &JwkSet,
    ) -> Option<Result<Identity, Refusal>> {
        let mut refused = None;
        for jwk in &keys.keys {
            let name = jwk.common.key_id.as_deref();
            let is_named = kid.is_none() || name == kid;
            if !is_named && name.is_some() {
                continue;
            }
            let Some(key) = verifying_key(jwk) else { continue };
            match self.decode(token, &key) {
                Ok(claims) => return Some(Ok(Identity::of_claims(claims))),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {
                    if is_named {
                        refused.get_or_insert_with(|| Err(refusal(&error)));
                    }
                }
                // Of the key that made the signature: it says more than the others do.
                Err(error) => refused = Some(Err(refusal(&error))),
            }
        }
        refused
    }

    fn decode(&self, token: &str, key: &DecodingKey) -> Result<Map<String, Value>, Error> {
        let claims = decode::<Map<String, Value>>(token, key, &self.validation)?.claims;
        // The library takes a list as well, but RFC 7519 §4.1.1 does not.
        if claims.get("iss").is_some_and(Value::is_string) {
            Ok(claims)
        } else {
            Err(ErrorKind::InvalidToken.into())
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jwks, issuer, audience, .. } = self;
        write!(f, "those of {issuer} for {audience}, with the keys at {}", jwks.uri())
    }
}

/// The one bearer token (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let missing = || Refusal::of_caller("token_missing", "this path needs a bearer token");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Refusal::of_caller("token_malformed", "there is more than one Authorization"));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("Bearer") { Ok(token.trim()) } else { Err(missing()) }
}

/// The reason under the name that the filter has for it.
fn refusal(error: &Error) -> Refusal {
    let (code, detail) = match error.kind() {
        ErrorKind::ExpiredSignature => ("token_expired", "the token has expired"),
        ErrorKind::ImmatureSignature => ("token_not_yet_valid", "the token is not valid yet"),
        ErrorKind::InvalidAudience => ("audience_not_allowed", "the token is for somebody else"),
        ErrorKind::InvalidIssuer => ("issuer_unknown", "the token is of another issuer"),
        ErrorKind::InvalidSignature => ("signature_invalid", "the signature is not the issuer's"),
        ErrorKind::InvalidAlgorithm | ErrorKind::MissingAlgorithm => {
            ("alg_not_allowed", "the token is not signed with RS256")
        }
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => ("expiration_missing", "the token does not say when it expires"),
            "aud" => ("audience_not_allowed", "the token does not say whom it is for"),
            _ => ("issuer_unknown", "the token does not say who issued it"),
        },
        _ => ("token_malformed", "the token cannot be read"),
    };
    Refusal::of_caller(code, detail)
}

const CLOCK_SKEW_SECONDS: u64 = 120;
