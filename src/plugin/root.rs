//! The root context: configuration, timer, and the responses to dispatched calls.

use super::filter::{Filter, SharedFilter};
use super::stream::Stream;
use super::{host, withheld};
use crate::config::{Config, Mode};
use log::{LevelFilter, error, info};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

#[derive(Default)]
pub(super) struct Root {
    filter: SharedFilter,
    /// If not, the host withholds it, and each query would log an error there.
    is_told_log_level: bool,
}

impl Root {
    /// Adopts the host's log level, so that no line is formatted in vain. The level may change
    /// while the proxy runs.
    fn heed_log_level(&mut self) {
        let level = host::log_level();
        self.is_told_log_level = level.is_some();
        log::set_max_level(level.unwrap_or(LevelFilter::Debug));
    }
}

impl RootContext for Root {
    /// Also runs in a throw-away VM, so this fetches nothing: the timer does.
    fn on_configure(&mut self, _size: usize) -> bool {
        self.heed_log_level();
        let config = match configuration() {
            Ok(config) => config,
            Err(why) => {
                error!("mesh-jwt: {why}");
                return false;
            }
        };
        let mode = match config.mode {
            Mode::Enforce => "enforce",
            Mode::Report => "report only",
        };
        let names: Vec<_> = config.providers.values().map(|p| p.name.as_str()).collect();
        info!(
            "mesh-jwt {} configured: providers {}; mode {mode}",
            env!("CARGO_PKG_VERSION"),
            names.join(", ")
        );
        *self.filter.borrow_mut() = Some(Filter::new(config, host::now()));
        true
    }

    fn on_tick(&mut self) {
        if self.is_told_log_level {
            self.heed_log_level();
        }
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

/// The plugin configuration, or why the filter cannot run it.
fn configuration() -> Result<Config, String> {
    offered(&withheld::needed())?;
    let json = host::plugin_configuration().map_err(|status| {
        format!("the host does not hand over the plugin configuration: status {status}")
    })?;
    // Wherever it stands: without random numbers an expression cannot even be compiled.
    if REGEX_OR_ESCAPE.iter().any(|part| json.windows(part.len()).any(|text| text == *part)) {
        offered(&withheld::needed_for_expressions())?;
    }
    let config = Config::parse(&json)
        .map_err(|error| format!("the plugin configuration is refused: {error}"))?;
    if config.providers.values().any(|provider| provider.remote_jwks().is_some()) {
        offered(&withheld::needed_to_fetch())?;
    }
    if config.clear_route_cache {
        offered(&withheld::needed_to_route())?;
    }
    Ok(config)
}

/// Fails if functions are withheld; the error says what to do.
fn offered(withheld: &[&str]) -> Result<(), String> {
    if withheld.is_empty() {
        return Ok(());
    }
    let names = withheld.join(", ");
    Err(format!(
        "the filter cannot work without {names}: allow that in capability_restriction_config"
    ))
}

/// The field of a regular expression, and how its name may be disguised.
const REGEX_OR_ESCAPE: [&[u8]; 2] = [b"\"regex\"", b"\\u"];
