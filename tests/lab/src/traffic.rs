//! Good traffic that goes on while something else goes wrong.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::token::Token;
use crate::wait;

/// Clients that send good tokens until told to stop.
pub struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    is_stopped: AtomicBool,
    sent: AtomicUsize,
    tokens: Mutex<Vec<Token>>,
    report: Mutex<Report>,
}

/// What became of the requests.
#[derive(Default)]
struct Report {
    answered: usize,
    /// What the clients got in place of a 200.
    failures: Vec<String>,
    slowest: Duration,
}

impl Traffic {
    /// Clients that take these tokens in turn.
    pub fn start(address: SocketAddr, tokens: &[Token]) -> Self {
        let shared = Arc::new(Shared {
            is_stopped: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            tokens: Mutex::new(tokens.to_vec()),
            report: Mutex::new(Report::default()),
        });
        let clients = (0..CLIENTS).map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send_requests(address))
        });
        Self { clients: clients.collect(), shared }
    }

    /// From now on, these.
    pub fn switch_to(&self, tokens: &[Token]) {
        *self.shared.tokens.lock().expect("no client panics") = tokens.to_vec();
    }

    /// Waits until so many more requests are answered.
    pub fn flow(&self, requests: usize) {
        let answered = || self.shared.report.lock().expect("no client panics").answered;
        let goal = answered() + requests;
        wait::until("enough good requests are answered", FLOW_LIMIT, || {
            (answered() >= goal).then_some(())
        });
    }

    /// Ends the traffic; not one request may have failed or taken longer than this.
    pub fn assert_undisturbed(mut self, limit: Duration) {
        self.stop();
        let report = self.shared.report.lock().expect("no client panics");
        assert!(report.failures.is_empty(), "{report}");
        assert!(report.slowest < limit, "{report}");
        assert!(report.answered >= CLIENTS, "{report}");
    }

    fn stop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("no client panics");
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking()
            && let Ok(report) = self.shared.report.lock()
        {
            eprintln!("{report}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failures, slowest } = self;
        let some: Vec<_> = failures.iter().take(5).collect();
        let failed = failures.len();
        write!(f, "{failed} of {answered} good requests failed, {some:?}; the slowest: {slowest:?}")
    }
}

impl Shared {
    fn send_requests(&self, address: SocketAddr) {
        let mut connection = Connection::new(address);
        while !self.is_stopped.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            if number.is_multiple_of(REQUESTS_PER_CONNECTION) {
                connection.close();
            }
            let token = {
                let tokens = self.tokens.lock().expect("no client panics");
                tokens[number % tokens.len()].clone()
            };
            // Each differs, so that no verdict comes from a cache of verified tokens.
            let token = token.claim("jti", number).compact();
            let started = Instant::now();
            let answer = connection.get("/", &token);
            let took = started.elapsed();

            let mut report = self.report.lock().expect("no client panics");
            report.answered += 1;
            report.slowest = report.slowest.max(took);
            match answer {
                Ok(response) if response.status == 200 => (),
                Ok(response) => {
                    report.failures.push(format!("{} {}", response.status, response.text()));
                }
                Err(error) => report.failures.push(format!("{error:?} after {took:?}")),
            }
            drop(report);
            thread::sleep(PAUSE);
        }
    }
}

const CLIENTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(10);
/// So many requests of all clients, and the next takes a new connection, which may lead to another
/// worker.
const REQUESTS_PER_CONNECTION: usize = 7;
const FLOW_LIMIT: Duration = Duration::from_secs(10);
