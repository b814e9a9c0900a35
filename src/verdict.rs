//! The verdict on a request.

use crate::authn::Authenticated;
use crate::filter_state::FilterState;
use crate::per_provider::ProviderId;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::HeaderEdit;
use std::rc::Rc;

/// The decision on one request.
#[derive(Debug)]
pub enum Verdict {
    /// A token was verified and grants access.
    Allow(Allow),
    /// The request is refused with a local reply.
    Deny(Denial),
    /// The request goes on without an identity.
    Pass(Pass),
}

/// Permission to go on with an identity. Only a verified token makes one:
///
/// ```compile_fail,E0451
/// use mesh_jwt::verdict::{Allow, Verdict};
///
/// fn forged(granted: Allow) -> Verdict {
///     Verdict::Allow(Allow { edits: Vec::new(), ..granted })
/// }
/// ```
#[derive(Debug)]
pub struct Allow {
    token: Rc<Authenticated>,
    /// Those besides the identity, before it.
    edits: Vec<HeaderEdit>,
}

impl Allow {
    pub(crate) fn new(token: Rc<Authenticated>) -> Self {
        Self { token, edits: Vec::new() }
    }

    /// The provider of the token.
    #[must_use]
    pub fn provider(&self) -> ProviderId {
        self.token.provider
    }

    /// The changes to the request headers.
    pub fn edits(&self) -> impl Iterator<Item = &HeaderEdit> {
        self.edits.iter().chain(&self.token.identity)
    }

    /// What access logs and traces are told of the token.
    #[must_use]
    pub fn filter_state(&self) -> &[FilterState] {
        &self.token.state
    }
}

/// Permission to go on without an identity.
#[derive(Debug)]
pub struct Pass {
    /// Why.
    pub why: PassReason,
    /// The changes to the request headers: no owned header arrives unverified.
    pub edits: Vec<HeaderEdit>,
}

/// Why a request goes on without an identity.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PassReason {
    /// It is a CORS preflight.
    CorsPreflight,
    /// A rule lets it through without a token.
    Public,
    /// Enforce mode would have denied it.
    Reported {
        /// Why.
        reason: Reason,
        /// The provider of the token, if known.
        provider: Option<ProviderId>,
    },
}

/// A refusal.
#[derive(Debug)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The provider of the token, if known.
    pub provider: Option<ProviderId>,
    /// The reply to the client.
    pub reply: LocalReply,
}

impl Verdict {
    /// The same verdict, with these edits if the request goes on.
    pub(crate) fn with_edits(mut self, edits: Vec<HeaderEdit>) -> Self {
        match &mut self {
            Self::Allow(Allow { edits: own, .. }) | Self::Pass(Pass { edits: own, .. }) => {
                *own = edits;
            }
            Self::Deny(_) => {}
        }
        self
    }

    /// One word for access logs: `allowed`, `public`, `cors_preflight`, or the code of the reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Allow(_) => "allowed",
            Self::Deny(denial) => denial.reason.code(),
            Self::Pass(pass) => match pass.why {
                PassReason::CorsPreflight => "cors_preflight",
                PassReason::Public => "public",
                PassReason::Reported { reason, .. } => reason.code(),
            },
        }
    }

    /// The provider of the token, if known.
    #[must_use]
    pub fn provider(&self) -> Option<ProviderId> {
        match self {
            Self::Allow(allow) => Some(allow.provider()),
            Self::Deny(denial) => denial.provider,
            Self::Pass(Pass { why: PassReason::Reported { provider, .. }, .. }) => *provider,
            Self::Pass(_) => None,
        }
    }
}
