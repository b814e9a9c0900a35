//! The Docker engine, if there is one, and the containers of `envoy/docker-compose.yaml`.

use std::env;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{checkout, process};

/// The containers of the compose file under one name.
pub struct Compose {
    /// That of the engine, or Python's.
    command: &'static [&'static str],
    project: String,
}

impl Compose {
    /// `None` if no engine answers, or it has no command for compose files.
    pub fn find(project: &str) -> Option<Self> {
        let answers = |command: &[&str], word| {
            let (program, arguments) = command.split_first().expect("a program");
            let output = process::output(Command::new(program).args(arguments).arg(word), PATIENCE);
            matches!(output, Ok(Some(output)) if output.status.success())
        };
        let known: [&[_]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let command = known.into_iter().find(|command| answers(command, "version"))?;
        answers(&["docker"], "version").then(|| Self { command, project: project.to_owned() })
    }

    /// Does this with the containers, and returns what that prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let (program, words) = self.command.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(words)
            .args(["--project-name", &self.project, "--file"])
            .arg(checkout::root().join("envoy/docker-compose.yaml"))
            .args(arguments)
            .env("SERVICES_FROM", services_from());
        checked(&mut command)
    }

    pub fn logs(&self, service: &str) -> Result<String> {
        self.run(&["logs", "--no-color", service])
    }
}

/// How the images of the services are made, which `SERVICES_FROM` chooses.
pub fn services_from() -> String {
    env::var("SERVICES_FROM").unwrap_or_else(|_| "binaries".to_owned())
}

/// What `docker` makes of these arguments.
pub fn docker(arguments: &[&str]) -> Result<Output> {
    finish(Command::new("docker").args(arguments))
}

/// What this prints; what it says when it fails becomes the error.
pub fn checked(command: &mut Command) -> Result<String> {
    let output = finish(command)?;
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if !output.status.success() {
        bail!("`{}` failed:\n{stdout}{stderr}", line(command));
    }
    Ok(stdout)
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = process::output(command, PATIENCE)?;
    output.with_context(|| format!("`{}` takes longer than {PATIENCE:?}", line(command)))
}

fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Images may be pulled and services compiled.
const PATIENCE: Duration = Duration::from_secs(3600);
