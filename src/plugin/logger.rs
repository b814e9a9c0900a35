//! What the module logs, as lines of the host's log.

use super::abi;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Sends log lines, and what a panic says, to the host. Where the host takes none, they are lost.
pub(super) fn install() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    std::panic::set_hook(Box::new(|panic| write(CRITICAL, &panic.to_string())));
}

static LOGGER: Logger = Logger;

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        if self.enabled(record.metadata()) {
            write(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn write(level: u32, line: &str) {
    // There is nowhere else to say that the log takes no lines.
    let _ = abi::log(level, line);
}

const CRITICAL: u32 = 5;
