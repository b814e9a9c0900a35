//! The names of all counters and gauges. Dashboards depend on them: never rename one.

use crate::config::Config;
use crate::event::Event;
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::verdict::{PassReason, Verdict};

/// One counter or gauge.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Metric {
    /// Requests with a verified token that grants access.
    Allowed,
    /// CORS preflights that were let through.
    CorsPreflight,
    /// Requests that got a local reply.
    Denied(Reason),
    /// A metric of one provider.
    Jwks(ProviderId, JwksMetric),
    /// Requests that wait for keys at the moment; a gauge.
    Paused,
    /// Requests that needed no token, and went on without a check.
    Public,
    /// Requests that enforce mode would have denied.
    Reported(Reason),
    /// Signature checks that the host computed.
    SignatureHost,
    /// Signature checks that were computed in the module.
    SignatureWasm,
    /// Tokens that the token cache held, with a key that is still trusted.
    TokenCacheHit,
    /// Other tokens that came to be judged, while the token cache is on.
    TokenCacheMiss,
}

/// The metrics of one provider.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum JwksMetric {
    /// Fetches that failed.
    FetchFailed,
    /// Fetches that brought keys.
    FetchSuccess,
    /// Surveys that found endpoints to publish different sets.
    Inconsistent,
    /// Keys that are trusted at the moment; a gauge.
    Keys,
    /// When a fetch last brought keys, for whichever tenant, in seconds since the Unix epoch; a
    /// gauge that is zero before.
    LastSuccess,
    /// Requests that waited for the search for their key.
    Miss,
    /// Requests that were denied before the search for their key was conclusive.
    MissSuppressed,
    /// Tokens that a stale key verified: one that is trusted only because refreshes fail.
    StaleServed,
}

impl Metric {
    /// Every metric of a configuration.
    #[must_use]
    pub fn all(config: &Config) -> Vec<Self> {
        let plain = [
            Self::Allowed,
            Self::CorsPreflight,
            Self::Paused,
            Self::Public,
            Self::SignatureHost,
            Self::SignatureWasm,
            Self::TokenCacheHit,
            Self::TokenCacheMiss,
        ];
        let denied = Reason::ALL.iter().copied().map(Self::Denied);
        let reported = Reason::ALL.iter().copied().map(Self::Reported);
        let jwks = config
            .providers
            .iter()
            .flat_map(|(provider, _)| JwksMetric::ALL.map(|metric| Self::Jwks(provider, metric)));
        plain.into_iter().chain(denied).chain(reported).chain(jwks).collect()
    }

