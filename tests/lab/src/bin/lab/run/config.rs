//! envoy.yaml, adapted to loopback.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lab::checkout;
use regex_lite::{Captures, Regex};

use super::Ports;

/// Where Debian and the image of Envoy have them; so does envoy.yaml.
pub(crate) const CA_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What proves to user-service that the filter has verified a request.
pub(super) fn verified_secret() -> Result<String> {
    let config = read()?;
    let secret = Regex::new(r#""secret": "([^"]+)""#)?.captures(&config);
    let secret = secret.and_then(|found| Some(found.get(1)?.as_str().to_owned()));
    secret.context("envoy.yaml lacks the secret of verifiedHeader, which user-service insists on")
}

/// envoy.yaml with every address of the demo on loopback, on these ports.
pub(super) fn render(ports: &Ports) -> Result<String> {
    let config = read()?;
    let chosen = ports.chosen();
    let mut missing: BTreeSet<_> = chosen.iter().map(|(default, _)| *default).collect();
    let socket_address = Regex::new(r"\{address: [\w.-]+, port_value: (\d+)\}")?;
    let config = socket_address.replace_all(&config, |found: &Captures<'_>| {
        let of_demo = chosen.iter().find(|(default, _)| {
            found.get(1).is_some_and(|port| port.as_str() == default.to_string())
        });
        of_demo.map_or_else(
            || found.get(0).map_or("", |whole| whole.as_str()).to_owned(),
            |(default, address)| {
                missing.remove(default);
                format!("{{address: {}, port_value: {}}}", address.ip(), address.port())
            },
        )
    });
    ensure!(missing.is_empty(), "envoy.yaml lacks the ports {missing:?}, which the demo changes");
    ensure!(
        config.contains(CA_CERTIFICATES),
        "envoy.yaml lacks {CA_CERTIFICATES}, which the demo changes"
    );
    Ok(config.replace(CA_CERTIFICATES, &ca_certificates()?.to_string_lossy()))
}

fn read() -> Result<String> {
    let path = checkout::root().join("envoy/envoy.yaml");
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// The certificates of this machine.
pub(crate) fn ca_certificates() -> Result<PathBuf> {
    let debian = PathBuf::from(CA_CERTIFICATES);
    if debian.exists() {
        return Ok(debian);
    }
    // Python has to be there anyway; it knows where other systems have them, and pip brings some for
    // its own downloads.
    let found = Command::new("python3").args(["-c", PYTHON_CERTIFICATES]).output()?;
    let found = String::from_utf8_lossy(&found.stdout);
    let Some(path) = found.lines().map(PathBuf::from).find(|path| path.exists()) else {
        bail!("there are no CA certificates; `apt-get install ca-certificates`");
    };
    Ok(path)
}

const PYTHON_CERTIFICATES: &str = "\
import ssl
print(ssl.get_default_verify_paths().cafile or '')
import pip._vendor.certifi
print(pip._vendor.certifi.where())
";
