//! What one scenario runs on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::interrupt;
use lab::proxy::Proxy;
use lab::services::{self, Service};

use super::filters::{self, Filter};
use super::report::Outcome;
use super::traffic::Traffic;
use super::{CACHE_DURATION, Scenario};

/// Pods of auth-service, Envoy and a service behind it, with the traffic running all the time.
pub(super) struct Stage {
    // The first ends first: no client sees the end of Envoy, nor Envoy that of the services.
    traffic: Traffic,
    envoy: Proxy,
    _upstream: Service,
    pods: Vec<Service>,
    tokens: Vec<String>,
    started_at: Instant,
    counted_from: Instant,
}

impl Stage {
    pub(super) fn set(logs: &Path, scenario: &Scenario) -> Result<Self> {
        let pod = |number| {
            let log = logs.join(format!("pod-{number}.log"));
            let key_id = scenario.shared_kid.map(|kid| ("JWT_KEY_ID", kid.to_owned()));
            Service::start("auth-service", log, key_id.into_iter().collect())
        };
        let pods = (1..=scenario.pods).map(pod).collect::<Result<Vec<_>>>()?;
        let upstream = Service::start("user-service", logs.join("user-service.log"), Vec::new())?;
        let tokens = login(&pods)?;
        let addresses: Vec<_> = pods.iter().map(Service::address).collect();
        let bootstrap = filters::bootstrap(&addresses, upstream.address(), CACHE_DURATION)?;
        // Several workers, so that each filter has to supply more than one with keys.
        let envoy = Proxy::start(logs, &bootstrap, &["--concurrency", "2"])?;
        let listeners = envoy.listeners()?;
        let target = |filter: Filter| Some((filter, *listeners.get(filter.name())?));
        let targets = Filter::ALL.into_iter().map(target).collect::<Option<Vec<_>>>();
        let targets = targets.context("Envoy has no listener for each filter")?;
        let started_at = Instant::now();
        Ok(Self {
            traffic: Traffic::start(&targets, tokens.clone()),
            envoy,
            _upstream: upstream,
            pods,
            tokens,
            started_at,
            counted_from: started_at,
        })
    }

    pub(super) fn run_for(&mut self, duration: Duration) -> Result<()> {
        interrupt::sleep(duration)?;
        self.envoy.ensure_runs()
    }

    /// Runs until so long after the start.
    pub(super) fn run_until(&mut self, since_start: Duration) -> Result<()> {
        self.run_for(since_start.saturating_sub(self.started_at.elapsed()))
    }

    pub(super) fn count_from_now(&mut self) {
        self.counted_from = Instant::now();
    }

    pub(super) fn stop_pods(&mut self) {
        self.pods.iter_mut().for_each(Service::stop);
    }

    /// Each gets a new key; half of the users log in again, the others keep their tokens.
    pub(super) fn restart_pods(&mut self) -> Result<()> {
        self.stop_pods();
        self.pods.iter_mut().try_for_each(Service::restart)?;
        let both = self.tokens.iter().cloned().zip(login(&self.pods)?);
        self.traffic.switch_to(both.flat_map(|(old, new)| [old, new]).collect());
        Ok(())
    }

    pub(super) fn outcome(self, scenario: &'static str) -> Result<Outcome> {
        let fetches = filters::fetches(&self.envoy)?;
        let samples = self.traffic.finish();
        let outcome = Outcome { scenario, samples, counted_from: self.counted_from, fetches };
        if Filter::ALL.into_iter().any(|filter| outcome.counted(filter).next().is_none()) {
            bail!("{scenario}: this machine is too slow, nothing was sent");
        }
        Ok(outcome)
    }
}

/// Tokens of every pod in turn.
fn login(pods: &[Service]) -> Result<Vec<String>> {
    let addresses = pods.iter().map(Service::address);
    let count = pods.len() * TOKENS_OF_EACH_POD;
    addresses.cycle().take(count).map(|pod| services::login(pod, "alice")).collect()
}

const TOKENS_OF_EACH_POD: usize = 10;
