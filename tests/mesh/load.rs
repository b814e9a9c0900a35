//! What one issuer has to bear from a whole mesh: 10,000 sidecars in virtual time, for an hour.
//!
//! `cargo run --release --example mesh_load` prints a Markdown table.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a simulation that panics has failed, which is what it is for"
)]

use lab::token;

#[path = "../support/shared_store.rs"]
mod shared_store;

use mesh_jwt::config::Config;
use mesh_jwt::counters::Counters;
use mesh_jwt::driver::{Driver, Host};
use mesh_jwt::engine::{Disposition, Fetch};
use mesh_jwt::event::Event;
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{FetchError, JwksResponse, Written};
use mesh_jwt::request::StreamId;
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::json;
use shared_store::SharedStore;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Duration;
use token::{ISSUER, Key, Token};

const SIDECARS: usize = 10_000;
const HOUR: u64 = 3_600;
const LATENCY: Duration = Duration::from_millis(20);
/// Where virtual time begins, in seconds since the epoch.
const START: u64 = 1_800_000_000;
const ROTATION: u64 = HOUR / 2;
const RETIREMENT: u64 = 2_700;
const OUTAGE: Range<u64> = HOUR / 2..HOUR / 2 + 600;
const ATTACK: Range<u64> = HOUR / 2..HOUR / 2 + 60;
/// The junk tokens that a sidecar under attack gets in a second.
const JUNK: u32 = 2;

fn main() {
    println!(
        "| what happens to {SIDECARS} sidecars | jitter | fetches | mean/s | peak/s | longest wait \
         | refused |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|");
    for jitter in [Jitter::Own, Jitter::Same] {
        // Who sends the junk chooses the moments.
        let is_told = |story: &Story| matches!(jitter, Jitter::Own) || story.attacked == 0;
        for story in stories().into_iter().filter(is_told) {
            Mesh::run(&story, jitter).report();
        }
    }
}

/// What makes sidecars choose different moments.
#[derive(Clone, Copy, Debug)]
enum Jitter {
    Own,
    /// To see what it does: all sidecars have the same seed.
    Same,
}

/// One hour; all times in seconds.
struct Story {
    /// A sidecar starts with its first request, which has the old key.
    start_within: f64,
    /// What the issuer serves from each moment on; nothing during an outage.
    documents: Vec<(u64, Option<String>)>,
    /// Within what time after half an hour each sidecar sees another request, and whether it has the
    /// new key.
    another_request: Option<(f64, bool)>,
    /// How many sidecars get junk during [`ATTACK`].
    attacked: usize,
    /// The parts of the hour that are reported.
    parts: Vec<(String, Range<u64>)>,
}

fn stories() -> Vec<Story> {
    let old = || set(&[Key::alpha()]);
    let new = || set(&[Key::beta()]);
    let overlap =
        || vec![(0, old()), (ROTATION, set(&[Key::alpha(), Key::beta()])), (RETIREMENT, new())];
    let abrupt = || vec![(0, old()), (ROTATION, new())];
    let start = |start_within, name: &str| Story {
        start_within,
        documents: vec![(0, old())],
        another_request: None,
        attacked: 0,
        parts: vec![
            (format!("start {name}: first minute"), 0..60),
            ("… the rest of the hour".to_owned(), 60..HOUR),
        ],
    };
    let rotation = |name: &str, seen_within, documents| Story {
        documents,
        another_request: Some((seen_within, true)),
        // What begins at the end of the minute takes a moment.
        parts: vec![(
            format!("{name}, new key seen within {seen_within} s: 61 s from there"),
            ROTATION..ROTATION + 61,
        )],
        ..start(60.0, "")
    };
    let mut retirement = rotation("rotation with overlap", 60.0, overlap());
    let part = RETIREMENT..RETIREMENT + 600;
    retirement.parts.push(("… ten minutes from where the old key goes".to_owned(), part));
    let attack = |attacked: usize| Story {
        attacked,
        parts: vec![
            (format!("{attacked} of them under attack: that minute"), ATTACK),
            ("… the minute after it".to_owned(), ATTACK.end..ATTACK.end + 60),
        ],
        ..start(60.0, "")
    };
    vec![
        Story {
            parts: vec![("idle: the second half of the hour".to_owned(), HOUR / 2..HOUR)],
            ..start(60.0, "")
        },
        start(60.0, "spread over a minute"),
        start(0.0, "at the same moment"),
        rotation("rotation with overlap", 1.0, overlap()),
        retirement,
        rotation("abrupt rotation", 1.0, abrupt()),
        rotation("abrupt rotation", 60.0, abrupt()),
        Story {
            documents: vec![(0, old()), (OUTAGE.start, None), (OUTAGE.end, old())],
            another_request: Some((600.0, false)),
            parts: vec![
                ("outage of ten minutes".to_owned(), OUTAGE),
                ("… the ten minutes after it".to_owned(), OUTAGE.end..OUTAGE.end + 600),
            ],
            ..start(60.0, "")
        },
        attack(10),
        attack(SIDECARS),
    ]
}

