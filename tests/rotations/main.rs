//! No good request is refused while the pods of an issuer change their keys: in virtual time, over
//! many seeds, through the driver that runs in the sidecar.
//!
//! `SEEDS=1000 cargo test --release --test rotations -- --nocapture` tries more of them and prints a
//! Markdown table; `ROWS=RollingRestart` only rows with that word.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

mod issuer;
mod keys;
mod proxy;
mod shared_key;
#[path = "../support/shared_store.rs"]
mod shared_store;
mod story;
mod table;

use issuer::{Balancer, Health};
use std::thread;
use story::{Event, Junk, Story};
use table::Row;

#[test]
fn no_good_request_is_refused() {
    let rows = run(&stories());
    for row in &rows {
        println!("{row}");
    }
    let seeds: u64 = rows.iter().map(|row| row.seeds).sum();
    println!("{seeds} seeds in {} rows", rows.len());
    let failed: Vec<_> = rows.iter().filter(|row| !row.is_as_promised()).collect();
    assert!(
        failed.is_empty(),
        "{}",
        failed.iter().map(|row| format!("{row}\n")).collect::<String>()
    );
}

fn stories() -> Vec<Story> {
    let only = std::env::var("ROWS").unwrap_or_default();
    let balancers = [Balancer::RoundRobin, Balancer::Random, Balancer::LeastRequest];
    let events = [
        Event::ColdStart,
        Event::RestartOfOne,
        Event::RollingRestart,
        Event::Scaling,
        Event::SharedKeyInOrder,
        Event::SharedKeyAtOnce,
    ];
    let mut stories = Vec::new();
    for junk in JUNK {
        for event in events.into_iter().filter(|event| is_told(*event, junk)) {
            for pods in [1, 2, 3, 5].into_iter().filter(|pods| *pods > 1 || junk != Junk::Nothing) {
                for balancer in balancers.into_iter().take(if pods == 1 { 1 } else { 3 }) {
                    stories.push(Story { event, balancer, pods, junk, health: Health::Well });
                }
            }
        }
    }
    for health in [Health::Slow, Health::Failing] {
        for pods in [2, 3] {
            for balancer in balancers {
                for event in [Event::RestartOfOne, Event::SharedKeyInOrder] {
                    stories.push(Story { event, balancer, pods, junk: Junk::Nothing, health });
                }
            }
        }
    }
    stories.retain(|story| format!("{story:?}").contains(&only));
    stories
}

/// Junk makes no difference before there are keys, and with one pod a rolling restart is none. What
/// little junk does to a shared key, much of it does as well.
fn is_told(event: Event, junk: Junk) -> bool {
    match event {
        Event::RestartOfOne | Event::RollingRestart => true,
        Event::SharedKeyInOrder => matches!(
            junk,
            Junk::Nothing
                | Junk::BadSignature { every: 4 }
                | Junk::Kids { per_second: 40 }
                | Junk::NewKid { .. }
        ),
        Event::ColdStart | Event::Scaling | Event::SharedKeyAtOnce => junk == Junk::Nothing,
    }
}

const JUNK: [Junk; 7] = [
    Junk::Nothing,
    Junk::BadSignature { every: 5 },
    Junk::BadSignature { every: 4 },
    Junk::Kids { per_second: 1 },
    Junk::Kids { per_second: 40 },
    Junk::NewKid { per_second: 150 },
    Junk::Elsewhere { requests: 900 },
];

/// Runs all seeds of all rows, on all processors.
fn run(stories: &[Story]) -> Vec<Row> {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut rows: Vec<_> = stories.iter().map(|story| Row::new(*story)).collect();
    thread::scope(|scope| {
        let workers = (0..threads).map(|worker| {
            scope.spawn(move || {
                let mine = (0..seeds).filter(move |seed| *seed % threads as u64 == worker as u64);
                let mut rows: Vec<_> = stories.iter().map(|story| Row::new(*story)).collect();
                for seed in mine {
                    for row in &mut rows {
                        row.add(row.story.tell(seed));
                    }
                }
                rows
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            let part = worker.join().expect("no story panics");
            for (row, part) in rows.iter_mut().zip(part) {
                row.merge(part);
            }
        }
    });
    rows
}

const SEEDS: u64 = 4;
