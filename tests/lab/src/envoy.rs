//! One Envoy process in a directory of its own; its log is shown when the test fails.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bootstrap::Bootstrap;
use crate::checkout;
use crate::http::{Exchange, Request, Response};
use crate::process::Process;
use crate::wait;

pub struct Envoy {
    // Its end comes before the directory's: nothing writes into what is removed.
    process: Process,
    directory: Directory,
    admin: SocketAddr,
    listener: SocketAddr,
}

impl Envoy {
    /// Starts Envoy and waits until it serves.
    pub fn start(bootstrap: &Bootstrap, workers: u32) -> Self {
        let directory = Directory::create();
        let mut process = spawn(&directory, bootstrap, workers);
        let admin = wait::until("Envoy tells its admin address", START_LIMIT, || {
            assert_runs(&mut process);
            fs::read_to_string(directory.admin_address()).ok()?.parse().ok()
        });
        let listener = wait::until("Envoy is ready", START_LIMIT, || {
            assert_runs(&mut process);
            let ready = ask(admin, "/ready").ok()?;
            (ready.status == 200).then(|| listener_address(admin))
        });
        Self { process, directory, admin, listener }
    }

    /// Starts Envoy with a bootstrap that it must refuse, and returns what it logged.
    pub fn refuse(bootstrap: &Bootstrap) -> String {
        let directory = Directory::create();
        let mut process = spawn(&directory, bootstrap, 1);
        let status = wait::until("Envoy refuses to start", START_LIMIT, || process.exit_status());
        assert!(!status.success(), "Envoy ended with {status}");
        directory.read_log()
    }

    pub fn address(&self) -> SocketAddr {
        self.listener
    }

    /// Replaces the listener, which must have been [`Bootstrap::replaceable`], and waits until the
    /// new one has taken over.
    pub fn replace_listener(&self, bootstrap: &Bootstrap) {
        let replaced = self.stat("listener_manager.listener_modified");
        self.directory.write_listeners(bootstrap);
        wait::until("the listener is replaced", START_LIMIT, || {
            let is_replaced = self.stat("listener_manager.listener_modified") > replaced
                && self.stat("listener_manager.total_listeners_warming") == 0;
            is_replaced.then_some(())
        });
    }

    /// Has Envoy log every call between it and the filters from now on. The filter does not log more
    /// for it: it asks for the log level only when it is configured and when its timer ticks.
    pub fn trace_calls(&self) {
        let request = Request::new("POST", "/logging?wasm=trace");
        let response = Exchange::start(self.admin, &request).and_then(Exchange::finish);
        assert_eq!(response.expect("Envoy's admin interface answers").status, 200);
    }

    /// How much memory the process holds.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("Linux, which is where the Envoy binary runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.expect("the resident size in kB") * 1024
    }

    /// How much CPU the process has taken.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("Linux, which is where the Envoy binary runs");
        // User and system time; the name of the process may hold spaces.
        let (_, fields) = stat.rsplit_once(") ").expect("the name in parentheses");
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u32 = ticks.map(|ticks| ticks.parse::<u32>().expect("a number")).sum();
        ticks * TICK
    }

    pub fn open(&self, request: &Request) -> Exchange {
        Exchange::start(self.listener, request).expect("Envoy accepts connections")
    }

    pub fn send(&self, request: &Request) -> Response {
        self.open(request).finish().expect("Envoy answers in time")
    }

    /// The value of a counter or gauge; one that was never touched may not exist yet and is zero.
    pub fn stat(&self, name: &str) -> u64 {
        self.sum_of_stats(|other| other == name)
    }

    /// The sum of all counters and gauges with such a name.
    pub fn sum_of_stats(&self, is_such: impl Fn(&str) -> bool) -> u64 {
        let stats = ask(self.admin, "/stats").expect("Envoy's admin interface answers").text();
        let stats = stats.lines().filter_map(|line| line.split_once(": "));
        let such = stats.filter(|(name, _)| is_such(name));
        such.map(|(_, value)| value.parse::<u64>().expect("a number")).sum()
    }

    /// No VM has trapped.
    pub fn assert_untrapped(&self, what: &str) {
        assert_untrapped(&self.log(), what);
    }

    /// The access log's line for the request that got this response.
    pub fn access_log_line(&self, response: &Response) -> Value {
        let id = response.header("x-request-id").unwrap_or_else(|| {
            panic!("the request did not get as far as the filters: {response:?}")
        });
        wait::until("the request is in the access log", ACCESS_LOG_LIMIT, || {
            let log = fs::read_to_string(self.directory.access_log()).ok()?;
            let line = log.lines().find(|line| line.contains(id))?;
            serde_json::from_str(line).ok()
        })
    }

    pub fn log(&self) -> String {
        self.directory.read_log()
    }
}