impl Story {
    fn document(&self, second: u64) -> Option<&str> {
        let (_, document) = self.documents.iter().rev().find(|(from, _)| *from <= second)?;
        document.as_deref()
    }
}

/// The sidecars, what is to happen to them, and what has happened.
struct Mesh<'a> {
    jitter: Jitter,
    sidecars: Vec<Sidecar<'a>>,
    around: Around<'a>,
}

struct Around<'a> {
    story: &'a Story,
    now: Timestamp,
    agenda: BinaryHeap<Reverse<(Timestamp, usize, Entry)>>,
    /// The fetches in each second.
    fetches: Vec<u64>,
    /// When paused requests came.
    waits: Vec<(u64, Duration)>,
    refused: Vec<u64>,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Entry {
    Answer(u32),
    Junk(u64),
    Request { is_new_key: bool },
    Timeout,
}

#[derive(Default)]
struct Sidecar<'a> {
    /// Of its only VM; there is none before it starts.
    driver: Option<Driver>,
    own: Own<'a>,
}

#[derive(Default)]
struct Own<'a> {
    calls: u32,
    /// With what the issuer will answer.
    in_flight: BTreeMap<u32, Option<&'a str>>,
    shared: SharedStore,
    /// When it is to be woken; other timeouts on the agenda are void.
    wakes_at: Option<Timestamp>,
    paused: BTreeMap<StreamId, Timestamp>,
    requests: u32,
}

/// The host, as one sidecar sees it.
struct View<'v, 'a> {
    around: &'v mut Around<'a>,
    own: &'v mut Own<'a>,
    sidecar: usize,
}

impl Host for View<'_, '_> {
    fn dispatch(&mut self, _: &Fetch) -> Result<u32, FetchError> {
        let now = self.around.now;
        self.around.fetches[index(second(now))] += 1;
        self.own.calls += 1;
        let call = self.own.calls;
        self.own.in_flight.insert(call, self.around.story.document(second(now)));
        let answer = (now.saturating_add(LATENCY), self.sidecar, Entry::Answer(call));
        self.around.agenda.push(Reverse(answer));
        Ok(call)
    }

    fn read_shared(&mut self, name: &str) -> (Option<Vec<u8>>, u32) {
        self.own.shared.read(name)
    }

    fn write_shared(&mut self, name: &str, bytes: &[u8], version: u32) -> Written {
        self.own.shared.write(name, bytes, version)
    }

    fn settle(&mut self, stream: StreamId, verdict: &Verdict) {
        // Junk is not among them.
        if let Some(since) = self.own.paused.remove(&stream) {
            self.around.decided(verdict, since);
        }
    }

    fn report(&mut self, _: &Event, _: &Config) {}

    fn tell(&mut self, _: &mut Counters) {}

    fn set_timer(&mut self, delay: Duration) {
        let wakes_at = self.around.now.saturating_add(delay.max(MIN_TICK));
        self.own.wakes_at = Some(wakes_at);
        self.around.agenda.push(Reverse((wakes_at, self.sidecar, Entry::Timeout)));
    }
}

impl Around<'_> {
    fn decided(&mut self, verdict: &Verdict, since: Timestamp) {
        self.waits.push((second(since), self.now.saturating_since(since)));
        if !matches!(verdict, Verdict::Allow(_)) {
            self.refused.push(second(since));
        }
    }
}

impl<'a> Mesh<'a> {
    fn run(story: &'a Story, jitter: Jitter) -> Self {
        let around = Around {
            story,
            now: Timestamp::from_secs(START),
            agenda: BinaryHeap::new(),
            fetches: vec![0; index(HOUR)],
            waits: Vec::new(),
            refused: Vec::new(),
        };
        let sidecars = (0..SIDECARS).map(|_| Sidecar::default()).collect();
        let mut mesh = Self { jitter, sidecars, around };
        let mut chance = fastrand::Rng::with_seed(1);
        let mut moment = |from: u64, within: f64| {
            let after = Duration::from_secs_f64(within * chance.f64());
            Timestamp::from_secs(START + from).saturating_add(after)
        };
        for sidecar in 0..SIDECARS {
            let start = moment(0, story.start_within);
            let agenda = &mut mesh.around.agenda;
            agenda.push(Reverse((start, sidecar, Entry::Request { is_new_key: false })));
            if let Some((within, is_new_key)) = story.another_request {
                let seen = moment(HOUR / 2, within);
                agenda.push(Reverse((seen, sidecar, Entry::Request { is_new_key })));
            }
            if sidecar < story.attacked {
                agenda.push(Reverse((moment(ATTACK.start, 0.1), sidecar, Entry::Junk(0))));
            }
        }
        let tokens = [Key::alpha(), Key::beta()].map(bearer);
        while let Some(Reverse((now, sidecar, entry))) = mesh.around.agenda.pop()
            && second(now) < HOUR
        {
            mesh.around.now = now;
            mesh.happen(sidecar, entry, &tokens);
        }
        mesh
    }

