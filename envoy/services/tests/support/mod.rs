//! The programs as they run: started, spoken to over HTTP, and stopped with a signal.
#![allow(dead_code, reason = "no file of tests needs all of it")]

pub(crate) mod http;
pub(crate) mod issuer;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use http::Answer;

pub(crate) fn auth_service() -> Command {
    service(env!("CARGO_BIN_EXE_auth-service"))
}

pub(crate) fn user_service() -> Command {
    service(env!("CARGO_BIN_EXE_user-service"))
}

fn service(program: &str) -> Command {
    let mut command = Command::new(program);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.env("PORT", "0");
    command
}

pub(crate) struct Service {
    pub(crate) process: Child,
    pub(crate) address: String,
}

impl Service {
    /// Starts the program on a port that the system picks, and reads it from its output.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let address = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .find_map(|line| line.unwrap().split_once(" listens on ").map(|(_, at)| at.to_owned()))
            .unwrap();

        Self { process, address }
    }

    pub(crate) fn get(&self, path: &str, headers: &[u8]) -> Answer {
        self.send("GET", path, headers, "")
    }

    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, b"content-type: application/json\r\n", &body.to_string())
    }

    fn send(&self, method: &str, path: &str, headers: &[u8], body: &str) -> Answer {
        http::send(&self.address, method, path, headers, body)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails where the test has already stopped it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) const ALPHA: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/alpha.pem"));
pub(crate) const BETA: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/beta.pem"));

/// What the services read from the environment, besides the port.
const VARIABLES: [&str; 11] = [
    "AUDIENCE",
    "HOST",
    "ISSUER",
    "ISTIO_JWT_MODE",
    "JWKS_URI",
    "JWT_KEY_ID",
    "JWT_RSA_PRIVATE_KEY",
    "JWT_RSA_PUBLIC_KEYS",
    "TOKEN_LIFETIME_SECONDS",
    "VERIFIED_HEADER",
    "VERIFIED_SECRET",
];
