//! `mesh-jwt probe` against issuers with one pod and with several.

mod addresses;
mod discovery;
mod failures;
mod keys;
mod pods;
mod tls;

use std::net::SocketAddr;

use crate::command::{Run, mesh_jwt};

/// Probes a JWK Set at this address.
fn probe(address: SocketAddr, options: &[&str]) -> Run {
    let url = format!("http://{address}/jwks");
    mesh_jwt(&[&["probe", url.as_str()], options].concat())
}

/// The verdict of `--json`, and the exit code.
fn verdict(run: &Run) -> (String, i32) {
    let verdict = run.json()["diagnosis"]["verdict"].as_str().expect("a verdict").to_owned();
    (verdict, run.code)
}

/// The names of the sets that came, in order; `-` for none.
fn order(run: &Run) -> String {
    let json = run.json();
    let answers = json["answers"].as_array().expect("answers");
    answers.iter().map(|answer| answer["set"].as_str().unwrap_or("-")).collect()
}
