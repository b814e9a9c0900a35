//! Every host call, as a function that returns a `Result` or has a harmless answer for failure.

use super::{abi, headers};
use crate::config::RemoteJwks;
use crate::jwks::{FetchError, Written};
use crate::reply::LocalReply;
use crate::request::HeaderEdit;
use crate::time::Timestamp;
use log::LevelFilter;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use std::time::Duration;

/// The first of the functions without which requests would hang or go on unchecked that the host
/// withholds; `root` is the context that asks.
///
/// None of the calls has an effect there: a root context has no request and no headers, and Envoy
/// answers all of them with another status than what it has for a function that it withholds
/// (proxy-wasm-cpp-host's include/proxy-wasm/exports.h).
pub(super) fn withheld(root: u32) -> Option<&'static str> {
    let map = MapType::HttpRequestHeaders;
    let calls = [
        ("proxy_continue_stream", abi::continue_request()),
        ("proxy_get_current_time_nanoseconds", abi::current_time().map(|_| ())),
        ("proxy_get_header_map_pairs", abi::header_map(map).map(|_| ())),
        ("proxy_remove_header_map_value", abi::remove_header(map, "x")),
        ("proxy_replace_header_map_value", abi::replace_header(map, "x", b"")),
        ("proxy_send_local_response", abi::send_local_response(500, &[], &[])),
        ("proxy_set_effective_context", abi::select(root)),
        ("proxy_set_tick_period_milliseconds", abi::set_timer(1)),
    ];
    calls.into_iter().find_map(|(name, status)| (status == Err(WITHHELD)).then_some(name))
}

/// What the host logs; everything but traces if it does not say.
pub(super) fn log_level() -> LevelFilter {
    match abi::log_level() {
        Some(0 | 1) | None => LevelFilter::Debug,
        Some(2) => LevelFilter::Info,
        Some(3) => LevelFilter::Warn,
        Some(4) => LevelFilter::Error,
        Some(_) => LevelFilter::Off,
    }
}

/// The time; the end of time if the host has none, so that every token has expired.
pub(super) fn now() -> Timestamp {
    abi::current_time().map_or(Timestamp::MAX, Timestamp::from_nanos)
}

/// A number that differs from that of any other VM, even of one that starts at the same moment.
pub(super) fn seed() -> u64 {
    abi::random().or_else(|| abi::current_time().ok()).unwrap_or_default()
}

/// Wakes the root context after `delay`, and then again and again.
pub(super) fn set_timer(delay: Duration) -> Result<(), u32> {
    abi::set_timer(u32::try_from(delay.as_millis()).unwrap_or(u32::MAX))
}

pub(super) fn plugin_configuration() -> Result<Vec<u8>, u32> {
    abi::buffer(BufferType::PluginConfiguration, usize::MAX)
}

pub(super) fn apply(map: MapType, edits: &[HeaderEdit]) -> Result<(), u32> {
    edits.iter().try_for_each(|edit| match edit {
        HeaderEdit::Remove(name) => abi::remove_header(map, name),
        HeaderEdit::Set(name, value) => abi::replace_header(map, name, value),
    })
}

/// Makes later stream calls act on this stream; an error when it is gone.
pub(super) fn select_stream(stream: u32) -> Result<(), u32> {
    abi::select(stream)
}

pub(super) fn resume_request() -> Result<(), u32> {
    abi::continue_request()
}

/// Answers the selected request. Where the host does not let it, the request ends without an answer:
/// that is better than none that anybody waits for.
pub(super) fn send(reply: &LocalReply) -> Result<(), u32> {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers = headers::serialize(headers);
    abi::send_local_response(reply.status, &headers, reply.body.as_bytes())
        .or_else(|status| abi::close_request().and(Err(status)))
}

/// Leaves a word for access logs: `%FILTER_STATE(wasm.<name>:PLAIN)%`.
pub(super) fn set_filter_state(name: &str, value: &str) -> Result<(), u32> {
    abi::set_property(name, value.as_bytes())
}

/// Sends a GET request to the JWKS endpoint; the token comes back with the response.
pub(super) fn dispatch(jwks: &RemoteJwks) -> Result<u32, FetchError> {
    let headers = vec![
        (":method", "GET"),
        (":scheme", jwks.scheme),
        (":authority", jwks.authority.as_str()),
        (":path", jwks.path.as_str()),
        ("accept", "application/jwk-set+json, application/json"),
        ("user-agent", USER_AGENT),
    ];
    abi::dispatch(&jwks.cluster, headers, jwks.timeout).map_err(|status| match status {
        Status::BadArgument => FetchError::UnknownCluster,
        _ => FetchError::NoUpstream,
    })
}

/// What the VMs of this proxy share under `key`, and the version to replace.
pub(super) fn shared_data(key: &str) -> (Option<Vec<u8>>, u32) {
    match abi::shared_data(key) {
        // The host takes zero for "whatever stands there". A version that nothing has makes it
        // write only if nothing stands there.
        Ok((_, 0)) | Err(_) => (None, u32::MAX),
        Ok((bytes, version)) => (Some(bytes), version),
    }
}

/// Replaces that version of it.
pub(super) fn set_shared_data(key: &str, bytes: &[u8], version: u32) -> Written {
    match abi::set_shared_data(key, bytes, version) {
        Ok(()) => Written::Done,
        Err(CAS_MISMATCH) => Written::Contended,
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

/// What Envoy answers for a function that it withholds: proxy-wasm's "internal failure".
const WITHHELD: u32 = 10;
/// proxy-wasm's status for a version that is not there any more.
const CAS_MISMATCH: u32 = 8;
const USER_AGENT: &str = concat!("mesh-jwt/", env!("CARGO_PKG_VERSION"));
