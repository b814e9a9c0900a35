//! What the environment says.

use std::env::{self, VarError};

use axum::http::{HeaderName, Uri};

use crate::sidecar::Sidecar;
use crate::token::Verifier;
use crate::verification::Verification;

/// Reads `ISTIO_JWT_MODE` and what goes with it.
///
/// # Errors
///
/// The variable that is wrong, and the mend.
pub(crate) fn verification() -> Result<Verification, String> {
    match variable("ISTIO_JWT_MODE")?.as_deref() {
        None | Some("false") => Ok(Verification::Service(Box::new(verifier()?))),
        Some("true") => sidecar().map(Verification::Sidecar),
        Some(other) => Err(format!(
            "ISTIO_JWT_MODE={other:?}: write \"true\" where the filter stands before this service, \
             or \"false\" to have the service verify tokens itself"
        )),
    }
}

fn verifier() -> Result<Verifier, String> {
    let jwks_uri = variable_or("JWKS_URI", "http://auth-service:9001/actuator/jwks")?;
    let scheme = jwks_uri.parse().ok().and_then(|uri: Uri| Some(uri.scheme_str()?.to_owned()));
    if scheme.as_deref() != Some("http") {
        return Err(format!(
            "JWKS_URI={jwks_uri:?}: write a URI with http://, which the mesh encrypts"
        ));
    }
    let issuer = variable_or("ISSUER", "http://auth-service:9001")?;
    Ok(Verifier::new(issuer, variable_or("AUDIENCE", "wealist-api")?, jwks_uri))
}

fn sidecar() -> Result<Sidecar, String> {
    let name = variable("VERIFIED_HEADER")?.unwrap_or_else(|| "X-Mesh-Jwt".to_owned());
    let Ok(header) = name.parse::<HeaderName>() else {
        return Err(format!(
            "VERIFIED_HEADER={name:?}: write the name in verifiedHeader of the filter"
        ));
    };
    let secret = variable("VERIFIED_SECRET")?;
    // A secret that got lost on its way must not turn into none.
    if !secret.as_deref().is_none_or(is_sendable) {
        // The error does not show it: whoever reads logs could forge the header.
        return Err("VERIFIED_SECRET: the filter takes no such secret; write the one in its \
                    verifiedHeader, 16 characters or more of printable ASCII without quotes, \
                    backslashes and a line break at the end, or unset the variable where it has none"
            .to_owned());
    }
    Ok(Sidecar::new(header, secret))
}

fn variable_or(name: &str, default: &str) -> Result<String, String> {
    Ok(variable(name)?.unwrap_or_else(|| default.to_owned()))
}

fn variable(name: &str) -> Result<Option<String>, String> {
    match env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{name}: is not text; write UTF-8")),
    }
}

/// Whether the filter can write it into the header, by the rule for its `verifiedHeader`.
fn is_sendable(secret: &str) -> bool {
    let is_unescaped = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    secret.len() >= MIN_SECRET_BYTES && secret.bytes().all(is_unescaped)
}

/// The filter takes no shorter one.
const MIN_SECRET_BYTES: usize = 16;
