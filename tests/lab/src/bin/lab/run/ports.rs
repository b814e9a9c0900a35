//! The ports of the demo, which environment variables choose.

use std::env;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, bail};
use lab::resources::loopback;

/// The values are those in envoy.yaml.
pub(crate) const DEFAULT_LISTEN_PORT: u16 = 10000;

/// Where each part of the demo listens.
pub(crate) struct Ports {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) stats: SocketAddr,
    pub(crate) auth: SocketAddr,
    pub(crate) user: SocketAddr,
}

impl Ports {
    /// Those that the environment names, or else the defaults; all of them are free.
    pub(super) fn choose() -> Result<Self> {
        let mut taken = Vec::new();
        let mut choose = |(variable, default): (&'static str, u16)| {
            let address = loopback(port(variable, default)?);
            if taken.iter().any(|(_, other)| *other == address) {
                let port = address.port();
                bail!("{variable}={port} is taken by another part of the demo; choose another");
            }
            taken.push((variable, address));
            Ok(address)
        };
        let ports = Self {
            listen: choose(LISTEN)?,
            admin: choose(ADMIN)?,
            stats: choose(STATS)?,
            auth: choose(AUTH)?,
            user: choose(USER)?,
        };
        for (variable, address) in taken {
            // The standard library sets SO_REUSEADDR: connections that linger from an earlier run do
            // not make a port busy.
            if let Err(error) = TcpListener::bind(address) {
                bail!("port {}: {error}; choose another with {variable}", address.port());
            }
        }
        Ok(ports)
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The defaults, and what has been chosen in their place.
    pub(super) fn chosen(&self) -> [(u16, SocketAddr); 5] {
        let Self { listen, admin, stats, auth, user } = *self;
        [(LISTEN.1, listen), (ADMIN.1, admin), (STATS.1, stats), (AUTH.1, auth), (USER.1, user)]
    }
}

/// The port that this variable of the environment chooses.
pub(crate) fn port(variable: &str, default: u16) -> Result<u16> {
    let value = env::var(variable).unwrap_or_default();
    if value.is_empty() {
        return Ok(default);
    }
    match value.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => bail!("{variable}={value} is not a port number"),
    }
}

const LISTEN: (&str, u16) = ("LISTEN_PORT", DEFAULT_LISTEN_PORT);
const ADMIN: (&str, u16) = ("ADMIN_PORT", 9901);
const STATS: (&str, u16) = ("STATS_PORT", 9902);
const AUTH: (&str, u16) = ("AUTH_PORT", 9001);
const USER: (&str, u16) = ("USER_PORT", 9002);
