//! Header maps.

use super::status::{Returned, check};
use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: MapType, data: *mut *mut u8, size: *mut usize) -> u32;

    fn proxy_remove_header_map_value(map: MapType, name: *const u8, name_size: usize) -> u32;

    fn proxy_replace_header_map_value(
        map: MapType,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

/// The serialised map.
pub(in crate::plugin) fn header_map(map: MapType) -> Result<Vec<u8>, u32> {
    let mut pairs = Returned::NOTHING;
    // SAFETY: the host writes data and size before it returns.
    let status = unsafe { proxy_get_header_map_pairs(map, &mut pairs.data, &mut pairs.size) };
    pairs.take(status)
}

/// Removes every header of this name.
pub(in crate::plugin) fn remove_header(map: MapType, name: &str) -> Result<(), u32> {
    // SAFETY: the host reads the slice before it returns.
    check(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// Replaces every header of this name by one.
pub(in crate::plugin) fn replace_header(map: MapType, name: &str, value: &[u8]) -> Result<(), u32> {
    // SAFETY: the host reads the two slices before it returns.
    check(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}
