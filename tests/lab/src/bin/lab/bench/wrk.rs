//! The load generator: wrk, which sends what a Lua script tells it to.

use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::{checkout, interrupt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;

use super::load::{Load, Pace};

/// wrk, which ends with this.
pub(super) struct Run {
    child: Child,
    output: BufReader<PipeReader>,
}

/// What the script prints in the end. The latencies are in microseconds.
#[derive(Deserialize)]
pub(super) struct Summary {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    /// One that was not expected, or 0.
    pub(super) wrong_status: u16,
    pub(super) errors: u64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Run {
    /// Skips so many tokens of the load.
    pub(super) fn start(
        address: SocketAddr,
        load: &Load,
        duration: Duration,
        skipped: u64,
        pace: Pace,
    ) -> Result<Self> {
        let (connections, longest_pause_ms) = match pace {
            Pace::Paced => (PACED_CONNECTIONS, LONGEST_PAUSE_MS),
            Pace::Saturated => (CONNECTIONS, 0),
        };
        // Until it is interrupted, since it only knows whole seconds; longer only if nobody does that.
        let limit = duration + STOP_LIMIT;
        let (reader, writer) = io::pipe()?;
        let child = Command::new("wrk")
            .args(["--threads", "1", "--connections", &connections.to_string()])
            .args(["--duration", &limit.as_secs().to_string(), "--script"])
            .arg(checkout::root().join(SCRIPT))
            .args([&format!("http://{address}"), "--"])
            .arg(&load.tokens)
            .args([&load.path, &load.status.to_string(), &skipped.to_string()])
            .args([longest_pause_ms.to_string(), load.headers.to_string()])
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            // Ctrl-C in a terminal is for this program.
            .process_group(0)
            .spawn()
            .context("wrk cannot be executed; install it with `apt-get install wrk`")?;
        Ok(Self { child, output: BufReader::new(reader) })
    }

    pub(super) fn finish(mut self, duration: Duration) -> Result<Summary> {
        let mut output = String::new();
        // The tokens are read by then.
        self.output.read_line(&mut output)?;
        interrupt::sleep(duration)?;
        // It fails only for a process that is already gone.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT);
        self.output.read_to_string(&mut output)?;
        let summary = output.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let Some(summary) = summary else {
            bail!("wrk has no result: {:?}", output.trim());
        };
        Ok(summary)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Both fail only for a process that is already gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(super) const CONNECTIONS: u32 = 32;
/// With these connections and the mean pause, some 500 requests a second.
const PACED_CONNECTIONS: u32 = 20;
const LONGEST_PAUSE_MS: u32 = 80;
/// What wrk has for the answers that it still waits for.
const STOP_LIMIT: Duration = Duration::from_secs(10);
const SCRIPT: &str = "tests/lab/src/bin/lab/bench/load.lua";
