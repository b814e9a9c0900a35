//! The guides in `docs` say what is true: their commands run, and their configurations are taken.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod blocks;
mod commands;
mod issuers;
mod links;