/// This log of an Envoy tells of no VM that has trapped.
pub fn assert_untrapped(log: &str, what: &str) {
    for sign in ["panicked", "wasm trap", "Uncaught", "RangeError", "Function: proxy_on"] {
        assert!(!log.contains(sign), "{what}: {sign} is in Envoy's log:\n{log}");
    }
}

fn spawn(directory: &Directory, bootstrap: &Bootstrap, workers: u32) -> Process {
    let configuration =
        bootstrap.render(&directory.access_log(), &directory.listeners()).to_string();
    fs::write(directory.bootstrap(), configuration).expect("a writable target directory");
    directory.write_listeners(bootstrap);
    let mut command = Command::new(checkout::envoy());
    command
        .arg("--config-path")
        .arg(directory.bootstrap())
        .arg("--admin-address-path")
        .arg(directory.admin_address())
        .args(["--concurrency", &workers.to_string()])
        .args(["--log-level", "warning"])
        .args(["--component-log-level", &format!("wasm:{}", bootstrap.log_level)])
        .args(["--file-flush-interval-msec", "20"])
        // A listener that was replaced asks its clients to leave at once, and is soon gone.
        .args(["--drain-strategy", "immediate", "--drain-time-s", "1"])
        .arg("--disable-hot-restart");
    Process::start(&mut command, &directory.log()).expect("Envoy can be executed")
}

fn assert_runs(process: &mut Process) {
    if let Some(status) = process.exit_status() {
        panic!("Envoy ended with {status}");
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Nothing that it would do in the end is of interest.
        self.process.kill();
    }
}

/// Where one Envoy keeps its files; removed with it.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("envoy-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = checkout::scratch().join(name);
        fs::create_dir_all(&path).expect("a writable target directory");
        Self(path)
    }

    fn access_log(&self) -> PathBuf {
        self.0.join("access.log")
    }

    fn admin_address(&self) -> PathBuf {
        self.0.join("admin-address")
    }

    fn bootstrap(&self) -> PathBuf {
        self.0.join("bootstrap.json")
    }

    fn listeners(&self) -> PathBuf {
        self.0.join("listeners.json")
    }

    /// Writes the listeners of a bootstrap where Envoy looks for them if it is told to.
    fn write_listeners(&self, bootstrap: &Bootstrap) {
        let whole = self.0.join("listeners.json.new");
        let discovery = bootstrap.discovery(&self.access_log()).to_string();
        fs::write(&whole, discovery).expect("a writable target directory");
        // Envoy acts on a file that is moved to its place, so it never sees half of one.
        fs::rename(&whole, self.listeners()).expect("a writable target directory");
    }

    fn log(&self) -> PathBuf {
        self.0.join("envoy.log")
    }

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log()).expect("Envoy's log")).into_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.read_log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            eprintln!("the end of Envoy's log:\n{}", tail.join("\n"));
        }
        // What cannot be removed stays under target/, where `cargo clean` finds it.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn ask(admin: SocketAddr, target: &str) -> io::Result<Response> {
    Exchange::start(admin, &Request::get(target))?.finish()
}

fn listener_address(admin: SocketAddr) -> SocketAddr {
    let listeners = ask(admin, "/listeners?format=json").expect("Envoy's admin interface answers");
    let address = &listeners.json()["listener_statuses"][0]["local_address"]["socket_address"];
    let port = address["port_value"].as_u64().and_then(|port| u16::try_from(port).ok());
    SocketAddr::from(([127, 0, 0, 1], port.expect("the port of the only listener")))
}

const START_LIMIT: Duration = Duration::from_secs(20);
/// Of the kernel's clock: a hundredth of a second, on every architecture that Envoy runs on.
const TICK: Duration = Duration::from_millis(10);
const ACCESS_LOG_LIMIT: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 80;
