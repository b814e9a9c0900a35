//! The alert rules and the dashboard: held against what real proxies have counted, and what they export.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod exported;
mod promtool;
mod texts;