    fn happen(&mut self, at: usize, entry: Entry, tokens: &[String; 2]) {
        let now = self.around.now;
        let Sidecar { driver, own } = &mut self.sidecars[at];
        let mut view = View { around: &mut self.around, own, sidecar: at };
        let driver = driver.get_or_insert_with(|| {
            let seed = match self.jitter {
                Jitter::Own => u64::try_from(at).expect("it fits"),
                Jitter::Same => 0,
            };
            Driver::new(config(), Crypto::Module, seed, &mut view, now)
        });
        match entry {
            Entry::Answer(call) => {
                let body = view.own.in_flight.remove(&call).expect("a fetch in flight");
                let response = body.map(|body| JwksResponse {
                    status: 200,
                    body: body.as_bytes(),
                    cache_control: None,
                });
                let response = response.ok_or(FetchError::NoUpstream);
                driver.handle_response(call, response, &mut view, now);
            }
            Entry::Junk(number) => {
                let sent = Timestamp::from_secs(START + ATTACK.end);
                if now < sent {
                    let next = now.saturating_add(Duration::from_secs(1) / JUNK);
                    view.around.agenda.push(Reverse((next, at, Entry::Junk(number + 1))));
                }
                send(driver, &mut view, &junk(number), now);
            }
            Entry::Request { is_new_key } => {
                let token = tokens[usize::from(is_new_key)].as_str();
                match send(driver, &mut view, token, now) {
                    (_, Disposition::Decided(verdict)) => view.around.decided(&verdict, now),
                    (stream, Disposition::Paused(_)) => _ = view.own.paused.insert(stream, now),
                }
            }
            Entry::Timeout if view.own.wakes_at == Some(now) => {
                driver.handle_timeout(&mut view, now);
            }
            Entry::Timeout => {}
        }
    }

    fn report(&self) {
        for (name, part) in &self.around.story.parts {
            let around = &self.around;
            let fetches = &around.fetches[index(part.start)..index(part.end)];
            let total: u64 = fetches.iter().sum();
            let mean = total as f64 / fetches.len() as f64;
            let peak = fetches.iter().max().copied().unwrap_or(0);
            let waits = around.waits.iter().filter(|(since, _)| part.contains(since));
            let longest = waits.map(|(_, wait)| wait.as_millis()).max();
            let longest = longest.map_or_else(|| "–".to_owned(), |wait| format!("{wait} ms"));
            let refused = around.refused.iter().filter(|since| part.contains(since)).count();
            println!(
                "| {name} | {:?} | {total} | {mean:.1} | {peak} | {longest} | {refused} |",
                self.jitter
            );
        }
    }
}

fn config() -> Config {
    let provider = json!({"issuer": ISSUER, "jwksUri": "https://auth.example.com/jwks"});
    let config = json!({ "providers": [provider] }).to_string();
    Config::parse(config.as_bytes()).expect("a good configuration")
}

fn send(
    driver: &mut Driver,
    view: &mut View<'_, '_>,
    token: &str,
    now: Timestamp,
) -> (StreamId, Disposition) {
    let stream = StreamId(view.own.requests);
    view.own.requests += 1;
    let headers = [(":method", "GET"), (":path", "/"), ("authorization", token)];
    let head = headers.map(|(name, value)| (name, value.as_bytes())).into_iter().collect();
    (stream, driver.handle_request(stream, &head, view, now))
}

/// A token under a `kid` that nobody has; nobody checks its signature.
fn junk(number: u64) -> String {
    let token =
        Token::good().header("kid", format!("junk-{number}")).claim("exp", START + 2 * HOUR);
    format!("Bearer {}", token.compact_with(|_| vec![1]))
}

fn bearer(key: &'static Key) -> String {
    let token = Token::good().signed_by(key).claim("iat", START).claim("exp", START + 2 * HOUR);
    format!("Bearer {}", token.compact())
}

fn set(keys: &[&Key]) -> Option<String> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Some(json!({ "keys": keys }).to_string())
}

/// The shortest timer that hosts offer.
const MIN_TICK: Duration = Duration::from_millis(1);

/// The second of the hour.
fn second(at: Timestamp) -> u64 {
    at.saturating_since(Timestamp::from_secs(START)).as_secs()
}

fn index(second: u64) -> usize {
    usize::try_from(second).expect("it fits")
}
