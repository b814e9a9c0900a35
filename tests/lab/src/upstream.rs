//! The service behind Envoy: it answers with the exact request that reached it.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::http::{Message, Response, latin1};
use crate::server::Server;

pub struct Upstream {
    server: Server,
    requests: Arc<AtomicUsize>,
    latest: Arc<Mutex<Option<Message>>>,
}

impl Upstream {
    pub fn start() -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let latest = Arc::new(Mutex::new(None));
        let last = Arc::clone(&latest);
        let server = Server::start(move |request, stream| {
            count.fetch_add(1, Ordering::SeqCst);
            *last.lock().expect("nobody panics with the lock held") = Some(request.clone());
            let echo = json!({
                "request_line": request.start_line,
                "headers": request.headers,
                "body": latin1(&request.body),
                "trailers": request.trailers,
            })
            .to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{echo}", echo.len())
        });
        Self { server, requests, latest }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The request that was let through last, for where the client cannot be told.
    pub fn latest(&self) -> Message {
        let latest = self.latest.lock().expect("nobody panics with the lock held").clone();
        latest.expect("a request got through")
    }

    /// How many requests were let through.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// The request as the upstream saw it; fails the test if the request never got there.
pub fn received(response: &Response) -> Message {
    assert_eq!(response.status, 200, "not forwarded: {}", response.text());
    let mut echo = response.json();
    Message {
        start_line: serde_json::from_value(echo["request_line"].take()).expect("the request line"),
        headers: serde_json::from_value(echo["headers"].take()).expect("the headers"),
        body: echo["body"]
            .as_str()
            .expect("the body")
            .chars()
            .map(|character| u8::try_from(character).expect("one character per byte"))
            .collect(),
        trailers: serde_json::from_value(echo["trailers"].take()).expect("the trailers"),
    }
}
