//! `lab run` on ports that nobody uses.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use lab::process::Process;
use lab::resources::loopback;
use lab::{checkout, wait};

/// Where the parts of the demo are: Envoy's listener, its admin interface, its metrics, and both
/// services.
#[derive(Clone, Copy)]
pub(crate) struct Ports(pub(crate) [u16; 5]);

impl Ports {
    /// Held together, so that they differ, and let go for the demo to take.
    pub(crate) fn free() -> Self {
        let listeners = [(); 5].map(|()| TcpListener::bind(loopback(0)).unwrap());
        Self(listeners.map(|listener| listener.local_addr().unwrap().port()))
    }

    /// What it says when it is started with this option, and comes to an end.
    pub(crate) fn run(self, option: Option<&str>) -> Output {
        let output = self.command().args(option).output().unwrap();
        self.remove_logs();
        output
    }

    fn command(self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg("run");
        for (variable, port) in VARIABLES.into_iter().zip(self.0) {
            command.env(variable, port.to_string());
        }
        command
    }

    /// They are in their own place for each port, which only a test leaves for good.
    fn remove_logs(self) {
        drop(fs::remove_dir_all(checkout::root().join(format!(".cache/run/{}", self.0[0]))));
    }
}

/// The demo, until this is dropped.
pub(crate) struct Demo {
    process: Process,
    pub(crate) ports: Ports,
}

impl Demo {
    /// Starts it and waits until it says that it serves.
    pub(crate) fn start() -> Self {
        let ports = Ports::free();
        let log = checkout::scratch().join(format!("run-{}.log", ports.0[0]));
        let process = Process::start(&mut ports.command(), &log).unwrap();
        let mut demo = Self { process, ports };
        wait::until("the demo serves", START_LIMIT, || {
            demo.process.ensure_runs().unwrap();
            demo.output().contains("\nCtrl-C stops everything").then_some(())
        });
        demo
    }

    /// What it has printed so far, Envoy's log included.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// Sends it SIGTERM, and returns how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.process.stop();
        self.process.exit_status().unwrap()
    }

    /// The address of one of the [`Ports`].
    pub(crate) fn address(&self, part: usize) -> SocketAddr {
        loopback(self.ports.0[part])
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.process.stop();
        drop(fs::remove_file(self.process.log()));
        self.ports.remove_logs();
    }
}

const VARIABLES: [&str; 5] = ["LISTEN_PORT", "ADMIN_PORT", "STATS_PORT", "AUTH_PORT", "USER_PORT"];
const START_LIMIT: Duration = Duration::from_secs(60);
