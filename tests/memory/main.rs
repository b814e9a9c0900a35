//! How much memory a request can make the filter take, and how often it takes some, counted by the
//! allocator. Pointers are twice as long here as in the module.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

#[path = "../support/hostile.rs"]
mod hostile;
use lab::token;

use dhat::{HeapStats, Profiler};
use hostile::{Hostile, requests, tenants, thorough};
use mesh_jwt::config::Config;
use mesh_jwt::counters::Counters;
use mesh_jwt::driver::{Driver, Host};
use mesh_jwt::engine::{Disposition, Fetch};
use mesh_jwt::event::Event;
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{FetchError, Written};
use mesh_jwt::request::{RequestHead, StreamId};
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::{Value, json};
use std::time::Duration;
use token::{ISSUER, Key, sign_parts};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

// One test, since it counts what all threads allocate.
#[test]
fn is_bounded() {
    let requests = requests(|header, payload| sign_parts(header, payload, Key::alpha()));
    let keys: Vec<_> = Key::pods().iter().take(7).chain([Key::alpha()]).map(Key::jwk).collect();
    let (top, provider) = thorough(&keys);
    for request in &requests {
        let peak = peak(request, &top, &provider);
        println!("{:>9} bytes at most: {}", peak, request.name);
        assert!(peak <= MAX_PEAK, "{}: {peak} bytes", request.name);
    }
    for request in &requests {
        let Some(kept) = kept(request, &top, &provider) else { continue };
        println!("{kept:>9} bytes while it waits, beside its token: {}", request.name);
        assert!(kept <= MAX_KEPT, "{}: {kept} bytes", request.name);
    }
    let allocations = allocations_for_a_repeated_token();
    println!("{allocations:>9} allocations for a token that comes again");
    assert!(allocations <= MAX_ALLOCATIONS, "{allocations} allocations");
}

/// How often memory is allocated to read and to decide a request that is allowed, and whose token is
/// remembered.
fn allocations_for_a_repeated_token() -> u64 {
    let keys = [Key::alpha().jwk()];
    let provider = json!({
        "jwks": { "keys": keys },
        "outputClaimToHeaders": [{ "header": "X-User-Id", "claim": "sub" }],
    });
    let rules = json!([{ "match": { "paths": ["/orders/*/items", "/orders/**"] } }]);
    let mut host = Nothing;
    let mut driver = driver(&json!({ "rules": rules }), &provider, &mut host);
    let claims = json!({ "iss": ISSUER, "sub": "user-4711", "exp": NOW.as_nanos() / NANOS + 60 });
    let token =
        sign_parts(&json!({ "alg": "RS256" }).to_string(), &claims.to_string(), Key::alpha());
    let headers = [
        (":method", "GET"),
        (":authority", "api.example.com"),
        (":path", "/orders/7/items?page=2"),
        ("authorization", &format!("Bearer {token}")),
        ("accept", "*/*"),
    ];
    let mut decide = |stream| {
        let disposition = driver.handle_request(StreamId(stream), &head(&headers), &mut host, NOW);
        assert!(matches!(disposition, Disposition::Decided(Verdict::Allow(_))));
    };
    decide(1);
    let profiler = Profiler::builder().testing().build();
    decide(2);
    let allocations = HeapStats::get().total_blocks;
    drop(profiler);
    allocations
}

/// The most memory that is in use at any time while a request is decided.
fn peak(request: &Hostile, top: &Value, provider: &Value) -> usize {
    let mut host = Nothing;
    let mut driver = driver(top, provider, &mut host);
    let headers = headers(request);
    let head = head(&headers);
    let profiler = Profiler::builder().testing().build();
    let disposition = driver.handle_request(StreamId(1), &head, &mut host, NOW);
    assert!(matches!(disposition, Disposition::Decided(_)), "{}", request.name);
    let peak = HeapStats::get().max_bytes;
    drop(profiler);
    peak
}

/// What each of many such requests keeps while it waits for keys; nothing where it does not.
fn kept(request: &Hostile, top: &Value, provider: &Value) -> Option<usize> {
    let mut provider = provider.clone();
    let fields = provider.as_object_mut().expect("an object");
    fields.remove("jwks");
    fields.insert("jwksUri".to_owned(), json!("https://auth.example.com/jwks"));
    let mut host = Nothing;
    let mut driver = driver(top, &provider, &mut host);
    driver.handle_timeout(&mut host, NOW);
    let headers = headers(request);
    let head = head(&headers);
    let profiler = Profiler::builder().testing().build();
    for stream in 0..WAITING {
        let disposition = driver.handle_request(StreamId(stream), &head, &mut host, NOW);
        if matches!(disposition, Disposition::Decided(_)) {
            return None;
        }
    }
    let kept = HeapStats::get().curr_bytes / WAITING as usize;
    drop(profiler);
    let token = headers.iter().find_map(|(_, value)| value.strip_prefix("Bearer "));
    Some(kept.saturating_sub(token.map_or(0, str::len)))
}

fn driver(top: &Value, provider: &Value, host: &mut Nothing) -> Driver {
    let mut document = top.clone();
    let mut provider = provider.clone();
    provider["issuer"] = json!(ISSUER);
    document["providers"] = json!([provider, tenants()]);
    let config = Config::parse(document.to_string().as_bytes()).expect("a good configuration");
    Driver::new(config, Crypto::Module, 7, host, NOW)
}

fn headers(request: &Hostile) -> Vec<(&str, &str)> {
    let pseudo =
        [(":method", request.method), (":authority", &request.host), (":path", &request.path)];
    let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    pseudo.into_iter().chain(headers).collect()
}

fn head<'a>(headers: &[(&'a str, &'a str)]) -> RequestHead<'a> {
    headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

/// A host of which nothing comes.
struct Nothing;

impl Host for Nothing {
    fn dispatch(&mut self, _: &Fetch) -> Result<u32, FetchError> {
        Ok(1)
    }

    fn read_shared(&mut self, _: &str) -> (Option<Vec<u8>>, u32) {
        (None, 0)
    }

    fn write_shared(&mut self, _: &str, _: &[u8], _: u32) -> Written {
        Written::Unavailable
    }

    fn settle(&mut self, _: StreamId, _: &Verdict) {}

    fn report(&mut self, _: &Event, _: &Config) {}

    fn tell(&mut self, _: &mut Counters) {}

    fn set_timer(&mut self, _: Duration) {}
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const WAITING: u32 = 100;
const MAX_PEAK: usize = 1024 * 1024;
const MAX_KEPT: usize = 2048;
/// The headers of the request, and the edits.
const MAX_ALLOCATIONS: u64 = 2;
const NANOS: u64 = 1_000_000_000;
