//! How JWK Sets are fetched: as the filter does it, without redirects and proxies.

use std::time::Duration;

use mesh_jwt::jose::MAX_JWKS_BYTES;
use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{RootCerts, TlsConfig};

/// An agent for single fetches, which takes a status of an error for an answer.
pub(crate) fn config(roots: RootCerts, timeout: Duration) -> Config {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_idle_connections(0)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(timeout))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(USER_AGENT)
        .build()
}

/// As much as the filter reads, and no more.
pub(crate) const MAX_BODY_BYTES: u64 = MAX_JWKS_BYTES as u64;
const USER_AGENT: &str = concat!("mesh-jwt/", env!("CARGO_PKG_VERSION"));
