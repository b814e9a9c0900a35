//! Carries out an engine's outputs, in the order of its contract.
//!
//! The sidecar and the tests run this same loop; only the [`Host`] differs.

use crate::config::Config;
use crate::engine::{Disposition, Engine, Fetch, MAX_TIMEOUT, Output};
use crate::event::Event;
use crate::jose::Crypto;
use crate::jwks::{FetchError, FetchId, JwksResponse, Written};
use crate::request::{RequestHead, StreamId};
use crate::time::Timestamp;
use crate::verdict::Verdict;
use std::time::Duration;

/// What a driver needs from the proxy, or from a simulation.
pub trait Host {
    /// Makes a call. Returns the token that [`Driver::handle_response`] gets with the answer.
    ///
    /// # Errors
    ///
    /// If the call cannot be made.
    fn dispatch(&mut self, fetch: &Fetch) -> Result<u32, FetchError>;

    /// Reads an entry of the data that the VMs of the proxy share, and its version.
    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32);

    /// Replaces this version of an entry with compare-and-swap.
    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written;

    /// Carries out the verdict on a paused request.
    fn settle(&mut self, stream: StreamId, verdict: &Verdict);

    /// Counts and logs an event.
    fn report(&mut self, event: &Event, config: &Config);

    /// Calls [`Driver::handle_timeout`] after this delay, and then periodically.
    fn set_timer(&mut self, delay: Duration);
}

/// An engine, and the host's names for its fetches and shared data.
pub struct Driver {
    engine: Engine,
    /// The calls in flight, by the host's tokens; there are few.
    calls: Vec<(u32, FetchId)>,
    /// Whether the timer is set to the minimum. Setting it again would restart it, so a steady
    /// stream of requests could put it off for ever.
    is_timer_urgent: bool,
}

impl Driver {
    /// Creates a driver, and sets its timer for the first fetches.
    pub fn new(
        config: Config,
        crypto: Crypto,
        seed: u64,
        host: &mut impl Host,
        now: Timestamp,
    ) -> Self {
        let engine = Engine::new(config, crypto, seed, now);
        let mut driver = Self { engine, calls: Vec::new(), is_timer_urgent: false };
        driver.arm_timer(host, now);
        driver
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Handles the head of a new request. All other work is left to the timer, since the host drops
    /// a call that is dispatched for a stream when the stream ends.
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

    /// Handles the end of a stream. The timer may stay as it is: nothing becomes due earlier.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.engine.handle_stream_closed(stream);
    }

    /// Handles the answer to a call; ignores an unknown token.
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

    /// Advances the time.
    pub fn handle_timeout(&mut self, host: &mut impl Host, now: Timestamp) {
        self.engine.handle_timeout(now);
        self.carry_out(host, now);
    }

    /// Carries out everything that is due. Only the root context calls this.
    fn carry_out(&mut self, host: &mut impl Host, now: Timestamp) {
        let mut settled: u32 = 0;
        while settled < MAX_SETTLED
            && let Some(output) = self.engine.poll_output()
        {
            match output {
                Output::Fetch(fetch) => match host.dispatch(&fetch) {
                    Ok(token) => self.calls.push((token, fetch.id)),
                    Err(error) => self.engine.handle_response(fetch.id, Err(error), now),
                },
                Output::ReadShared { issuer, name } => {
                    let (bytes, version) = host.read_shared(&name);
                    self.engine.handle_shared(issuer, bytes.as_deref(), version, now);
                }
                Output::Settle(stream, verdict) => {
                    host.settle(stream, &verdict);
                    settled = settled.saturating_add(1);
                }
                Output::WriteShared { issuer, name, bytes, version } => {
                    let written = host.write_shared(&name, &bytes, version);
                    self.engine.handle_written(issuer, written, now);
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

/// The shortest timer that hosts offer; zero switches the timer off.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The most requests that are settled in one callback. A local reply ends its stream within the
/// callback, and enters the VM again before the next reply: about 300 overflow V8's stack, or 60 if
/// bodies are handed over too and the next filter refuses what this one allows. The proxy's other
/// filters use the same stack, hence the margin.
const MAX_SETTLED: u32 = 16;
