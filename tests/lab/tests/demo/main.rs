//! `make run` and what it runs: the real filter in a real Envoy, before both services.
//!
//! What it needs beside these tests (module, Envoy, the services' release build), `make test`
//! puts there.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod edge;
mod run;
mod running;
