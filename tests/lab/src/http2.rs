//! Many HTTP/2 streams over few connections, which HTTP/1.1 clients cannot have.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use http::{Method, Request, Response};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::{self, LocalSet};

/// Requests on their way, over HTTP/2 without TLS (RFC 9113 §3.3).
pub struct Streams(JoinHandle<Vec<(u16, String)>>);

impl Streams {
    /// Sends a POST request, with or without a body, for each token.
    pub fn open(
        address: SocketAddr,
        connections: usize,
        tokens: Vec<String>,
        body: &'static [u8],
    ) -> Self {
        Self(thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_io().build();
            let runtime = runtime.expect("a runtime");
            LocalSet::new().block_on(&runtime, exchange(address, connections, &tokens, body))
        }))
    }

    /// The statuses and bodies, in the order of the tokens.
    pub fn finish(self) -> Vec<(u16, String)> {
        self.0.join().expect("every stream is answered")
    }
}

/// Sends one request, whose method may be written in any way; the status and the body of the answer.
pub fn ask(
    address: SocketAddr,
    method: &str,
    uri: &str,
    protocol: Option<&'static str>,
    token: &str,
) -> (u16, String) {
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let connection = connect(address).await;
        let mut connection = connection.ready().await.expect("room for a stream");
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        let mut request = Request::builder().method(method).uri(uri);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(protocol) = protocol {
            while !connection.is_extended_connect_protocol_enabled() {
                task::yield_now().await;
            }
            request = request.extension(Protocol::from_static(protocol));
        }
        let request = request.body(()).expect("a valid request");
        let (response, stream) =
            connection.send_request(request, protocol.is_none()).expect("the connection lasts");
        let answer = read(response).await;
        drop(stream);
        answer
    })
}

/// Sends a GET request with these headers; the answer with its headers.
pub fn get(address: SocketAddr, headers: &[(&str, &str)]) -> Response<String> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let connection = connect(address).await;
        let mut connection = connection.ready().await.expect("room for a stream");
        let request = Request::get("http://api.example.com/");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).expect("a valid request");
        let (response, _) = connection.send_request(request, true).expect("the connection lasts");
        read_whole(response).await
    })
}

async fn exchange(
    address: SocketAddr,
    connections: usize,
    tokens: &[String],
    body: &'static [u8],
) -> Vec<(u16, String)> {
    let mut responses = Vec::new();
    for tokens in tokens.chunks(tokens.len().div_ceil(connections)) {
        let mut connection = connect(address).await;
        for token in tokens {
            connection = connection.ready().await.expect("room for a stream");
            responses.push(send(&mut connection, token, body));
        }
    }
    let mut answers = Vec::new();
    for response in responses {
        answers.push(read(response).await);
    }
    answers
}

async fn connect(address: SocketAddr) -> SendRequest<&'static [u8]> {
    let stream = TcpStream::connect(address).await.expect("Envoy accepts connections");
    let mut builder = Builder::new();
    builder.initial_connection_window_size(WINDOW_BYTES).initial_max_send_streams(MAX_STREAMS);
    let (client, connection) = builder.handshake(stream).await.expect("Envoy speaks HTTP/2");
    task::spawn_local(async {
        // Whatever ends it ends its streams as well, and they tell.
        drop(connection.await);
    });
    client
}

fn send(
    connection: &mut SendRequest<&'static [u8]>,
    token: &str,
    body: &'static [u8],
) -> ResponseFuture {
    let request = Request::post("http://api.example.com/")
        .header("authorization", format!("Bearer {token}"))
        .body(())
        .expect("a valid request");
    let (response, mut stream) =
        connection.send_request(request, body.is_empty()).expect("the connection lasts");
    if !body.is_empty() {
        stream.send_data(body, true).expect("the connection lasts");
    }
    response
}

async fn read(response: ResponseFuture) -> (u16, String) {
    let response = read_whole(response).await;
    (response.status().as_u16(), response.into_body())
}

async fn read_whole(response: ResponseFuture) -> Response<String> {
    let (head, mut body) = response.await.expect("an answer").into_parts();
    let mut text = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("a whole body");
        body.flow_control().release_capacity(data.len()).expect("what was taken up");
        text.extend_from_slice(&data);
    }
    Response::from_parts(head, String::from_utf8_lossy(&text).into_owned())
}

const WINDOW_BYTES: u32 = 1 << 24;
/// More than any test has; Envoy says how many it takes.
const MAX_STREAMS: usize = 100_000;
