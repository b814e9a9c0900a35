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

/// What a service is told, all that it can be told being unset otherwise.
pub type Environment = Vec<(&'static str, String)>;

/// What has user-service take identity from the headers of a filter with this secret.
pub fn behind_filter(secret: String) -> Environment {
    vec![("ISTIO_JWT_MODE", "true".to_owned()), ("VERIFIED_SECRET", secret)]
}

/// Starts one of the services on a port of loopback; on a free one if that is 0.
///
/// `ISSUER` stays at its default, which Envoy's configuration trusts, unless the environment says
/// otherwise.
pub fn spawn(name: &str, log: &Path, port: u16, environment: &Environment) -> Result<Process> {
    spawn_program(&checkout::service(name)?, log, port, environment)
}

fn spawn_program(
    program: &Path,
    log: &Path,
    port: u16,
    environment: &Environment,
) -> Result<Process> {
    let mut command = Command::new(program);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start(command.current_dir(checkout::root()), log)
        .with_context(|| format!("{} cannot be executed", program.display()))
}

/// A service that keeps its port over restarts.
pub struct Service {
    program: PathBuf,
    log: PathBuf,
    environment: Environment,
    port: u16,
    process: Process,
}

impl Service {
    /// Starts it and waits until it listens.
    ///
    /// Each replica of auth-service makes a key of its own when it starts, unless it is told one.
    pub fn start(name: &str, log: PathBuf, environment: Environment) -> Result<Self> {
        Self::start_program(checkout::service(name)?, log, environment)
    }

    /// The same with another build of it.
    pub fn start_program(program: PathBuf, log: PathBuf, environment: Environment) -> Result<Self> {
        let process = spawn_program(&program, &log, 0, &environment)?;
        let mut service = Self { program, log, environment, port: 0, process };
        service.port = service.announced_port()?;
        Ok(service)
    }

    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after its end.
    pub fn restart(&mut self) -> Result<()> {
        self.process = spawn_program(&self.program, &self.log, self.port, &self.environment)?;
        self.announced_port()?;
        Ok(())
    }

    /// Ends it, and starts it with another environment.
    pub fn replace(&mut self, environment: Environment) -> Result<()> {
        self.stop();
        self.environment = environment;
        self.restart()
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn address(&self) -> SocketAddr {
        loopback(self.port)
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }

    fn announced_port(&mut self) -> Result<u16> {
        wait::try_until(&format!("{} listens", self.program.display()), START_LIMIT, || {
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

/// All that the services read from the environment, besides the address.
const VARIABLES: [&str; 10] = [
    "AUDIENCE",
    "ISSUER",
    "ISTIO_JWT_MODE",
    "JWKS_URI",
    "JWT_KEY_ID",
    "JWT_RSA_PRIVATE_KEY",
    "JWT_RSA_PUBLIC_KEYS",
    "TOKEN_LIFETIME_SECONDS",
    "VERIFIED_HEADER",
    "VERIFIED_SECRET",
];
const START_LIMIT: Duration = Duration::from_secs(20);
