//! What can be decided about a request without a key: cheap before dear.

use crate::authn::{self, Authenticated};
use crate::config::{Config, Mode, Provider};
use crate::jose::Token;
use crate::location::{self, Found};
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::{HeaderEdit, RequestHead};
use crate::rules::{Access, Requirement};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::{Denial, Pass, PassReason, Verdict};
use std::rc::Rc;
use std::time::Duration;

/// A token that only lacks a key to be judged by.
pub(crate) struct Candidate {
    pub(crate) bearer: Bearer,
    pub(crate) case: Case,
}

/// A token, and what is known of its signature.
pub(crate) enum Bearer {
    /// Nothing.
    Unverified(Token),
    /// A key made it, which may not be trusted any more.
    Verified(Rc<Authenticated>),
}

impl Bearer {
    fn token(&self) -> &Token {
        match self {
            Self::Unverified(token) => token,
            Self::Verified(verified) => verified.token.token(),
        }
    }
}

/// What else the judgement on a token needs.
pub(crate) struct Case {
    pub(crate) provider: usize,
    pub(crate) requirement: Rc<Requirement>,
    /// Made when the token is verified.
    pub(crate) edits: Vec<HeaderEdit>,
    /// Made when it is not, but the mode is to report.
    pub(crate) edits_if_reported: Vec<HeaderEdit>,
    pub(crate) realm: String,
}

/// What is known of a request before any key is looked at.
pub(crate) enum Screened {
    Candidate(Candidate),
    Decided(Verdict),
}

impl Case {
    /// Refuses the token for a reason that has to do with its key or its claims.
    pub(crate) fn deny(
        self,
        config: &Config,
        reason: Reason,
        retry_in: Option<Duration>,
    ) -> Verdict {
        let reply = LocalReply::new(reason, &self.realm, &self.requirement.scopes, retry_in);
        let denial = Denial { reason, provider: Some(self.provider), reply };
        carry_out(config, denial, self.edits_if_reported)
    }
}

/// Decides what can be decided without keys.
pub(crate) fn screen(
    config: &Config,
    issuers: &SortedMap<String, usize>,
    verified: &mut TokenCache,
    request: &RequestHead<'_>,
    now: Timestamp,
) -> Screened {
    let stripped = strip_owned(config, request);
    let pass = |why, edits| Screened::Decided(Verdict::Pass(Pass { why, edits }));
    if config.bypass_cors_preflight && request.is_cors_preflight() {
        return pass(PassReason::CorsPreflight, stripped);
    }
    let (requirement, is_optional) = match config.rules.access(request) {
        Access::Public => return pass(PassReason::Public, stripped),
        Access::Optional(requirement) => (requirement, true),
        Access::Required(requirement) => (requirement, false),
    };
    let requirement = &requirement;
    let realm = config.realm.clone().unwrap_or_else(|| request.authority().into_owned());
    let deny = |reason, provider, edits| {
        let reply = LocalReply::new(reason, &realm, &requirement.scopes, None);
        Screened::Decided(carry_out(config, Denial { reason, provider, reply }, edits))
    };

    let (place, bytes) = match find_token(config, requirement, request) {
        None if is_optional => return pass(PassReason::Public, stripped),
        None => return deny(Reason::TokenMissing, None, stripped),
        Some((place, Found::Token(bytes))) => (place, bytes),
        Some(_) => return deny(Reason::MultipleTokens, None, stripped),
    };
    if bytes.len() > config.max_token_bytes {
        return deny(Reason::TokenTooLarge, None, stripped);
    }
    let bearer = match verified.find(&bytes) {
        Some(verified) => Bearer::Verified(verified),
        None => match Token::parse(&bytes) {
            Ok(token) => Bearer::Unverified(token),
            Err(reason) => return deny(reason, None, stripped),
        },
    };
    let token = bearer.token();
    let index = match &bearer {
        Bearer::Unverified(token) => token.claims().issuer().and_then(|iss| issuers.get(iss)),
        Bearer::Verified(verified) => Some(&verified.provider),
    };
    let found = index.and_then(|index| Some((*index, config.providers.get(*index)?)));
    let (index, provider) = match found {
        Some((index, provider)) if provider.places.contains(&place) => (index, provider),
        _ => return deny(Reason::IssuerUnknown, None, stripped),
    };
    if let Err(reason) = authn::check(provider, token, now) {
        return deny(reason, Some(index), stripped);
    }
    if !requirement.takes_provider(index) {
        return deny(Reason::ProviderNotAllowed, Some(index), stripped);
    }
    Screened::Candidate(Candidate {
        bearer,
        case: Case {
            provider: index,
            requirement: Rc::clone(requirement),
            edits: edits_if_allowed(config, provider, place, request, &stripped),
            edits_if_reported: stripped,
            realm,
        },
    })
}

/// The first place that holds a token: the accepted providers' places come before the others', so
/// that a token which the rule does not take neither hides one that it does, nor goes unseen.
fn find_token<'r>(
    config: &Config,
    requirement: &Requirement,
    request: &RequestHead<'r>,
) -> Option<(usize, Found<'r>)> {
    let named = requirement.providers.iter().flatten();
    let accepted = named.filter_map(|index| config.providers.get(*index));
    let mut last = None;
    accepted
        .flat_map(|provider| &provider.places)
        .copied()
        .chain(0..config.locations.len())
        .filter(|place| last.replace(*place) != Some(*place))
        .filter_map(|place| Some((place, config.locations.get(place)?.find(request))))
        .find(|(_, found)| *found != Found::Nothing)
}

/// Removals for every header that the upstream could take for one the filter sets.
pub(crate) fn strip_owned(config: &Config, request: &RequestHead<'_>) -> Vec<HeaderEdit> {
    request
        .headers()
        .filter(|(name, _)| config.owned_headers.resemble(name))
        .map(|(name, _)| HeaderEdit::Remove(name.into()))
        .collect()
}

/// The edits of an allowed request, short of its identity: no token that nobody verified reaches
/// the upstream, and the verified one only if it is wanted there.
///
/// While reporting, the upstream still verifies for itself, so that every token stays.
fn edits_if_allowed(
    config: &Config,
    provider: &Provider,
    used: usize,
    request: &RequestHead<'_>,
    stripped: &[HeaderEdit],
) -> Vec<HeaderEdit> {
    let mut edits = stripped.to_vec();
    if config.mode == Mode::Report {
        return edits;
    }
    let kept = config.locations.get(used).filter(|_| provider.forward_original_token);
    let unwanted = config.locations.iter().enumerate().filter(|(place, location)| {
        kept.is_none_or(|kept| !kept.overlaps(location))
            && (*place == used || location.find(request) != Found::Nothing)
    });
    location::remove(unwanted.map(|(_, location)| location), request, &mut edits);
    edits
}

/// Makes a refusal of a denial, or only a report, as the mode says.
fn carry_out(config: &Config, denial: Denial, edits_if_reported: Vec<HeaderEdit>) -> Verdict {
    match config.mode {
        Mode::Enforce => Verdict::Deny(denial),
        Mode::Report => {
            let why = PassReason::Reported { reason: denial.reason, provider: denial.provider };
            Verdict::Pass(Pass { why, edits: edits_if_reported })
        }
    }
}
