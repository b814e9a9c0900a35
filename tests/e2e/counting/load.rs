//! Clients that send all kinds of requests until told to stop, and what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use lab::config::Config;
use lab::connection::Connection;
use lab::http::Response;
use lab::token::{Key, Token};

/// How many requests met with each decision.
pub(super) type Counts = BTreeMap<String, u64>;

pub(super) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    is_stopped: AtomicBool,
    sent: AtomicUsize,
    /// What was decided, and when the client knew.
    seen: Mutex<Vec<(Instant, String)>>,
    /// When there was no VM to decide.
    undecided: Mutex<Vec<Instant>>,
}

impl Load {
    /// The first client draws its requests by this seed.
    pub(super) fn start(address: SocketAddr, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            is_stopped: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            seen: Mutex::new(Vec::new()),
            undecided: Mutex::new(Vec::new()),
        });
        let clients = (seed..seed + CLIENTS).map(|seed| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send_requests(address, seed))
        });
        Self { clients: clients.collect(), shared }
    }

    /// What was decided, so far as the clients knew it at some time that `is_then`.
    pub(super) fn seen(&self, is_then: impl Fn(Instant) -> bool) -> Counts {
        let mut counts = Counts::new();
        for (at, decision) in self.shared.seen.lock().expect("no client panics").iter() {
            if is_then(*at) {
                *counts.entry(decision.clone()).or_default() += 1;
            }
        }
        counts
    }

    /// When clients got answers that were not the filter's.
    pub(super) fn undecided(&self) -> Vec<Instant> {
        self.shared.undecided.lock().expect("no client panics").clone()
    }

    /// Ends it; what all clients saw.
    pub(super) fn stop(&mut self) -> Counts {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("no client panics");
        }
        self.seen(|_| true)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn send_requests(&self, address: SocketAddr, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = Connection::new(address);
        let hot = Token::good().compact();
        while !self.is_stopped.load(Ordering::SeqCst) {
            // Another connection may lead to another worker.
            if random.u8(..20) == 0 {
                connection.close();
            }
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let new = Token::good().claim("jti", number);
            let (expected, answer) = match random.u8(..5) {
                0 => ("public", connection.get_without_token(PUBLIC)),
                1 => ("token_missing", connection.get_without_token("/")),
                2 => ("allowed", connection.get("/", &hot)),
                3 => ("allowed", connection.get("/", &new.compact())),
                _ => {
                    let forged = new.signed_by(Key::beta()).header("kid", "alpha");
                    ("signature_invalid", connection.get("/", &forged.compact()))
                }
            };
            let decision = answer.map(|answer| decision(&answer, expected));
            // A VM that has trapped decides nothing.
            let decision = decision.expect("Envoy answers");
            let now = Instant::now();
            match decision {
                Some(decision) => {
                    self.seen.lock().expect("no client panics").push((now, decision));
                }
                None => self.undecided.lock().expect("no client panics").push(now),
            }
            thread::sleep(PAUSE);
        }
    }
}

/// What the filter decided, unless there is none.
fn decision(answer: &Response, expected: &str) -> Option<String> {
    if answer.status == 503 {
        return None;
    }
    match answer.status {
        200 => assert!(["allowed", "public"].contains(&expected), "{answer:?}"),
        _ => assert_eq!(answer.json()["code"], expected),
    }
    Some(expected.to_owned())
}

/// The configuration for these requests; no key is fetched.
pub(super) fn config(host_crypto: &str) -> Config {
    let public: Value = json!([{ "match": { "paths": [PUBLIC] }, "access": "public" }]);
    Config::new()
        .inline_keys(&[Key::alpha().jwk()])
        .set("rules", public)
        .set("hostCrypto", host_crypto)
}

/// How many requests may be under way at once.
pub(super) const CLIENTS: u64 = 6;
const PUBLIC: &str = "/healthz";
const PAUSE: Duration = Duration::from_millis(2);
