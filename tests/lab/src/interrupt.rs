//! Ctrl-C and its like: a program that is told to stop leaves what it waits for, and ends in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use std::{error, fmt, io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::wait;

static WATCHED: AtomicBool = AtomicBool::new(false);
static RECEIVED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// The program was told to stop.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl error::Error for Interrupted {}

/// From now on, these signals are noticed and do nothing else: a second one cannot disturb the end
/// that the first one began.
///
/// SIGINT is noticed even in a shell's background jobs, which start with it ignored.
pub fn watch() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(&RECEIVED))?;
    }
    WATCHED.store(true, Ordering::SeqCst);
    Ok(())
}

/// Whether this program notices the signals, and so ends in order what it started.
pub(crate) fn is_watched() -> bool {
    WATCHED.load(Ordering::SeqCst)
}

/// Fails once a signal came.
pub fn check() -> Result<(), Interrupted> {
    if RECEIVED.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
}

/// Sleeps so long, unless a signal comes.
pub fn sleep(duration: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(wait::POLL_INTERVAL));
    }
}
