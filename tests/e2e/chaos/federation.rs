//! One Envoy with several providers, each with an issuer of its own.

use std::net::SocketAddr;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::token::{AUDIENCE, Token};
use lab::upstream::Upstream;

pub(super) struct Federation {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    issuers: Vec<(&'static str, Issuer)>,
    _upstream: Upstream,
}

impl Federation {
    /// The providers with what their issuers answer; `settings` go for each of them.
    pub(super) fn start(
        members: &[(&'static str, Answer)],
        settings: &Value,
        workers: u32,
    ) -> Self {
        let upstream = Upstream::start();
        let mut bootstrap = Bootstrap::new(upstream.address());
        let mut providers = Vec::new();
        let mut issuers = Vec::new();
        for (name, answer) in members {
            let issuer = Issuer::start(answer.clone());
            bootstrap = bootstrap.cluster(name, issuer.address());
            providers.push(provider(name, settings));
            issuers.push((*name, issuer));
        }
        let bootstrap =
            bootstrap.filter("mesh-jwt", &json!({ "providers": providers }).to_string());
        Self { envoy: Envoy::start(&bootstrap, workers), issuers, _upstream: upstream }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    pub(super) fn issuer(&self, name: &str) -> &Issuer {
        let found = self.issuers.iter().find(|(other, _)| *other == name);
        found.map(|(_, issuer)| issuer).expect("one of the members")
    }

    pub(super) fn send(&self, token: &Token) -> Response {
        self.envoy.send(&Request::get("/").bearer(&token.compact()))
    }

    /// The filter's code in the access log.
    pub(super) fn code(&self, response: &Response) -> String {
        self.envoy.access_log_line(response)["code"].as_str().unwrap_or("-").to_owned()
    }

    /// The value of a metric of a provider.
    pub(super) fn stat(&self, name: &str, metric: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.mesh_jwt.jwks.{name}.{metric}"))
    }
}

/// A good token of this provider.
pub(super) fn token_of(name: &str) -> Token {
    Token::good().claim("iss", issuer_of(name))
}

fn provider(name: &str, settings: &Value) -> Value {
    let mut provider = json!({
        "name": name,
        "issuer": issuer_of(name),
        "audiences": [AUDIENCE],
        "jwksUri": format!("http://{name}.example.com/jwks"),
        "jwksCluster": name,
        "allowPlaintextJwks": true,
    });
    for (field, value) in settings.as_object().expect("an object") {
        provider[field] = value.clone();
    }
    provider
}

fn issuer_of(name: &str) -> String {
    format!("https://{name}.example.com")
}
