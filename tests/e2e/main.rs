//! The filter inside a real Envoy: every test starts its own, on free ports.
//!
//! They take the module and the Envoy that `make build` and `make envoy` put into the checkout, or what
//! `MESH_JWT_WASM` and `ENVOY` name.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod access_modes;
mod baseline;
mod chaos;
mod claim_routing;
mod claims_for_logs;
mod configuration;
mod convert;
mod costs;
mod counting;
mod denials;
mod discovery;
mod explained;
mod fail_strategies;
mod filter_chain;
mod forwarding;
mod grpc;
mod host_calls;
mod host_crypto;
mod hostile_input;
mod issuer_failures;
mod istio;
mod key_fetch;
mod key_lifetime;
mod kubernetes;
mod lax_servers;
mod owned_headers;
mod paths;
mod preflight;
mod replies;
mod rotations;
mod rules;
mod secrecy;
mod tenants;
mod token_cache;
mod token_locations;
mod verified_header;
mod withheld;
