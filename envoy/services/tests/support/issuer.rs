//! An issuer that publishes what auth-service would not, and that can leave requests unanswered.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub(crate) struct Issuer {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    unanswered: Mutex<Receiver<Unanswered>>,
}

impl Issuer {
    /// Publishes the keys to the first so many requests; those after them wait for the test.
    pub(crate) fn answering(jwks: &Value, answers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel();
        let (jwks, seen) = (jwks.to_string(), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut request = Unanswered { stream: stream.unwrap(), jwks: jwks.clone() };
                request.read_head();
                if seen.fetch_add(1, Ordering::SeqCst) < answers {
                    request.answer();
                } else if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests, unanswered: Mutex::new(receiver) }
    }

    pub(crate) fn jwks_uri(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    /// How many there have been.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits for a request that is left to the test.
    pub(crate) fn unanswered(&self) -> Unanswered {
        self.unanswered.lock().unwrap().recv_timeout(LIMIT).unwrap()
    }
}

pub(crate) struct Unanswered {
    stream: TcpStream,
    jwks: String,
}

impl Unanswered {
    fn read_head(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
    }

    /// Whether the client has neither hung up nor given up.
    pub(crate) fn is_waiting(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    pub(crate) fn answer(&mut self) {
        let (length, jwks) = (self.jwks.len(), &self.jwks);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n");
        self.stream.write_all(format!("{head}\r\n{jwks}").as_bytes()).unwrap();
    }
}

const LIMIT: Duration = Duration::from_secs(20);
