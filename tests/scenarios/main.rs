//! The engine in virtual time: what it decides, what it fetches and when, whatever happens.

#[path = "../e2e/harness/token.rs"]
#[expect(dead_code, reason = "the end-to-end tests need more of it")]
mod token;

mod decisions;
mod fetching;
mod missing_keys;
mod sim;
mod waiting;
