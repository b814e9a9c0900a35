//! The steps that ask for the key of a token.

use super::{Steps, Walk};
use crate::explain::Keys;
use crate::jose::{Shown, Token, VerifyingKey, shown_kid};
use crate::jwks::MAX_CANDIDATES;
use crate::per_provider::ProviderId;
use crate::reason::Reason;

impl Walk<'_> {
    pub(super) fn keys(&self, steps: &mut Steps, id: ProviderId, token: &Token) {
        let kid = token.kid();
        let shown =
            kid.map_or_else(|| "no kid".to_owned(), |kid| format!("kid {:?}", shown_kid(kid)));
        let provider = self.explainer.provider(id);
        let unavailable = [Reason::JwksUnavailable, Reason::Overloaded, Reason::KeyUnknown];
        let (set, place) = match (&self.explainer.keys[id], provider.configured_keys()) {
            (Keys::Published(set), _) => (set, "the JWK Set"),
            (Keys::Unusable(error), None) => {
                let wanted = "a JWK Set with usable keys".to_owned();
                return steps.add("key", &unavailable, error.to_string(), wanted);
            }
            (Keys::Configured | Keys::Unknown | Keys::Unusable(_), Some(set)) => {
                (set, "jwks of the configuration")
            }
            (Keys::Configured | Keys::Unknown, None) => {
                let wanted = "the keys of the issuer, which are not known here".to_owned();
                return steps.add("key", &unavailable, shown, wanted);
            }
        };
        let is_candidate =
            |key: &&VerifyingKey| kid.is_none() || key.kid().is_none() || key.kid() == kid;
        let candidates = set.keys.iter().filter(is_candidate).count();
        let tried = candidates.min(MAX_CANDIDATES);
        let kids: Vec<_> = set.keys.iter().take(SHOWN_KIDS).map(shown_kid_of).collect();
        let more = if set.keys.len() > SHOWN_KIDS { ", …" } else { "" };
        let skipped = match set.skipped.as_slice() {
            [] => String::new(),
            skipped => format!("; not usable: {}", Shown(skipped)),
        };
        let unnamed = match self.reason {
            Some(Reason::KeyUnknown) if tried > 0 => {
                format!("; {tried} without a kid did not sign it")
            }
            _ => String::new(),
        };
        steps.add(
            "key",
            &unavailable,
            format!(
                "{shown}, and {place} has the kids {}{more}{unnamed}{skipped}",
                kids.join(", ")
            ),
            "a key with that kid, or one without a kid that signed it".to_owned(),
        );
        let (saw, wanted) = match self.reason {
            Some(Reason::SignatureInvalid) if tried < candidates => (
                format!("the first {tried} of {candidates} keys tried, no more are; none made it"),
                "a kid in the token, which says which key to try",
            ),
            Some(Reason::SignatureInvalid) => (
                format!("{tried} keys tried, and none made it"),
                "made by a key of the issuer over exactly this header and payload",
            ),
            _ => ("made by a key of the issuer".to_owned(), "RS256 (RFC 7518 §3.3)"),
        };
        steps.add("signature", &[Reason::SignatureInvalid], saw, wanted.to_owned());
    }
}

fn shown_kid_of(key: &VerifyingKey) -> String {
    key.kid().map_or_else(|| "none".to_owned(), |kid| format!("{:?}", shown_kid(kid)))
}

const SHOWN_KIDS: usize = 10;
