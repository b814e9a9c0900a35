//! Who verifies the tokens of requests: `ISTIO_JWT_MODE`.

use std::fmt;

use axum::http::HeaderMap;

use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::sidecar::Sidecar;
use crate::token::Verifier;

pub(crate) enum Verification {
    /// This service does.
    Service(Box<Verifier>),
    /// The filter before this service does.
    Sidecar(Sidecar),
}

impl Verification {
    /// Who it is, in one word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Service(_) => "service",
            Self::Sidecar(_) => "sidecar",
        }
    }

    /// Who is calling; `None` is nobody, who may see public paths only.
    pub(crate) async fn identity(
        &self,
        is_public: bool,
        headers: &HeaderMap,
    ) -> Result<Option<Identity>, Refusal> {
        match self {
            Self::Service(_) if is_public => Ok(None),
            Self::Service(verifier) => verifier.identity(headers).await.map(Some),
            Self::Sidecar(sidecar) => sidecar.identity(is_public, headers),
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(verifier) => {
                write!(f, "verifies tokens itself (ISTIO_JWT_MODE=false): {verifier}")
            }
            Self::Sidecar(sidecar) => {
                write!(f, "verifies no token (ISTIO_JWT_MODE=true): {sidecar}")
            }
        }
    }
}
