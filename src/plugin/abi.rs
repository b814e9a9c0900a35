//! The host's functions, each as one that returns the status when that is not "ok".
//!
//! The SDK's wrappers will not do: they trap the VM at a status that they do not expect, such as that
//! of a function which the host withholds, and at bytes that are no UTF-8, which any client can send.
//! Only [`dispatch`] is one of them, since the SDK has to know of the call to hand over its answer;
//! it knows every status that Envoy has for that.
//!
//! <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>

#![allow(unsafe_code, reason = "the ABI passes pointers")]

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};
use std::ptr;
use std::time::Duration;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        argument: *const u8,
        argument_size: usize,
        result: *mut *mut u8,
        result_size: *mut usize,
    ) -> u32;
    fn proxy_close_stream(stream: u32) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: BufferType,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_log_level(level: *mut u32) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        version: *mut u32,
    ) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_log(level: u32, message: *const u8, message_size: usize) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_remove_header_map_value(map: MapType, name: *const u8, name_size: usize) -> u32;
    fn proxy_replace_header_map_value(
        map: MapType,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(buffer: *mut u8, size: usize) -> u32;
}

/// Reads the configuration or the body of a response, and no more of it than this.
pub(super) fn buffer(buffer: BufferType, max_size: usize) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the host writes to both before it returns.
    let status = unsafe { proxy_get_buffer_bytes(buffer, 0, max_size, &mut data, &mut size) };
    match status {
        // There is none when it is empty.
        NOT_FOUND => Ok(Vec::new()),
        status => checked(status).map(|()| take(data, size)),
    }
}

/// Calls a function that the host offers beyond the ABI; what it returns.
pub(super) fn call_foreign_function(name: &str, argument: &[u8]) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the host reads the two slices, and writes to the other two before it returns.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            &mut data,
            &mut size,
        )
    };
    checked(status).map(|()| take(data, size))
}

/// Ends the selected request without an answer.
pub(super) fn close_request() -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_close_stream(HTTP_REQUEST) })
}

/// Has the selected request go on.
pub(super) fn continue_request() -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_continue_stream(HTTP_REQUEST) })
}

/// The time since the epoch, in nanoseconds.
pub(super) fn current_time() -> Result<u64, u32> {
    let mut time = 0;
    // SAFETY: the host writes to it before it returns.
    checked(unsafe { proxy_get_current_time_nanoseconds(&mut time) }).map(|()| time)
}

/// Makes a counter or gauge, or finds the one of this name; its id.
pub(super) fn define_metric(kind: MetricType, name: &str) -> Result<u32, u32> {
    let mut id = 0;
    // SAFETY: the host reads the slice, and writes to the other before it returns.
    checked(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) })
        .map(|()| id)
}

/// Sends an HTTP request without a body; the token that its answer comes with.
pub(super) fn dispatch(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    timeout: Duration,
) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(cluster, headers, None, Vec::new(), timeout)
}

/// The serialised map.
pub(super) fn header_map(map: MapType) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the host writes to both before it returns.
    checked(unsafe { proxy_get_header_map_pairs(map, &mut data, &mut size) })
        .map(|()| take(data, size))
}

/// Adds to a counter or gauge.
pub(super) fn increment_metric(id: u32, offset: i64) -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_increment_metric(id, offset) })
}

/// Writes a line, from 0 for traces to 5 for critical messages.
pub(super) fn log(level: u32, message: &str) -> Result<(), u32> {
    // SAFETY: the host reads the slice before it returns.
    checked(unsafe { proxy_log(level, message.as_ptr(), message.len()) })
}

/// What the host logs, from 0 for everything to 5 for critical messages only.
pub(super) fn log_level() -> Option<u32> {
    let mut level = 0;
    // SAFETY: the host writes to it before it returns.
    checked(unsafe { proxy_get_log_level(&mut level) }).ok().map(|()| level)
}

/// A number that nobody can foretell; none where the host has no such numbers.
pub(super) fn random() -> Option<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the host writes to as many bytes as it is told before it returns.
    checked(unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) }).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// Sets a gauge.
pub(super) fn record_metric(id: u32, value: u64) -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_record_metric(id, value) })
}

/// Removes every header of a name.
pub(super) fn remove_header(map: MapType, name: &str) -> Result<(), u32> {
    // SAFETY: the host reads the slice before it returns.
    checked(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// Replaces every header of a name by one.
pub(super) fn replace_header(map: MapType, name: &str, value: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    checked(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Makes later calls act on this context.
pub(super) fn select(context: u32) -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_set_effective_context(context) })
}

/// Answers the selected request; `headers` is a serialised map.
pub(super) fn send_local_response(status: u16, headers: &[u8], body: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the slices before it returns.
    checked(unsafe {
        proxy_send_local_response(
            status.into(),
            ptr::null(),
            0,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Sets a property of the selected request.
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Replaces a version of the shared data.
pub(super) fn set_shared_data(key: &str, value: &[u8], version: u32) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    checked(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    })
}

/// Has the timer run after so many milliseconds, and then again and again.
pub(super) fn set_timer(milliseconds: u32) -> Result<(), u32> {
    // SAFETY: a plain call.
    checked(unsafe { proxy_set_tick_period_milliseconds(milliseconds) })
}

/// What stands in the shared data and its version.
pub(super) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), u32> {
    let (mut data, mut size, mut version) = (ptr::null_mut(), 0, 0);
    // SAFETY: the host reads the slice, and writes to the other three before it returns.
    checked(unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), &mut data, &mut size, &mut version)
    })
    .map(|()| (take(data, size), version))
}

fn checked(status: u32) -> Result<(), u32> {
    match status {
        0 => Ok(()),
        status => Err(status),
    }
}

/// Takes over what the host left in memory that it got from the module.
fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the SDK exports `proxy_on_memory_allocate`, which gives the host a vector of just
    // this capacity, and the host has filled it.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// The status of what is not there.
const NOT_FOUND: u32 = 1;
/// The stream that a request is, among those of its connection.
const HTTP_REQUEST: u32 = 0;
/// The host chooses the one that fits the HTTP status.
const NO_GRPC_STATUS: i32 = -1;
