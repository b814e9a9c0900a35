//! A real browser, where there is one: Chromium without a window.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::Process;
use crate::programs;

pub struct Browser(PathBuf);

impl Browser {
    /// The one that `CHROMIUM` names, or the first that is found.
    pub fn find() -> Option<Self> {
        programs::find("CHROMIUM", &NAMES).map(Self)
    }

    /// Shows a page until what this returns is dropped; all that it writes goes to this directory.
    ///
    /// # Errors
    ///
    /// If it cannot be executed.
    pub fn open(&self, url: &str, directory: &Path) -> io::Result<Process> {
        let mut command = Command::new(&self.0);
        command
            .arg(format!("--user-data-dir={}", directory.join("profile").display()))
            .args(OPTIONS)
            .arg(url);
        Process::start(&mut command, &directory.join("chromium.log"))
    }
}

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const OPTIONS: [&str; 8] = [
    "--headless",
    // It runs as root in containers, and sees nothing but the tests' own pages.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--no-proxy-server",
    // It would end as soon as the page is there.
    "--remote-debugging-port=0",
];
