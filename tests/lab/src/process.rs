//! Programs that run for as long as a value lives, with their output in a file.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// One program; it is told to stop when this is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes all it has to say to `log`, which is emptied first.
    ///
    /// It gets a process group of its own: Ctrl-C in a terminal is for the program that runs it, which
    /// then stops the rest in order.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        match fs::remove_file(log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Who opens /dev/stdout anew has an offset of its own there: unless all append, each
        // overwrites what the others wrote.
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        Ok(Self { child, log: log.to_owned() })
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

    /// Asks it to stop, waits, and kills it if it does not.
    pub fn stop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.exit_status().is_none() && Instant::now() < deadline {
            std::thread::sleep(wait::POLL_INTERVAL);
        }
        self.kill();
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // Both fail only for a process that is already gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        // It fails only for a process that is already gone.
        let _ = kill(Pid::from_raw(id), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

const STOP_LIMIT: Duration = Duration::from_secs(10);
