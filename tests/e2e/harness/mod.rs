//! What every test stands on: one Envoy process, one issuer, one upstream, all on loopback.

pub(crate) mod bootstrap;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod envoy;
pub(crate) mod forgery;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod issuer;
pub(crate) mod module;
pub(crate) mod pods;
pub(crate) mod server;
pub(crate) mod sidecar;
pub(crate) mod token;
pub(crate) mod traffic;
pub(crate) mod upstream;
pub(crate) mod wait;
