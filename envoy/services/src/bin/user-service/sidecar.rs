//! Identity from headers, by a filter that says that it stands before this service.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName};
use sfv::{Item, Parser};
use subtle::ConstantTimeEq;

use crate::identity::Identity;
use crate::refusal::Refusal;

/// Where no filter stands before a service, identity headers are whatever the caller wrote. So this
/// one takes them only beside the header that the filter sets, and that no client gets past it.
pub(crate) struct Sidecar {
    header: HeaderName,
    /// Without it, a caller who reaches the service past the filter can forge the header.
    secret: Option<String>,
    refused: AtomicU64,
}

impl Sidecar {
    pub(crate) fn new(header: HeaderName, secret: Option<String>) -> Self {
        Self { header, secret, refused: AtomicU64::new(0) }
    }

    pub(crate) fn identity(
        &self,
        is_public: bool,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Refusal> {
        if is_public && !headers.contains_key(&self.header) && !Identity::is_claimed_by(headers) {
            return Ok(None);
        }
        match self.check_mark(headers) {
            Ok(()) => Ok(Some(Identity::of_headers(headers))),
            Err(problem) => {
                self.complain(problem);
                Err(Refusal::of_operator(
                    "filter_missing",
                    format!("{} {problem}; the operator has to mend that", self.header),
                ))
            }
        }
    }

    /// Checks that the filter has verified this request, or says what is wrong with the header.
    fn check_mark(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let mut values = headers.get_all(&self.header).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) => return Err(MISSING),
            (Some(_), Some(_)) => return Err(FORGED),
        };
        let item = Parser::new(value.as_bytes()).parse::<Item>().ok();
        let item = item.filter(|item| {
            item.bare_item.as_token().is_some_and(|token| token.as_str() == "verified")
        });
        let Some(item) = item else { return Err(FORGED) };
        let Some(expected) = &self.secret else { return Ok(()) };
        let secret = item.params.get("secret").and_then(|secret| secret.as_string());
        let is_known = secret
            .is_some_and(|secret| secret.as_str().as_bytes().ct_eq(expected.as_bytes()).into());
        if is_known { Ok(()) } else { Err(ANOTHER_SECRET) }
    }

    /// Logs the first such request, the second, the fourth and so on: whoever sends them is not to
    /// fill the log.
    fn complain(&self, problem: &str) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if count.is_power_of_two() {
            eprintln!(
                "user-service: {} {problem} ({count} requests refused so far); put the filter before \
                 it, in mode enforce, with this verifiedHeader and VERIFIED_SECRET for its secret, or \
                 set ISTIO_JWT_MODE=false",
                self.header
            );
        }
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.secret.is_some() { "and its secret" } else { "which has no secret" };
        write!(f, "identity headers count beside {}, {with}", self.header)
    }
}

/// What is wrong with the header, and what that can mean.
const MISSING: &str = "is missing: no filter stands before this service, or it let the request \
                       through without a verified token, as in mode report";
const FORGED: &str = "is not as a filter sets it: no filter stands before this service that removes \
                      what callers write";
const ANOTHER_SECRET: &str = "does not hold the secret in VERIFIED_SECRET: that of the filter is \
                              another, or a caller wrote the header and no filter stands before \
                              this service";
