//! The fetches of a probe: every address in turns, again and again.

use std::net::SocketAddr;
use std::thread;

use mesh_jwt::jose::describe;
use mesh_jwt::jwks::FetchError;
use ureq::http::Uri;

use super::arguments::Args;
use super::fetch::{Client, Response};
use super::progress::Progress;
use super::report::{Answer, Content, Endpoint, Report};
use super::target::{Fetched, Target, Unknown};

/// What is asked in each round.
struct Place {
    url: Uri,
    address: SocketAddr,
    /// The place in the report.
    endpoint: usize,
    /// The answer of the first round, if it is there already.
    answered: Option<Fetched>,
}

/// Asks everything that the command line names.
pub(super) fn ask(client: &mut Client, args: &Args) -> Report {
    let progress = Progress::new();
    let mut report = Report::default();
    let mut places = places(client, args, &progress, &mut report);
    let fetches = usize::try_from(args.times).unwrap_or(usize::MAX).saturating_mul(places.len());
    let mut done: usize = 0;
    for _ in 0..args.times {
        for place in &mut places {
            let Place { url, address, endpoint, answered } = place;
            progress.show(&format!("{done} of {fetches} answers, asking {address}"));
            let fetched = answered.take().unwrap_or_else(|| {
                if done > 0 {
                    thread::sleep(args.interval);
                }
                client.get(url, *address)
            });
            add(&mut report, *endpoint, fetched);
            done = done.saturating_add(1);
        }
    }
    report
}

fn places(
    client: &mut Client,
    args: &Args,
    progress: &Progress,
    report: &mut Report,
) -> Vec<Place> {
    progress.show("looking for the keys");
    let mut targets = Vec::new();
    for issuer in &args.issuer {
        targets.push(Target::of_issuer(client, issuer));
    }
    for url in &args.urls {
        targets.push(Target::of_url(client, url));
    }
    let mut places = Vec::new();
    for target in targets {
        match target {
            Ok(target) => places.extend(add_target(report, target)),
            Err(Unknown { url, problem }) => {
                let endpoint =
                    report.add_endpoint(Endpoint { url, discovered_by: None, address: None });
                report.answers.push(Answer::failed(endpoint, problem));
            }
        }
    }
    places
}

fn add_target(report: &mut Report, target: Target) -> Vec<Place> {
    let Target { url, discovered_by, addresses, answered, notes } = target;
    report.notes.extend(notes);
    let mut answered = answered.into_iter();
    let place = |address| Place {
        endpoint: report.add_endpoint(Endpoint {
            url: url.to_string(),
            discovered_by: discovered_by.as_ref().map(Uri::to_string),
            address: Some(address),
        }),
        url: url.clone(),
        address,
        answered: answered.next(),
    };
    addresses.into_iter().map(place).collect()
}

fn add(report: &mut Report, endpoint: usize, (took, fetched): Fetched) {
    let mut answer = Answer { took, ..Answer::failed(endpoint, String::new()) };
    answer.content = match fetched {
        Ok(response) => {
            let Response { status, ref cache_control, .. } = response;
            answer.status = Some(status);
            answer.cache_control.clone_from(cache_control);
            answer.max_age = response.for_core().max_age().map(|max_age| max_age.as_secs());
            match status {
                200 => match describe(&response.body).map_err(FetchError::Invalid) {
                    Ok(keys) => Content::Set(report.name_of(keys)),
                    Err(error) => Content::Problem(error.to_string()),
                },
                status => Content::Problem(FetchError::Status(status).to_string()),
            }
        }
        Err(problem) => Content::Problem(problem),
    };
    report.answers.push(answer);
}
