//! Finds out which functions the host withholds, before a request needs one.
//!
//! Envoy's `capability_restriction_config` replaces a function with a stub that fails with its own
//! status. So the filter calls each function once when the root context is configured, where no
//! request can be affected, and with ids and names that do not exist.

use super::{abi, host};
use log::warn;
use proxy_wasm::types::MapType;

/// The withheld functions that the filter cannot do without.
pub(super) fn needed() -> Vec<&'static str> {
    let needed = [
        ("proxy_continue_stream", is_withheld(&abi::continue_request())),
        ("proxy_get_buffer_bytes", is_withheld(&host::plugin_configuration())),
        ("proxy_get_current_time_nanoseconds", is_withheld(&abi::current_time())),
        ("proxy_get_header_map_pairs", is_withheld(&abi::header_map(HEAD))),
        ("proxy_remove_header_map_value", is_withheld(&abi::remove_header(HEAD, NO_NAME))),
        ("proxy_replace_header_map_value", is_withheld(&abi::replace_header(HEAD, NO_NAME, &[]))),
        ("proxy_send_local_response", is_withheld(&abi::send_local_response(500, &[], &[]))),
        ("proxy_set_effective_context", is_withheld(&abi::select_context(NO_ID))),
        ("proxy_set_tick_period_milliseconds", is_withheld(&abi::set_tick_period(0))),
    ];
    needed.into_iter().filter_map(|(name, is_withheld)| is_withheld.then_some(name)).collect()
}

/// The withheld functions that it cannot fetch keys without.
pub(super) fn needed_to_fetch() -> Vec<&'static str> {
    if is_withheld(&host::call_nobody()) { vec!["proxy_http_call"] } else { Vec::new() }
}

/// The withheld functions that it cannot run regular expressions without.
pub(super) fn needed_for_expressions() -> Vec<&'static str> {
    if abi::random().is_err() { vec!["random_get"] } else { Vec::new() }
}

/// What it cannot have routes chosen anew without.
pub(super) fn needed_to_route() -> Vec<&'static str> {
    let is_there = host::clear_route_cache().is_ok();
    if is_there { Vec::new() } else { vec!["proxy_call_foreign_function and clear_route_cache"] }
}

pub(super) fn can_count() -> bool {
    can("proxy_increment_metric", &abi::increment_metric(NO_ID, 0), "there are no counters")
}

pub(super) fn can_record() -> bool {
    can("proxy_record_metric", &abi::record_metric(NO_ID, 0), "there is no gauge of trusted keys")
}

/// Whether it can also be written turns out at the first write.
pub(super) fn can_share() -> bool {
    can("proxy_get_shared_data", &abi::shared_data(NO_NAME), "each worker fetches keys of its own")
}

pub(super) fn can_set_properties() -> bool {
    let set = host::set_filter_state(NO_NAME, "");
    can("proxy_set_property", &set, "access logs do not tell codes and providers")
}

pub(super) fn can_read_properties() -> bool {
    can("proxy_get_property", &abi::property(NO_NAME), "no rule with ports loosens access")
}

/// Whether the host offers an optional function; warns about the loss if not.
fn can<T>(name: &str, outcome: &Result<T, u32>, loss: &str) -> bool {
    let is_withheld = is_withheld(outcome);
    if is_withheld {
        warn!("mesh-jwt: the host withholds {name}: {loss}");
    }
    !is_withheld
}

fn is_withheld<T>(outcome: &Result<T, u32>) -> bool {
    matches!(outcome, Err(abi::INTERNAL_FAILURE | abi::UNIMPLEMENTED))
}

const HEAD: MapType = MapType::HttpRequestHeaders;
const NO_ID: u32 = u32::MAX;
const NO_NAME: &str = "mesh-jwt";
