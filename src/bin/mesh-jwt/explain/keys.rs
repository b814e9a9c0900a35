//! The JWK Sets that issuers publish, from files or URLs.

use std::convert::Infallible;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use mesh_jwt::explain::{Explainer, Unpublished};
use ureq::Agent;
use ureq::tls::RootCerts;

use crate::http::{self, MAX_BODY_BYTES};

/// `--jwks`: a JWK Set, and the provider that it is of.
#[derive(Clone, Debug)]
pub(crate) struct JwksArg {
    provider: Option<String>,
    place: String,
}

impl FromStr for JwksArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // A file of that very name goes first.
        let named = text.split_once('=').filter(|(name, _)| {
            if Path::new(text).exists() {
                return false;
            }
            // Names of providers have these characters; an URL with a query has others before its `=`.
            name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        });
        Ok(match named {
            Some((name, place)) => {
                Self { provider: Some(name.to_owned()), place: place.to_owned() }
            }
            None => Self { provider: None, place: text.to_owned() },
        })
    }
}

impl JwksArg {
    /// Has the provider publish the set; without a name, the only one that fetches keys.
    pub(crate) fn publish(&self, explainer: &mut Explainer) -> Result<()> {
        let names: Vec<_> = explainer.fetched().map(|(name, _)| name.to_owned()).collect();
        let names = names.join(", ");
        if self.provider.is_none() && names.contains(", ") {
            bail!(
                "--jwks {}: several providers fetch keys: write NAME={0}, one of {names}",
                self.place
            );
        }
        let jwks = self.read()?;
        let published = explainer.publish(self.provider.as_deref(), &jwks);
        published.map_err(|unpublished| match (unpublished, names.as_str()) {
            (Unpublished::NotAJwkSet(error), _) => {
                anyhow!("--jwks: {}: {error}; give what the issuer's jwks_uri leads to", self.place)
            }
            (Unpublished::NoSuchProvider, "") => {
                anyhow!("--jwks: all keys are in the configuration; leave it out")
            }
            (Unpublished::NoSuchProvider, names) => anyhow!(
                "--jwks: no provider {:?} fetches its keys; those that do: {names}",
                self.provider.as_deref().unwrap_or_default()
            ),
        })
    }

    fn read(&self) -> Result<Vec<u8>> {
        if !self.place.starts_with("http://") && !self.place.starts_with("https://") {
            return std::fs::read(&self.place)
                .with_context(|| format!("--jwks: {} cannot be read", self.place));
        }
        let authority = self.place.split('/').nth(2).unwrap_or_default();
        ensure!(!authority.contains('@'), "--jwks: the URL holds user information; remove it");
        let agent: Agent = http::config(RootCerts::PlatformVerifier, TIMEOUT).into();
        let fetch = || -> Result<Vec<u8>> {
            let mut response = agent.get(&self.place).call()?;
            let status = response.status();
            ensure!(status == 200, "status {status}");
            Ok(response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec()?)
        };
        fetch().with_context(|| format!("--jwks: {} cannot be fetched", self.place))
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