    /// Its place in [`Self::all`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Allowed => 0,
            Self::CorsPreflight => 1,
            Self::Paused => 2,
            Self::Public => 3,
            Self::SignatureHost => 4,
            Self::SignatureWasm => 5,
            Self::TokenCacheHit => 6,
            Self::TokenCacheMiss => 7,
            Self::Denied(reason) => DENIED.saturating_add(reason as usize),
            Self::Reported(reason) => REPORTED.saturating_add(reason as usize),
            Self::Jwks(provider, metric) => {
                let before = provider.index().saturating_mul(JwksMetric::ALL.len());
                JWKS.saturating_add(before).saturating_add(metric as usize)
            }
        }
    }

    /// The counter that a verdict adds to.
    #[must_use]
    pub fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Allow(_) => Self::Allowed,
            Verdict::Deny(denial) => Self::Denied(denial.reason),
            Verdict::Pass(pass) => match pass.why {
                PassReason::CorsPreflight => Self::CorsPreflight,
                PassReason::Public => Self::Public,
                PassReason::Reported { reason, .. } => Self::Reported(reason),
            },
        }
    }

    /// The counter that an event adds to, if any.
    #[must_use]
    pub fn of_event(event: &Event) -> Option<Self> {
        let jwks = |provider: &ProviderId, metric| Some(Self::Jwks(*provider, metric));
        match event {
            Event::ClockSteppedBack { .. }
            | Event::ConfiguredKeysSkipped { .. }
            | Event::DiscoveryFailed { .. }
            | Event::TenantFailed { .. }
            | Event::TenantsCrowded { .. } => None,
            Event::FetchFailed { provider, .. } => jwks(provider, JwksMetric::FetchFailed),
            Event::Fetched { provider, .. } => jwks(provider, JwksMetric::FetchSuccess),
            Event::Inconsistent { provider, .. } => jwks(provider, JwksMetric::Inconsistent),
            Event::Missed { provider } => jwks(provider, JwksMetric::Miss),
            Event::MissSuppressed { provider } => jwks(provider, JwksMetric::MissSuppressed),
            Event::SignatureChecked { by_host: true } => Some(Self::SignatureHost),
            Event::SignatureChecked { by_host: false } => Some(Self::SignatureWasm),
            Event::StaleKeyUsed { provider } => jwks(provider, JwksMetric::StaleServed),
            Event::TokenCacheHit => Some(Self::TokenCacheHit),
            Event::TokenCacheMiss => Some(Self::TokenCacheMiss),
        }
    }

    /// Whether this is a gauge; everything else is a counter.
    #[must_use]
    pub fn is_gauge(self) -> bool {
        matches!(self, Self::Paused | Self::Jwks(_, JwksMetric::Keys | JwksMetric::LastSuccess))
    }

    /// The full name; Envoy puts `wasmcustom.` before it.
    #[must_use]
    pub fn name(self, config: &Config) -> String {
        match self {
            Self::Allowed => "mesh_jwt.allowed".to_owned(),
            Self::CorsPreflight => "mesh_jwt.cors_preflight".to_owned(),
            Self::Denied(reason) => format!("mesh_jwt.denied.{reason}"),
            Self::Jwks(provider, metric) => {
                let provider = &config.providers[provider].name;
                let metric = match metric {
                    JwksMetric::FetchFailed => "fetch_failed",
                    JwksMetric::FetchSuccess => "fetch_success",
                    JwksMetric::Inconsistent => "inconsistent",
                    JwksMetric::Keys => "keys",
                    JwksMetric::LastSuccess => "last_success_timestamp_seconds",
                    JwksMetric::Miss => "miss",
                    JwksMetric::MissSuppressed => "miss_suppressed",
                    JwksMetric::StaleServed => "stale_served",
                };
                format!("mesh_jwt.jwks.{provider}.{metric}")
            }
            Self::Paused => "mesh_jwt.paused".to_owned(),
            Self::Public => "mesh_jwt.public".to_owned(),
            Self::Reported(reason) => format!("mesh_jwt.reported.{reason}"),
            Self::SignatureHost => "mesh_jwt.signature.host".to_owned(),
            Self::SignatureWasm => "mesh_jwt.signature.wasm".to_owned(),
            Self::TokenCacheHit => "mesh_jwt.token_cache.hit".to_owned(),
            Self::TokenCacheMiss => "mesh_jwt.token_cache.miss".to_owned(),
        }
    }
}

impl JwksMetric {
    const ALL: [Self; 8] = [
        Self::FetchFailed,
        Self::FetchSuccess,
        Self::Inconsistent,
        Self::Keys,
        Self::LastSuccess,
        Self::Miss,
        Self::MissSuppressed,
        Self::StaleServed,
    ];
}

// Where the places of metrics with a part begin.
const DENIED: usize = 8;
const REPORTED: usize = DENIED + Reason::ALL.len();
const JWKS: usize = REPORTED + Reason::ALL.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_at_its_place() {
        let config = Config::parse(
            br#"{"providers": [
                {"issuer": "https://a.example.com", "jwksUri": "https://a.example.com/jwks"},
                {"issuer": "https://b.example.com", "jwksUri": "https://b.example.com/jwks"}
            ]}"#,
        )
        .expect("a good configuration");

        for (place, metric) in Metric::all(&config).into_iter().enumerate() {
            assert_eq!(metric.index(), place, "{metric:?}");
        }
    }
}
