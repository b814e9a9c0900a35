//! The steps that a provider's keys ask of the host, and their results.

use super::fetch::{FetchError, FetchId};
use crate::config::Target;
use crate::jose::SkippedKey;
use std::time::Duration;

/// A step for the host.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read the shared data.
    Read,
    /// Make the next call of a fetch, and wait this long for the answer; `is_search` if the fetch is
    /// for a missing key.
    Call { id: FetchId, target: Target, timeout: Duration, is_search: bool },
    /// Write the shared data in place of the version that was read.
    Write { bytes: Vec<u8>, version: u32 },
}

/// The result of a write to the shared data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// Another VM was faster.
    Contended,
    /// The write succeeded.
    Done,
    /// The host offers no shared data.
    Unavailable,
}

/// The outcome of a fetch.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A survey found that endpoints publish different sets.
    Disagreement {
        /// The `kid`s of some of the keys, shortened for logs.
        kids: Vec<String>,
        /// The number of all keys.
        keys: usize,
    },
    /// The discovery document cannot be had, and keys are fetched from where they were before.
    DiscoveryFailed { error: FetchError },
    Failed {
        /// What was called.
        target: Target,
        error: FetchError,
        retry_in: Duration,
        trusted_keys: usize,
    },
    Refreshed {
        keys: usize,
        new_keys: usize,
        /// Those that were not reported before.
        skipped: Vec<SkippedKey>,
    },
}
