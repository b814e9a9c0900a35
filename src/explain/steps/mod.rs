//! The steps of a decision in their order, which is that of `screen`, `authn` and `judge`.
//!
//! They decide nothing: the engine has, and each of its reasons belongs to one step, so that all
//! before it were passed.

mod claims;
mod form;
mod keys;

use super::mask::printable;
use super::{Explainer, Mask, Step};
use crate::config::Config;
use crate::jose::Token;
use crate::location::{Found, Location};
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::request::RequestHead;
use crate::rules::{Access, Requirement};
use crate::screen::find_token;
use crate::time::Timestamp;
use crate::verdict::Verdict;

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
            let (saw, wanted) = super::claims::scopes(requirement, token.claims());
            steps.add("scopes", &[Reason::ScopeInsufficient], saw, wanted);
        }
        if !requirement.claims.is_empty() {
            let (saw, wanted) =
                super::claims::values(requirement, token.claims(), provider, self.mask);
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
        let path = String::from_utf8_lossy(path);
        format!("{} {} at {authority:?}{port}", printable(&method), printable(&path))
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
