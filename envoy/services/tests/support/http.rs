//! One HTTP request over a connection of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// Each header ends with `\r\n`.
pub(crate) fn send(address: &str, method: &str, path: &str, headers: &[u8], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let start = format!("{method} {path} HTTP/1.1\r\nhost: demo\r\nconnection: close\r\n");
    let end = format!("content-length: {length}\r\n\r\n{body}");
    stream.write_all(&[start.as_bytes(), headers, end.as_bytes()].concat()).unwrap();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}
