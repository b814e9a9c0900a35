//! One Envoy process with any configuration, which is asked through its admin interface.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::http::{Exchange, Request, Response};
use crate::process::{self, Process};
use crate::{checkout, resources, wait};

pub struct Proxy {
    process: Process,
    admin: SocketAddr,
}

impl Proxy {
    /// Starts Envoy with its files in this directory, and waits until it serves. Every port of its
    /// bootstrap may be free to choose.
    pub fn start(directory: &Path, bootstrap: &Value, options: &[&str]) -> Result<Self> {
        let mut process = Self::spawn(directory, bootstrap, options)?;
        let admin = wait::try_until("Envoy tells its admin address", START_LIMIT, || {
            process.ensure_runs()?;
            let address = fs::read_to_string(admin_address(directory)).ok();
            Ok(address.and_then(|address| address.parse().ok()))
        })?;
        wait::try_until("Envoy is ready", START_LIMIT, || {
            process.ensure_runs()?;
            Ok(is_ready(admin).then_some(()))
        })?;
        Ok(Self { process, admin })
    }

    /// Starts Envoy and does not wait: it may refuse its bootstrap.
    pub fn spawn(directory: &Path, bootstrap: &Value, options: &[&str]) -> Result<Process> {
        let path = directory.join("bootstrap.json");
        fs::write(&path, format!("{bootstrap:#}")).with_context(|| path.display().to_string())?;
        // That of an earlier Envoy is not to be taken for its own.
        let admin_address = admin_address(directory);
        if admin_address.exists() {
            fs::remove_file(&admin_address)?;
        }
        let mut command = Command::new(checkout::find_envoy()?);
        command
            .arg("--config-path")
            .arg(path)
            .arg("--admin-address-path")
            .arg(admin_address)
            .args(["--disable-hot-restart", "--log-level", "warning"])
            .args(options)
            .current_dir(checkout::root());
        Process::start(&mut command, &log(directory)).context("Envoy cannot be executed")
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Fails if Envoy has ended.
    pub fn ensure_runs(&mut self) -> Result<()> {
        self.process.ensure_runs()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// The address of each listener.
    pub fn listeners(&self) -> Result<BTreeMap<String, SocketAddr>> {
        let listeners = self.ask("/listeners?format=json")?.try_json()?;
        let statuses = listeners["listener_statuses"].as_array();
        let address = |status: &Value| {
            let port = status["local_address"]["socket_address"]["port_value"].as_u64()?;
            Some((status["name"].as_str()?.to_owned(), resources::loopback(port.try_into().ok()?)))
        };
        let addresses = statuses.and_then(|statuses| statuses.iter().map(address).collect());
        addresses.with_context(|| format!("Envoy's listeners have ports, not {listeners:?}"))
    }

    /// The sum of all counters and gauges with such a name. One that was never touched may not exist
    /// yet, and is zero.
    pub fn sum_of_stats(&self, is_such: impl Fn(&str) -> bool) -> Result<u64> {
        let stats = self.ask("/stats")?.text();
        let stats = stats.lines().filter_map(|line| line.split_once(": "));
        stats
            .filter(|(name, _)| is_such(name))
            .map(|(name, value)| value.parse::<u64>().with_context(|| format!("{name}: {value}")))
            .sum()
    }

    /// How much memory the process holds.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("Linux, which is where the Envoy binary runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.expect("the resident size in kB") * 1024
    }

    /// How much CPU the process has taken.
    pub fn cpu_time(&self) -> Duration {
        process::cpu_time(self.id())
    }

    /// Asks the admin interface for something that it has.
    pub fn ask(&self, target: &str) -> Result<Response> {
        self.admin_request(&Request::get(target))
    }

    /// The same with any request.
    pub fn admin_request(&self, request: &Request) -> Result<Response> {
        let response = Exchange::start(self.admin, request).and_then(Exchange::finish);
        let response = response.context("Envoy's admin interface does not answer")?;
        ensure!(response.status == 200, "Envoy's admin interface answers {response:?}");
        Ok(response)
    }
}

/// Whether an Envoy with this admin interface is there and serves.
pub fn is_ready(admin: SocketAddr) -> bool {
    let ready = Exchange::start(admin, &Request::get("/ready")).and_then(Exchange::finish);
    ready.is_ok_and(|ready| ready.status == 200)
}

/// Where an Envoy with its files in this directory writes its log.
pub fn log(directory: &Path) -> PathBuf {
    directory.join("envoy.log")
}

fn admin_address(directory: &Path) -> PathBuf {
    directory.join("admin-address")
}

/// With many modules to compile, on a machine that has other things to do as well.
const START_LIMIT: Duration = Duration::from_secs(60);
