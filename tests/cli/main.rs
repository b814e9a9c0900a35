//! The command line as it is run, against real issuers.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod check;
mod command;
mod explain;
mod help;
mod probe;
