//! Functions that concern no request: log, time, timer, randomness, buffers and the host's own
//! functions.

use super::status::{Returned, check};
use proxy_wasm::types::{BufferType, LogLevel};

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

    fn proxy_get_buffer_bytes(
        buffer: BufferType,
        start: usize,
        max_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;

    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;

    fn proxy_get_log_level(level: *mut u32) -> u32;

    fn proxy_log(level: LogLevel, message: *const u8, message_size: usize) -> u32;

    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(data: *mut u8, size: usize) -> u32;
}

/// The first `max_size` bytes of a buffer.
pub(in crate::plugin) fn buffer(buffer: BufferType, max_size: usize) -> Result<Vec<u8>, u32> {
    let mut bytes = Returned::NOTHING;
    // SAFETY: the host writes data and size before it returns.
    let status =
        unsafe { proxy_get_buffer_bytes(buffer, 0, max_size, &mut bytes.data, &mut bytes.size) };
    bytes.take(status)
}

/// Calls a function that the host offers beyond the ABI; returns its result.
pub(in crate::plugin) fn call_foreign_function(
    name: &str,
    argument: &[u8],
) -> Result<Vec<u8>, u32> {
    let mut result = Returned::NOTHING;
    // SAFETY: the host reads the two slices, and writes result and size, before it returns.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            &mut result.data,
            &mut result.size,
        )
    };
    result.take(status)
}

/// Nanoseconds since the epoch.
pub(in crate::plugin) fn current_time() -> Result<u64, u32> {
    let mut time = 0;
    // SAFETY: the host writes to `time` before it returns.
    check(unsafe { proxy_get_current_time_nanoseconds(&mut time) })?;
    Ok(time)
}

/// Writes a line to the host's log. A failure is ignored: there is no other place to report it.
pub(in crate::plugin) fn log(level: LogLevel, message: &str) {
    // SAFETY: the host reads the slice before it returns.
    _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// The host's log level, from 0 for everything to 5 for critical messages only.
pub(in crate::plugin) fn log_level() -> Result<u32, u32> {
    let mut level = 0;
    // SAFETY: the host writes to `level` before it returns.
    check(unsafe { proxy_get_log_level(&mut level) })?;
    Ok(level)
}

/// An unpredictable number.
pub(in crate::plugin) fn random() -> Result<u64, u32> {
    let mut bytes = [0; 8];
    // SAFETY: the host writes to the array before it returns.
    check(unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) })?;
    Ok(u64::from_le_bytes(bytes))
}

/// Calls the root context every `millis` milliseconds; 0 for never.
pub(in crate::plugin) fn set_tick_period(millis: u32) -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_set_tick_period_milliseconds(millis) })
}
