//! Requests on connections of their own, so that they reach all workers.

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use lab::http::{Exchange, Request, Response};
use lab::token::Key;

/// A token that must pass.
pub(super) struct Good {
    pub(super) key: &'static Key,
    pub(super) token: String,
}

pub(super) struct Answer {
    /// The status and, if it is not 200, the filter's code.
    pub(super) verdict: String,
    pub(super) sent: Instant,
    pub(super) took: Duration,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        self.verdict == OK
    }
}

pub(super) fn send(address: SocketAddr, token: &str) -> Answer {
    let request = Request::get("/").bearer(token);
    let sent = Instant::now();
    let response = Exchange::start(address, &request).and_then(Exchange::finish);
    let took = sent.elapsed();
    let verdict = match response {
        Ok(response) if response.status == 200 => OK.to_owned(),
        Ok(response) => format!("{} {}", response.status, code(&response)),
        Err(error) => error.kind().to_string(),
    };
    Answer { verdict, sent, took }
}

/// Sends all of them at once.
pub(super) fn burst(address: SocketAddr, good: Vec<Good>) -> Vec<(&'static Key, Answer)> {
    thread::scope(|scope| {
        let send = |good: Good| scope.spawn(move || (good.key, send(address, &good.token)));
        let clients: Vec<_> = good.into_iter().map(send).collect();
        clients.into_iter().map(|client| client.join().expect("no client panics")).collect()
    })
}

/// So many at once, and so often.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) burst: usize,
    pub(super) every: Duration,
}

impl Pace {
    pub(super) const fn one_in(every: Duration) -> Self {
        Self { burst: 1, every }
    }

    pub(super) const fn a_second(requests: u64) -> Self {
        Self::one_in(Duration::from_micros(1_000_000 / requests))
    }

    /// Does something at this pace, however long each takes, and waits until all of it is done.
    pub(super) fn keep(self, during: Range<Instant>, task: impl Fn(usize) + Sync) {
        let task = &task;
        thread::scope(|scope| {
            let mut due = during.start;
            let mut number = 0;
            while due < during.end {
                sleep_until(due);
                for _ in 0..self.burst {
                    scope.spawn(move || task(number));
                    number += 1;
                }
                due += self.every;
            }
        });
    }
}

pub(super) fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// What the filter's answer says why; a dash if the answer is not the filter's.
fn code(response: &Response) -> String {
    let body: Option<Value> = serde_json::from_slice(&response.message.body).ok();
    body.and_then(|body| body["code"].as_str().map(str::to_owned)).unwrap_or_else(|| "-".to_owned())
}

pub(super) const OK: &str = "200";
