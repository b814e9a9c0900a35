//! The steps that read a token, up to its issuer.

use super::{Steps, Walk, shown_place};
use crate::explain::form::{self, Part};
use crate::explain::mask::printable;
use crate::jose::Token;
use crate::location::Location;
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use serde_json::Value;

impl Walk<'_> {
    pub(super) fn form(&self, steps: &mut Steps, token: &[u8]) {
        let fault = match self.reason {
            Some(Reason::TokenMalformed) => form::fault(token),
            _ => None,
        };
        let part = |steps: &mut Steps, name, part, good: String, wanted: &str| {
            let problem =
                fault.as_ref().filter(|(of, _)| *of == part).map(|(_, text)| text.clone());
            let fails = problem.is_some();
            steps.add_if(name, fails, problem.unwrap_or(good), wanted.to_owned());
        };
        // The header is read before the parts are counted.
        let count = token.split(|byte| *byte == b'.').count();
        if count == 3 || fault.is_some() {
            let wanted = "a JWS in compact serialization (RFC 7515 §7.1)";
            part(steps, "form", Part::Whole, format!("{count} parts"), wanted);
        }
        let header = form::header(token);
        let member = |name: &str| header.get(name).map_or_else(|| "no".to_owned(), shown_member);
        let is_json = "a JSON object".to_owned();
        part(steps, "header", Part::Header, is_json.clone(), "alg, kid and typ as texts");
        steps.add(
            "algorithm",
            &[Reason::AlgNotAllowed],
            format!("{} alg", member("alg")),
            "alg \"RS256\"".to_owned(),
        );
        let crit = if header.contains_key("crit") { "crit" } else { "no crit" };
        let wanted = "no crit: no extension is understood".to_owned();
        steps.add("extensions", &[Reason::CritUnsupported], crit.to_owned(), wanted);
        part(steps, "payload", Part::Payload, is_json, "claims with the types of RFC 7519 §4.1");
        let wanted = "base64url without padding";
        part(steps, "signature part", Part::Signature, "base64url".to_owned(), wanted);
    }

    pub(super) fn issuer(
        &self,
        steps: &mut Steps,
        token: &Token,
        location: &Location,
    ) -> Option<ProviderId> {
        let issuer = token.claims().issuer();
        let found = issuer.and_then(|issuer| self.config().provider_of(issuer));
        let shown = issuer.map_or_else(
            || "no iss".to_owned(),
            |issuer| format!("iss is {}{}", self.mask.text(issuer), self.hint_about(issuer)),
        );
        let saw = match found {
            Some((id, _)) if self.explainer.provider(id).locations.contains(location) => {
                format!("{shown}, of the provider {:?}", self.explainer.provider(id).name)
            }
            Some((id, _)) => format!(
                "{shown}, of the provider {:?}, which takes no token from {}",
                self.explainer.provider(id).name,
                shown_place(location)
            ),
            None => shown,
        };
        let issuers = self.config().providers.values().map(|provider| {
            let kind = if provider.tenants.is_some() { " for its tenants" } else { "" };
            format!("{:?}{kind}", provider.issuer)
        });
        let wanted = format!("iss exactly {}", issuers.collect::<Vec<_>>().join(" or "));
        steps.add("issuer", &[Reason::IssuerUnknown], saw, wanted);
        found.map(|(id, _)| id)
    }

    /// The usual mistakes, which a masked value would hide.
    fn hint_about(&self, issuer: &str) -> &'static str {
        let differs = |change: fn(&str) -> &str| {
            self.config().providers.values().any(|provider| {
                provider.issuer != issuer && change(&provider.issuer) == change(issuer)
            })
        };
        if differs(|text| text.trim_end_matches('/')) {
            ", which differs by a slash at the end"
        } else if differs(|text| text.split_once("://").map_or(text, |(_, rest)| rest)) {
            ", which differs by its scheme"
        } else {
            ""
        }
    }
}

/// A member of the JOSE header: they are no secret, but may be long.
fn shown_member(value: &Value) -> String {
    printable(&value.to_string().chars().take(SHOWN_CHARS).collect::<String>())
}

const SHOWN_CHARS: usize = 64;
