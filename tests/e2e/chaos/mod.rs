//! Things go wrong while good traffic goes on, and not one good request may fail for it.

mod crowd;
mod federation;
mod flood;
mod issuers;
mod outage;
mod pods;
mod reload;
mod rotation;

use std::time::Duration;

/// What no good request may take even on a busy machine, if there is nothing to wait for.
const UNDISTURBED: Duration = Duration::from_secs(1);
