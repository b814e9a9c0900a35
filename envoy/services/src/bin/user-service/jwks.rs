//! A client of the issuer's JWK Set, with a plain cache.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use ureq::Agent;

pub(crate) struct Jwks {
    uri: String,
    agent: Agent,
    /// Never locked during a fetch: whose key is known does not wait for those whose key is not.
    cache: RwLock<Option<(Arc<JwkSet>, Instant)>>,
    /// When the last fetch was tried. Locked during one: there is one at a time, for which whoever
    /// needs it waits.
    tried_at: Mutex<Option<Instant>>,
}

pub(crate) struct Unavailable;

impl Jwks {
    pub(crate) fn new(uri: String) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(true)
            .proxy(None);
        let agent = config.build().into();
        Self { uri, agent, cache: RwLock::default(), tried_at: Mutex::default() }
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// The keys of an earlier fetch, unless they are old.
    pub(crate) fn fresh(&self) -> Option<Arc<JwkSet>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = cache.as_ref().filter(|(_, at)| at.elapsed() < CACHE_DURATION);
        fresh.map(|(keys, _)| Arc::clone(keys))
    }

    /// The keys, fetched anew unless that was just tried.
    ///
    /// # Errors
    ///
    /// No keys can be had; the log says why.
    pub(crate) async fn renewed(&self) -> Result<Arc<JwkSet>, Unavailable> {
        let mut tried_at = self.tried_at.lock().await;
        if tried_at.is_some_and(|at| at.elapsed() < COOLDOWN) {
            return self.fresh().ok_or(Unavailable);
        }
        // A caller who hangs up ends the wait for the fetch, but not the cooldown.
        *tried_at = Some(Instant::now());
        let fetched = self.fetch().await;
        // Those who waited for it take what came of it.
        *tried_at = Some(Instant::now());
        let keys = fetched.map(Arc::new).map_err(|error| {
            eprintln!("user-service: no keys from {}: {error}", self.uri);
            Unavailable
        })?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        *cache = Some((Arc::clone(&keys), Instant::now()));
        Ok(keys)
    }

    async fn fetch(&self) -> Result<JwkSet, Box<dyn Error + Send + Sync>> {
        let (agent, uri) = (self.agent.clone(), self.uri.clone());
        let answer = spawn_blocking(move || {
            let mut answer = agent.get(uri).call()?;
            answer.body_mut().with_config().limit(MAX_BYTES).read_to_string()
        });
        Ok(serde_json::from_str(&answer.await??)?)
    }
}

const CACHE_DURATION: Duration = Duration::from_mins(5);
/// Whoever invents a `kid` causes no more than one fetch in this time.
const COOLDOWN: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);
