//! HTTP/1.1 as bytes: nothing is normalised, so a test sends and sees exactly what it says.
//!
//! Text is Latin-1 throughout, one character per byte, so that any byte survives and a failed
//! assertion still prints something readable.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Names and values, in order.
pub type Headers = Vec<(String, String)>;

/// A request to be written as it stands.
#[derive(Clone)]
pub struct Request {
    start_line: String,
    host: String,
    headers: Headers,
    body: Option<Body>,
    /// Of a chunked body.
    trailers: Headers,
    going_to: Option<u16>,
}

#[derive(Clone)]
enum Body {
    Chunked(Vec<u8>),
    Sized(Vec<u8>),
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            start_line: format!("{method} {target} HTTP/1.1"),
            host: "api.example.com".to_owned(),
            headers: Vec::new(),
            body: None,
            trailers: Vec::new(),
            going_to: None,
        }
    }

    /// Says in the PROXY protocol which port the connection was going to, where
    /// [`crate::inbound`] has Envoy heed that.
    pub fn going_to(mut self, port: u16) -> Self {
        self.going_to = Some(port);
        self
    }

    /// The port of [`Self::going_to`].
    pub fn destination_port(&self) -> Option<u16> {
        self.going_to
    }

    /// The request line and the headers.
    pub fn head(&self) -> Vec<u8> {
        let bytes = Self { going_to: None, ..self.clone() }.encode();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        bytes[..end.expect("a head")].to_vec()
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(Body::Sized(body));
        self
    }

    pub fn chunked_body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(Body::Chunked(body));
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.going_to.map(going_to).unwrap_or_default().into_bytes();
        for line in [&self.start_line, &format!("Host: {}", self.host), "Connection: close"] {
            push_line(&mut bytes, line);
        }
        for (name, value) in &self.headers {
            push_line(&mut bytes, &format!("{name}: {value}"));
        }
        match &self.body {
            None => push_line(&mut bytes, ""),
            Some(Body::Sized(body)) => {
                push_line(&mut bytes, &format!("Content-Length: {}\r\n", body.len()));
                bytes.extend_from_slice(body);
            }
            Some(Body::Chunked(body)) => {
                push_line(&mut bytes, "Transfer-Encoding: chunked\r\n");
                for chunk in body.chunks(CHUNK_BYTES) {
                    push_line(&mut bytes, &format!("{:x}", chunk.len()));
                    bytes.extend_from_slice(chunk);
                    push_line(&mut bytes, "");
                }
                push_line(&mut bytes, "0");
                for (name, value) in &self.trailers {
                    push_line(&mut bytes, &format!("{name}: {value}"));
                }
                push_line(&mut bytes, "");
            }
        }
        bytes
    }
}

/// What a connection begins with that was going to this port.
pub fn going_to(port: u16) -> String {
    format!("PROXY TCP4 127.0.0.1 127.0.0.1 50000 {port}\r\n")
}

/// A request on its way; dropping it closes the connection, as an impatient client does.
pub struct Exchange(TcpStream);

impl Exchange {
    pub fn start(address: SocketAddr, request: &Request) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
        stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
        stream.write_all(&request.encode())?;
        Ok(Self(stream))
    }

    /// Waits so long for each part of an answer.
    pub fn patient(self, patience: Duration) -> Self {
        self.0.set_read_timeout(Some(patience)).expect("a time that is not zero");
        self
    }

    pub fn finish(self) -> io::Result<Response> {
        Response::read(&mut BufReader::new(self.0))
    }
}

/// What a client got back.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub message: Message,
}

impl Response {
    pub fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let message = Message::read(reader, Role::Response)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = message.start_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Self { status: status.ok_or(io::ErrorKind::InvalidData)?, message })
    }

    /// Reads a head after which something other than HTTP is spoken; its status.
    pub fn head_status(reader: &mut impl BufRead) -> io::Result<u16> {
        let start_line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        read_headers(reader)?;
        let status = start_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.message.header(name)
    }

    pub fn text(&self) -> String {
        latin1(&self.message.body)
    }

    pub fn json(&self) -> Value {
        self.try_json()
            .unwrap_or_else(|error| panic!("a JSON body, not {:?}: {error}", self.text()))
    }

    pub fn try_json(&self) -> serde_json::Result<Value> {
        serde_json::from_slice(&self.message.body)
    }
}

/// A request or a response as it came off the wire.
#[derive(Clone, Debug)]
pub struct Message {
    pub start_line: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub trailers: Headers,
}

#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Role {
    Request,
    Response,
}

impl Message {
    /// Reads one message; `None` when the peer closed the connection before another one began.
    pub fn read(reader: &mut impl BufRead, role: Role) -> io::Result<Option<Self>> {
        let Some(start_line) = read_line(reader)? else { return Ok(None) };
        let headers = read_headers(reader)?;
        let mut message = Self { start_line, headers, body: Vec::new(), trailers: Vec::new() };
        let length = message.header("content-length").and_then(|length| length.parse().ok());
        if message.header("transfer-encoding") == Some("chunked") {
            (message.body, message.trailers) = read_chunks(reader)?;
        } else if let Some(length) = length {
            message.body = vec![0; length];
            reader.read_exact(&mut message.body)?;
        } else if role == Role::Response {
            reader.read_to_end(&mut message.body)?;
        }
        Ok(Some(message))
    }

    /// The value of a header that must not be repeated.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came more than once");
        value
    }

    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// One character per byte.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn push_line(bytes: &mut Vec<u8>, line: &str) {
    let line = line.chars().map(|character| u8::try_from(character).expect("Latin-1 only"));
    bytes.extend(line);
    bytes.extend_from_slice(b"\r\n");
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some(latin1(line)))
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<Headers> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        headers.push((name.to_owned(), value.trim_matches(' ').to_owned()));
    }
}

/// The body, and the trailers after it.
fn read_chunks(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Headers)> {
    let mut body = Vec::new();
    loop {
        let size = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            return Ok((body, read_headers(reader)?));
        }
        reader.take(size).read_to_end(&mut body)?;
        read_line(reader)?;
    }
}

/// Longer than any wait that a test configures: whoever runs into it was left hanging.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 4096;
