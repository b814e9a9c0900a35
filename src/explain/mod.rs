//! Explains a decision, for people: the engine decides as it would in the proxy, and each step up to
//! its reason is told with what it saw and what it wanted.

mod claims;
mod form;
mod mask;
mod steps;

pub use mask::Mask;

use crate::config::{Config, KeySource, Mode, Provider, VerifiedMark};
use crate::engine::{Disposition, Engine};
use crate::jose::{Crypto, JwkSetError, KeySet, Token};
use crate::location::{BEARER, Location};
use crate::per_provider::{PerProvider, ProviderId};
use crate::reason::Reason;
use crate::request::{HeaderEdit, RequestHead, StreamId};
use crate::time::Timestamp;
use crate::verdict::{Allow, PassReason, Verdict};
use serde::Serialize;
use std::rc::Rc;

/// A configuration, and the JWK Sets that its issuers publish.
#[derive(Clone, Debug)]
pub struct Explainer {
    config: Config,
    keys: PerProvider<Keys>,
}

/// What is known of a provider's keys.
#[derive(Clone, Debug)]
enum Keys {
    /// They are in the configuration.
    Configured,
    /// They would be fetched, and nobody gave them.
    Unknown,
    /// Its issuer publishes these.
    Published(KeySet),
    /// Its issuer publishes what has no usable keys.
    Unusable(JwkSetError),
}

/// A decision, and the way to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The steps in their order, up to the one that decides.
    pub steps: Vec<Step>,
    /// What was decided.
    pub decision: Decision,
    /// Why requests go on although they are refused, in report mode.
    pub is_report_mode: bool,
    /// The headers that the upstream gets, with their values as masked.
    pub identity: Vec<(String, String)>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is checked.
    pub name: &'static str,
    /// Whether the request got past it.
    pub passed: bool,
    /// What the request, the token or the issuer has.
    pub saw: String,
    /// What the configuration wants.
    pub wanted: String,
}

/// The end of a decision.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Decision {
    /// The code is that of access logs: `allowed`, `public` or `cors_preflight`.
    Passes {
        /// The code.
        code: &'static str,
    },
    /// Refused, or in report mode reported.
    Refused {
        /// The code of the reason.
        code: &'static str,
        /// The HTTP status.
        status: u16,
        /// What the client is told.
        detail: &'static str,
    },
    /// It depends on the keys of this provider, which nobody gave.
    NeedsKeys {
        /// The name of the provider.
        provider: String,
    },
}

