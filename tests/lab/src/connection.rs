//! A client's connection that carries one request after another.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use crate::http::{CLIENT_TIMEOUT, Response};

pub struct Connection {
    address: SocketAddr,
    /// Absent before the first request, and when the last one ended it.
    reader: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, reader: None }
    }

    /// Sends a token and reads the answer; connects first if need be.
    pub fn get(&mut self, target: &str, token: &str) -> io::Result<Response> {
        self.send(target, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// The same without a token.
    pub fn get_without_token(&mut self, target: &str) -> io::Result<Response> {
        self.send(target, "")
    }

    /// Whether the next request takes the connection of the last.
    pub fn is_open(&self) -> bool {
        self.reader.is_some()
    }

    /// The same with these lines, each of which ends with `\r\n`.
    pub fn send(&mut self, target: &str, headers: &str) -> io::Result<Response> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => BufReader::new(self.connect()?),
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: api.example.com\r\n{headers}\r\n");
        reader.get_mut().write_all(request.as_bytes())?;
        let response = Response::read(&mut reader)?;
        if response.header("connection") != Some("close") {
            self.reader = Some(reader);
        }
        Ok(response)
    }

    /// The next request takes another connection, which may lead to another worker.
    pub fn close(&mut self) {
        self.reader = None;
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
        stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
        Ok(stream)
    }
}
