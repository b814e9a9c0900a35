//! Counters and gauges.

use super::status::check;
use proxy_wasm::types::MetricType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_define_metric(
        kind: MetricType,
        name: *const u8,
        name_size: usize,
        id: *mut u32,
    ) -> u32;

    fn proxy_increment_metric(id: u32, offset: i64) -> u32;

    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

/// The id that the host gives the metric.
pub(in crate::plugin) fn define_metric(kind: MetricType, name: &str) -> Result<u32, u32> {
    let mut id = 0;
    // SAFETY: the host reads the slice, and writes to `id`, before it returns.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) })?;
    Ok(id)
}

pub(in crate::plugin) fn increment_metric(id: u32, offset: i64) -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_increment_metric(id, offset) })
}

pub(in crate::plugin) fn record_metric(id: u32, value: u64) -> Result<(), u32> {
    // SAFETY: no pointer is passed.
    check(unsafe { proxy_record_metric(id, value) })
}
