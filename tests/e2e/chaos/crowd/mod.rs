//! Many requests wait for one answer of the issuer, so many are settled at once. Each that is refused,
//! by the filter or by the next one, ends within the call that settles it and enters the VM once more
//! before that returns; about 310 of them overflow the stack of Envoy's V8.
//!
//! `CROWD=5000` has so many wait, in every form.

mod form;
mod other;

use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use form::{Form, Protocol};
use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::Envoy;
use lab::http::{Exchange, Request, Response};
use lab::http2::Streams;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};
use lab::upstream::Upstream;
use lab::wait;

#[test]
fn is_answered_to_the_last_in_every_form() {
    let mut forms = Form::all();
    if asked_for().is_none() {
        // Each protocol, end and body once, and both policies with most of them.
        forms.retain(|form| form.is_in_short());
    }
    let forms = Mutex::new(forms);
    thread::scope(|scope| {
        for _ in 0..at_once() {
            scope.spawn(|| {
                let next = || forms.lock().expect("no other thread has failed").pop();
                while let Some(form) = next() {
                    assert_answered(form);
                }
            });
        }
    });
}

/// How many wait: twice as many as the stack is deep, unless `CROWD` says otherwise.
fn size() -> u64 {
    asked_for().unwrap_or(600)
}

fn asked_for() -> Option<u64> {
    let crowd = std::env::var("CROWD").ok()?;
    Some(crowd.parse().expect("CROWD is a number"))
}

fn assert_answered(form: Form) {
    let issuer = Issuer::start(Answer::Hang);
    let upstream = Upstream::start();
    let bootstrap = form.bootstrap(&upstream, &issuer, patience());
    let envoy = Envoy::start(&bootstrap, 1);
    let crowd = Crowd::open(&envoy, form);
    wait::until(&format!("{form:?}: all of them wait"), patience(), || {
        (envoy.stat("wasmcustom.mesh_jwt.paused") == size()).then_some(())
    });

    issuer.answer(form.answer());

    for (number, answer) in crowd.finish().into_iter().enumerate() {
        assert_eq!(answer, form.expected(), "{form:?}: number {number}");
    }
    issuer.answer(published());
    let good = Request::get("/").bearer(&Token::good().compact());
    wait::until(&format!("{form:?}: good tokens pass"), patience(), || {
        (summary(&envoy.send(&good)) == form.expected_of_good()).then_some(())
    });
    assert_unharmed(&envoy, &format!("{form:?}"));
}

/// Nobody waits, no VM has trapped, and none was started anew.
fn assert_unharmed(envoy: &Envoy, what: &str) {
    assert_eq!(envoy.stat("wasmcustom.mesh_jwt.paused"), 0, "{what}");
    envoy.assert_untrapped(what);
    assert!(!envoy.log().contains("VM failed"), "{what}: a VM has failed");
    assert_eq!(envoy.sum_of_stats(|name| name.contains("vm_reload")), 0, "{what}");
}

/// As many requests as wait, on their way.
enum Crowd {
    Exchanges(Vec<Exchange>),
    Streams(Streams),
}

impl Crowd {
    fn open(envoy: &Envoy, form: Form) -> Self {
        let tokens = (0..size()).map(|number| form.token(number));
        match form.protocol {
            Protocol::Http1 => {
                let request = |token: String| match form.body() {
                    b"" => Request::get("/").bearer(&token),
                    body => Request::new("POST", "/").bearer(&token).body(body.to_vec()),
                };
                let exchanges = tokens.map(|token| envoy.open(&request(token)).patient(patience()));
                Self::Exchanges(exchanges.collect())
            }
            Protocol::Http2 => {
                let tokens = tokens.collect();
                Self::Streams(Streams::open(envoy.address(), CONNECTIONS, tokens, form.body()))
            }
        }
    }

    fn finish(self) -> Vec<(u16, String)> {
        match self {
            Self::Exchanges(exchanges) => {
                let responses = exchanges.into_iter().map(|exchange| exchange.finish());
                responses.map(|response| summary(&response.expect("an answer in time"))).collect()
            }
            Self::Streams(streams) => {
                streams.finish().into_iter().map(|(status, body)| (status, said(&body))).collect()
            }
        }
    }
}

fn summary(response: &Response) -> (u16, String) {
    (response.status, said(&response.text()))
}

/// What a body says in a word: the filter's code, the next filter's refusal, or the upstream's echo.
fn said(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    match json {
        Some(json) if json["code"].is_string() => json["code"].as_str().unwrap_or("").to_owned(),
        Some(_) => "echo".to_owned(),
        None => body.to_owned(),
    }
}

/// One junk token that everybody can make: a `kid` of its own, which nobody has signed with.
fn junk(number: u64) -> String {
    let token = Token::good().header("kid", format!("junk-{number}"));
    token.compact_with(|_| vec![0x5a; 256])
}

fn published() -> Answer {
    Answer::Keys(vec![Key::alpha().jwk()])
}

/// So long everybody has to arrive and to be answered, and to wait if nobody answers.
fn patience() -> Duration {
    Duration::from_secs(6 + size() / 250)
}

fn config(patience: Duration) -> Config {
    Config::new()
        .set("maxPausedRequests", size() + 1000)
        .set("jwksWaitTimeout", format!("{}s", patience.as_secs()))
        // One answer tells that a key is not there.
        .provider("jwksEndpoints", 1)
}

fn bootstrap(upstream: &Upstream, issuer: &Issuer, config: &Config) -> Bootstrap {
    Bootstrap::new(upstream.address())
        .cluster(ISSUER_CLUSTER, issuer.address())
        .filter("mesh-jwt", &config.render())
}

/// Mostly they wait, unless they are many.
fn at_once() -> usize {
    if size() > 1000 { 2 } else { 6 }
}

/// Of HTTP/2: few, so that many streams share one.
const CONNECTIONS: usize = 5;
