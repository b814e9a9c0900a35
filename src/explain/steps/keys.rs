//! The steps that ask for the key of a token.

use super::{Steps, Walk};
use crate::explain::Keys;
use crate::jose::{Shown, Token, VerifyingKey, shown_kid};
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
            (Keys::Unusable(error), _) => {
                let wanted = "a JWK Set with usable keys".to_owned();
                return steps.add("key", &unavailable, error.to_string(), wanted);
            }
            (Keys::Configured | Keys::Unknown, Some(set)) => (set, "jwks of the configuration"),
            (Keys::Configured | Keys::Unknown, None) => {
                let wanted = "the keys of the issuer, which are not known here".to_owned();
                return steps.add("key", &unavailable, shown, wanted);
            }
        };
        let is_candidate =
            |key: &&VerifyingKey| kid.is_none() || key.kid().is_none() || key.kid() == kid;
        let candidates = set.keys.iter().filter(is_candidate).count();
        let kids: Vec<_> = set
            .keys
            .iter()
            .take(SHOWN_KIDS)
            .map(|key| {
                key.kid().map_or_else(|| "none".to_owned(), |kid| format!("{:?}", shown_kid(kid)))
            })
            .collect();
        let more = if set.keys.len() > SHOWN_KIDS { ", …" } else { "" };
        let skipped = match set.skipped.as_slice() {
            [] => String::new(),
            skipped => format!("; not usable: {}", Shown(skipped)),
        };
        steps.add(
            "key",
            &unavailable,
            format!("{shown}, and {place} has the kids {}{more}{skipped}", kids.join(", ")),
            "a key with that kid, or without one".to_owned(),
        );
        let (saw, wanted) = match self.reason {
            Some(Reason::SignatureInvalid) => (
                format!("{candidates} keys tried, and none made it"),
                "made by a key of the issuer over exactly this header and payload",
            ),
            _ => ("made by a key of the issuer".to_owned(), "RS256 (RFC 7518 §3.3)"),
        };
        steps.add("signature", &[Reason::SignatureInvalid], saw, wanted.to_owned());
    }
}

const SHOWN_KIDS: usize = 10;
