//! An issuer's JWK Set endpoint that can be told to misbehave while it runs.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::Message;
use crate::resources::loopback;
use crate::server::Server;

/// What the endpoint does with a fetch.
#[derive(Clone)]
pub enum Answer {
    /// Announces a whole body, sends half of it and closes.
    CutOff,
    /// Does one of these with every fetch, in turn.
    Cycle(Vec<Self>),
    /// Says nothing until told to answer otherwise, and then answers that.
    Hang,
    Keys(Vec<Value>),
    /// Pods behind one address, each publishing its own set: every fetch reaches the next one.
    Pods(Vec<Vec<Value>>),
    Raw {
        status: &'static str,
        headers: &'static str,
        body: Vec<u8>,
    },
    /// Closes the connection without a word.
    Reset,
    /// Answers by path, and all others with status 404.
    Routes(Vec<(String, Self)>),
    /// The right keys, byte by byte over this long.
    Trickle(Duration, Vec<Value>),
}

impl Answer {
    pub fn raw(status: &'static str, headers: &'static str, body: &[u8]) -> Self {
        Self::Raw { status, headers, body: body.to_vec() }
    }
}

pub struct Issuer {
    server: Server,
    shared: Arc<Shared>,
}

impl Issuer {
    pub fn start(answer: Answer) -> Self {
        Self::start_at(loopback(0), answer)
    }

    /// The same at this address.
    pub fn start_at(address: SocketAddr, answer: Answer) -> Self {
        let state = State { answer, fetches: Vec::new(), times: Vec::new(), stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let server = Server::start_at(address, {
            let shared = Arc::clone(&shared);
            move |request, stream| shared.answer(request, stream)
        });
        Self { server, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Answers like this from now on, the fetches that hang at this moment included.
    pub fn answer(&self, answer: Answer) {
        self.shared.lock().answer = answer;
        self.shared.changed.notify_all();
    }

    /// The JWK Set that it answers every fetch with, if it does.
    pub fn jwk_set(&self) -> Option<Value> {
        match &self.shared.lock().answer {
            Answer::Keys(keys) => Some(json!({ "keys": keys })),
            _ => None,
        }
    }

    /// Every fetch that arrived, in order.
    pub fn fetches(&self) -> Vec<Message> {
        self.shared.lock().fetches.clone()
    }

    /// When each of them arrived.
    pub fn fetch_times(&self) -> Vec<Instant> {
        self.shared.lock().times.clone()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    answer: Answer,
    fetches: Vec<Message>,
    times: Vec<Instant>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock held")
    }

    fn answer(&self, request: &Message, stream: &mut TcpStream) -> io::Result<()> {
        let mut state = self.lock();
        state.fetches.push(request.clone());
        state.times.push(Instant::now());
        let fetch = state.fetches.len();
        let state = self
            .changed
            .wait_while(state, |state| matches!(state.answer, Answer::Hang) && !state.stopped)
            .expect("nobody panics with the lock held");
        let answer = state.answer.clone();
        // A trickle must not keep the test from looking.
        drop(state);
        give(at_path(answer, &request.start_line), fetch, stream)
    }
}

fn at_path(answer: Answer, request_line: &str) -> Answer {
    let Answer::Routes(routes) = answer else { return answer };
    let path = request_line.split(' ').nth(1).unwrap_or_default();
    let found = routes.into_iter().find(|(route, _)| route == path);
    found.map_or_else(|| Answer::raw("404 Not Found", "", b"no"), |(_, answer)| answer)
}

fn give(answer: Answer, fetch: usize, stream: &mut TcpStream) -> io::Result<()> {
    match answer {
        Answer::Cycle(answers) => give(answers[fetch % answers.len()].clone(), fetch, stream),
        Answer::CutOff => {
            let body = set(&[]);
            let (half, _) = body.split_at(body.len() / 2);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{half}", body.len())?;
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        Answer::Hang | Answer::Reset => Err(io::ErrorKind::ConnectionAborted.into()),
        Answer::Keys(keys) => reply(stream, "200 OK", JSON, set(&keys).as_bytes()),
        Answer::Pods(pods) => {
            let keys = &pods[fetch % pods.len()];
            reply(stream, "200 OK", JSON, set(keys).as_bytes())
        }
        Answer::Raw { status, headers, body } => reply(stream, status, headers, &body),
        Answer::Routes(_) => reply(stream, "404 Not Found", "", b"no"),
        Answer::Trickle(duration, keys) => trickle(stream, duration, &set(&keys)),
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn trickle(stream: &mut TcpStream, duration: Duration, body: &str) -> io::Result<()> {
    let pause = duration / u32::try_from(body.len()).expect("a small set");
    write!(stream, "HTTP/1.1 200 OK\r\n{JSON}Content-Length: {}\r\n\r\n", body.len())?;
    for byte in body.as_bytes() {
        thread::sleep(pause);
        stream.write_all(&[*byte])?;
    }
    Ok(())
}

const JSON: &str = "Content-Type: application/json\r\n";
