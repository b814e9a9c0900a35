//! Every host call, as a function that returns a `Result`, or a harmless value on failure.

use super::{abi, headers};
use crate::engine::Fetch;
use crate::jwks::{FetchError, Written};
use crate::reply::LocalReply;
use crate::request::HeaderEdit;
use crate::time::Timestamp;
use log::{LevelFilter, error};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType};
use std::time::Duration;

/// The host's log level, unless it withholds it.
pub(super) fn log_level() -> Option<LevelFilter> {
    match abi::log_level() {
        Ok(0 | 1) => Some(LevelFilter::Debug),
        Ok(2) => Some(LevelFilter::Info),
        Ok(3) => Some(LevelFilter::Warn),
        Ok(4) => Some(LevelFilter::Error),
        Ok(_) => Some(LevelFilter::Off),
        Err(_) => None,
    }
}

/// The time; the end of time if the host has none, so that every token counts as expired.
pub(super) fn now() -> Timestamp {
    abi::current_time().map_or(Timestamp::MAX, Timestamp::from_nanos)
}

/// A number that differs in each VM: random, or else the current time.
pub(super) fn seed(now: Timestamp) -> u64 {
    abi::random().unwrap_or_else(|_| now.as_nanos())
}

/// Wakes the root context after `delay`, and then periodically.
pub(super) fn set_timer(delay: Duration) {
    let millis = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
    if let Err(status) = abi::set_tick_period(millis) {
        error!("mesh-jwt: the host refused a timer: status {status}");
    }
}

pub(super) fn plugin_configuration() -> Result<Vec<u8>, u32> {
    abi::buffer(BufferType::PluginConfiguration, usize::MAX)
}

pub(super) fn apply<'e>(
    map: MapType,
    edits: impl IntoIterator<Item = &'e HeaderEdit>,
) -> Result<(), u32> {
    edits.into_iter().try_for_each(|edit| match edit {
        HeaderEdit::Remove(name) => abi::remove_header(map, name),
        HeaderEdit::Set(name, value) => abi::replace_header(map, name, value),
    })
}

/// Makes later stream calls act on this stream; fails if it has ended.
pub(super) fn select_stream(stream: u32) -> Result<(), u32> {
    abi::select_context(stream)
}

pub(super) fn resume_request() -> Result<(), u32> {
    abi::continue_request()
}

pub(super) fn send(reply: &LocalReply) -> Result<(), u32> {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers = headers::serialize(headers);
    abi::send_local_response(reply.status.into(), &headers, reply.body.as_bytes())
}

/// Ends a request without a response.
pub(super) fn cut_off() -> Result<(), u32> {
    abi::close_request()
}

/// Sets a value for access logs: `%FILTER_STATE(wasm.<name>:PLAIN)%`.
pub(super) fn set_filter_state(name: &str, value: &str) -> Result<(), u32> {
    abi::set_property(name, value.as_bytes())
}

/// Has the host choose the route of the selected request anew.
pub(super) fn choose_route() -> Result<(), u32> {
    // Envoy 1.36 has foreign functions act on the context whose callback runs, which for a request
    // that waited is the root. But it chooses anew after an edit too, even one that changes nothing.
    abi::remove_header(MapType::HttpRequestHeaders, NO_HEADER)?;
    clear_route_cache()
}

/// Envoy's foreign function (source/extensions/common/wasm/foreign.cc).
pub(super) fn clear_route_cache() -> Result<(), u32> {
    abi::call_foreign_function("clear_route_cache", &[]).map(drop)
}

/// The port that the selected request's connection came to; `None` if it came to none, such as to a
/// Unix socket.
///
/// It is the one that iptables redirected, and no header changes it. Only a listener with the filter
/// `proxy_protocol` takes it from whoever connects, as it takes the caller's address.
pub(super) fn destination_port() -> Option<u16> {
    let port = abi::property("destination\0port").ok()?;
    u16::try_from(i64::from_le_bytes(port.try_into().ok()?)).ok()
}

/// Makes a call for keys; returns the token that comes with the response.
pub(super) fn dispatch(Fetch { target, timeout, .. }: &Fetch) -> Result<u32, FetchError> {
    let headers = vec![
        (":method", "GET"),
        (":scheme", target.scheme),
        (":authority", target.authority.as_str()),
        (":path", target.path.as_str()),
        ("accept", "application/jwk-set+json, application/json"),
        ("user-agent", USER_AGENT),
    ];
    call(&target.cluster, headers, *timeout).map_err(|status| match status {
        abi::BAD_ARGUMENT => FetchError::UnknownCluster,
        _ => FetchError::NoUpstream,
    })
}

/// Attempts a call that cannot be made.
pub(super) fn call_nobody() -> Result<u32, u32> {
    call("", Vec::new(), Duration::ZERO)
}

/// Calls through the SDK, whose dispatcher must know the token.
fn call(cluster: &str, headers: Vec<(&str, &str)>, timeout: Duration) -> Result<u32, u32> {
    let call = hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), timeout);
    call.map_err(|status| status as u32)
}

/// What the VMs of this proxy share under `key`, and its version.
pub(super) fn shared_data(key: &str) -> (Option<Vec<u8>>, u32) {
    match abi::shared_data(key) {
        // The host takes zero to mean any version. With a version that nothing has, it writes only
        // if the entry is absent.
        Ok((_, 0)) | Err(_) => (None, u32::MAX),
        Ok((bytes, version)) => (Some(bytes), version),
    }
}

/// Replaces that version with compare-and-swap.
pub(super) fn set_shared_data(key: &str, bytes: &[u8], version: u32) -> Written {
    match abi::set_shared_data(key, bytes, version) {
        Ok(()) => Written::Done,
        Err(abi::CAS_MISMATCH) => Written::Contended,
        Err(_) => Written::Unavailable,
    }
}

pub(super) fn call_response_body(size: usize) -> Result<Vec<u8>, u32> {
    abi::buffer(BufferType::HttpCallResponseBody, size)
}

pub(super) fn define_metric(is_gauge: bool, name: &str) -> Result<u32, u32> {
    let kind = if is_gauge { MetricType::Gauge } else { MetricType::Counter };
    abi::define_metric(kind, name)
}

pub(super) fn increment_metric(id: u32, offset: i64) -> Result<(), u32> {
    abi::increment_metric(id, offset)
}

pub(super) fn record_metric(id: u32, value: u64) -> Result<(), u32> {
    abi::record_metric(id, value)
}

/// The name of a header that nobody sends, and nobody would miss.
const NO_HEADER: &str = "x-mesh-jwt-no-header";
const USER_AGENT: &str = concat!("mesh-jwt/", env!("CARGO_PKG_VERSION"));
