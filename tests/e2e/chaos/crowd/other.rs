//! Others on the worker on which a crowd is answered: an established WebSocket, and the requests that
//! wait for another provider.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{assert_unharmed, config, junk, patience, published, size, summary};
use lab::bootstrap::Bootstrap;
use lab::config::ISSUER_CLUSTER;
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::http2::Streams;
use lab::issuer::{Answer, Issuer};
use lab::server::Server;
use lab::token::{Key, Token};
use lab::wait;

#[test]
fn disturbs_no_websocket_and_nobody_who_waits_for_another_provider() {
    let issuer = Issuer::start(published());
    let partners_issuer = Issuer::start(Answer::Hang);
    let upstream = websocket_echo();
    let partner = json!({
        "name": "partner",
        "issuer": PARTNER,
        "jwksUri": "http://partner.example.com/jwks",
        "jwksCluster": "partner",
        "allowPlaintextJwks": true,
    });
    let config = config(patience()).add_provider(partner);
    let bootstrap = Bootstrap::new(upstream.address)
        .cluster(ISSUER_CLUSTER, issuer.address())
        .cluster("partner", partners_issuer.address())
        .filter("mesh-jwt", &config.render());
    let envoy = Envoy::start(&bootstrap, 1);
    let mut websocket = WebSocket::open(&envoy);
    websocket.assert_alive();
    issuer.answer(Answer::Hang);
    let of_partner = Token::good().claim("iss", PARTNER).signed_by(Key::beta()).compact();
    let waiting: Vec<_> = (0..WAITING)
        .map(|_| envoy.open(&Request::get("/").bearer(&of_partner)).patient(patience()))
        .collect();
    let junk = (0..size()).map(junk).collect();
    let crowd = Streams::open(envoy.address(), super::CONNECTIONS, junk, b"");
    wait_for_paused(&envoy, size() + WAITING);

    issuer.answer(published());

    for (status, body) in crowd.finish() {
        assert_eq!((status, super::said(&body)), (401, "key_unknown".to_owned()));
    }
    websocket.assert_alive();
    wait_for_paused(&envoy, WAITING);
    partners_issuer.answer(Answer::Keys(vec![Key::beta().jwk()]));
    for exchange in waiting {
        let response = exchange.finish().expect("an answer in time");
        assert_eq!(summary(&response).0, 200);
    }
    websocket.assert_alive();
    assert_unharmed(&envoy, "another provider");
}

fn wait_for_paused(envoy: &Envoy, number: u64) {
    wait::until(&format!("{number} wait"), patience(), || {
        (envoy.stat("wasmcustom.mesh_jwt.paused") == number).then_some(())
    });
}

/// An upstream that agrees to an upgrade and then echoes bytes, and answers all else with nothing.
fn websocket_echo() -> Server {
    Server::start(|request, stream| {
        if request.header("upgrade").is_none() {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    })
}

struct WebSocket(TcpStream);

impl WebSocket {
    fn open(envoy: &Envoy) -> Self {
        let mut stream = TcpStream::connect(envoy.address()).expect("Envoy accepts connections");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        let token = Token::good().compact();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("an open connection");
        let clone = stream.try_clone().expect("a second handle");
        // Nothing follows the head until the client says something.
        let mut reader = BufReader::with_capacity(1, clone);
        let status = Response::head_status(&mut reader).expect("an answer");
        assert_eq!(status, 101);
        Self(stream)
    }

    fn assert_alive(&mut self) {
        let mut byte = [0];
        self.0.write_all(b"x").expect("the tunnel is open");
        self.0.read_exact(&mut byte).expect("the tunnel is open");
        assert_eq!(&byte, b"x");
    }
}

const PARTNER: &str = "https://partner.example.com";
const WAITING: u64 = 20;
