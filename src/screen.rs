//! Screens a request: decides what can be decided without a key, cheapest checks first.

use crate::authn::{self, Authenticated};
use crate::config::{Config, Mode};
use crate::jose::Token;
use crate::location::{self, Found, Location};
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::reply::Recipient;
use crate::request::{HeaderEdit, RequestHead};
use crate::rules::{Access, Requirement};
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::{Denial, Pass, PassReason, Verdict};
use std::rc::Rc;
use std::time::Duration;

/// A token, and the state of its signature check.
pub(crate) enum Bearer {
    /// Not checked yet.
    Unverified(Token),
    /// A key verified it before, which may no longer be trusted.
    Verified(Rc<Authenticated>),
    /// It has waited for a key.
    Waiting(String),
}

impl Bearer {
    /// The token as it came.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Unverified(token) => token.into_text(),
            Self::Verified(verified) => verified.text().to_owned(),
            Self::Waiting(text) => text,
        }
    }

    /// The parsed token, to be verified again.
    pub(crate) fn into_token(self) -> Result<Token, Reason> {
        match self {
            Self::Unverified(token) => Ok(token),
            Self::Verified(verified) => Token::parse(verified.text().as_bytes()),
            Self::Waiting(text) => Token::parse(text.as_bytes()),
        }
    }
}

/// What judging a token needs besides the token.
pub(crate) struct Case<'r> {
    pub(crate) provider: ProviderId,
    /// Which of the provider's tenants, if it has any.
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) requirement: Rc<Requirement>,
    pub(crate) recipient: Recipient<'r>,
}

/// The result of screening: a verdict, or a token to judge and the edits of the request if it goes
/// on. Those do not depend on the judgement.
pub(crate) enum Screened<'r> {
    Decided(Verdict),
    Undecided(Bearer, Case<'r>, Vec<HeaderEdit>),
}

impl Case<'_> {
    /// The same case for when the request's head is gone.
    pub(crate) fn kept(self, config: &Config) -> Case<'static> {
        let Self { provider, tenant, requirement, recipient } = self;
        let recipient = Recipient::Kept(match recipient {
            Recipient::Kept(kept) => kept,
            head => config.replies.keep(&head),
        });
        Case { provider, tenant, requirement, recipient }
    }

    /// Denies the token for a reason that concerns its key or its claims.
    pub(crate) fn deny(
        self,
        config: &Config,
        reason: Reason,
        retry_in: Option<Duration>,
    ) -> Verdict {
        let Self { requirement, recipient, .. } = &self;
        let reply = config.replies.refusal(reason, recipient, &requirement.scopes, retry_in);
        let denial = Denial { reason, provider: Some(self.provider), reply };
        carry_out(config, denial, Vec::new)
    }
}

/// Screens a request.
pub(crate) fn screen<'r>(
    config: &Config,
    verified: &mut TokenCache,
    request: &'r RequestHead<'r>,
    now: Timestamp,
) -> Screened<'r> {
    let pass = |why, edits| Screened::Decided(Verdict::Pass(Pass { why, edits }));
    if config.bypass_cors_preflight && request.is_cors_preflight() {
        return pass(PassReason::CorsPreflight, edits(config, request, None));
    }
    let (requirement, is_optional) = match config.rules.access(request) {
        Access::Public => return pass(PassReason::Public, strip_owned(config, request)),
        Access::Optional(requirement) => (requirement, true),
        Access::Required(requirement) => (requirement, false),
    };
    let requirement = &requirement;
    let recipient = Recipient::Head(request);
    let deny = |reason, provider| {
        let reply = config.replies.refusal(reason, &recipient, &requirement.scopes, None);
        let edits = || edits(config, request, None);
        Screened::Decided(carry_out(config, Denial { reason, provider, reply }, edits))
    };

    let (location, bytes) = match find_token(config, requirement, request) {
        None if is_optional => {
            return pass(PassReason::Public, edits(config, request, None));
        }
        None => return deny(Reason::TokenMissing, None),
        Some((location, Found::Token(bytes))) => (location, bytes),
        Some(_) => return deny(Reason::MultipleTokens, None),
    };
    if bytes.len() > config.max_token_bytes {
        return deny(Reason::TokenTooLarge, None);
    }
    let (bearer, id, tenant) = match admit(config, requirement, verified, location, &bytes, now) {
        Ok(admitted) => admitted,
        Err((reason, id)) => return deny(reason, id),
    };
    let is_kept = config.providers[id].forward_original_token;
    let edits = edits(config, request, is_kept.then_some(location));
    let case = Case { provider: id, tenant, requirement: Rc::clone(requirement), recipient };
    Screened::Undecided(bearer, case, edits)
}

