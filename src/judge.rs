//! Judges a token: checks its signature with the trusted keys, then what its claims grant.

use crate::authn::Authenticated;
use crate::config::{Config, Provider};
use crate::event::Event;
use crate::issuers::IssuerId;
use crate::jose::{Crypto, Token, VerifiedToken, kid_fingerprint};
use crate::jwks::{self, Prospect};
use crate::reason::Reason;
use crate::screen::{Bearer, Case};
use crate::time::Timestamp;
use crate::token_cache::TokenCache;
use crate::verdict::{Allow, Verdict};
use crate::waiting::{Miss, Patience, Paused};
use std::collections::VecDeque;
use std::rc::Rc;

/// Judges the tokens of one issuer at one moment.
pub(crate) struct Judge<'e> {
    pub(crate) config: &'e Config,
    pub(crate) provider: &'e Provider,
    pub(crate) keys: &'e jwks::Cache,
    pub(crate) crypto: Crypto,
    pub(crate) verified: &'e mut TokenCache,
    pub(crate) events: &'e mut VecDeque<Event>,
    pub(crate) now: Timestamp,
    pub(crate) issuer: IssuerId,
    /// Whether a key of the issuer has verified the token.
    pub(crate) has_verified: bool,
}

/// The verdict, or the request that waits: no trusted key verifies its token, but one may come in time.
pub(crate) type Judged = Result<Verdict, Box<Paused>>;

impl Judge<'_> {
    /// Judges a token with the trusted keys, or lets it wait for others.
    pub(crate) fn judge(
        &mut self,
        bearer: Bearer,
        case: Case<'_>,
        mut patience: Patience,
    ) -> Judged {
        if let Bearer::Verified(verified) = &bearer {
            if self.keys.trusts(verified.token.key(), self.now) {
                self.events.push_back(Event::TokenCacheHit);
                self.has_verified = true;
                return Ok(self.authorize(Rc::clone(verified), case));
            }
            self.verified.forget(verified);
        }
        if self.verified.is_on() && !matches!(bearer, Bearer::Waiting(_)) {
            self.events.push_back(Event::TokenCacheMiss);
        }

        // Parse a waiting token again only if it has untried candidate keys.
        let has_untried = |miss: &Miss| self.keys.has_others(miss.kid, &miss.tried, self.now);
        if !patience.miss.as_ref().is_none_or(has_untried) {
            return self.look_for_key(bearer.into_text(), case, patience);
        }
        if let Some(attempt_at) = self.keys.awaits_keys(self.now) {
            // Waiting for an attempt after the deadline would only add to the delay.
            if self.now < patience.deadline && attempt_at < patience.deadline {
                let patience = Patience { miss: None, ..patience };
                return Err(self.pause(bearer.into_text(), case, patience));
            }
            let retry_in = Some(attempt_at.saturating_since(self.now));
            return Ok(case.deny(self.config, Reason::JwksUnavailable, retry_in));
        }
        let token = match bearer.into_token() {
            Ok(token) => token,
            Err(reason) => return Ok(case.deny(self.config, reason, None)),
        };

        match self.check_signature(token, &mut patience) {
            Ok(token) => {
                self.has_verified = true;
                let verified = Rc::new(Authenticated::new(case.provider, self.provider, token));
                self.verified.offer(&verified);
                Ok(self.authorize(verified, case))
            }
            Err(token) => self.look_for_key(token.into_text(), case, patience),
        }
    }

    /// Checks the signature with the untried candidate keys, and records them as tried.
    fn check_signature(
        &mut self,
        token: Token,
        patience: &mut Patience,
    ) -> Result<VerifiedToken, Box<Token>> {
        let mut tried = patience.miss.take().map(|miss| miss.tried).unwrap_or_default();
        let kid = token.kid();
        let mut is_kid_known = kid.is_none();
        let candidates: Vec<_> = self
            .keys
            .candidates(kid, self.now)
            .inspect(|key| is_kid_known |= key.kid() == kid)
            .filter(|key| !tried.contains(&key.fingerprint()))
            .collect();

        let by_host = matches!(self.crypto, Crypto::Host(_));
        let attempted = || self.events.push_back(Event::SignatureChecked { by_host });
        token.verify(candidates.iter().copied(), self.crypto, attempted).inspect_err(|token| {
            tried.extend(candidates.iter().map(|key| key.fingerprint()));
            let kid = token.kid().map(kid_fingerprint);
            patience.miss = Some(Miss { kid, is_kid_known, tried });
        })
    }

    /// Decides whether a verified token grants what the rule requires.
    fn authorize(&mut self, verified: Rc<Authenticated>, case: Case<'_>) -> Verdict {
        let token = &verified.token;
        if self.keys.is_stale(token.key(), self.now) {
            self.events.push_back(Event::StaleKeyUsed { provider: case.provider });
        }
        let space_delimited = &self.provider.space_delimited_claims;
        match case.requirement.authorize(token.claims(), space_delimited) {
            Ok(()) => Verdict::Allow(Allow::new(verified)),
            Err(reason) => case.deny(self.config, reason, None),
        }
    }

    /// Decides whether a token that no trusted key verifies waits for another key.
    fn look_for_key(&mut self, token: String, case: Case<'_>, patience: Patience) -> Judged {
        let Patience { since, deadline, miss } = &patience;
        let (reason, retry_in) = match self.keys.look_for(*since, *deadline, self.now) {
            Prospect::Waits => return Err(self.pause(token, case, patience)),
            Prospect::Missing if miss.as_ref().is_some_and(|miss| miss.is_kid_known) => {
                (Reason::SignatureInvalid, None)
            }
            Prospect::Missing => (Reason::KeyUnknown, None),
            // Only the issuer can say whether the key exists, and it has not: 503, not 401.
            Prospect::Unavailable { retry_in } => {
                self.events.push_back(Event::MissSuppressed { provider: case.provider });
                (Reason::JwksUnavailable, Some(retry_in))
            }
        };
        Ok(case.deny(self.config, reason, retry_in))
    }

    fn pause(&self, token: String, case: Case<'_>, patience: Patience) -> Box<Paused> {
        let case = case.kept(self.config);
        Box::new(Paused { issuer: self.issuer, token, case, patience })
    }
}
