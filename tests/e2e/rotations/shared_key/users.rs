//! Users that log in, come back with their token until it expires, and log in again; and somebody
//! who tries to pass for them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::rotations::load;
use lab::services;
use lab::token::now;
use lab::wait;

pub(super) struct Users {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    envoy: SocketAddr,
    is_stopped: AtomicBool,
    logins: AtomicUsize,
    /// The pods that take logins.
    pods: Mutex<Vec<SocketAddr>>,
    report: Mutex<Report>,
}

#[derive(Default)]
struct Report {
    /// By the `kid` of the token.
    keys: BTreeMap<String, OfKey>,
    latest_token: Option<String>,
    /// What was answered to good requests in place of a 200.
    refused: Vec<String>,
    forged: BTreeMap<String, usize>,
}

/// What became of tokens of one key.
#[derive(Clone, Copy, Default)]
struct OfKey {
    good_requests: usize,
    /// When the last one expires, in seconds since the epoch.
    last_expires_at: u64,
}

/// A token that a pod has issued.
pub(super) struct Issued {
    pub(super) compact: String,
    pub(super) kid: String,
    /// In seconds since the epoch.
    expires_at: u64,
}

impl Issued {
    /// None where the pod does not answer.
    pub(super) fn log_in(pod: SocketAddr) -> Option<Self> {
        let compact = services::login(pod, "alice").ok()?;
        let parts: Vec<Value> = compact
            .split('.')
            .take(2)
            .map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url"))
            .map(|part| serde_json::from_slice(&part).expect("JSON"))
            .collect();
        let kid = parts[0]["kid"].as_str().expect("a kid").to_owned();
        let expires_at = parts[1]["exp"].as_u64().expect("a time");
        Some(Self { compact, kid, expires_at })
    }

    /// The same with a signature that nobody has made.
    fn forge(compact: &str) -> String {
        let (signed, _) = compact.rsplit_once('.').expect("a compact token");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0x5a; SIGNATURE_BYTES]))
    }
}

impl Users {
    pub(super) fn start(envoy: SocketAddr, pods: Vec<SocketAddr>) -> Self {
        let shared = Arc::new(Shared {
            envoy,
            is_stopped: AtomicBool::new(false),
            logins: AtomicUsize::new(0),
            pods: Mutex::new(pods),
            report: Mutex::default(),
        });
        let spawn = |task: fn(&Shared, u64), number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || task(&shared, number))
        };
        let users = (0..USERS).map(|number| spawn(Shared::come_and_go, number));
        let forgers = (0..FORGERS).map(|number| spawn(Shared::try_forgeries, number));
        Self { threads: users.chain(forgers).collect(), shared }
    }

    /// From now on, at these.
    pub(super) fn log_in_at(&self, pods: Vec<SocketAddr>) {
        *self.shared.pods.lock().expect("no user panics") = pods;
    }

    /// Waits until so many more requests are answered with tokens of this key.
    pub(super) fn flow(&self, kid: &str) {
        let goal = self.of_key(kid).good_requests + REQUESTS;
        wait::until("enough requests are answered", FLOW_LIMIT, || {
            (self.of_key(kid).good_requests >= goal).then_some(())
        });
    }

    /// Waits until no proxy takes any token of this key: so long as this one's clock may be behind.
    pub(super) fn outlive(&self, kid: &str, clock_skew: u64) {
        wait::until("the last token of the key is worth nothing", EXPIRY_LIMIT, || {
            (now() >= self.of_key(kid).last_expires_at + clock_skew).then_some(())
        });
    }

    /// Ends the traffic: no good request was refused, and no forgery let in.
    pub(super) fn assert_undisturbed(mut self) {
        self.stop();
        let report = self.shared.report();
        let Report { refused, forged, .. } = &*report;
        let counts = [refused.len(), forged.get(load::OK).copied().unwrap_or(0)];
        assert_eq!(counts, [0, 0], "good requests refused, and forgeries let in");
        assert!(!forged.is_empty(), "nobody tried a forgery");
        println!("{report}");
    }

    fn of_key(&self, kid: &str) -> OfKey {
        self.shared.report().keys.get(kid).copied().unwrap_or_default()
    }

    fn stop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("no user panics");
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            let report = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("{report}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, refused, forged, .. } = self;
        for (kid, of_key) in keys {
            writeln!(f, "{} good requests with tokens of {kid}", of_key.good_requests)?;
        }
        let some: Vec<_> = refused.iter().take(5).collect();
        write!(f, "{} refused: {some:?}; forgeries: {forged:?}", refused.len())
    }
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("no user panics")
    }

    fn goes_on(&self) -> bool {
        !self.is_stopped.load(Ordering::SeqCst)
    }

    fn come_and_go(&self, number: u64) {
        // The first token is given up early, by some sooner than by others: at any time some tokens
        // are new, and some old.
        let mut share = number + 1;
        while self.goes_on() {
            let pods = self.pods.lock().expect("no user panics").clone();
            let turn = self.logins.fetch_add(1, Ordering::SeqCst);
            // The pod may just have ended; the next login goes to another.
            let Some(token) = Issued::log_in(pods[turn % pods.len()]) else { continue };
            let mut report = self.report();
            let of_key = report.keys.entry(token.kid.clone()).or_default();
            of_key.last_expires_at = of_key.last_expires_at.max(token.expires_at);
            report.latest_token = Some(token.compact.clone());
            drop(report);
            let until = now() + token.expires_at.saturating_sub(now()) * share / USERS;
            while self.goes_on() && now() < until {
                self.use_service(&token);
                thread::sleep(PAUSE);
            }
            share = USERS;
        }
    }

    fn use_service(&self, token: &Issued) {
        let answer = load::send(self.envoy, &token.compact);
        let mut report = self.report();
        report.keys.entry(token.kid.clone()).or_default().good_requests += 1;
        if !answer.is_ok() {
            let refusal = format!("{} after {:?} for {}", answer.verdict, answer.took, token.kid);
            report.refused.push(refusal);
        }
    }

    fn try_forgeries(&self, _: u64) {
        while self.goes_on() {
            let latest = self.report().latest_token.clone();
            if let Some(token) = latest {
                let answer = load::send(self.envoy, &Issued::forge(&token));
                *self.report().forged.entry(answer.verdict).or_default() += 1;
            }
            thread::sleep(PAUSE);
        }
    }
}

const USERS: u64 = 8;
/// Each forgery waits for the search that it causes.
const FORGERS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(50);
const REQUESTS: usize = 20;
const FLOW_LIMIT: Duration = Duration::from_secs(30);
const EXPIRY_LIMIT: Duration = Duration::from_secs(60);
const SIGNATURE_BYTES: usize = 256;
