//! The engine in virtual time: what it decides, what it fetches and when, whatever happens.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

use lab::token;

#[path = "../support/shared_store.rs"]
mod shared_store;

mod counting;
mod decisions;
mod discovery;
mod fetching;
mod missing_keys;
mod sharing;
mod sim;
mod tenants;
mod waiting;
