//! Which CPUs run what: the Envoys under test have the first one for themselves, if there are more.
//!
//! A process gets the CPUs of the thread that starts it, with all the threads that it will have.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Those that this process may use.
pub(super) struct Cpus(Vec<usize>);

impl Cpus {
    pub(super) fn of_this_process() -> Result<Self> {
        let allowed = sched_getaffinity(this_thread())?;
        let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or(false);
        Ok(Self((0..CpuSet::count()).filter(is_allowed).collect()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn are_pinned(&self) -> bool {
        self.0.len() > 1
    }

    /// The one that Envoy has.
    pub(super) fn under_test(&self) -> Result<usize> {
        self.0.first().copied().context("a process may use a CPU")
    }

    /// Starts an Envoy under test.
    pub(super) fn start_under_test<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.start_on(self.0.get(..1), start)
    }

    /// Starts something else.
    pub(super) fn start_beside<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        self.start_on(self.0.get(1..), start)
    }

    fn start_on<T>(
        &self,
        chosen: Option<&[usize]>,
        start: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.are_pinned() {
            return start();
        }
        move_to(chosen.unwrap_or(&self.0))?;
        let started = start();
        move_to(&self.0)?;
        started
    }
}

fn move_to(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    Ok(sched_setaffinity(this_thread(), &set)?)
}

fn this_thread() -> Pid {
    Pid::from_raw(0)
}
