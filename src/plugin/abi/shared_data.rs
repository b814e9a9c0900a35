//! The data that the VMs of a proxy share.

use super::status::{Returned, check};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
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
}

/// The entry, and its version.
pub(in crate::plugin) fn shared_data(key: &str) -> Result<(Vec<u8>, u32), u32> {
    let (mut value, mut version) = (Returned::NOTHING, 0);
    // SAFETY: the host reads the slice, and writes value, size and version, before it returns.
    let status = unsafe {
        proxy_get_shared_data(
            key.as_ptr(),
            key.len(),
            &mut value.data,
            &mut value.size,
            &mut version,
        )
    };
    Ok((value.take(status)?, version))
}

/// Replaces this version of the entry with compare-and-swap.
pub(in crate::plugin) fn set_shared_data(key: &str, value: &[u8], version: u32) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    check(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    })
}
