//! The host functions that the filter calls, each with its status.
//!
//! The SDK's wrappers trap the VM on a status that they do not list, such as that of a withheld
//! function, and copy more than needed. Only calls to other services go through the SDK: its
//! dispatcher must know them, and it lists what Envoy returns there.
//!
//! <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>

#![allow(unsafe_code, reason = "the ABI passes pointers")]

mod headers;
mod metrics;
mod process;
mod request;
mod shared_data;
mod status;

pub(super) use headers::{header_map, remove_header, replace_header};
pub(super) use metrics::{define_metric, increment_metric, record_metric};
pub(super) use process::{
    buffer, call_foreign_function, current_time, log, log_level, random, set_tick_period,
};
pub(super) use request::{
    close_request, continue_request, property, select_context, send_local_response, set_property,
};
pub(super) use shared_data::{set_shared_data, shared_data};
pub(super) use status::{BAD_ARGUMENT, CAS_MISMATCH, INTERNAL_FAILURE, UNIMPLEMENTED};
