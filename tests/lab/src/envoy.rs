//! One Envoy process in a directory of its own; its log is shown when the test fails.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::bootstrap::Bootstrap;
use crate::checkout;
use crate::http::{Exchange, Request, Response};
use crate::proxy::{self, Proxy};
use crate::wait;

pub struct Envoy {
    // Its end comes before the directory's: nothing writes into what is removed.
    proxy: Proxy,
    directory: Directory,
    listener: SocketAddr,
    /// How many requests there were when the filter had last told all counts.
    settled_at: Mutex<u64>,
}

impl Envoy {
    /// Starts Envoy and waits until it serves.
    pub fn start(bootstrap: &Bootstrap, workers: u32) -> Self {
        let directory = Directory::create();
        let options = options(bootstrap, workers);
        let proxy = Proxy::start(&directory.0, &directory.bootstrap(bootstrap), &as_strs(&options));
        let proxy = proxy.expect("Envoy serves");
        let listeners = proxy.listeners().expect("Envoy tells where its listener is");
        let listener = listeners.into_values().next().expect("one listener");
        Self { proxy, directory, listener, settled_at: Mutex::new(0) }
    }

    /// Starts Envoy with a bootstrap that it must refuse, and returns what it logged.
    pub fn refuse(bootstrap: &Bootstrap) -> String {
        let directory = Directory::create();
        let options = options(bootstrap, 1);
        let process =
            Proxy::spawn(&directory.0, &directory.bootstrap(bootstrap), &as_strs(&options));
        let mut process = process.expect("Envoy can be executed");
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
        self.proxy.admin_request(&request).expect("Envoy takes a log level");
    }

    /// How much memory the process holds.
    pub fn resident_bytes(&self) -> u64 {
        self.proxy.resident_bytes()
    }

    /// How much CPU the process has taken.
    pub fn cpu_time(&self) -> Duration {
        self.proxy.cpu_time()
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

    /// The same, once the filter has told all that it has counted so far: it adds up what requests
    /// count, and lets the counters know twice a second. What comes with a tick or with an answer of
    /// the issuer, it tells at once.
    pub fn settled_stat(&self, name: &str) -> u64 {
        let requests = self.stat("http.e2e.downstream_rq_total");
        let mut settled_at = self.settled_at.lock().expect("nobody panics here");
        assert!(requests > 0, "no request was sent");
        if *settled_at != requests {
            thread::sleep(TOLD_WITHIN);
            *settled_at = requests;
        }
        self.stat(name)
    }

    /// The sum of all counters and gauges with such a name.
    pub fn sum_of_stats(&self, is_such: impl Fn(&str) -> bool) -> u64 {
        self.proxy.sum_of_stats(is_such).expect("Envoy tells its stats")
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

fn options(bootstrap: &Bootstrap, workers: u32) -> Vec<String> {
    let component_log_level = format!("wasm:{}", bootstrap.log_level);
    // A listener that was replaced asks its clients to leave at once, and is soon gone.
    let (strategy, seconds) = bootstrap.drain_seconds.map_or(("immediate", 1), |s| ("gradual", s));
    [
        ["--concurrency", &workers.to_string()],
        ["--component-log-level", &component_log_level],
        ["--file-flush-interval-msec", "20"],
        ["--drain-strategy", strategy],
        ["--drain-time-s", &seconds.to_string()],
    ]
    .as_flattened()
    .iter()
    .map(|option| (*option).to_owned())
    .collect()
}

fn as_strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // Nothing that it would do in the end is of interest.
        self.proxy.kill();
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

    /// Writes the listeners, and returns the rest.
    fn bootstrap(&self, bootstrap: &Bootstrap) -> Value {
        self.write_listeners(bootstrap);
        bootstrap.render(&self.access_log(), &self.listeners())
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

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(proxy::log(&self.0)).expect("Envoy's log")).into_owned()
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

/// Half a second, and what a busy machine takes.
const TOLD_WITHIN: Duration = Duration::from_millis(800);
const START_LIMIT: Duration = Duration::from_secs(20);
const ACCESS_LOG_LIMIT: Duration = Duration::from_secs(5);
const LOG_TAIL_LINES: usize = 80;
