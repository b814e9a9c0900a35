//! The demo's services, and what a client of them does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::http::{Exchange, Request, Response};
use crate::process::Process;
use crate::resources::loopback;
use crate::{checkout, wait};

/// Starts one of the services on a port of loopback; on a free one if that is 0.
///
/// `ISSUER` stays at its default, which Envoy's configuration trusts.
pub fn spawn(
    name: &str,
    log: &Path,
    port: u16,
    adapt: impl FnOnce(&mut Command),
) -> Result<Process> {
    let mut command = Command::new(checkout::service(name)?);
    command.env("HOST", "127.0.0.1").env("PORT", port.to_string()).env_remove("ISSUER");
    adapt(command.current_dir(checkout::root()));
    Process::start(&mut command, log).with_context(|| format!("{name} cannot be executed"))
}

/// A service that keeps its port over restarts.
pub struct Service {
    name: &'static str,
    log: PathBuf,
    /// What its keys are called; without it, each gets a name of its own.
    key_id: Option<&'static str>,
    port: u16,
    process: Process,
}

impl Service {
    /// Starts it and waits until it listens.
    ///
    /// Each replica of auth-service makes a key of its own when it starts.
    pub fn start(name: &'static str, log: PathBuf, key_id: Option<&'static str>) -> Result<Self> {
        let process = Self::spawn(name, &log, key_id, 0)?;
        let mut service = Self { name, log, key_id, port: 0, process };
        service.port = service.announced_port()?;
        Ok(service)
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after its end.
    pub fn restart(&mut self) -> Result<()> {
        self.process = Self::spawn(self.name, &self.log, self.key_id, self.port)?;
        self.announced_port()?;
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    fn spawn(name: &str, log: &Path, key_id: Option<&'static str>, port: u16) -> Result<Process> {
        spawn(name, log, port, |command| {
            // What would have the replicas share a key.
            command.env_remove("JWT_RSA_PRIVATE_KEY").env_remove("JWT_KEY_ID");
            command.envs(key_id.map(|id| ("JWT_KEY_ID", id)));
        })
    }

    fn announced_port(&mut self) -> Result<u16> {
        wait::try_until(&format!("{} listens", self.name), START_LIMIT, || {
            self.process.ensure_runs()?;
            let output = self.process.output();
            let whole_lines = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
            let address = whole_lines.lines().find_map(|line| line.split_once(" listens on "));
            let port = address.and_then(|(_, address)| address.rsplit_once(':'));
            Ok(port.and_then(|(_, port)| port.parse().ok()))
        })
    }
}

/// A new token for a user, of an auth-service or an Envoy before it.
pub fn login(address: SocketAddr, user: &str) -> Result<String> {
    let body = json!({ "username": user }).to_string().into_bytes();
    let request = Request::new("POST", "/api/login");
    let request = request.header("Content-Type", "application/json").body(body);
    let answer = send(address, &request)?;
    ensure!(answer.status == 200, "the login is refused: {} {}", answer.status, answer.text());
    let token = answer.try_json()?["access_token"].as_str().map(str::to_owned);
    token.with_context(|| format!("no token in the answer to the login: {}", answer.text()))
}

/// Whether the filter at this address judges a token at all: any verdict but 503 needs keys.
pub fn has_keys(address: SocketAddr) -> bool {
    let verdict =
        login(address, "alice").and_then(|token| send(address, &Request::get("/").bearer(&token)));
    verdict.is_ok_and(|verdict| verdict.status != 503)
}

/// Whether something at this address is well.
pub fn is_up(address: SocketAddr, path: &str) -> bool {
    send(address, &Request::get(path)).is_ok_and(|answer| answer.status == 200)
}

fn send(address: SocketAddr, request: &Request) -> Result<Response> {
    Ok(Exchange::start(address, request)?.finish()?)
}

const START_LIMIT: Duration = Duration::from_secs(20);
