//! Runs the commands of each guide, one after the other in one shell, as a reader would.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lab::{checkout, wait};

use crate::blocks::{blocks, guides};

/// In turns, since they use fixed ports.
#[test]
fn commands_of_the_guides_run() {
    let mut run = 0;
    for guide in guides() {
        let text = fs::read_to_string(&guide).expect("a guide");
        let commands = blocks(&text).into_iter().filter(|block| block.language == "sh");
        let commands: Vec<_> = commands.filter(|block| block.not_run.is_none()).collect();
        if commands.is_empty() {
            continue;
        }
        run += commands.len();
        let script = commands.into_iter().map(|block| block.text).collect::<String>();
        run_script(&guide, &script);
    }
    assert!(run > 8, "only {run} blocks were run");
}

#[test]
fn what_is_not_run_says_why() {
    for guide in guides() {
        let text = fs::read_to_string(&guide).expect("a guide");
        for block in blocks(&text) {
            let name = format!("{}:{}", guide.display(), block.line);
            assert_ne!(block.language, "", "{name}: name the language");
            assert_ne!(block.language, "bash", "{name}: sh, which every machine has");
            let reason = block.not_run.as_deref();
            assert!(reason.is_none_or(|reason| reason.len() > 10), "{name}: say why");
        }
    }
}

fn run_script(guide: &Path, script: &str) {
    let tools = tempfile::tempdir().expect("a folder");
    let envoy = checkout::find_envoy().expect("Envoy");
    symlink(envoy, tools.path().join("envoy")).expect("a link");
    symlink(env!("CARGO_BIN_EXE_mesh-jwt"), tools.path().join("mesh-jwt")).expect("a link");
    let path = env::var("PATH").unwrap_or_default();
    let log = tools.path().join("log");
    let output = fs::File::create(&log).expect("a log");

    let mut shell = Command::new("sh")
        .args(["-eu", "-c", script])
        .current_dir(checkout::root())
        .env("PATH", format!("{}:{path}", tools.path().display()))
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a log"))
        .stderr(output)
        .process_group(0)
        .spawn()
        .expect("a shell");
    let group = shell.id();
    let ended = wait::try_until("the guide ends", LIMIT, || Ok(shell.try_wait()?));
    // Whatever the guide left running.
    _ = Command::new("kill")
        .args(["-KILL", "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
    _ = shell.wait();

    let log = fs::read_to_string(&log).expect("a log");
    let status = ended.unwrap_or_else(|error| panic!("{}: {error}:\n{log}", guide.display()));
    assert!(status.success(), "{} fails:\n{log}", guide.display());
}

const LIMIT: Duration = Duration::from_secs(120);
