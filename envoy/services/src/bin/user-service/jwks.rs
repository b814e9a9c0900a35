//! A client of the issuer's JWK Set, with a plain cache.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use ureq::Agent;

pub(crate) struct Jwks {
    uri: String,
    agent: Agent,
    /// One fetch at a time, for which all others wait.
    cache: Mutex<Cache>,
}

pub(crate) struct Unavailable;

#[derive(Default)]
struct Cache {
    keys: Option<(Arc<JwkSet>, Instant)>,
    tried_at: Option<Instant>,
}

impl Jwks {
    pub(crate) fn new(uri: String) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(true)
            .proxy(None);
        Self { uri, agent: config.build().into(), cache: Mutex::default() }
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// The keys, fetched anew where they are old or lack this `kid`.
    ///
    /// # Errors
    ///
    /// No keys can be had; the log says why.
    pub(crate) async fn keys(&self, kid: Option<&str>) -> Result<Arc<JwkSet>, Unavailable> {
        let mut cache = self.cache.lock().await;
        let fresh = cache.keys.as_ref().filter(|(_, at)| at.elapsed() < CACHE_DURATION);
        let fresh = fresh.map(|(keys, _)| Arc::clone(keys));
        let has_tried = cache.tried_at.is_some_and(|at| at.elapsed() < COOLDOWN);
        if let Some(keys) = fresh
            && (has_tried || kid.is_none_or(|kid| keys.find(kid).is_some()))
        {
            return Ok(keys);
        }
        if has_tried {
            return Err(Unavailable);
        }
        cache.tried_at = Some(Instant::now());
        let keys = self.fetch().await.map(Arc::new).map_err(|error| {
            eprintln!("user-service: no keys from {}: {error}", self.uri);
            Unavailable
        })?;
        cache.keys = Some((Arc::clone(&keys), Instant::now()));
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
