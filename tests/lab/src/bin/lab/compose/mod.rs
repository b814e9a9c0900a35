//! The containers of docker-compose.yaml.

mod image;

use std::env;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::docker::{Compose, services_from};
use lab::resources::loopback;
use lab::services::has_keys;
use lab::{checkout, wait};

use crate::run::{DEFAULT_LISTEN_PORT, port, requests};

/// Start the containers of docker-compose.yaml and wait until they serve, or stop them.
///
/// LISTEN_PORT and STATS_PORT choose other ports, COMPOSE_PROFILES=metrics adds Prometheus and Grafana,
/// and SERVICES_FROM=source has the services compiled in an image of Rust. COMPOSE_PROJECT_NAME lets
/// several of them run side by side.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Start them.
    Up,
    /// Stop them, and leave nothing behind.
    Down,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let project = env::var("COMPOSE_PROJECT_NAME").ok().filter(|name| !name.is_empty());
        let compose = Compose::find(project.as_deref().unwrap_or("mesh-jwt")).context(
            "no Docker engine answers; `apt-get install docker.io docker-compose`, and start it",
        )?;
        match self.action {
            Action::Up => up(&compose)?,
            Action::Down => down(&compose)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(compose: &Compose) -> Result<()> {
    let listen = loopback(port("LISTEN_PORT", DEFAULT_LISTEN_PORT)?);
    checkout::built("dist/mesh-jwt.wasm", "make build")?;
    if services_from() == "binaries" {
        checkout::built("dist/static/auth-service", "make static")?;
    }
    image::ensure(&image::name(compose)?)?;
    compose.run(&["up", "--detach", "--build"])?;
    let ready =
        wait::try_until("the filter has keys", READY_LIMIT, || Ok(has_keys(listen).then_some(())));
    ready.with_context(|| compose.logs("envoy").unwrap_or_default())?;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "mesh-jwt guards http://{listen}, in front of two pods of auth-service with a key each"
    )?;
    requests::print(&mut out, listen)?;
    writeln!(out, "\n`make compose-down` stops everything.")?;
    Ok(())
}

fn down(compose: &Compose) -> Result<()> {
    let image = image::name(compose)?;
    // With the profile, or what it started would stay.
    let everything = ["--profile", "metrics", "down", "--volumes", "--rmi", "local"];
    let at_once = ["--remove-orphans", "--timeout", "5"];
    compose.run(&[&everything[..], &at_once].concat())?;
    image::remove_stand_in(&image)
}

const READY_LIMIT: Duration = Duration::from_secs(60);
