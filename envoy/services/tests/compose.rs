//! `envoy/docker-compose.yaml`, run for real where there is a Docker engine.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::unwrap_used)]

use std::io::{Write, stderr};
use std::process::Command;

#[test]
fn compose_file_pins_the_envoy_that_the_tests_run_with() {
    let version = include_str!("../../install.py")
        .lines()
        .find_map(|line| line.strip_prefix("DEFAULT_VERSION = "))
        .unwrap()
        .trim_matches('"');

    let image = format!("image: envoyproxy/envoy:v${{ENVOY_VERSION:-{version}}}\n");

    assert!(include_str!("../../docker-compose.yaml").contains(&image), "{image}");
}

#[test]
fn pods_with_different_keys_fail_no_request_even_when_they_stop() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let run = |script| {
        let output = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        stdout
    };

    let report = run("python3 envoy/compose_check.py");

    if report.starts_with("skipped: ") {
        assert!(std::env::var_os("REQUIRE_DOCKER").is_none(), "{report}");
        // Past the harness, which keeps the output of tests that pass to itself.
        stderr().write_all(report.as_bytes()).unwrap();
    } else {
        assert_eq!(report.lines().filter(|line| line.starts_with("ok ")).count(), 7, "{report}");
    }
}
