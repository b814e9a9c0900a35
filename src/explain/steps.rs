//! The steps of a decision in their order, which is that of `screen`, `authn` and `judge`.
//!
//! They decide nothing: the engine has, and each of its reasons belongs to one step, so that all
//! before it were passed.

use super::form::{self, Part};
use super::{Explainer, Keys, Mask, Step, claims};
use crate::config::{Config, Provider};
use crate::jose::{Shown, Token, VerifyingKey, shown_kid};
use crate::location::{Found, Location};
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::request::RequestHead;
use crate::rules::{Access, Requirement};
use crate::screen::find_token;
use crate::time::Timestamp;
use crate::verdict::Verdict;
use serde_json::Value;
use std::time::Duration;

/// What the steps of one decision are told from.
pub(super) struct Walk<'w> {
    pub(super) explainer: &'w Explainer,
    pub(super) request: &'w RequestHead<'w>,
    pub(super) now: Timestamp,
    pub(super) mask: Mask,
    /// Why the request is refused, if it is.
    pub(super) reason: Option<Reason>,
}

/// Collects the steps up to the one with the reason.
struct Steps {
    steps: Vec<Step>,
    reason: Option<Reason>,
    is_over: bool,
}

impl Steps {
    /// Adds a step, which fails if the reason is one of its own.
    fn add(&mut self, name: &'static str, reasons: &[Reason], saw: String, wanted: String) {
        let fails = self.reason.is_some_and(|reason| reasons.contains(&reason));
        self.add_if(name, fails, saw, wanted);
    }

    fn add_if(&mut self, name: &'static str, fails: bool, saw: String, wanted: String) {
        if !self.is_over {
            self.steps.push(Step { name, passed: !fails, saw, wanted });
            self.is_over = fails;
        }
    }
}

impl<'w> Walk<'w> {
    /// The steps, and the provider of the token if it was found.
    pub(super) fn steps(self, verdict: Option<&Verdict>) -> (Vec<Step>, Option<ProviderId>) {
        let mut steps = Steps { steps: Vec::new(), reason: self.reason, is_over: false };
        let provider = self.walk(&mut steps, verdict);
        (steps.steps, provider)
    }

