//! Sends requests, and tells what they have cost the Envoy that got them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lab::http::{Exchange, Request};
use serde::Serialize;

use super::cpus::Cpus;
use super::measure;
use super::systems::Target;
use super::wrk;

/// Requests that are all to be answered alike.
#[derive(Clone, PartialEq)]
pub(super) struct Load {
    pub(super) name: String,
    /// A file with one on each line.
    pub(super) tokens: PathBuf,
    pub(super) path: String,
    pub(super) status: u16,
    /// Besides those that every request has.
    pub(super) headers: usize,
}

/// How fast requests follow each other.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// Some 500 a second.
    Paced,
    /// As fast as they are answered.
    Saturated,
}

#[derive(Serialize)]
pub(super) struct Sample {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) cpu_us: f64,
    /// How much of the one CPU that it may have Envoy used.
    pub(super) busy: f64,
    /// How much others took of it.
    pub(super) others: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

/// Fails unless one request is answered as all are to be.
fn prime(target: &Target, system: &str, load: &Load) -> Result<()> {
    let told = || target.told(system, load);
    let status = ask(target, system, load).with_context(told)?;
    ensure!(status == load.status, "{} was {status}, not {}", told(), load.status);
    Ok(())
}

/// The status of one answer.
pub(super) fn ask(target: &Target, system: &str, load: &Load) -> Result<u16> {
    let mut token = String::new();
    BufReader::new(File::open(&load.tokens)?).read_line(&mut token)?;
    let request = Request::get(&load.path).bearer(token.trim_end());
    Ok(Exchange::start(target.address(system)?, &request)?.finish()?.status)
}

/// V8 compiles again what has run often.
pub(super) fn warm_up(target: &mut Target, system: &str, load: &Load, cpus: &Cpus) -> Result<()> {
    prime(target, system, load)?;
    let mut requests = 0;
    while requests < WARM_UP_REQUESTS {
        requests += run(target, system, load, WARM_UP_SECONDS, Pace::Saturated, cpus)?.requests;
    }
    Ok(())
}

pub(super) fn run(
    target: &mut Target,
    system: &str,
    load: &Load,
    seconds: f64,
    pace: Pace,
    cpus: &Cpus,
) -> Result<Sample> {
    let seen = (system.to_owned(), load.tokens.clone());
    let first = target.sent.get(&seen).copied().unwrap_or(0);
    let address = target.address(system)?;
    let before = Account::of(target, cpus)?;
    let duration = Duration::from_secs_f64(seconds);
    let result = cpus
        .start_beside(|| wrk::Run::start(address, load, duration, first, pace))?
        .finish(duration)?;
    target.ensure_runs()?;
    let after = Account::of(target, cpus)?;
    if result.wrong_status != 0 {
        let told = target.told(system, load);
        bail!("{told} was {}, not {}", result.wrong_status, load.status);
    }
    let (requests, errors) = (result.requests, result.errors);
    if errors != 0 || requests == 0 {
        bail!("{} came {requests} times, and {errors} requests failed", target.told(system, load));
    }
    target.sent.insert(seen, first + requests);
    let own = (after.own - before.own).as_secs_f64();
    let everybody = (after.everybody - before.everybody).as_secs_f64();
    Ok(Sample {
        requests,
        requests_per_second: requests as f64 / result.seconds,
        cpu_us: own * 1e6 / requests as f64,
        busy: own / result.seconds,
        others: (everybody - own).max(0.0) / (after.at - before.at).as_secs_f64(),
        p50_ms: result.p50 / 1e3,
        p99_ms: result.p99 / 1e3,
    })
}

/// The time, and what Envoy and all together have used of its CPU.
struct Account {
    at: Instant,
    own: Duration,
    everybody: Duration,
}

impl Account {
    fn of(target: &Target, cpus: &Cpus) -> Result<Self> {
        let own = target.cpu_time()?;
        Ok(Self { at: Instant::now(), own, everybody: measure::busy(cpus.under_test()?)? })
    }
}

const WARM_UP_REQUESTS: u64 = 2000;
const WARM_UP_SECONDS: f64 = 0.25;
