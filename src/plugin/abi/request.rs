//! Functions that act on a request.

use super::status::{Returned, check};
use proxy_wasm::types::StreamType;
use std::ptr;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_close_stream(kind: StreamType) -> u32;

    fn proxy_continue_stream(kind: StreamType) -> u32;

    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;

    fn proxy_send_local_response(
        http_status: u32,
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
}

/// Ends the selected request without a response.
pub(in crate::plugin) fn close_request() -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_close_stream(StreamType::HttpRequest) })
}

/// Sends the selected request on its way.
pub(in crate::plugin) fn continue_request() -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_continue_stream(StreamType::HttpRequest) })
}

/// A property of the selected request; the parts of its name are joined by zeros.
pub(in crate::plugin) fn property(name: &str) -> Result<Vec<u8>, u32> {
    let mut value = Returned::NOTHING;
    // SAFETY: the host reads the slice, and writes value and size, before it returns.
    let status =
        unsafe { proxy_get_property(name.as_ptr(), name.len(), &mut value.data, &mut value.size) };
    value.take(status)
}

/// Makes later calls act on this stream.
pub(in crate::plugin) fn select_context(context: u32) -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_set_effective_context(context) })
}

/// Sends a local reply to the selected request; `headers` is a serialised map.
pub(in crate::plugin) fn send_local_response(
    status: u32,
    headers: &[u8],
    body: &[u8],
) -> Result<(), u32> {
    // SAFETY: the host reads the slices before it returns, and nothing where the size is zero.
    check(unsafe {
        proxy_send_local_response(
            status,
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
pub(in crate::plugin) fn set_property(name: &str, value: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// The host derives it from the HTTP status.
const NO_GRPC_STATUS: i32 = -1;
