//! Where an issuer publishes its keys, by its discovery document (OpenID Connect Discovery 1.0 §4,
//! RFC 8414 §3).

use super::fetch::{DiscoveryError, FetchError, JwksResponse};
use crate::config::{Discovery, Target};
use crate::jose::parse_json;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What a discovery document said.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Discovered {
    jwks_uri: String,
    at: Timestamp,
    /// Whether a fetch from there has failed since: the keys may have moved.
    is_doubtful: bool,
}

impl Discovered {
    /// Where to fetch keys without looking at the document again; `is_search` if the fetch is for
    /// a missing key, which may be where the document says only now.
    pub(super) fn current(
        &self,
        discovery: &Discovery,
        cache_duration: Duration,
        is_search: bool,
        now: Timestamp,
    ) -> Option<Target> {
        let recent = if is_search { JUST_NOW } else { cache_duration.mul_f64(RECENT) };
        let is_recent = now < self.at.saturating_add(recent);
        let target = || discovery.jwks_target(&self.jwks_uri).ok();
        if is_recent && !self.is_doubtful { target() } else { None }
    }

    /// Where to fetch keys while the document cannot be had, for as long as keys would be trusted.
    pub(super) fn last_known(
        &self,
        discovery: &Discovery,
        lifetime: Duration,
        now: Timestamp,
    ) -> Option<Target> {
        let is_trusted = now < self.at.saturating_add(lifetime);
        is_trusted.then(|| discovery.jwks_target(&self.jwks_uri).ok()).flatten()
    }

    pub(super) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// The newer of two.
    pub(super) fn newer(ours: Option<Self>, theirs: Option<Self>) -> Option<Self> {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours.at == theirs.at => {
                let is_doubtful = ours.is_doubtful || theirs.is_doubtful;
                Some(Self { is_doubtful, ..theirs })
            }
            (Some(ours), Some(theirs)) => Some(if ours.at > theirs.at { ours } else { theirs }),
            (ours, theirs) => ours.or(theirs),
        }
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.at = self.at.saturating_sub(by);
    }

    /// Whether it can be true now.
    pub(super) fn is_plausible(&self, latest: Timestamp) -> bool {
        self.at <= latest
    }
}

/// Reads a discovery document: where the keys are.
pub(super) fn read(
    response: &JwksResponse<'_>,
    discovery: &Discovery,
    now: Timestamp,
) -> Result<(Discovered, Target), FetchError> {
    let invalid = FetchError::Discovery;
    match response.status {
        200 => {}
        // It is also how the proxy reports that there was no answer in time.
        504 => return Err(FetchError::Status(504)),
        status => return Err(invalid(DiscoveryError::Status(status))),
    }
    let document = parse_json(response.body).map_err(|_| invalid(DiscoveryError::NoDocument))?;
    let member = |name| document.get(name).and_then(Value::as_str);
    let issuer = member("issuer").ok_or_else(|| invalid(DiscoveryError::NoDocument))?;
    if issuer != discovery.issuer {
        return Err(invalid(DiscoveryError::OtherIssuer(shown(issuer))));
    }
    let jwks_uri = member("jwks_uri").ok_or_else(|| invalid(DiscoveryError::NoDocument))?;
    let target = discovery
        .jwks_target(jwks_uri)
        .map_err(|problem| invalid(DiscoveryError::JwksUri(shown(jwks_uri), problem)))?;
    let found = Discovered { jwks_uri: jwks_uri.to_owned(), at: now, is_doubtful: false };
    Ok((found, target))
}

/// Whether the document may be in the other place.
pub(super) fn may_be_elsewhere(error: &FetchError) -> bool {
    match error {
        FetchError::Discovery(DiscoveryError::Status(status)) => *status < 500,
        FetchError::Discovery(error) => *error == DiscoveryError::NoDocument,
        _ => false,
    }
}

/// A text of the issuer's, shortened for logs.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// The share of `cacheDuration` for which the document is not read again. A refresh comes later than
/// that, so each reads the document as a rule, and no probe does.
const RECENT: f64 = 0.5;
/// The same for a search, whose fetches follow each other faster than that.
pub(super) const JUST_NOW: Duration = Duration::from_secs(1);
const MAX_SHOWN_CHARS: usize = 120;
