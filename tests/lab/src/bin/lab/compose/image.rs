//! The image of Envoy: the official one, or, where no registry is reachable, one around the binary that
//! `make envoy` fetches. That one has the official name for as long as the containers run.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::checkout;
use lab::docker::{Compose, checked, docker};
use regex_lite::Regex;

use crate::run::{CA_CERTIFICATES, ca_certificates};

/// What the compose file calls it.
pub(super) fn name(compose: &Compose) -> Result<String> {
    let config = compose.run(&["config"])?;
    let image = Regex::new(r"(?m)^\s*image: (envoyproxy/envoy:\S+)$")?;
    let name = image.captures(&config).and_then(|found| Some(found.get(1)?.as_str().to_owned()));
    name.context("docker-compose.yaml runs no image of Envoy")
}

pub(super) fn ensure(name: &str) -> Result<()> {
    if docker(&["image", "inspect", name])?.status.success() {
        return Ok(());
    }
    writeln!(io::stderr(), "pulling {name} ...")?;
    let pull = docker(&["pull", "--quiet", name])?;
    if pull.status.success() {
        return Ok(());
    }
    let envoy = checkout::find_envoy().with_context(|| {
        let why = String::from_utf8_lossy(&pull.stderr);
        format!("{name} cannot be pulled, and nothing can stand in:\n{why}")
    })?;
    writeln!(io::stderr(), "no registry is reachable: {} stands in", envoy.display())?;
    build_stand_in(name, &envoy)
}

/// Nobody is to take it for the official image later.
pub(super) fn remove_stand_in(name: &str) -> Result<()> {
    let label = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
    let inspected = docker(&["image", "inspect", "--format", &label, name])?;
    if inspected.stdout.trim_ascii() == b"true" {
        docker(&["image", "rm", name])?;
    }
    Ok(())
}

fn build_stand_in(name: &str, envoy: &Path) -> Result<()> {
    let context = checkout::root().join(format!(".cache/stand-in-{}", std::process::id()));
    let built = fill(&context, envoy)
        .and_then(|()| checked(Command::new("docker").args(["build", "--tag", name]).arg(&context)))
        .with_context(|| format!("the image {name} could not be built"));
    // It holds nothing that could not be there twice.
    drop(fs::remove_dir_all(&context));
    built.map(drop)
}

/// Puts everything there that Envoy needs to run.
fn fill(context: &Path, envoy: &Path) -> Result<()> {
    let certificates = ca_certificates()?;
    let mut copies = vec![
        (envoy.to_owned(), "/usr/local/bin/envoy".into()),
        (certificates, CA_CERTIFICATES.into()),
    ];
    copies.extend(libraries(envoy)?.into_iter().map(|library| (library.clone(), library)));
    for (source, destination) in copies {
        let destination = context.join("root").join(destination.strip_prefix("/")?);
        if let Some(directory) = destination.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::copy(&source, &destination).with_context(|| source.display().to_string())?;
    }
    let dockerfile =
        format!("FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin\nLABEL {LABEL}=true\n");
    Ok(fs::write(context.join("Dockerfile"), dockerfile)?)
}

/// The shared libraries and the loader, at the paths where the loader looks for them.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let listed = Command::new("ldd").arg(binary).output().context("ldd cannot be executed")?;
    ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8_lossy(&listed.stdout);
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

const LABEL: &str = "mesh-jwt.stand-in";
