//! `lab run` on ports that nobody uses.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use lab::process::Process;
use lab::resources::loopback;
use lab::{checkout, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        let output = self.choose_for(command.arg("run").args(option)).output().unwrap();
        self.remove_logs();
        output
    }

    fn choose_for(self, command: &mut Command) -> &mut Command {
        command.envs(VARIABLES.into_iter().zip(self.0.map(|port| port.to_string())))
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
        // Like a shell's background job, which is not to notice Ctrl-C.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' INT; exec \"$0\" run", env!("CARGO_BIN_EXE_lab")]);
        let process = Process::start(ports.choose_for(&mut command), &log).unwrap();
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

    /// Sends it a signal, and returns how it ended.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
        wait::until("the demo ends", END_LIMIT, || self.process.exit_status())
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
const END_LIMIT: Duration = Duration::from_secs(20);
const START_LIMIT: Duration = Duration::from_secs(60);
