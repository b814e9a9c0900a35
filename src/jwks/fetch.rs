//! The answer to a JWKS fetch, and every way in which it can fail.

use crate::jose::{JwkSetError, KeySet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// A random number that identifies one fetch among all of a proxy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct FetchId(pub(crate) u64);

/// A response, not checked yet.
#[derive(Clone, Copy, Debug)]
pub struct JwksResponse<'a> {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
    /// The value of `Cache-Control`, if present.
    pub cache_control: Option<&'a str>,
}

impl JwksResponse<'_> {
    pub(crate) fn key_set(&self) -> Result<KeySet, FetchError> {
        match self.status {
            200 => KeySet::parse(self.body).map_err(FetchError::Invalid),
            status => Err(FetchError::Status(status)),
        }
    }

    /// `max-age` of the response (RFC 9111 §5.2.2.1); the schedule bounds its effect.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.cache_control?.split(',').find_map(|directive| {
            let (name, value) = directive.trim().split_once('=')?;
            let seconds = name.trim().eq_ignore_ascii_case("max-age").then_some(value)?;
            seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs)
        })
    }
}

/// Why a fetch brought no keys.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FetchError {
    /// The discovery document does not say where the keys are.
    Discovery(DiscoveryError),
    /// The body is not a JWK Set with a usable key.
    Invalid(JwkSetError),
    /// The proxy has no healthy endpoint to call.
    NoUpstream,
    /// The connection ended before an answer came.
    Reset,
    /// The status is not 200.
    Status(u16),
    /// No answer came in time.
    Timeout,
    /// The proxy has no cluster of that name.
    UnknownCluster,
}

impl FetchError {
    /// The error for a body that is too large to read.
    #[must_use]
    pub fn too_large(bytes: usize) -> Self {
        Self::Invalid(JwkSetError::TooLarge { bytes })
    }

    /// The same without texts of the issuer's, which may hold what a client invented.
    pub(crate) fn without_texts(self) -> Self {
        let blank = || "…".to_owned();
        match self {
            Self::Discovery(DiscoveryError::JwksUri(_, problem)) => {
                Self::Discovery(DiscoveryError::JwksUri(blank(), problem))
            }
            Self::Discovery(DiscoveryError::OtherIssuer(_)) => {
                Self::Discovery(DiscoveryError::OtherIssuer(blank()))
            }
            other => other,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(error) => error.fmt(f),
            Self::Invalid(error) => error.fmt(f),
            Self::NoUpstream => f.write_str("the cluster has no healthy endpoint"),
            Self::Reset => f.write_str("the connection ended before there was an answer"),
            Self::Status(status @ 300..=399) => write!(
                f,
                "the answer has status {status}, and redirects are not followed; set jwksUri to \
                 where it leads"
            ),
            Self::Status(504) => f.write_str(
                "the answer has status 504, which is also how the proxy reports that there was \
                 none in time",
            ),
            Self::Status(status) => write!(f, "the answer has status {status}"),
            Self::Timeout => f.write_str("there was no answer in time"),
            Self::UnknownCluster => f.write_str(
                "the proxy has no such cluster, or is still starting; if it stays so, set \
                 jwksCluster to one that it has, or make the host known to it (in Istio: a \
                 ServiceEntry, or the egress hosts of its Sidecar)",
            ),
        }
    }
}

/// Why a discovery document does not say where keys are.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Its `jwks_uri`, shortened, and why nothing is fetched from there.
    JwksUri(String, &'static str),
    /// It is not an object with the strings `issuer` and `jwks_uri`.
    NoDocument,
    /// It is of this issuer, shortened.
    OtherIssuer(String),
    /// There is an answer with this status instead.
    Status(u16),
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JwksUri(uri, problem) => {
                write!(f, "the jwks_uri {uri:?} of the discovery document {problem}")
            }
            Self::NoDocument => f.write_str(
                "the answer is not a discovery document with issuer and jwks_uri; set jwksUri to \
                 where the keys are",
            ),
            Self::OtherIssuer(issuer) => write!(
                f,
                "the discovery document is of the issuer {issuer:?}; write issuer exactly so if \
                 that is the one"
            ),
            Self::Status(status) => write!(
                f,
                "there is no discovery document, but an answer with status {status}; set jwksUri \
                 to where the keys are"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_found_among_other_directives() {
        let max_age = |cache_control| {
            JwksResponse { status: 200, body: b"", cache_control }.max_age().map(|d| d.as_secs())
        };

        assert_eq!(max_age(Some("public, Max-Age=60")), Some(60));
        assert_eq!(max_age(Some("max-age=\"5\", s-maxage=7")), Some(5));
        for none in [None, Some(""), Some("no-store"), Some("max-age"), Some("max-age=-1")] {
            assert_eq!(max_age(none), None, "{none:?}");
        }
    }
}
