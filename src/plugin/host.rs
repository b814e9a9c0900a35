//! Every host call, as a function that returns a `Result` or has a harmless answer for failure.
//!
//! The SDK's convenience methods panic on bytes that are not UTF-8, which any client can send; the
//! functions here take the bytes.

use super::abi;
use crate::config::RemoteJwks;
use crate::jwks::{FetchError, Written};
use crate::reply::LocalReply;
use crate::request::HeaderEdit;
use crate::time::Timestamp;
use log::{LevelFilter, error};
use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use std::time::{Duration, UNIX_EPOCH};

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
    let since_epoch = hostcalls::get_current_time()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok());
    since_epoch.map_or(Timestamp::MAX, Timestamp::from_nanos)
}

/// Wakes the root context after `delay`, and then again and again.
pub(super) fn set_timer(delay: Duration) {
    if let Err(status) = hostcalls::set_tick_period(delay) {
        error!("the host refused a timer: {status:?}");
    }
}

pub(super) fn plugin_configuration() -> Result<Vec<u8>, Status> {
    let bytes = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX)?;
    Ok(bytes.unwrap_or_default())
}

pub(super) fn apply(map: MapType, edits: &[HeaderEdit]) -> Result<(), Status> {
    for edit in edits {
        match edit {
            HeaderEdit::Remove(name) => {
                hostcalls::remove_map_value(map, name)?;
            }
            HeaderEdit::Set(name, value) => {
                hostcalls::set_map_value_bytes(map, name, Some(value))?;
            }
        }
    }
    Ok(())
}

/// Makes later stream calls act on this stream; an error when it is gone.
pub(super) fn select_stream(stream: u32) -> Result<(), Status> {
    hostcalls::set_effective_context(stream)
}

pub(super) fn resume_request() -> Result<(), Status> {
    hostcalls::resume_http_request()
}

pub(super) fn send(reply: &LocalReply) -> Result<(), Status> {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    hostcalls::send_http_response(reply.status.into(), headers, Some(reply.body.as_bytes()))
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
    hostcalls::dispatch_http_call(&jwks.cluster, headers, None, Vec::new(), jwks.timeout).map_err(
        |status| match status {
            Status::BadArgument => FetchError::UnknownCluster,
            _ => FetchError::NoUpstream,
        },
    )
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

pub(super) fn call_response_body(size: usize) -> Result<Vec<u8>, Status> {
    let bytes = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, size)?;
    Ok(bytes.unwrap_or_default())
}

pub(super) fn define_metric(is_gauge: bool, name: &str) -> Result<u32, Status> {
    let kind = if is_gauge { MetricType::Gauge } else { MetricType::Counter };
    hostcalls::define_metric(kind, name)
}

pub(super) fn increment_metric(id: u32, offset: i64) -> Result<(), Status> {
    hostcalls::increment_metric(id, offset)
}

pub(super) fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    hostcalls::record_metric(id, value)
}

/// proxy-wasm's status for a version that is not there any more.
const CAS_MISMATCH: u32 = 8;
const USER_AGENT: &str = concat!("mesh-jwt/", env!("CARGO_PKG_VERSION"));
