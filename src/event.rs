//! Events in the engine that an operator may want to see.

use crate::config::{Config, Target};
use crate::jose::{Shown, SkippedKey};
use crate::jwks::{FetchError, Outcome};
use crate::per_provider::ProviderId;
use crate::time::whole_millis;
use std::time::Duration;

/// Something to count or to log. Nothing in it comes from a token.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The clock is behind what it showed before.
    ClockSteppedBack {
        /// By how much.
        by: Duration,
    },
    /// The configuration holds keys that cannot be used.
    ConfiguredKeysSkipped {
        /// The provider.
        provider: ProviderId,
        /// Which, and why.
        skipped: Vec<SkippedKey>,
    },
    /// The discovery document cannot be had; keys are fetched from where they were before.
    DiscoveryFailed {
        /// The provider.
        provider: ProviderId,
        /// Why.
        error: FetchError,
    },
    /// A fetch failed.
    FetchFailed {
        /// The provider.
        provider: ProviderId,
        /// What was called.
        target: Target,
        /// Why.
        error: FetchError,
        /// When the next attempt comes.
        retry_in: Duration,
        /// How many keys stay trusted meanwhile.
        trusted_keys: usize,
    },
    /// A fetch brought keys.
    Fetched {
        /// The provider.
        provider: ProviderId,
        /// How many usable keys the set holds.
        keys: usize,
        /// How many of them were not known before.
        new_keys: usize,
        /// The unusable keys that no earlier event reported.
        skipped: Vec<SkippedKey>,
    },
    /// The endpoints of one issuer publish different sets.
    Inconsistent {
        /// The provider.
        provider: ProviderId,
        /// The `kid`s of some of its keys, shortened for logs.
        kids: Vec<String>,
        /// How many keys it has.
        keys: usize,
    },
    /// A request waits for the search for its key.
    Missed {
        /// The provider.
        provider: ProviderId,
    },
    /// A request was denied before the search for its key was conclusive.
    MissSuppressed {
        /// The provider.
        provider: ProviderId,
    },
    /// A signature was checked.
    SignatureChecked {
        /// Whether the host computed it.
        by_host: bool,
    },
    /// A stale key verified a token: one that is trusted only because refreshes fail.
    StaleKeyUsed {
        /// The provider.
        provider: ProviderId,
    },
    /// The keys of a tenant cannot be had, whose own key has never verified a token. It is told at
    /// most once a minute, and without the tenant, which may be a client's invention.
    TenantFailed {
        /// The provider.
        provider: ProviderId,
        /// Why.
        error: FetchError,
    },
    /// More than `maxTenants` tenants are in use.
    TenantsCrowded {
        /// The provider.
        provider: ProviderId,
    },
    /// The token cache held the token, and its key is still trusted.
    TokenCacheHit,
    /// The token cache did not hold the token, or its key is no longer trusted.
    TokenCacheMiss,
}

/// How much an event matters to the operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Of use when debugging.
    Debug,
    /// An expected change.
    Info,
    /// A problem to act on.
    Warn,
}

impl Event {
    pub(crate) fn of_fetch(provider: ProviderId, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Disagreement { kids, keys } => Self::Inconsistent { provider, kids, keys },
            Outcome::DiscoveryFailed { error } => Self::DiscoveryFailed { provider, error },
            Outcome::Failed { target, error, retry_in, trusted_keys } => {
                Self::FetchFailed { provider, target, error, retry_in, trusted_keys }
            }
            Outcome::Refreshed { keys, new_keys, skipped } => {
                Self::Fetched { provider, keys, new_keys, skipped }
            }
        }
    }

    /// The log line, if the event has one.
    #[must_use]
    pub fn log_line(&self, config: &Config) -> Option<(Level, String)> {
        let name = |provider: &ProviderId| config.providers[*provider].name.as_str();
        match self {
            Self::ClockSteppedBack { by } => {
                Some((Level::Warn, format!("the clock stepped back by {}", shown(*by))))
            }
            Self::DiscoveryFailed { provider, error } => Some((
                Level::Warn,
                format!(
                    "provider {}: {error}; the keys are fetched from where they were before",
                    name(provider)
                ),
            )),
            Self::FetchFailed { provider, target, error, retry_in, trusted_keys } => {
                let keys = match trusted_keys {
                    0 => "there are no keys, requests that need one are answered 503".to_owned(),
                    keys => format!("{keys} known keys stay in use"),
                };
                Some((
                    Level::Warn,
                    format!(
                        "provider {}: no JWK Set from {target} (cluster {:?}): {error}; {keys}; \
                         next attempt in {}",
                        name(provider),
                        target.cluster,
                        shown(*retry_in)
                    ),
                ))
            }
            Self::ConfiguredKeysSkipped { provider, skipped } => Some((
                level_of(skipped),
                format!(
                    "provider {}: {} keys of \"jwks\" cannot be used ({})",
                    name(provider),
                    skipped.len(),
                    Shown(skipped)
                ),
            )),
            Self::Fetched { provider, keys, new_keys, skipped } => {
                let level = match skipped.as_slice() {
                    [] if *new_keys == 0 => Level::Debug,
                    skipped => level_of(skipped),
                };
                let skipped = match skipped.len() {
                    0 => String::new(),
                    n => format!(", skipped {n} that cannot be used ({})", Shown(skipped)),
                };
                Some((
                    level,
                    format!(
                        "provider {}: fetched {keys} keys, {new_keys} of them new{skipped}",
                        name(provider)
                    ),
                ))
            }
            Self::Inconsistent { provider, kids, keys } => {
                let more = match keys.saturating_sub(kids.len()) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                Some((
                    Level::Warn,
                    format!(
                        "provider {}: its endpoints publish different keys; all of them are used, \
                         but other verifiers fail at random; give every replica the same key pair \
                         (kids: {kids:?}{more})",
                        name(provider)
                    ),
                ))
            }
            Self::TenantFailed { provider, error } => {
                let template = config.providers[*provider].remote_jwks();
                let template = template.map_or_else(String::new, |jwks| jwks.target().to_string());
                Some((
                    Level::Warn,
                    format!(
                        "provider {}: a new tenant has no keys at {template}: {error}; others may \
                         have failed alike within a minute",
                        name(provider)
                    ),
                ))
            }
            Self::TenantsCrowded { provider } => Some((
                Level::Warn,
                format!(
                    "provider {}: more tenants are in use than maxTenants; the least recently \
                     used one gives way, and its keys are fetched again when it comes back: raise \
                     maxTenants",
                    name(provider)
                ),
            )),
            Self::Missed { .. }
            | Self::MissSuppressed { .. }
            | Self::SignatureChecked { .. }
            | Self::StaleKeyUsed { .. }
            | Self::TokenCacheHit
            | Self::TokenCacheMiss => None,
        }
    }
}

/// A key for another purpose is no mistake; one that cannot be read is.
fn level_of(skipped: &[SkippedKey]) -> Level {
    match skipped.iter().any(SkippedKey::is_unreadable) {
        true => Level::Warn,
        false => Level::Info,
    }
}

fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{} ms", whole_millis(duration)),
        secs => format!("{secs} s"),
    }
}
