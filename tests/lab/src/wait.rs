//! Waiting for what another process does, without guessing how long it takes.

use std::thread;
use std::time::{Duration, Instant};

/// Asks `probe` again and again until it answers, and fails the test after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain until {what}");
        thread::sleep(POLL_INTERVAL);
    }
}

pub const POLL_INTERVAL: Duration = Duration::from_millis(10);
