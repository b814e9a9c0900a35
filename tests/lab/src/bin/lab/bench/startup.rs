//! How long Envoy takes from its start until it is ready, and until it has verified a token.

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::wait;

use super::load;
use super::systems::{JWT_AUTHN, MESH_JWT, PLAIN, System, Target};
use super::tokens::Tokens;

/// All starts of one system.
pub(super) struct Starts {
    pub(super) system: String,
    pub(super) ready: Vec<Duration>,
    pub(super) verified: Vec<Duration>,
}

pub(super) fn measure(
    count: u32,
    compared: &[System],
    tokens: &Tokens,
    start: impl Fn(&System, u32) -> Result<Target>,
) -> Result<Vec<Starts>> {
    let is_chosen = |system: &&System| [PLAIN, JWT_AUTHN, MESH_JWT].contains(&&*system.name);
    let mut all: Vec<_> =
        compared.iter().filter(is_chosen).map(|system| (system, Starts::none(system))).collect();
    let hot = tokens.hot();
    for _ in 0..count {
        for (system, starts) in &mut all {
            let started_at = Instant::now();
            let target = start(system, 1)?;
            starts.ready.push(started_at.elapsed());
            wait::try_until("a token is verified", VERIFIED_LIMIT, || {
                Ok(load::ask(&target, &system.name, &hot)
                    .is_ok_and(|status| status == hot.status)
                    .then_some(()))
            })?;
            starts.verified.push(started_at.elapsed());
        }
    }
    Ok(all.into_iter().map(|(_, starts)| starts).collect())
}

impl Starts {
    fn none(system: &System) -> Self {
        Self { system: system.name.clone(), ready: Vec::new(), verified: Vec::new() }
    }
}

const VERIFIED_LIMIT: Duration = Duration::from_secs(20);
