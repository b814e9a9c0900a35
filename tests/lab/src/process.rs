//! Programs of which nothing is left behind.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::{interrupt, wait};

/// A program that runs until this is dropped, with its output in a file.
pub struct Process {
    child: Child,
    log: PathBuf,
    leads_group: bool,
}

impl Process {
    /// Starts a program that writes all it has to say to `log`, which is emptied first.
    ///
    /// Where this program watches for [interrupts](crate::interrupt), it gets a process group of its own:
    /// Ctrl-C in a terminal is then for this program, which stops the rest in order. Elsewhere, as under
    /// `cargo test`, Ctrl-C has to reach it, or it would be left behind.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        match fs::remove_file(log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Who opens /dev/stdout anew has an offset of its own there: unless all append, each
        // overwrites what the others wrote.
        let output = File::options().create(true).append(true).open(log)?;
        let leads_group = interrupt::is_watched();
        if leads_group {
            command.process_group(0);
        }
        let child =
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        Ok(Self { child, log: log.to_owned(), leads_group })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it did.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of this process")
    }

    /// Fails if it has ended, with the end of its log.
    pub fn ensure_runs(&mut self) -> Result<()> {
        let Some(status) = self.exit_status() else { return Ok(()) };
        let name = self.log.file_stem().unwrap_or_default().to_string_lossy();
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        bail!("{name} ended with {status}; {} says:\n{end}", self.log.display());
    }

    /// Asks it to stop, waits, and kills it if it does not.
    pub fn stop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.exit_status().is_none() && Instant::now() < deadline {
            thread::sleep(wait::POLL_INTERVAL);
        }
        self.kill();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            self.signal(Signal::SIGKILL);
            // Nothing else waits for it.
            drop(self.child.wait());
        }
    }

    fn signal(&self, signal: Signal) {
        if self.leads_group {
            signal_group(self.child.id(), signal);
        } else {
            // It fails only for a process that is already gone.
            let _ = kill(process_id(self.child.id()), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How much CPU a process has taken.
pub fn cpu_time(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("Linux");
    // User and system time; the name of the process may hold spaces.
    let (_, fields) = stat.rsplit_once(") ").expect("the name in parentheses");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks.map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
    ticks * TICK
}

/// Runs a program to its end and returns what it printed, or `None` if it takes longer than `limit`.
///
/// It is stopped when it takes too long, or when the program that runs it is told to stop.
pub fn output(command: &mut Command, limit: Duration) -> Result<Option<Output>> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be executed", command.get_program().display()))?;
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));

    let deadline = Instant::now() + limit;
    let stop = || {
        signal_group(id, Signal::SIGTERM);
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(STOP_LIMIT) {
            signal_group(id, Signal::SIGKILL);
        }
    };
    loop {
        match ended.recv_timeout(wait::POLL_INTERVAL) {
            Ok(output) => return Ok(Some(output?)),
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that reads has ended"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Err(interrupted) = interrupt::check() {
            stop();
            return Err(interrupted.into());
        }
        if Instant::now() >= deadline {
            stop();
            return Ok(None);
        }
    }
}

/// Signals a program and all that it started.
fn signal_group(leader: u32, signal: Signal) {
    // It fails only for a group that is already gone.
    let _ = killpg(process_id(leader), signal);
}

fn process_id(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a process id"))
}

/// Of the kernel's clock: a hundredth of a second, on every architecture that Envoy runs on.
const TICK: Duration = Duration::from_millis(10);
const LOG_TAIL_LINES: usize = 30;
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkout;

    #[test]
    fn program_that_takes_too_long_is_stopped_with_all_that_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]);
        let started = Instant::now();

        let output = output(&mut command, Duration::from_millis(100)).expect("sh can be executed");

        assert!(output.is_none());
        // Both hold the pipe that is read to its end.
        assert!(started.elapsed() < STOP_LIMIT);
    }

    #[test]
    fn program_that_ended_is_told_of_with_the_end_of_its_log() {
        let log = checkout::scratch().join(format!("ended-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100; exit 7"]);
        let mut process = Process::start(&mut command, &log).expect("sh can be executed");
        let limit = Duration::from_secs(10);

        let error = wait::until("it has ended", limit, || process.ensure_runs().err());

        fs::remove_file(&log).expect("the log");
        let error = error.to_string();
        assert!(error.contains("exit status: 7"), "{error}");
        assert!(error.ends_with("\n99\n100") && !error.contains("\n70\n"), "{error}");
    }
}
