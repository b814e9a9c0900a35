//! The root context: configuration, timer, and the responses to dispatched calls.

use super::filter::Filter;
use super::stream::Stream;
use super::{SharedFilter, host};
use crate::config::{Config, Mode};
use log::{error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

#[derive(Default)]
pub(super) struct Root {
    filter: SharedFilter,
}

impl RootContext for Root {
    /// Runs in a throw-away VM as well, so nothing is fetched here: the timer does that.
    fn on_configure(&mut self, _size: usize) -> bool {
        log::set_max_level(host::log_level());
        let config = match host::plugin_configuration() {
            Ok(json) => Config::parse(&json),
            Err(status) => {
                error!(
                    "mesh-jwt: the host does not hand over the plugin configuration: status {status}"
                );
                return false;
            }
        };
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                error!("mesh-jwt: the plugin configuration is refused: {error}");
                return false;
            }
        };
        let mode = match config.mode {
            Mode::Enforce => "enforce",
            Mode::Report => "report only",
        };
        let names: Vec<_> = config.providers.iter().map(|p| p.name.as_str()).collect();
        info!(
            "mesh-jwt {} configured: providers {}; mode {mode}",
            env!("CARGO_PKG_VERSION"),
            names.join(", ")
        );
        *self.filter.borrow_mut() = Some(Filter::new(config, host::now()));
        true
    }

    fn on_tick(&mut self) {
        // It may change while the proxy runs, and no line is to be made that nobody reads.
        log::set_max_level(host::log_level());
        if let Some(filter) = self.filter.borrow_mut().as_mut() {
            filter.handle_tick(host::now());
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(context_id, SharedFilter::clone(&self.filter))))
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(filter) = self.filter.borrow_mut().as_mut() {
            filter.handle_call_response(token, headers, body_size, host::now());
        }
    }
}
