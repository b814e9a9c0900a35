//! What one issuer has to bear from a whole mesh: 10,000 sidecars in virtual time, for an hour.
//!
//! `cargo run --release --example mesh_load` prints a Markdown table.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a simulation that panics has failed, which is what it is for"
)]

#[path = "../e2e/harness/token.rs"]
#[expect(dead_code, reason = "the end-to-end tests need more of it")]
mod token;

use mesh_jwt::config::Config;
use mesh_jwt::engine::{Disposition, Engine, Fetch, StreamId};
use mesh_jwt::jose::Crypto;
use mesh_jwt::jwks::{Consultation, FetchError, JwksResponse};
use mesh_jwt::time::Timestamp;
use mesh_jwt::verdict::Verdict;
use serde_json::json;
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

fn main() {
    println!(
        "| what happens to {SIDECARS} sidecars | jitter | fetches | mean/s | peak/s | longest wait \
         | refused |"
    );
    println!("|---|---|--:|--:|--:|--:|--:|");
    for jitter in [Jitter::Own, Jitter::Same] {
        for story in stories() {
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
    vec![
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
    story: &'a Story,
    jitter: Jitter,
    sidecars: Vec<Sidecar<'a>>,
    agenda: BinaryHeap<Reverse<(Timestamp, usize, Entry)>>,
    /// The fetches in each second.
    fetches: Vec<u64>,
    /// When paused requests came.
    waits: Vec<(u64, Duration)>,
    refused: Vec<u64>,
}

#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Entry {
    Answer,
    Request { is_new_key: bool },
    Timeout,
}

#[derive(Default)]
struct Sidecar<'a> {
    /// Of its only VM; there is none before it starts.
    engine: Option<Engine>,
    /// With what the issuer will answer.
    in_flight: Option<(Fetch, Option<&'a str>)>,
    /// When it is to be woken; other timeouts on the agenda are void.
    wakes_at: Option<Timestamp>,
    paused: BTreeMap<StreamId, Timestamp>,
    requests: u32,
}

impl<'a> Mesh<'a> {
    fn run(story: &'a Story, jitter: Jitter) -> Self {
        let mut mesh = Self {
            story,
            jitter,
            sidecars: (0..SIDECARS).map(|_| Sidecar::default()).collect(),
            agenda: BinaryHeap::new(),
            fetches: vec![0; index(HOUR)],
            waits: Vec::new(),
            refused: Vec::new(),
        };
        let mut chance = fastrand::Rng::with_seed(1);
        let mut moment = |from: u64, within: f64| {
            let after = Duration::from_secs_f64(within * chance.f64());
            Timestamp::from_secs(START + from).saturating_add(after)
        };
        for sidecar in 0..SIDECARS {
            let start = moment(0, story.start_within);
            mesh.agenda.push(Reverse((start, sidecar, Entry::Request { is_new_key: false })));
            if let Some((within, is_new_key)) = story.another_request {
                let seen = moment(HOUR / 2, within);
                mesh.agenda.push(Reverse((seen, sidecar, Entry::Request { is_new_key })));
            }
        }
        let tokens = [Key::alpha(), Key::beta()].map(bearer);
        while let Some(Reverse((now, sidecar, entry))) = mesh.agenda.pop()
            && second(now) < HOUR
        {
            mesh.happen(sidecar, entry, &tokens, now);
        }
        mesh
    }

    fn happen(&mut self, at: usize, entry: Entry, tokens: &[String; 2], now: Timestamp) {
        let sidecar = &mut self.sidecars[at];
        let engine = sidecar.engine.get_or_insert_with(|| {
            let seed = match self.jitter {
                Jitter::Own => u64::try_from(at).expect("it fits"),
                Jitter::Same => 0,
            };
            Engine::new(config(), Crypto::Module, seed, now)
        });
        match entry {
            Entry::Answer => {
                let (fetch, body) = sidecar.in_flight.take().expect("a fetch in flight");
                let response = body.map(|body| JwksResponse {
                    status: 200,
                    body: body.as_bytes(),
                    cache_control: None,
                });
                engine.handle_response(fetch.id, response.ok_or(FetchError::NoUpstream), now);
            }
            Entry::Request { is_new_key } => {
                let stream = StreamId(sidecar.requests);
                sidecar.requests += 1;
                let token = tokens[usize::from(is_new_key)].as_str();
                let headers = [(":method", "GET"), (":path", "/"), ("authorization", token)];
                let head = headers.map(|(name, value)| (name, value.as_bytes()));
                match engine.handle_request(stream, &head.into_iter().collect(), now) {
                    Disposition::Decided(verdict) => self.decided(&verdict, now, now),
                    Disposition::Paused => {
                        sidecar.paused.insert(stream, now);
                    }
                }
            }
            Entry::Timeout if sidecar.wakes_at == Some(now) => engine.handle_timeout(now),
            Entry::Timeout => return,
        }
        self.drain(at, now);
    }

    fn drain(&mut self, at: usize, now: Timestamp) {
        let sidecar = &mut self.sidecars[at];
        let Some(engine) = &mut sidecar.engine else { return };
        while let Some(fetch) = engine.poll_fetch(now) {
            // There is no other VM.
            if let Consultation::Lead(_) = engine.handle_shared(&fetch, None, now) {
                self.fetches[index(second(now))] += 1;
                sidecar.in_flight = Some((fetch, self.story.document(second(now))));
                let answered_at = now.saturating_add(LATENCY);
                self.agenda.push(Reverse((answered_at, at, Entry::Answer)));
            }
        }
        let verdicts: Vec<_> = std::iter::from_fn(|| engine.poll_verdict()).collect();
        while engine.poll_event().is_some() {}
        let wakes_at = engine.poll_timeout().map(|(at, _)| at);
        if wakes_at != sidecar.wakes_at {
            sidecar.wakes_at = wakes_at;
            self.agenda.extend(wakes_at.map(|wakes_at| Reverse((wakes_at, at, Entry::Timeout))));
        }
        for (stream, verdict) in verdicts {
            let since = self.sidecars[at].paused.remove(&stream).expect("a paused request");
            self.decided(&verdict, since, now);
        }
    }

    fn decided(&mut self, verdict: &Verdict, since: Timestamp, now: Timestamp) {
        self.waits.push((second(since), now.saturating_since(since)));
        if !matches!(verdict, Verdict::Allow(_)) {
            self.refused.push(second(since));
        }
    }

    fn report(&self) {
        for (name, part) in &self.story.parts {
            let fetches = &self.fetches[index(part.start)..index(part.end)];
            let total: u64 = fetches.iter().sum();
            let mean = total as f64 / fetches.len() as f64;
            let peak = fetches.iter().max().copied().unwrap_or(0);
            let waits = self.waits.iter().filter(|(since, _)| part.contains(since));
            let longest = waits.map(|(_, wait)| wait.as_millis()).max();
            let longest = longest.map_or_else(|| "–".to_owned(), |wait| format!("{wait} ms"));
            let refused = self.refused.iter().filter(|since| part.contains(since)).count();
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

fn bearer(key: &'static Key) -> String {
    let token = Token::good().signed_by(key).claim("iat", START).claim("exp", START + 2 * HOUR);
    format!("Bearer {}", token.compact())
}

fn set(keys: &[&Key]) -> Option<String> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    Some(json!({ "keys": keys }).to_string())
}

/// The second of the hour.
fn second(at: Timestamp) -> u64 {
    at.saturating_since(Timestamp::from_secs(START)).as_secs()
}

fn index(second: u64) -> usize {
    usize::try_from(second).expect("it fits")
}
