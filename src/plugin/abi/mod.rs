//! The host functions that the filter calls, each with its status.
//!
//! The SDK's wrappers trap the VM on a status that they do not list, as it comes from a host that
//! withholds a function, and copy what they need not. Only its calls to other services are left to
//! it: its dispatcher has to know them, and it lists what Envoy returns there.
//!
//! <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>

#![allow(unsafe_code, reason = "the ABI passes pointers")]

mod headers;
mod metrics;
mod process;
mod request;
mod shared_data;

pub(super) use headers::{header_map, remove_header, replace_header};
pub(super) use metrics::{define_metric, increment_metric, record_metric};
pub(super) use process::{
    buffer, call_foreign_function, current_time, log, log_level, random, set_tick_period,
};
pub(super) use request::{
    close_request, continue_request, select_context, send_local_response, set_property,
};
pub(super) use shared_data::{set_shared_data, shared_data};

/// The status if it is not "ok".
fn check(status: u32) -> Result<(), u32> {
    if status == OK { Ok(()) } else { Err(status) }
}

/// What a call has the host leave in memory.
struct Returned {
    data: *mut u8,
    size: usize,
}

impl Returned {
    const NOTHING: Self = Self { data: std::ptr::null_mut(), size: 0 };

    /// Takes it over, or the status if that is not "ok".
    fn take(self, status: u32) -> Result<Vec<u8>, u32> {
        check(status)?;
        if self.data.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the SDK exports `proxy_on_memory_allocate`, which gives the host a vector of just
        // this capacity, and the host has filled it.
        Ok(unsafe { Vec::from_raw_parts(self.data, self.size, self.size) })
    }
}

const OK: u32 = 0;
/// There is nothing of that name, number or kind.
pub(super) const BAD_ARGUMENT: u32 = 2;
/// A version that is not there any more.
pub(super) const CAS_MISMATCH: u32 = 8;
/// The host withholds the function.
pub(super) const INTERNAL_FAILURE: u32 = 10;
/// The host does not know the function.
pub(super) const UNIMPLEMENTED: u32 = 12;
