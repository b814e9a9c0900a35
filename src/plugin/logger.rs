//! Sends log lines to the host. A line that the host refuses is lost, without further effect.

use super::abi;
use log::{Level, LevelFilter, Log, Metadata, Record};
use proxy_wasm::types::LogLevel;
use std::panic;

struct Logger;

/// Directs the log macros and panics to the host.
pub(super) fn install() {
    // It fails if a logger is installed already, which would be this one.
    if log::set_logger(&Logger).is_ok() {
        log::set_max_level(LevelFilter::Debug);
        panic::set_hook(Box::new(|panic| abi::log(LogLevel::Critical, &panic.to_string())));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        abi::log(level, &record.args().to_string());
    }

    fn flush(&self) {}
}
