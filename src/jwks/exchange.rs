//! What the keys of a provider ask of the outside, and what they tell of it.

use super::fetch::{FetchError, FetchId};
use crate::jose::SkippedKey;
use std::time::Duration;

/// What is to be done outside for a provider.
#[derive(Debug)]
pub(crate) enum Step {
    /// Read the shared data.
    Read,
    /// Begin this fetch.
    Start(FetchId),
    /// Write the shared data in place of the version that was read.
    Write { bytes: Vec<u8>, version: u32 },
}

/// What came of writing to the shared data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// Another VM was faster.
    Contended,
    /// It is there.
    Done,
    /// The host offers no shared data.
    Unavailable,
}

/// What came of a fetch.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Endpoints have just turned out to publish different sets.
    Disagreement {
        /// Of some of the keys, as a log shows them.
        kids: Vec<String>,
        /// How many keys there are.
        keys: usize,
    },
    Failed {
        error: FetchError,
        retry_in: Duration,
        trusted_keys: usize,
    },
    Refreshed {
        keys: usize,
        new_keys: usize,
        /// Those that were not told of before.
        skipped: Vec<SkippedKey>,
    },
}
