//! The host functions for which the SDK's wrapper will not do: it traps the VM when a host that
//! withholds a function says so, and it copies what it need not.
//!
//! <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>

#![allow(unsafe_code, reason = "the ABI passes pointers")]

use proxy_wasm::types::MapType;
use std::ptr;

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

    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;

    fn proxy_get_log_level(level: *mut u32) -> u32;

    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
        version: *mut u32,
    ) -> u32;

    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;

    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

/// Calls a function that the host offers beyond the ABI; what it returns, or the status if that is
/// not "ok".
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
    if status == OK { Ok(take(data, size)) } else { Err(status) }
}

/// The serialised map, or the status if that is not "ok".
pub(super) fn header_map(map: MapType) -> Result<Vec<u8>, u32> {
    let (mut data, mut size) = (ptr::null_mut(), 0);
    // SAFETY: the host writes to both before it returns.
    let status = unsafe { proxy_get_header_map_pairs(map, &mut data, &mut size) };
    if status == OK { Ok(take(data, size)) } else { Err(status) }
}

/// What the host logs, from 0 for everything to 5 for critical messages only.
pub(super) fn log_level() -> Option<u32> {
    let mut level = 0;
    // SAFETY: the host writes to it before it returns.
    let status = unsafe { proxy_get_log_level(&mut level) };
    (status == OK).then_some(level)
}

/// Sets a property of the selected stream, or the status if that is not "ok".
pub(super) fn set_property(name: &str, value: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    let status =
        unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
    if status == OK { Ok(()) } else { Err(status) }
}

/// What stands in the shared data and its version, or the status if that is not "ok".
pub(super) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), u32> {
    let (mut data, mut size, mut version) = (ptr::null_mut(), 0, 0);
    // SAFETY: the host reads the slice, and writes to the other three before it returns.
    let status = unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), &mut data, &mut size, &mut version)
    };
    if status == OK { Ok((take(data, size), version)) } else { Err(status) }
}

/// Replaces a version of the shared data; the status if that is not "ok".
pub(super) fn set_shared_data(key: &str, value: &[u8], version: u32) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    let status = unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    };
    if status == OK { Ok(()) } else { Err(status) }
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

const OK: u32 = 0;
