//! The demo's traffic: good requests only, each sent through all filters.

use std::iter::Cycle;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{mem, vec};

use lab::connection::Connection;

use super::filters::Filter;

/// What became of one good request.
pub(super) struct Sample {
    pub(super) filter: Filter,
    pub(super) sent_at: Instant,
    pub(super) took: Duration,
    /// The status, or what went wrong instead.
    pub(super) outcome: Result<u16, String>,
}

impl Sample {
    pub(super) fn is_ok(&self) -> bool {
        self.outcome == Ok(200)
    }
}

/// Clients that send requests until this is dropped. They take tokens in turn, and send each one to
/// every target.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    is_stopped: AtomicBool,
    tokens: Mutex<Cycle<vec::IntoIter<String>>>,
    samples: Mutex<Vec<Sample>>,
}

impl Traffic {
    pub(super) fn start(targets: &[(Filter, SocketAddr)], tokens: Vec<String>) -> Self {
        let shared = Arc::new(Shared {
            is_stopped: AtomicBool::new(false),
            tokens: Mutex::new(tokens.into_iter().cycle()),
            samples: Mutex::default(),
        });
        let client = |_| {
            let shared = Arc::clone(&shared);
            let connection = |(filter, address): &(_, _)| (*filter, Connection::new(*address));
            let connections: Vec<_> = targets.iter().map(connection).collect();
            thread::spawn(move || shared.send_requests(connections))
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// From now on, these tokens.
    pub(super) fn switch_to(&self, tokens: Vec<String>) {
        *lock(&self.shared.tokens) = tokens.into_iter().cycle();
    }

    /// Ends the traffic.
    pub(super) fn finish(mut self) -> Vec<Sample> {
        self.stop();
        mem::take(&mut lock(&self.shared.samples))
    }

    fn stop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            // It does not panic.
            drop(client.join());
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn send_requests(&self, mut connections: Vec<(Filter, Connection)>) {
        while !self.is_stopped.load(Ordering::SeqCst) {
            let Some(token) = lock(&self.tokens).next() else { return };
            for (filter, connection) in &mut connections {
                let sent_at = Instant::now();
                let answer = connection.get(PATH, &token);
                let took = sent_at.elapsed();
                let outcome = answer.map(|answer| answer.status).map_err(|error| error.to_string());
                lock(&self.samples).push(Sample { filter: *filter, sent_at, took, outcome });
            }
            thread::sleep(PAUSE);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The filters check tokens on every path; on this one the service behind them checks none.
const PATH: &str = "/public/orders";
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(30);
