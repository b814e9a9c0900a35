//! What a service saves when it stops verifying tokens (`ISTIO_JWT_MODE`), and what its sidecar pays
//! for that: the same user-service behind an Envoy, which of the two verifies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::checkout;
use lab::services::{Environment, Service};
use lab::token::{AUDIENCE, ISSUER};
use serde::Serialize;
use serde_json::json;

use super::Plan;
use super::cpus::Cpus;
use super::figures::Spread;
use super::load::{self, Load, Pace};
use super::measure;
use super::systems::{self, System, Target, Upstream};
use super::tokens::Tokens;

/// One side of the switch: an Envoy, and user-service behind it.
struct Side {
    system: System,
    target: Target,
    service: Service,
}

/// What requests cost with one side and one load, in µs of CPU.
#[derive(Serialize)]
pub(super) struct Cost {
    pub(super) load: String,
    pub(super) side: String,
    pub(super) envoy_cpu_us: Spread,
    pub(super) service_cpu_us: Spread,
    pub(super) both_cpu_us: Spread,
}

/// In each round, each side has a turn with each load.
pub(super) fn measure(
    plan: &Plan,
    logs: &Path,
    upstream: &Upstream,
    tokens: &Tokens,
    cpus: &Cpus,
) -> Result<Vec<Cost>> {
    let jwks_uri = format!("http://{}/jwks", upstream.address());
    let mut sides = [
        Side::start(
            System::new(SERVICE, None),
            vec![
                ("ISTIO_JWT_MODE", "false".to_owned()),
                ("ISSUER", ISSUER.to_owned()),
                ("AUDIENCE", AUDIENCE.to_owned()),
                ("JWKS_URI", jwks_uri),
            ],
            logs,
            cpus,
        )?,
        Side::start(
            System::new(SIDECAR, marking_filter()?),
            vec![("ISTIO_JWT_MODE", "true".to_owned())],
            logs,
            cpus,
        )?,
    ];
    let loads = [tokens.cold(), tokens.hot()];
    for side in &mut sides {
        for load in &loads {
            load::warm_up(&mut side.target, &side.system.name, load, cpus)?;
        }
    }
    let mut turns = Vec::new();
    for _ in 0..plan.rounds {
        for load in &loads {
            for side in &mut sides {
                let costs = side.turn(load, plan.saturated_seconds, cpus)?;
                turns.push((load.name.clone(), side.system.name.clone(), costs));
            }
        }
    }
    let cost = |load: &Load, side: &Side| {
        let is_of = |(of_load, of_side, _): &&(String, String, _)| {
            (of_load, of_side) == (&load.name, &side.system.name)
        };
        let spread = |figure: fn(&[f64; 2]) -> f64| {
            turns.iter().filter(is_of).map(|(_, _, costs)| figure(costs)).collect()
        };
        Cost {
            load: load.name.clone(),
            side: side.system.name.clone(),
            envoy_cpu_us: spread(|[envoy, _]| *envoy),
            service_cpu_us: spread(|[_, service]| *service),
            both_cpu_us: spread(|costs| costs.iter().sum()),
        }
    };
    Ok(loads.iter().flat_map(|load| sides.iter().map(move |side| cost(load, side))).collect())
}

impl Side {
    fn start(system: System, environment: Environment, logs: &Path, cpus: &Cpus) -> Result<Self> {
        let log = logs.join(system.name.replace(' ', "-")).with_extension("service.log");
        let program = checkout::optimised_service("user-service")?;
        let service = cpus.start_beside(|| Service::start_program(program, log, environment))?;
        let target = Target::start(logs, [&system], service.address(), 1, cpus)?;
        Ok(Self { system, target, service })
    }

    /// What a request costs Envoy and the service, in µs of CPU.
    fn turn(&mut self, load: &Load, seconds: f64, cpus: &Cpus) -> Result<[f64; 2]> {
        let before = self.service_cpu_time()?;
        let sample =
            load::run(&mut self.target, &self.system.name, load, seconds, Pace::Saturated, cpus)?;
        let spent = self.service_cpu_time()?.saturating_sub(before);
        Ok([sample.cpu_us, spent.as_secs_f64() * 1e6 / sample.requests as f64])
    }

    fn service_cpu_time(&self) -> Result<Duration> {
        measure::cpu_time(self.service.id()).context("user-service")
    }
}

/// The filter as it stands before a service that verifies nothing.
fn marking_filter() -> Result<serde_json::Value> {
    let options = json!({ "verifiedHeader": { "name": "X-Mesh-Jwt" } });
    systems::mesh_jwt(&[systems::provider(1)], 1, options)
}

pub(super) const SERVICE: &str = "the service verifies";
pub(super) const SIDECAR: &str = "mesh-jwt verifies";
