//! The driver in the proxy, for the SDK's contexts.

use super::headers::Headers;
use super::proxy::Proxy;
use super::{crypto, host, withheld};
use crate::config::{Config, HostCrypto};
use crate::driver::Driver;
use crate::engine::Disposition;
use crate::jose::{Crypto, MAX_JWKS_BYTES};
use crate::jwks::{FetchError, JwksResponse};
use crate::request::{HeaderEdit, RequestHead, StreamId};
use crate::time::Timestamp;
use crate::verdict::Verdict;
use log::error;
use proxy_wasm::types::{Action, MapType};
use std::cell::RefCell;
use std::rc::Rc;

/// The filter of a root context, once it is configured.
pub(super) type SharedFilter = Rc<RefCell<Option<Filter>>>;

pub(super) struct Filter {
    driver: Driver,
    proxy: Proxy,
    /// Whether rules ask for the port of a connection, and the host tells it.
    reads_ports: bool,
}

impl Filter {
    pub(super) fn new(config: Config, now: Timestamp) -> Self {
        let mut proxy = Proxy::new(&config);
        let crypto = match config.host_crypto {
            HostCrypto::Auto => crypto::probe(),
            HostCrypto::Off => Crypto::Module,
        };
        let reads_ports = config.names_ports() && withheld::can_read_properties();
        // Workers start at the same moment, so each needs its own seed.
        let driver = Driver::new(config, crypto, host::seed(now), &mut proxy, now);
        Self { driver, proxy, reads_ports }
    }

    pub(super) fn handle_request(
        &mut self,
        stream: StreamId,
        request: &RequestHead<'_>,
        now: Timestamp,
    ) -> Disposition {
        let disposition = self.driver.handle_request(stream, request, &mut self.proxy, now);
        if matches!(disposition, Disposition::Paused(_)) {
            self.report_gauges(now);
        }
        disposition
    }

    /// The port that the selected request's connection came to, if rules ask for it.
    pub(super) fn destination_port(&self) -> Option<u16> {
        if self.reads_ports { host::destination_port() } else { None }
    }

    /// Carries out a verdict on the selected stream, whose head the host still holds.
    pub(super) fn carry_out(&self, verdict: &Verdict) -> Action {
        self.proxy.carry_out(verdict)
    }

    /// Edits the head of the selected stream, or refuses the request if the host does not allow it.
    pub(super) fn apply(&self, edits: &[HeaderEdit]) -> Action {
        self.proxy.apply(edits)
    }

    /// Refuses the selected request, which cannot be read or edited.
    pub(super) fn refuse(&self) {
        self.proxy.refuse();
    }

    /// Whether a request that was paused is still held.
    pub(super) fn holds(&self, stream: StreamId) -> bool {
        !self.proxy.has_resumed(stream)
    }

    /// Removes owned headers and unverified tokens from the trailers; returns whether the host
    /// allowed it.
    pub(super) fn strip_trailers(&self) -> bool {
        let trailers = Headers::read(MapType::HttpRequestTrailers);
        let Some(head) = trailers.as_ref().and_then(Headers::head) else {
            error!("mesh-jwt: there are no request trailers that can be read");
            return false;
        };
        let edits = self.driver.engine().strip_trailers(&head);
        host::apply(MapType::HttpRequestTrailers, &edits)
            .inspect_err(|status| {
                error!("mesh-jwt: the host refused to edit trailers: status {status}");
            })
            .is_ok()
    }

    pub(super) fn handle_stream_closed(&mut self, stream: StreamId) {
        self.driver.handle_stream_closed(stream);
        self.proxy.handle_stream_closed(stream);
        self.report_gauges(host::now());
    }

    pub(super) fn handle_tick(&mut self, now: Timestamp) {
        self.driver.handle_timeout(&mut self.proxy, now);
        self.report_gauges(now);
    }

    pub(super) fn handle_call_response(
        &mut self,
        token: u32,
        headers: usize,
        body_size: usize,
        now: Timestamp,
    ) {
        let response = read_response(headers, body_size);
        let response = response.as_ref().map(OwnedResponse::as_response).map_err(Clone::clone);
        self.driver.handle_response(token, response, &mut self.proxy, now);
        self.report_gauges(now);
    }

    fn report_gauges(&mut self, now: Timestamp) {
        self.proxy.stats().report_gauges(self.driver.engine(), now);
    }
}

/// No timer wakes the filter any more, and whoever drops it is the last that counts: the root context,
/// or a stream that outlives it.
impl Drop for Filter {
    fn drop(&mut self) {
        self.driver.tell(&mut self.proxy);
    }
}

struct OwnedResponse {
    status: u16,
    cache_control: Option<String>,
    body: Vec<u8>,
}

impl OwnedResponse {
    fn as_response(&self) -> JwksResponse<'_> {
        JwksResponse {
            status: self.status,
            body: &self.body,
            cache_control: self.cache_control.as_deref(),
        }
    }
}

/// Reads the response to the call whose callback is running.
fn read_response(headers: usize, body_size: usize) -> Result<OwnedResponse, FetchError> {
    // The host reports a reset as a response without headers.
    if headers == 0 {
        return Err(FetchError::Reset);
    }
    let headers = Headers::read(MapType::HttpCallResponseHeaders).ok_or(FetchError::Reset)?;
    let head = headers.head().ok_or(FetchError::Reset)?;
    let text = |name: &str| str::from_utf8(head.values(name).next()?).ok();
    let status = text(":status").and_then(|status| status.parse().ok());
    if body_size > MAX_JWKS_BYTES {
        return Err(FetchError::too_large(body_size));
    }
    Ok(OwnedResponse {
        status: status.ok_or(FetchError::Reset)?,
        cache_control: text("cache-control").map(str::to_owned),
        body: host::call_response_body(body_size).map_err(|_| FetchError::Reset)?,
    })
}