    fn config(&self) -> &'w Config {
        &self.explainer.config
    }

    fn walk(&self, steps: &mut Steps, verdict: Option<&Verdict>) -> Option<ProviderId> {
        if verdict.is_some_and(|verdict| verdict.code() == "cors_preflight") {
            let saw = "a CORS preflight".to_owned();
            steps.add("preflight", &[], saw, "bypassCorsPreflight lets it pass".to_owned());
            return None;
        }
        let access = self.config().rules.access(self.request);
        steps.add("rule", &[], self.what_is_asked_for(), self.rule(&access));
        let (Access::Required(requirement) | Access::Optional(requirement)) = &access else {
            return None;
        };
        let (location, token) = self.token(steps, requirement)?;
        let most = self.config().max_token_bytes;
        steps.add(
            "size",
            &[Reason::TokenTooLarge],
            format!("{} bytes", token.len()),
            format!("at most {most} (maxTokenBytes)"),
        );
        self.form(steps, &token);
        let token = Token::parse(&token).ok()?;
        let id = self.issuer(steps, &token, location)?;
        let provider = self.explainer.provider(id);
        self.of_provider(steps, provider, &token);
        self.of_rule(steps, requirement, id, &token);
        self.keys(steps, id, &token);
        if !requirement.scopes.is_empty() {
            let (saw, wanted) = claims::scopes(requirement, token.claims());
            steps.add("scopes", &[Reason::ScopeInsufficient], saw, wanted);
        }
        if !requirement.claims.is_empty() {
            let (saw, wanted) = claims::values(requirement, token.claims(), provider, self.mask);
            steps.add("claims", &[Reason::ClaimMismatch], saw, wanted);
        }
        Some(id)
    }

    fn what_is_asked_for(&self) -> String {
        // The query may hold a token.
        let path = self.request.path().split(|byte| *byte == b'?').next().unwrap_or_default();
        let method = String::from_utf8_lossy(self.request.method());
        let authority = self.request.authority();
        let port = match self.request.destination_port() {
            Some(port) => format!(", to port {port}"),
            None => String::new(),
        };
        format!("{method} {} at {authority:?}{port}", String::from_utf8_lossy(path).escape_debug())
    }

    fn rule(&self, access: &Access) -> String {
        let deciding = self.config().rules.deciding(self.request);
        let names = deciding.iter().map(|rule| match rule {
            Some(number) => format!("rules[{number}]"),
            None => "no rule".to_owned(),
        });
        let names = names.collect::<Vec<_>>().join(" and ");
        let readings = match deciding.as_slice() {
            [_] => "",
            _ => ", since servers may read this request in several ways: it must meet them all",
        };
        let access = match access {
            Access::Public => "public: its token is not looked at",
            Access::Optional(_) => "optional: a token may be absent, but not bad",
            Access::Required(_) => "a token is required",
        };
        format!("{names}{readings}; {access}")
    }

    fn token(
        &self,
        steps: &mut Steps,
        requirement: &Requirement,
    ) -> Option<(&'w Location, Vec<u8>)> {
        let found = find_token(self.config(), requirement, self.request);
        let saw = match &found {
            None => "none".to_owned(),
            Some((place, Found::Token(_))) => format!("one in {}", shown_place(place)),
            Some((place, _)) => {
                format!("several, or something beside it, in {}", shown_place(place))
            }
        };
        let places = self.config().locations.iter().map(shown_place).collect::<Vec<_>>().join(", ");
        let reasons = [Reason::TokenMissing, Reason::MultipleTokens];
        steps.add("token", &reasons, saw, format!("one in {places}"));
        match found? {
            (place, Found::Token(bytes)) => Some((place, bytes.into_owned())),
            _ => None,
        }
    }

    fn form(&self, steps: &mut Steps, token: &[u8]) {
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
        let three = "three parts".to_owned();
        part(steps, "form", Part::Whole, three, "a JWS in compact serialization (RFC 7515 §7.1)");
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

    fn issuer(&self, steps: &mut Steps, token: &Token, location: &Location) -> Option<ProviderId> {
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

    fn of_provider(&self, steps: &mut Steps, provider: &Provider, token: &Token) {
        let claims = token.claims();
        let skew = humantime::format_duration(provider.clock_skew);
        steps.add(
            "type",
            &[Reason::TypNotAllowed],
            token.typ().map_or_else(|| "no typ".to_owned(), |typ| format!("typ {typ:?}")),
            format!(
                "typ {}{}",
                provider.token_types.join(" or "),
                if provider.require_token_type { "" } else { ", or none" }
            ),
        );
        steps.add(
            "expiration",
            &[Reason::ExpirationMissing, Reason::TokenExpired],
            claims
                .exp
                .map_or_else(|| "no exp".to_owned(), |exp| format!("exp {}", self.relative(exp))),
            match provider.require_expiration {
                true => format!("exp not over by {skew} (clockSkew)"),
                false => format!("exp not over by {skew} (clockSkew), or none"),
            },
        );
        steps.add(
            "not before",
            &[Reason::TokenNotYetValid],
            claims
                .nbf
                .map_or_else(|| "no nbf".to_owned(), |nbf| format!("nbf {}", self.relative(nbf))),
            format!("nbf not more than {skew} ahead (clockSkew), or none"),
        );
        steps.add(
            "binding",
            &[Reason::TokenBound],
            if claims.is_bound() { "cnf" } else { "no cnf" }.to_owned(),
            match provider.allow_bound_tokens {
                true => "anything: allowBoundTokens",
                false => "no cnf, which asks for proof of possession",
            }
            .to_owned(),
        );
        if !provider.audiences.is_empty() {
            let fails = self.reason == Some(Reason::AudienceNotAllowed)
                && !claims.is_for_any_of(&provider.audiences);
            steps.add_if("audience", fails, self.audience(token), one_of(&provider.audiences));
        }
        if let Some(most) = provider.max_lifetime {
            let from = if claims.iat.is_some() { "from iat" } else { "from now" };
            let issued = claims.iat.unwrap_or(self.now);
            let lifetime = claims.exp.map(|exp| whole_seconds(exp.saturating_since(issued)));
            steps.add(
                "lifetime",
                &[Reason::LifetimeTooLong],
                lifetime.map_or_else(
                    || "no exp".to_owned(),
                    |lifetime| format!("{} {from} to exp", humantime::format_duration(lifetime)),
                ),
                format!("at most {} (maxLifetime)", humantime::format_duration(most)),
            );
        }
    }

    fn of_rule(&self, steps: &mut Steps, requirement: &Requirement, id: ProviderId, token: &Token) {
        if let Some(providers) = &requirement.providers {
            let names: Vec<_> =
                providers.iter().map(|id| self.explainer.provider(*id).name.clone()).collect();
            let saw = format!("the provider {:?}", self.explainer.provider(id).name);
            let wanted = format!("{} (providers of the rule)", one_of(&names));
            steps.add("provider", &[Reason::ProviderNotAllowed], saw, wanted);
        }
        for audiences in &requirement.audiences {
            let fails = self.reason == Some(Reason::AudienceNotAllowed)
                && !token.claims().is_for_any_of(audiences);
            let wanted = format!("{} (requires.audiences of the rule)", one_of(audiences));
            steps.add_if("audience of the rule", fails, self.audience(token), wanted);
        }
    }

    fn keys(&self, steps: &mut Steps, id: ProviderId, token: &Token) {
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

    fn audience(&self, token: &Token) -> String {
        match token.claims().member("aud") {
            None => "no aud".to_owned(),
            aud @ Some(_) => format!("aud is {}", self.mask.value(aud)),
        }
    }

    fn relative(&self, at: Timestamp) -> String {
        if at == Timestamp::MAX {
            return "is beyond all times".to_owned();
        }
        let by = |duration| humantime::format_duration(whole_seconds(duration));
        match at > self.now {
            true => format!("is {} ahead", by(at.saturating_since(self.now))),
            false => format!("was {} ago", by(self.now.saturating_since(at))),
        }
    }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

fn one_of(texts: &[String]) -> String {
    match texts {
        [] => "none at all".to_owned(),
        [text] => format!("{text:?}"),
        texts => format!("one of {texts:?}"),
    }
}

fn shown_place(location: &Location) -> String {
    match location {
        Location::Cookie(name) => format!("the cookie {name}"),
        Location::Header { name, prefix } => format!("the header {name} after {prefix:?}"),
        Location::Param(name) => format!("the query parameter {name}"),
    }
}

/// A member of the JOSE header: they are no secret, but may be long.
fn shown_member(value: &Value) -> String {
    value.to_string().chars().take(SHOWN_CHARS).collect()
}

const SHOWN_CHARS: usize = 64;
const SHOWN_KIDS: usize = 10;
