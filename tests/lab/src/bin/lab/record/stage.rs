//! What one scenario runs on, and the clock that it goes by.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::config::{Config, ISSUER_CLUSTER};
use lab::http::Exchange;
use lab::interrupt;
use lab::issuer::{Answer, Issuer};
use lab::proxy::Proxy;
use lab::resources::{self, Balancer};
use lab::stats_tags::stats_config;
use lab::token::Key;
use lab::upstream::Upstream;
use lab::{checkout, crash, wait};
use serde_json::{Value, json};

use super::scenarios::Scenario;
use super::series::{INTERVAL, Series};
use super::traffic::{Kind, Traffic};

/// Pods of an issuer, Envoy with the filter and a service behind it, with traffic all the time.
pub(super) struct Stage {
    // The first ends first: no client sees the end of Envoy.
    attack: Option<Traffic>,
    traffic: Traffic,
    envoy: Proxy,
    address: SocketAddr,
    pods: Vec<Issuer>,
    _upstream: Upstream,
    series: Series,
    began: Instant,
    speed: u32,
}

impl Stage {
    pub(super) fn set(directory: &Path, scenario: &Scenario, speed: u32) -> Result<Self> {
        let pod = |set: &Vec<&Key>| Issuer::start(published(set));
        let pods: Vec<_> = (scenario.pods)().iter().map(pod).collect();
        let upstream = Upstream::start();
        let module = if scenario.has_fault {
            let faulty = directory.join("faulty.wasm");
            crash::write(&faulty);
            faulty
        } else {
            checkout::find_module()?
        };
        let shortened = |duration: Duration| format!("{:?}", duration / speed);
        let config = Config::new()
            .set("mode", scenario.mode)
            .set("maxPausedRequests", scenario.places)
            .provider("cacheDuration", shortened(CACHE_DURATION))
            .provider("staleDuration", shortened(STALE_DURATION));
        let configuration: Value = serde_json::from_str(&config.render())?;
        let filter = resources::recommended_filter("mesh_jwt", &module, &configuration);
        let manager = json!({
            "route_config": resources::route_config(&[resources::route_to(UPSTREAM)]),
            // As many as make the faulty module trap.
            "common_http_protocol_options": { "max_headers_count": 200 },
        });
        let listener = resources::listener(LISTENER, &[filter], &manager);
        let addresses: Vec<_> = pods.iter().map(Issuer::address).collect();
        let clusters = [
            resources::cluster(ISSUER_CLUSTER, &addresses, Balancer::RoundRobin),
            resources::cluster(UPSTREAM, &[upstream.address()], Balancer::RoundRobin),
        ];
        let mut bootstrap = resources::bootstrap(&[listener], &clusters);
        if let Some(bootstrap) = bootstrap.as_object_mut() {
            bootstrap.insert("stats_config".to_owned(), stats_config()?);
        }
        let envoy = Proxy::start(directory, &bootstrap, &["--concurrency", "2"])?;
        let address = *envoy.listeners()?.get(LISTENER).context("Envoy has no listener")?;
        let traffic = Traffic::start(address, CLIENTS, PAUSE, scenario.traffic.to_vec());
        wait::try_until("there are keys", START_LIMIT, || {
            let keys = envoy.sum_of_stats(|name| name.ends_with(".wealist.keys"))?;
            Ok((keys > 0).then_some(()))
        })?;
        let (series, began) = (Series::new(speed), Instant::now());
        let attack = None;
        Ok(Self {
            attack,
            traffic,
            envoy,
            address,
            pods,
            _upstream: upstream,
            series,
            began,
            speed,
        })
    }

    /// Runs, and scrapes, until so many minutes of the series are over.
    pub(super) fn run_until(&mut self, minute: u32) -> Result<()> {
        while self.series.scrapes() <= (minute * 60 / INTERVAL) as usize {
            let due = u32::try_from(self.series.scrapes())? * INTERVAL;
            let due = Duration::from_secs(due.into()) / self.speed;
            interrupt::sleep(due.saturating_sub(self.began.elapsed()))?;
            self.envoy.ensure_runs()?;
            self.series.add(&self.envoy.ask("/stats/prometheus")?.text())?;
        }
        Ok(())
    }

    pub(super) fn publish(&self, pod: usize, set: &[&Key]) {
        if let Some(pod) = self.pods.get(pod) {
            pod.answer(published(set));
        }
    }

    /// The service of the issuer answers like this.
    pub(super) fn fail(&self) {
        for pod in &self.pods {
            pod.answer(Answer::raw("503 Service Unavailable", "", b""));
        }
    }

    pub(super) fn switch_to(&self, traffic: &[Kind]) {
        self.traffic.switch_to(traffic.to_vec());
    }

    pub(super) fn send(&self, kind: Kind) -> Result<()> {
        Exchange::start(self.address, &kind.request(0))?.finish()?;
        Ok(())
    }

    pub(super) fn attack(&mut self, clients: usize, with: &[Kind]) {
        let attack = Traffic::start(self.address, clients, PAUSE_OF_ATTACKERS, with.to_vec());
        self.attack = Some(attack);
    }

    pub(super) fn end_attack(&mut self) {
        self.attack = None;
    }

    pub(super) fn finish(self) -> Series {
        self.series
    }
}

fn published(set: &[&Key]) -> Answer {
    Answer::Keys(set.iter().map(|key| key.jwk()).collect())
}

/// The filter's defaults.
const CACHE_DURATION: Duration = Duration::from_mins(10);
const STALE_DURATION: Duration = Duration::from_mins(60);
const LISTENER: &str = "ingress";
const UPSTREAM: &str = "upstream";
const CLIENTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_OF_ATTACKERS: Duration = Duration::from_millis(500);
const START_LIMIT: Duration = Duration::from_secs(20);
