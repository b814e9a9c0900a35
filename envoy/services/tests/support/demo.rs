//! `envoy/run.py` on ports that nobody uses.

use std::net::TcpListener;
use std::process::Command;

const PORT_VARIABLES: [&str; 5] =
    ["LISTEN_PORT", "ADMIN_PORT", "STATS_PORT", "AUTH_PORT", "USER_PORT"];

pub(crate) fn run_py(ports: &[u16; 5]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../run.py"));
    for (variable, port) in PORT_VARIABLES.into_iter().zip(ports) {
        command.env(variable, port.to_string());
    }
    command
}

/// Where it keeps its logs: in its own place for each port, which only a test leaves for good.
pub(crate) fn remove_logs(ports: &[u16; 5]) {
    let logs = format!("{}/../../.cache/run/{}", env!("CARGO_MANIFEST_DIR"), ports[0]);
    let _ = std::fs::remove_dir_all(logs);
}

/// Held together, so that they differ, and let go for the demo to take.
pub(crate) fn free_ports() -> [u16; 5] {
    [(); 5]
        .map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap())
        .map(|listener| listener.local_addr().unwrap().port())
}
