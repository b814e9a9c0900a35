//! Waiting for what another process does, without guessing how long it takes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// Asks `probe` again and again until it answers, and fails the test after `limit`.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    try_until(what, limit, || Ok(probe())).unwrap_or_else(|error| panic!("{error}"))
}

/// Asks `probe` again and again until it answers or fails, for `limit` at most.
pub fn try_until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain until {what}");
        }
        interrupt::sleep(POLL_INTERVAL)?;
    }
}

pub const POLL_INTERVAL: Duration = Duration::from_millis(10);
