//! `lab run`: how it starts, and how it ends.

use std::net::{TcpListener, TcpStream};

use lab::resources::loopback;
use nix::sys::signal::Signal;

use crate::running::{Demo, Ports};

#[test]
fn printed_requests_are_answered_as_printed() {
    let output = Ports::free().run(Some("--check"));

    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{stdout}");
}

#[test]
fn termination_stops_every_part() {
    assert_stops_every_part(Signal::SIGTERM);
}

/// In a shell's background job too, which starts with the signal ignored.
#[test]
fn interruption_stops_every_part() {
    assert_stops_every_part(Signal::SIGINT);
}

#[test]
fn closed_terminal_stops_every_part() {
    assert_stops_every_part(Signal::SIGHUP);
}

#[test]
fn port_in_use_is_named_with_its_variable_before_anything_starts() {
    let ports = Ports::free();
    let busy = TcpListener::bind(loopback(ports.0[3])).unwrap();

    let output = ports.run(None);

    drop(busy);
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("choose another with AUTH_PORT"), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn assert_stops_every_part(signal: Signal) {
    let mut demo = Demo::start();
    for part in 0..demo.ports.0.len() {
        assert!(TcpStream::connect(demo.address(part)).is_ok(), "part {part} is not served");
    }

    let status = demo.end(signal);

    assert!(status.success(), "{status}");
    for part in 0..demo.ports.0.len() {
        assert!(TcpStream::connect(demo.address(part)).is_err(), "part {part} is still served");
    }
}