impl Explainer {
    /// An explainer that knows the keys in the configuration only.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let keys = config.providers.map(|_, provider| match &provider.keys {
            KeySource::Inline(_) | KeySource::Remote { initial: Some(_), .. } => Keys::Configured,
            KeySource::Remote { initial: None, .. } => Keys::Unknown,
        });
        Self { config, keys }
    }

    /// The names of the providers whose keys would be fetched, and from where the fetch begins.
    pub fn fetched(&self) -> impl Iterator<Item = (&str, String)> {
        self.config.providers.values().filter_map(|provider| {
            Some((provider.name.as_str(), provider.remote_jwks()?.target().to_string()))
        })
    }

    /// Whether decisions depend on the port that the connection came to.
    #[must_use]
    pub fn needs_port(&self) -> bool {
        self.config.names_ports()
    }

    /// Where a request would hold this token: the first place of its issuer's provider, or of all.
    #[must_use]
    pub fn place_of(&self, token: &[u8]) -> TokenPlace {
        let token = Token::parse(token).ok();
        let issuer = token.as_ref().and_then(|token| token.claims().issuer());
        let provider = issuer.and_then(|issuer| self.config.provider_of(issuer));
        let own = provider.and_then(|(id, _)| self.provider(id).locations.first());
        match own.or_else(|| self.config.locations.first()) {
            Some(Location::Cookie(name)) => TokenPlace::Cookie(name.clone()),
            Some(Location::Param(name)) => TokenPlace::Param(name.clone()),
            Some(Location::Header { name, prefix }) => {
                TokenPlace::Header { name: name.to_string(), prefix: prefix.clone() }
            }
            None => {
                TokenPlace::Header { name: "authorization".to_owned(), prefix: BEARER.to_owned() }
            }
        }
    }

    /// Tells what the issuers of a provider publish; of all providers that fetch keys without a name.
    ///
    /// # Errors
    ///
    /// If no provider that fetches keys has this name, or if this is no JWK Set at all.
    pub fn publish(&mut self, name: Option<&str>, jwks: &[u8]) -> Result<(), Unpublished> {
        let mut is_any = false;
        for (id, provider) in self.config.providers.iter_mut() {
            let is_meant = name.is_none_or(|name| provider.name == name);
            if !is_meant || provider.remote_jwks().is_none() {
                continue;
            }
            is_any = true;
            self.keys[id] = match KeySet::parse(jwks) {
                Ok(set) => {
                    // As if each fetch had got this very set: none would find another key.
                    let keys = KeySource::Inline(set.clone());
                    *provider = Rc::new(Provider { keys, ..Provider::clone(provider) });
                    Keys::Published(set)
                }
                Err(error @ (JwkSetError::NotAJwkSet | JwkSetError::NotJson { .. })) => {
                    return Err(Unpublished::NotAJwkSet(error));
                }
                Err(error) => Keys::Unusable(error),
            };
        }
        if is_any { Ok(()) } else { Err(Unpublished::NoSuchProvider) }
    }

    /// Explains the decision on a request at a time.
    #[must_use]
    pub fn explain(&self, request: &RequestHead<'_>, now: Timestamp, mask: Mask) -> Explanation {
        let mut engine = Engine::new(self.config.clone(), Crypto::Module, 0, now);
        let verdict = match engine.handle_request(StreamId(0), request, now) {
            Disposition::Decided(verdict) => Some(verdict),
            // Only for keys that it has not.
            Disposition::Paused(_) => None,
        };
        let reason = match &verdict {
            None => Some(Reason::JwksUnavailable),
            Some(Verdict::Deny(denial)) => Some(denial.reason),
            Some(Verdict::Allow(_)) => None,
            Some(Verdict::Pass(pass)) => match pass.why {
                PassReason::Reported { reason, .. } => Some(reason),
                PassReason::CorsPreflight | PassReason::Public => None,
            },
        };
        let walk = steps::Walk { explainer: self, request, now, mask, reason };
        let (steps, provider) = walk.steps(verdict.as_ref());
        // With no place to wait, the engine refuses at once what would wait for keys.
        let waits = verdict.is_none() || reason == Some(Reason::Overloaded);
        let unknown = provider.filter(|id| waits && !matches!(self.keys[*id], Keys::Unusable(_)));
        let decision = match (unknown, reason, &verdict) {
            (Some(id), _, _) => Decision::NeedsKeys { provider: self.provider(id).name.clone() },
            (None, Some(reason), _) => Decision::Refused {
                code: reason.code(),
                status: reason.status(),
                detail: reason.detail(),
            },
            (None, None, verdict) => {
                Decision::Passes { code: verdict.as_ref().map_or("allowed", Verdict::code) }
            }
        };
        Explanation {
            steps,
            decision,
            is_report_mode: self.config.mode == Mode::Report,
            identity: match &verdict {
                Some(Verdict::Allow(allow)) => {
                    identity(allow, self.provider(allow.provider()), mask)
                }
                _ => Vec::new(),
            },
        }
    }

    fn provider(&self, id: ProviderId) -> &Provider {
        &self.config.providers[id]
    }
}

fn identity(allow: &Allow, provider: &Provider, mask: Mask) -> Vec<(String, String)> {
    // Its secret is not the token's.
    let mark = provider.verified_mark.as_ref().map(VerifiedMark::edit);
    let set = |edit: &HeaderEdit| match edit {
        edit if Some(edit) == mark.as_ref() => None,
        HeaderEdit::Set(name, value) if **name != *"connection" => {
            Some((name.to_string(), mask.text(&String::from_utf8_lossy(value))))
        }
        HeaderEdit::Set(..) | HeaderEdit::Remove(_) => None,
    };
    allow.edits().filter_map(set).collect()
}

/// Where a request holds a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TokenPlace {
    /// The value of a cookie of this name.
    Cookie(String),
    /// A header of this name, in lower case, after a prefix.
    Header {
        /// The name.
        name: String,
        /// The prefix.
        prefix: String,
    },
    /// The query parameter of this name.
    Param(String),
}

/// Why keys were not published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Unpublished {
    /// No provider that fetches its keys has the name.
    NoSuchProvider,
    /// It is something else.
    NotAJwkSet(JwkSetError),
}
