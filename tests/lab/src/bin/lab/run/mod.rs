//! Runs the demo on loopback until Ctrl-C: auth-service, user-service, and Envoy with the filter.

mod config;
mod ports;
pub(crate) mod requests;

use std::env;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::interrupt::{self, Interrupted};
use lab::process::{self, Process};
use lab::services::{self, Environment, has_keys, is_up};
use lab::{checkout, proxy, wait};

pub(crate) use config::{CA_CERTIFICATES, ca_certificates};
pub(crate) use ports::{DEFAULT_LISTEN_PORT, Ports, port};

/// Run the demo on loopback until Ctrl-C: auth-service, user-service, and Envoy with the filter.
///
/// LISTEN_PORT, ADMIN_PORT, STATS_PORT, AUTH_PORT and USER_PORT choose other ports.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Make the requests that are otherwise printed, compare the answers, exit 0 or 1.
    #[arg(long)]
    check: bool,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        match run(self.check) {
            // That is how it is meant to end.
            Err(error) if error.is::<Interrupted>() && !self.check => Ok(ExitCode::SUCCESS),
            result => result,
        }
    }
}

fn run(check_only: bool) -> Result<ExitCode> {
    let ports = Ports::choose()?;
    let root = checkout::root();
    // Demos may run side by side, and one may still write when the next one on other ports begins.
    let logs = Path::new(".cache/run").join(ports.listen.port().to_string());
    let mut processes = start(&ports, &root.join(&logs))?;
    wait_until_ready(&ports, &mut processes)?;
    if check_only {
        return check(&ports);
    }
    let log = proxy::log(&root.join(&logs));
    let mut log = File::open(&log).with_context(|| log.display().to_string())?;
    // Nothing is to be missed that comes as soon as somebody reads the introduction.
    log.seek(SeekFrom::End(0))?;
    print_introduction(&ports, &logs)?;
    follow(&mut processes, &mut log)
}

/// What ends first comes first: Envoy, and then the services behind it.
fn start(ports: &Ports, logs: &Path) -> Result<[Process; 3]> {
    let envoy = checkout::find_envoy()?;
    // envoy.yaml names it in just this place.
    checkout::built("dist/mesh-jwt.wasm", "make build")?;
    process::output(Command::new("curl").arg("--version"), ANSWER_LIMIT)
        .context("curl is missing; install it with `apt-get install curl`")?;

    fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
    let config = logs.join("envoy.yaml");
    fs::write(&config, config::render(ports)?).with_context(|| config.display().to_string())?;
    let service = |name: &str, address: SocketAddr, environment: &Environment| {
        services::spawn(name, &logs.join(name).with_extension("log"), address.port(), environment)
    };
    // A key in the environment stays, for demos whose tokens outlive them.
    let keys = ["JWT_RSA_PRIVATE_KEY", "JWT_RSA_PUBLIC_KEYS", "JWT_KEY_ID"];
    let keys = keys.into_iter().filter_map(|name| Some((name, env::var(name).ok()?)));
    let auth_service = service("auth-service", ports.auth, &keys.collect())?;
    let behind_filter = services::behind_filter(config::verified_secret()?);
    let user_service = service("user-service", ports.user, &behind_filter)?;
    let mut command = Command::new(envoy);
    command.arg("--config-path").arg(config).arg("--disable-hot-restart");
    // Several workers, so that they have to share keys; the access log without its usual delay.
    command.args(["--concurrency", "2", "--file-flush-interval-msec", "200"]);
    let envoy = Process::start(command.current_dir(checkout::root()), &proxy::log(logs))
        .context("Envoy cannot be executed")?;
    Ok([envoy, user_service, auth_service])
}

fn wait_until_ready(ports: &Ports, processes: &mut [Process]) -> Result<()> {
    let parts: [(_, &dyn Fn() -> bool); 4] = [
        ("auth-service", &|| is_up(ports.auth, "/actuator/health")),
        ("user-service", &|| is_up(ports.user, "/healthz")),
        ("Envoy", &|| is_up(ports.admin, "/ready")),
        ("the key set in the filter", &|| has_keys(ports.listen)),
    ];
    let logs = processes.iter().map(|process| process.log().to_string_lossy());
    let logs = logs.collect::<Vec<_>>().join(", ");
    for (what, is_ready) in parts {
        wait::try_until(&format!("{what} is ready; see {logs}"), READY_LIMIT, || {
            ensure_all_run(processes)?;
            Ok(is_ready().then_some(()))
        })?;
    }
    Ok(())
}

fn ensure_all_run(processes: &mut [Process]) -> Result<()> {
    processes.iter_mut().try_for_each(Process::ensure_runs)
}

fn print_introduction(ports: &Ports, logs: &Path) -> Result<()> {
    let Ports { listen, admin, stats, .. } = ports;
    let base = ports.base();
    let mut out = io::stdout().lock();
    writeln!(out, "mesh-jwt guards {base} (Envoy's admin: http://{admin})")?;
    writeln!(out, "Metrics: http://{stats}/stats/prometheus")?;
    writeln!(out, "Logs: {}/*.log\n", logs.display())?;
    requests::print(&mut out, *listen)?;
    writeln!(out, "\nCtrl-C stops everything. From here on, what Envoy logs:\n")?;
    Ok(out.flush()?)
}

/// Makes the requests as a shell does, for which they are printed.
fn check(ports: &Ports) -> Result<ExitCode> {
    let mut out = io::stdout();
    let mut code = ExitCode::SUCCESS;
    for request in requests::all(ports.listen) {
        let (status, why, command) = (request.status, request.why, &request.command);
        let answer = shell(&format!("{}\n{command}", requests::login(ports.listen)))?;
        if answer.starts_with(&format!("HTTP/1.1 {status} ")) {
            writeln!(out, "ok   {status} ({why}): {command}")?;
        } else {
            writeln!(out, "FAIL {status} ({why}): {command}\n     answered: {answer}")?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn shell(script: &str) -> Result<String> {
    let mut command = Command::new("sh");
    // A proxy cannot reach what is on loopback.
    command.args(["-c", script]).env("no_proxy", "127.0.0.1");
    let Some(output) = process::output(&mut command, ANSWER_LIMIT)? else {
        return Ok(format!("nothing within {ANSWER_LIMIT:?}"));
    };
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn follow(processes: &mut [Process], log: &mut File) -> Result<ExitCode> {
    let mut out = io::stdout();
    loop {
        io::copy(log, &mut out)?;
        out.flush()?;
        ensure_all_run(processes)?;
        interrupt::sleep(FOLLOW_INTERVAL)?;
    }
}

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
const READY_LIMIT: Duration = Duration::from_secs(30);
