//! Signs the tokens of `make bench`, since Python's standard library knows no RSA.
//!
//! `bench_tokens DIRECTORY COUNT BYTES...` writes so many tokens of each size, one a line, to
//! `cold-BYTES.txt`, and what a provider has to know about them to `issuer.json`. A token without padding
//! is larger than the smallest sizes.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a program that panics has failed, and says why"
)]

use lab::token;

use std::env;
use std::fs;
use std::path::Path;
use std::thread;

use serde_json::json;
use token::{AUDIENCE, ISSUER, Key, Token, now};

const PADDING: &str = "padding";
/// Longer than any run.
const LIFETIME_SECONDS: u64 = 365 * 24 * 3600;

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [directory, count, sizes @ ..] = arguments.as_slice() else {
        panic!("usage: bench_tokens DIRECTORY COUNT BYTES...");
    };
    let directory = Path::new(directory);
    let count = count.parse().expect("COUNT is a number");
    let issuer = json!({ "issuer": ISSUER, "audience": AUDIENCE, "jwk": Key::alpha().jwk() });
    write(&directory.join("issuer.json"), &issuer.to_string());
    // Signing takes its time, on each of the processors.
    thread::scope(|scope| {
        for size in sizes {
            scope.spawn(move || {
                let padding = padding(size.parse().expect("BYTES is a number"));
                let lines: String = (0..count).map(|user| sign(user, padding) + "\n").collect();
                write(&directory.join(format!("cold-{size}.txt")), &lines);
            });
        }
    });
}

/// All tokens with the same padding are of the same size, whoever the user.
fn sign(user: u32, padding: usize) -> String {
    let token = Token::good()
        .claim("sub", format!("user-{user:06}"))
        .claim("exp", now() + LIFETIME_SECONDS);
    if padding == 0 { token } else { token.claim(PADDING, "x".repeat(padding)) }.compact()
}

/// How long the claim has to be that makes a token so large.
fn padding(bytes: usize) -> usize {
    let missing = bytes.saturating_sub(sign(0, 0).len());
    // Four characters of base64url hold three bytes, and the claim is more than its value.
    (missing * 3 / 4).saturating_sub(format!(r#","{PADDING}":"""#).len())
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
