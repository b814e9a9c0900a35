//! The rules at work, in Prometheus' own test tool.

use std::env;
use std::ffi::OsStr;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::{checkout, programs};

/// Skipped where there is no promtool, unless `REQUIRE_PROMTOOL` is set.
#[test]
fn rules_fire_on_what_was_recorded_when_they_should_and_only_then() {
    let Some(promtool) = programs::find("PROMTOOL", &["promtool"]) else {
        assert!(env::var_os("REQUIRE_PROMTOOL").is_none(), "no promtool");
        // Past the harness, which keeps the output of tests that pass to itself.
        stderr().write_all(b"skipped: no promtool\n").expect("stderr");
        return;
    };
    let dashboards = checkout::root().join("envoy/dashboards");
    let scenarios = scenarios();
    assert!(scenarios.len() >= 7, "{scenarios:?}");

    run(&promtool, "check config", &[dashboards.join("prometheus.yaml")]);
    run(&promtool, "check rules", &[dashboards.join("alerts.yaml")]);
    run(&promtool, "test rules", &scenarios);
}

/// The files with recorded series and what is expected of them.
pub(crate) fn scenarios() -> Vec<PathBuf> {
    let directory = checkout::root().join("tests/alerts");
    let files =
        directory.read_dir().expect("tests/alerts").map(|file| file.expect("a file").path());
    files.filter(|file| file.extension() == Some(OsStr::new("yaml"))).collect()
}

fn run(promtool: &Path, command: &str, files: &[PathBuf]) {
    let output = Command::new(promtool).args(command.split(' ')).args(files).output();
    let output = output.expect("promtool can be executed");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {command}:\n{out}{err}");
}
