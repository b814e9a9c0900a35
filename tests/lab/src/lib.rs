//! What the end-to-end tests, the demo and the benchmark stand on: Envoy processes, issuers, upstreams,
//! tokens and clients, all on loopback.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::new_without_default,
    clippy::panic,
    reason = "only this repository uses it, and a test that panics has failed, which is what it is for"
)]

pub mod bootstrap;
pub mod browser;
pub mod checkout;
pub mod config;
pub mod connection;
pub mod crash;
pub mod docker;
pub mod envoy;
pub mod forgery;
pub mod http;
pub mod http2;
pub mod inbound;
pub mod interrupt;
pub mod issuer;
pub mod module;
pub mod pods;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod resources;
pub mod server;
pub mod services;
pub mod sidecar;
pub mod stats_tags;
pub mod token;
pub mod traffic;
pub mod upstream;
pub mod wait;
