//! One line that tells how far a probe is, where somebody sits before a terminal.

use std::io::{self, IsTerminal as _, Write as _};

/// The line, which is gone when this is dropped.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal() }
    }

    /// Replaces the line, with one that fits into a terminal. That it cannot be written is no reason to stop.
    pub(super) fn show(&self, line: &str) {
        if self.is_shown {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r{ERASE}{line}");
            let _ = stderr.flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show("");
    }
}

/// From the cursor to the end of the line.
const ERASE: &str = "\u{1b}[K";
