//! The usual set-up: a client's view of one Envoy with the filter, its issuer and its upstream.

use std::net::SocketAddr;

use crate::bootstrap::Bootstrap;
use crate::config::{Config, ISSUER_CLUSTER};
use crate::envoy::Envoy;
use crate::http::{Exchange, Request, Response};
use crate::issuer::{Answer, Issuer};
use crate::token::{Key, Token};
use crate::upstream::{Upstream, received};

pub struct Sidecar {
    // Before its peers: whatever they still hold open ends with Envoy.
    envoy: Envoy,
    pub issuer: Issuer,
    pub upstream: Upstream,
    configs: Vec<String>,
}

impl Sidecar {
    /// One worker, and an issuer that publishes `alpha`.
    pub fn start(config: &Config) -> Self {
        Self::start_with(config, Answer::Keys(vec![Key::alpha().jwk()]), 1)
    }

    /// The same, with a bootstrap that suits the test.
    pub fn start_adapted(config: &Config, adapt: fn(Bootstrap) -> Bootstrap) -> Self {
        Self::start_all(&[config], Answer::Keys(vec![Key::alpha().jwk()]), 1, adapt)
    }

    pub fn start_with(config: &Config, answer: Answer, workers: u32) -> Self {
        Self::start_chain(&[config], answer, workers)
    }

    /// Several instances of the filter, each with its own configuration, in this order.
    pub fn start_chain(configs: &[&Config], answer: Answer, workers: u32) -> Self {
        Self::start_all(configs, answer, workers, |bootstrap| bootstrap)
    }

    fn start_all(
        configs: &[&Config],
        answer: Answer,
        workers: u32,
        adapt: fn(Bootstrap) -> Bootstrap,
    ) -> Self {
        let issuer = Issuer::start(answer);
        let upstream = Upstream::start();
        let bootstrap = adapt(bootstrap(configs, &issuer, &upstream));
        let configs = configs.iter().map(|config| config.render()).collect();
        Self { envoy: Envoy::start(&bootstrap, workers), issuer, upstream, configs }
    }

    /// What each instance of the filter was started with.
    pub fn configs(&self) -> &[String] {
        &self.configs
    }

    /// Has Envoy take another configuration; it must have started with a replaceable bootstrap.
    pub fn reconfigure(&self, config: &Config) {
        let bootstrap = bootstrap(&[config], &self.issuer, &self.upstream).replaceable();
        self.envoy.replace_listener(&bootstrap);
    }

    /// [`Envoy::trace_calls`].
    pub fn trace_calls(&self) {
        self.envoy.trace_calls();
    }

    pub fn address(&self) -> SocketAddr {
        self.envoy.address()
    }

    pub fn resident_bytes(&self) -> u64 {
        self.envoy.resident_bytes()
    }

    pub fn open(&self, request: &Request) -> Exchange {
        self.envoy.open(request)
    }

    pub fn send(&self, request: &Request) -> Response {
        self.envoy.send(request)
    }

    /// What became of a request: its status, and the filter's code from the access log.
    pub fn decide(&self, request: &Request) -> String {
        let response = self.send(request);
        format!("{} {}", response.status, self.code(&response))
    }

    /// The filter's code in the access log.
    pub fn code(&self, response: &Response) -> String {
        self.logged(response, "code")
    }

    /// The provider in the access log.
    pub fn provider(&self, response: &Response) -> String {
        self.logged(response, "provider")
    }

    /// The value of `mesh_jwt.<name>` at this moment.
    pub fn stat(&self, name: &str) -> u64 {
        self.envoy.stat(&format!("wasmcustom.mesh_jwt.{name}"))
    }

    /// What requests have counted so far: [`Envoy::settled_stat`].
    pub fn counted(&self, name: &str) -> u64 {
        self.envoy.settled_stat(&format!("wasmcustom.mesh_jwt.{name}"))
    }

    /// [`Envoy::assert_untrapped`].
    pub fn assert_untrapped(&self, what: &str) {
        self.envoy.assert_untrapped(what);
    }

    pub fn envoy_log(&self) -> String {
        self.envoy.log()
    }

    pub fn assert_good_token_passes(&self) {
        self.assert_passes(&Token::good());
    }

    /// The token is allowed, and the upstream is told whose it is.
    pub fn assert_passes(&self, token: &Token) {
        let response = self.send(&Request::get("/").bearer(&token.compact()));
        let outcome = (response.status, self.code(&response));
        assert_eq!(outcome, (200, "allowed".to_owned()), "{}", response.text());
        assert_eq!(received(&response).header("x-user-id"), Some("user-4711"));
    }

    fn logged(&self, response: &Response, field: &str) -> String {
        let line = self.envoy.access_log_line(response);
        line[field].as_str().unwrap_or("-").to_owned()
    }
}

fn bootstrap(configs: &[&Config], issuer: &Issuer, upstream: &Upstream) -> Bootstrap {
    let bootstrap = Bootstrap::new(upstream.address()).cluster(ISSUER_CLUSTER, issuer.address());
    configs.iter().zip(1..).fold(bootstrap, |bootstrap, (config, number)| {
        bootstrap.filter(&format!("mesh-jwt-{number}"), &config.render())
    })
}
