//! Carries out an engine's outputs, in the order of its contract.
//!
//! The sidecar and the tests run this same loop; only the [`Host`] differs.

use crate::config::Config;
use crate::counters::Counters;
use crate::engine::{Disposition, Engine, Fetch, MAX_TIMEOUT, Output};
use crate::event::Event;
use crate::jose::Crypto;
use crate::jwks::{FetchError, FetchId, JwksResponse, Written};
use crate::metrics::Metric;
use crate::request::{RequestHead, StreamId};
use crate::time::Timestamp;
use crate::timer::Timer;
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

    /// Logs an event.
    fn report(&mut self, event: &Event, config: &Config);

    /// Has the operator's counters show what was counted, with [`Counters::tell`].
    fn tell(&mut self, counters: &mut Counters);

    /// Calls [`Driver::handle_timeout`] after this delay, and then periodically.
    fn set_timer(&mut self, delay: Duration);
}

/// An engine, and the host's names for its fetches and shared data.
pub struct Driver {
    engine: Engine,
    /// The calls in flight, by the host's tokens; there are few.
    calls: Vec<(u32, FetchId)>,
    timer: Timer,
    counters: Counters,
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
        let counters = Counters::new(&config);
        let engine = Engine::new(config, crypto, seed, now);
        let mut driver = Self { engine, calls: Vec::new(), timer: Timer::new(), counters };
        driver.finish(host, now);
        driver
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Handles the head of a new request. All other work is left to the timer, since the host drops
    /// a call that is dispatched for a stream when the stream ends; so is what the request adds to
    /// counters.
    pub fn handle_request(
        &mut self,
        stream: StreamId,
        request: &RequestHead<'_>,
        host: &mut impl Host,
        now: Timestamp,
    ) -> Disposition {
        let disposition = self.engine.handle_request(stream, request, now);
        self.report(host);
        let next = match &disposition {
            Disposition::Decided(verdict) => {
                self.counters.count(Metric::of_verdict(verdict));
                None
            }
            // It takes a search to know what is due, and the timer cannot come sooner.
            Disposition::Paused(_) if self.timer.is_urgent() => None,
            Disposition::Paused(_) => self.next_timeout(),
        };
        if let Some(delay) = self.timer.hasten(next, now) {
            host.set_timer(delay);
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

    /// Tells the host what was counted. The timer does so as well; whoever drops the driver calls
    /// this before, since nobody can do it later.
    pub fn tell(&mut self, host: &mut impl Host) {
        host.tell(&mut self.counters);
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
                    self.counters.count(Metric::of_verdict(&verdict));
                    host.settle(stream, &verdict);
                    settled = settled.saturating_add(1);
                }
                Output::WriteShared { issuer, name, bytes, version } => {
                    let written = host.write_shared(&name, &bytes, version);
                    self.engine.handle_written(issuer, written, now);
                }
            }
        }
        self.finish(host, now);
    }

    /// Reports and tells all that there is, so that the next tick is due when the engine has work.
    fn finish(&mut self, host: &mut impl Host, now: Timestamp) {
        self.report(host);
        self.tell(host);
        host.set_timer(self.timer.set(self.next_timeout(), MAX_TIMEOUT, now));
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        self.engine.poll_timeout().map(|(at, _)| at)
    }

    fn report(&mut self, host: &mut impl Host) {
        while let Some(event) = self.engine.poll_event() {
            if let Some(metric) = Metric::of_event(&event) {
                self.counters.count(metric);
            }
            host.report(&event, self.engine.config());
        }
    }
}

/// The most requests that are settled in one callback. A local reply ends its stream within the
/// callback, and enters the VM again before the next reply: about 300 overflow V8's stack, or 60 if
/// bodies are handed over too and the next filter refuses what this one allows. The proxy's other
/// filters use the same stack, hence the margin.
const MAX_SETTLED: u32 = 16;
