//! Carries out what an engine asks for, in the order that its contract names.
//!
//! This is the loop that runs in the sidecar. The tests run it as well: what differs is the
//! [`Host`].

use crate::config::{Config, Provider, RemoteJwks};
use crate::engine::{Disposition, Engine, MAX_TIMEOUT, Output};
use crate::event::Event;
use crate::jose::Crypto;
use crate::jwks::{FetchError, FetchId, JwksResponse, SHARED_DATA_VERSION, Written};
use crate::per_provider::PerProvider;
use crate::request::{RequestHead, StreamId};
use crate::time::Timestamp;
use crate::verdict::Verdict;
use std::time::Duration;

/// What a driver needs of the proxy, or of what takes its place.
pub trait Host {
    /// Begins to fetch a JWK Set. The token comes back with [`Driver::handle_response`].
    ///
    /// # Errors
    ///
    /// Why the call cannot even be made.
    fn dispatch(&mut self, jwks: &RemoteJwks) -> Result<u32, FetchError>;

    /// What stands in the data that the VMs of the proxy share, and a number for its version.
    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32);

    /// Replaces this version of it.
    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written;

    /// Carries out the verdict on a request that was paused.
    fn settle(&mut self, stream: StreamId, verdict: &Verdict);

    /// Counts and logs something.
    fn report(&mut self, event: &Event, config: &Config);

    /// Has [`Driver::handle_timeout`] called after this long, and then again and again.
    fn set_timer(&mut self, delay: Duration);
}

/// An engine, and what the host knows its parts by.
pub struct Driver {
    engine: Engine,
    /// The calls in flight, by the tokens that the host gave; there are few.
    calls: Vec<(u32, FetchId)>,
    /// The names in the shared data.
    names: PerProvider<String>,
    /// Whether the timer runs as soon as it can. To set it again would put it off: a stream of
    /// requests that come and go would do so for ever.
    is_timer_urgent: bool,
}

impl Driver {
    /// A driver whose timer is set for the first fetches.
    pub fn new(
        config: Config,
        crypto: Crypto,
        seed: u64,
        host: &mut impl Host,
        now: Timestamp,
    ) -> Self {
        let names = config.providers.map(|_, provider| shared_name(provider));
        let engine = Engine::new(config, crypto, seed, now);
        let mut driver = Self { engine, calls: Vec::new(), names, is_timer_urgent: false };
        driver.arm_timer(host, now);
        driver
    }

    /// What is driven.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes the head of a new request. Whatever else it makes due is left to the timer: what is
    /// dispatched for a stream is lost when the stream ends.
    pub fn handle_request(
        &mut self,
        stream: StreamId,
        request: &RequestHead<'_>,
        host: &mut impl Host,
        now: Timestamp,
    ) -> Disposition {
        let disposition = self.engine.handle_request(stream, request, now);
        match disposition {
            Disposition::Paused(_) if !self.is_timer_urgent => self.arm_timer(host, now),
            Disposition::Decided(_) | Disposition::Paused(_) => self.report(host),
        }
        disposition
    }

    /// Takes the end of a request that nobody waits for any more. The timer may stay as it is: nothing
    /// becomes due earlier by it.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.engine.handle_stream_closed(stream);
    }

    /// Takes the answer to a call; one that nobody made is ignored.
    pub fn handle_response(
        &mut self,
        token: u32,
        response: Result<JwksResponse<'_>, FetchError>,
        host: &mut impl Host,
        now: Timestamp,
    ) {
        let call = self.calls.iter().position(|(in_flight, _)| *in_flight == token);
        let Some(call) = call else { return };
        let (_, id) = self.calls.swap_remove(call);
        self.engine.handle_response(id, response, now);
        self.carry_out(host, now);
    }

    /// Takes note of the time.
    pub fn handle_timeout(&mut self, host: &mut impl Host, now: Timestamp) {
        self.engine.handle_timeout(now);
        self.carry_out(host, now);
    }

    /// Carries out everything that an input has made due; the root context is the one that calls.
    fn carry_out(&mut self, host: &mut impl Host, now: Timestamp) {
        let mut settled: u32 = 0;
        while settled < MAX_SETTLED
            && let Some(output) = self.engine.poll_output()
        {
            match output {
                Output::Fetch(fetch) => match host.dispatch(&fetch.jwks) {
                    Ok(token) => self.calls.push((token, fetch.id)),
                    Err(error) => self.engine.handle_response(fetch.id, Err(error), now),
                },
                Output::ReadShared { provider } => {
                    let (bytes, version) = host.read_shared(&self.names[provider]);
                    self.engine.handle_shared(provider, bytes.as_deref(), version, now);
                }
                Output::Settle(stream, verdict) => {
                    host.settle(stream, &verdict);
                    settled = settled.saturating_add(1);
                }
                Output::WriteShared { provider, bytes, version } => {
                    let written = host.write_shared(&self.names[provider], &bytes, version);
                    self.engine.handle_written(provider, written, now);
                }
            }
        }
        self.arm_timer(host, now);
    }

    fn arm_timer(&mut self, host: &mut impl Host, now: Timestamp) {
        self.report(host);
        let next = self.engine.poll_timeout().map(|(at, _)| at.saturating_since(now));
        let delay = next.unwrap_or(MAX_TIMEOUT).clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        self.is_timer_urgent = delay == MIN_TIMEOUT;
        host.set_timer(delay);
    }

    fn report(&mut self, host: &mut impl Host) {
        while let Some(event) = self.engine.poll_event() {
            host.report(&event, self.engine.config());
        }
    }
}

/// The name of a provider's keys in the shared data, which all plugins of the proxy share.
///
/// Whoever fetches the same document shares its keys, whatever else the configurations say.
fn shared_name(provider: &Provider) -> String {
    provider.remote_jwks().map_or_else(String::new, |jwks| {
        let RemoteJwks { cluster, scheme, authority, path, .. } = jwks;
        format!("{SHARED_DATA_VERSION} {cluster} {scheme}://{authority}{path}")
    })
}

/// The shortest timer that hosts offer: zero switches it off.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// How many requests are settled in one call of the host. Each that is answered ends within it, and
/// enters the VM once more before the next one does: about 300 of them overflow V8's stack, and 60
/// where bodies are handed over as well and the next filter refuses what this one allows. That takes
/// the stack up as deep as the proxy's filters go, hence the margin.
const MAX_SETTLED: u32 = 16;
