//! Why a request is denied: the stable codes, and their HTTP and RFC 6750 meaning.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $error:expr, $detail:literal;)*) => {
        /// Why a request is denied.
        ///
        /// [`Self::code`] is in metrics, access logs and reply bodies: a code is never renamed and
        /// never given a second meaning.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code, in snake case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status of the local reply.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// The `error` of the `WWW-Authenticate` challenge (RFC 6750 §3.1).
            #[must_use]
            pub const fn error(self) -> BearerError {
                match self { $(Self::$variant => $error,)* }
            }

            /// One sentence for the caller; never holds anything taken from the request.
            #[must_use]
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$variant => $detail,)* }
            }
        }
    };
}

/// The `WWW-Authenticate` challenge for a denial (RFC 6750 §3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BearerError {
    /// A challenge without `error`: no authentication information was given.
    Challenge,
    /// `error="insufficient_scope"`.
    InsufficientScope,
    /// `error="invalid_request"`.
    InvalidRequest,
    /// `error="invalid_token"`.
    InvalidToken,
    /// No challenge at all: the caller's credentials are not at fault.
    None,
}

impl BearerError {
    /// The value of `error` in the challenge, if there is one.
    pub(crate) const fn code(self) -> Option<&'static str> {
        match self {
            Self::Challenge | Self::None => None,
            Self::InsufficientScope => Some("insufficient_scope"),
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
        }
    }
}

use BearerError as E;

reasons! {
    // Form and JOSE header.
    /// `alg` is not RS256.
    AlgNotAllowed = "alg_not_allowed", 401, E::InvalidToken, "the token is not signed with RS256";
    /// `crit` is present (RFC 7515 §4.1.11: an extension that is not understood is refused).
    CritUnsupported = "crit_unsupported", 401, E::InvalidToken, "the token requires an extension that is not supported";
    /// The location in use holds more than one token.
    MultipleTokens = "multiple_tokens", 400, E::InvalidRequest, "the request carries more than one token";
    /// Not a JWT in compact serialization, or a claim of the wrong type.
    TokenMalformed = "token_malformed", 401, E::InvalidToken, "the token is not a well-formed JWT";
    /// No token in any configured place.
    TokenMissing = "token_missing", 401, E::Challenge, "the request carries no token";
    /// Longer than `maxTokenBytes`.
    TokenTooLarge = "token_too_large", 401, E::InvalidToken, "the token is too large";
    /// `typ` is not among the provider's `tokenTypes`.
    TypNotAllowed = "typ_not_allowed", 401, E::InvalidToken, "the token is of a type that is not accepted";

    // Claims.
    /// None of the provider's `audiences` is in `aud`, or none of the rule's.
    AudienceNotAllowed = "audience_not_allowed", 401, E::InvalidToken, "the token is not meant for this audience";
    /// `exp` is absent and the provider requires it.
    ExpirationMissing = "expiration_missing", 401, E::InvalidToken, "the token has no expiration time";
    /// No provider takes tokens of this issuer from the place where the token was found.
    IssuerUnknown = "issuer_unknown", 401, E::InvalidToken, "the token's issuer is not accepted";
    /// The lifetime exceeds the provider's `maxLifetime`.
    LifetimeTooLong = "lifetime_too_long", 401, E::InvalidToken, "the token is valid for too long";
    /// `cnf` binds the token to a key, and a bearer token proves possession of none.
    TokenBound = "token_bound", 401, E::InvalidToken, "the token is bound to a key, and the request does not prove possession of it";
    /// `exp` is past.
    TokenExpired = "token_expired", 401, E::InvalidToken, "the token has expired";
    /// `nbf` is ahead.
    TokenNotYetValid = "token_not_yet_valid", 401, E::InvalidToken, "the token is not valid yet";

    // Keys.
    /// No trusted key in time, or no conclusive search for the token's key.
    JwksUnavailable = "jwks_unavailable", 503, E::None, "the issuer's keys are not available at the moment";
    /// No trusted key has the token's `kid`.
    KeyUnknown = "key_unknown", 401, E::InvalidToken, "the token is signed with an unknown key";
    /// `maxPausedRequests` is reached.
    Overloaded = "overloaded", 503, E::None, "too many requests are waiting for the issuer's keys";
    /// No candidate key verifies the signature.
    SignatureInvalid = "signature_invalid", 401, E::InvalidToken, "the token's signature is not valid";

    // Rules.
    /// A claim that the rule asks for is absent or has another value.
    ClaimMismatch = "claim_mismatch", 403, E::InsufficientScope, "the token does not grant access to this resource";
    /// The rule does not take tokens of this provider.
    ProviderNotAllowed = "provider_not_allowed", 403, E::InsufficientScope, "tokens of this issuer are not accepted for this resource";
    /// A scope that the rule asks for is not in the token.
    ScopeInsufficient = "scope_insufficient", 403, E::InsufficientScope, "the token lacks a scope that this resource requires";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_distinct_and_in_snake_case() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();

        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn status_and_bearer_error_agree() {
        for reason in Reason::ALL {
            let expected: &[u16] = match reason.error() {
                E::Challenge | E::InvalidToken => &[401],
                E::InsufficientScope => &[403],
                E::InvalidRequest => &[400],
                E::None => &[503],
            };
            assert!(expected.contains(&reason.status()), "{reason}");
        }
    }
}