/// A token that is left to judge with keys, its provider, and its tenant.
type Admitted = (Bearer, ProviderId, Option<Box<str>>);

/// Admits a token to be judged with keys, or says why it is denied.
fn admit(
    config: &Config,
    requirement: &Requirement,
    verified: &mut TokenCache,
    location: &Location,
    bytes: &[u8],
    now: Timestamp,
) -> Result<Admitted, (Reason, Option<ProviderId>)> {
    let check = |token: &Token, id: Option<ProviderId>| {
        let is_for = |id: &ProviderId| config.providers[*id].locations.contains(location);
        let id = id.filter(is_for).ok_or((Reason::IssuerUnknown, None))?;
        let deny = |reason| (reason, Some(id));
        authn::check(&config.providers[id], token, now).map_err(deny)?;
        requirement.admit(id, token.claims()).map_err(deny)?;
        Ok(id)
    };
    if let Some(verified) = verified.find(bytes) {
        let token = verified.token.token();
        let id = check(token, Some(verified.provider))?;
        let tenants = config.providers[id].tenants.as_ref();
        let tenant = tenants.and_then(|tenants| tenants.tenant_of(token.claims().issuer()?));
        let tenant = tenant.map(Box::from);
        return Ok((Bearer::Verified(verified), id, tenant));
    }
    let token = Token::parse(bytes).map_err(|reason| (reason, None))?;
    let issuer = token.claims().issuer().and_then(|issuer| config.provider_of(issuer));
    let tenant = issuer.and_then(|(_, tenant)| tenant).map(Box::from);
    let id = check(&token, issuer.map(|(id, _)| id))?;
    Ok((Bearer::Unverified(token), id, tenant))
}

/// The first place that holds a token. The places of accepted providers come first, so a token that
/// the rule does not accept neither hides one that it does, nor goes unseen.
pub(crate) fn find_token<'c, 'r>(
    config: &'c Config,
    requirement: &Requirement,
    request: &RequestHead<'r>,
) -> Option<(&'c Location, Found<'r>)> {
    let accepted = requirement.providers.iter().flatten();
    accepted
        .flat_map(|provider| &config.providers[*provider].locations)
        .chain(&config.locations)
        .map(|location| (location, location.find(request)))
        .find(|(_, found)| *found != Found::Nothing)
}

/// The edits of a request that goes on, without the identity. They remove every header that the
/// upstream could take for an owned one, and every token except the verified one in `kept`.
///
/// In report mode every token stays, since the upstream still verifies them itself.
pub(crate) fn edits(
    config: &Config,
    request: &RequestHead<'_>,
    kept: Option<&Location>,
) -> Vec<HeaderEdit> {
    let mut edits = strip_owned(config, request);
    if config.mode == Mode::Enforce {
        location::strip(&config.locations, kept, request, &mut edits);
    }
    edits
}

/// Removes every header that the upstream could take for an owned one, and the names in
/// `Connection` that would make the next hop drop an owned header or a token.
fn strip_owned(config: &Config, request: &RequestHead<'_>) -> Vec<HeaderEdit> {
    let mut edits = Vec::new();
    for (name, _) in request.headers().filter(|(name, _)| config.owned_headers.resemble(name)) {
        let edit = HeaderEdit::Remove(name.into());
        if !edits.contains(&edit) {
            edits.push(edit);
        }
    }
    edits.extend(without_connection_options(config, request));
    edits
}

/// The next hop drops the headers that `Connection` names (RFC 9110 §7.6.1).
fn without_connection_options(config: &Config, request: &RequestHead<'_>) -> Option<HeaderEdit> {
    let options = || {
        let values = request.values(CONNECTION).flat_map(|value| value.split(|byte| *byte == b','));
        values.map(<[u8]>::trim_ascii)
    };
    let is_ours = |option: &&[u8]| {
        str::from_utf8(option).is_ok_and(|option| {
            config.owned_headers.resemble(option)
                || config.locations.iter().any(|location| location.is_header(option))
        })
    };
    options().find(is_ours)?;
    let kept: Vec<_> = options().filter(|option| !is_ours(option)).collect();
    Some(match kept.as_slice() {
        [] => HeaderEdit::Remove(CONNECTION.into()),
        kept => HeaderEdit::Set(CONNECTION.into(), kept.join(&b", "[..]).into()),
    })
}

/// Carries out a denial, or in report mode only reports it.
fn carry_out(config: &Config, denial: Denial, edits: impl FnOnce() -> Vec<HeaderEdit>) -> Verdict {
    match config.mode {
        Mode::Enforce => Verdict::Deny(denial),
        Mode::Report => {
            let why = PassReason::Reported { reason: denial.reason, provider: denial.provider };
            Verdict::Pass(Pass { why, edits: edits() })
        }
    }
}

const CONNECTION: &str = "connection";
