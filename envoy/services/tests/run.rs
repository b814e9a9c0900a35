//! `envoy/run.py` as `make run` calls it: the real filter in a real Envoy, before both services.
//!
//! What it needs beside these tests (module, Envoy, the services' release build), `make test`
//! puts there.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use demo::{free_ports, remove_logs, run_py};

#[path = "support/demo.rs"]
mod demo;

#[test]
fn printed_requests_are_answered_as_printed() {
    let ports = free_ports();
    let output = run_py(&ports).arg("--check").output().unwrap();
    remove_logs(&ports);

    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{stdout}");
}

#[test]
fn termination_stops_every_part() {
    let ports = free_ports();
    let mut demo = run_py(&ports).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let ready = lines.any(|line| line.unwrap().starts_with("Ctrl-C stops everything"));

    let pid = demo.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    let status = demo.wait().unwrap();
    remove_logs(&ports);

    assert!(ready);
    assert!(status.success(), "{status}");
    for port in ports {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} is still served");
    }
}

#[test]
fn port_in_use_is_named_with_its_variable_before_anything_starts() {
    let ports = free_ports();
    let busy = TcpListener::bind(("127.0.0.1", ports[3])).unwrap();

    let output = run_py(&ports).output().unwrap();

    drop(busy);
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("choose another with AUTH_PORT"), "{stderr}");
}
