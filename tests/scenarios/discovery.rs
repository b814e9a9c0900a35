//! Keys whose place is discovered.

use crate::sim::{START, SharedData, Sim, config, token};
use crate::token::{ISSUER, Key};
use mesh_jwt::event::Event;
use mesh_jwt::jwks::{DiscoveryError, FetchError};
use serde_json::{Value, json};
use std::time::Duration;

const FIRST: &str = "/.well-known/openid-configuration";
const SECOND: &str = "/.well-known/oauth-authorization-server";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A provider without `jwksUri`, and these fields.
fn undisclosed(fields: Value) -> Value {
    let mut config = config(fields, json!({}));
    config["providers"][0].as_object_mut().expect("an object").remove("jwksUri");
    config
}

fn document(jwks_uri: &str) -> String {
    json!({"issuer": ISSUER, "jwks_uri": jwks_uri, "id_token_signing_alg_values_supported": ["RS256"]})
        .to_string()
}

fn keys(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Answers the call that was made last by its path; 404 for any other path.
fn serve(sim: &mut Sim, pages: &[(&str, &str)]) {
    let path =
        sim.world.called[sim.world.called.len() - sim.world.in_flight.len()].target.path.clone();
    match pages.iter().find(|(page, _)| *page == path) {
        Some((_, body)) => sim.answer(200, None, body),
        None => sim.answer(404, None, "no"),
    }
}

fn paths(sim: &Sim) -> Vec<&str> {
    sim.world.called.iter().map(|fetch| fetch.target.path.as_str()).collect()
}

/// The errors of the fetches that failed.
fn failures(sim: &Sim) -> Vec<&FetchError> {
    let events = sim.world.events.iter();
    events
        .filter_map(|event| match event {
            Event::FetchFailed { error, .. } => Some(error),
            _ => None,
        })
        .collect()
}

/// A proxy that has the keys of alpha, from `/keys`.
fn warm(fields: Value) -> Sim {
    let mut sim = Sim::new(&undisclosed(fields));
    serve(&mut sim, &[(FIRST, &document(&format!("{ISSUER}/keys")))]);
    serve(&mut sim, &[("/keys", &keys(&[Key::alpha()]))]);
    sim
}

#[test]
fn the_document_leads_to_the_keys() {
    let mut sim = Sim::new(&undisclosed(json!({})));
    assert!(sim.send_token(1, &token().compact()).is_none());

    serve(&mut sim, &[(FIRST, &document(&format!("{ISSUER}/keys")))]);
    serve(&mut sim, &[("/keys", &keys(&[Key::alpha()]))]);

    assert_eq!(sim.verdict(1), "allowed");
    assert_eq!(paths(&sim), [FIRST, "/keys"]);
    assert!(
        sim.world
            .called
            .iter()
            .all(|fetch| fetch.target.cluster == "outbound|443||auth.example.com")
    );
}

#[test]
fn there_is_a_second_place_for_the_document() {
    let elsewhere =
        [(SECOND, &*document(&format!("{ISSUER}/keys"))), ("/keys", &*keys(&[Key::alpha()]))];
    for first in [(404, "no"), (401, "no"), (301, ""), (200, "<html>"), (200, "{}"), (200, "[]")] {
        let mut sim = Sim::new(&undisclosed(json!({})));
        assert!(sim.send_token(1, &token().compact()).is_none());

        sim.answer(first.0, None, first.1);
        serve(&mut sim, &elsewhere);
        serve(&mut sim, &elsewhere);

        assert_eq!(sim.verdict(1), "allowed", "{first:?}");
        assert_eq!(paths(&sim), [FIRST, SECOND, "/keys"]);
        assert!(failures(&sim).is_empty());
    }
}

#[test]
fn an_issuer_in_trouble_is_not_asked_in_two_places() {
    for answer in [Some(500), Some(504), None] {
        let mut sim = Sim::new(&undisclosed(json!({})));

        match answer {
            Some(status) => sim.answer(status, None, ""),
            None => sim.fail(),
        }

        assert_eq!(paths(&sim), [FIRST]);
        assert_eq!(failures(&sim).len(), 1, "{answer:?}");
    }
}

#[test]
fn what_a_document_may_not_say_is_refused_for_its_reason() {
    let of = |issuer: &str, uri: &str| json!({"issuer": issuer, "jwks_uri": uri}).to_string();
    let here = format!("{ISSUER}/keys");
    for (document, reason) in [
        (of("https://auth.example.com/", &here), "is of the issuer \"https://auth.example.com/\""),
        (of("https://AUTH.example.com", &here), "is of the issuer"),
        (of(ISSUER, "https://keys.example.com/"), "list that host in jwksHosts"),
        (of(ISSUER, "http://auth.example.com/keys"), "is not an https:// URI"),
        (of(ISSUER, "/keys"), "is not an https:// (or http://) URI"),
        (of(ISSUER, &format!("{ISSUER}/{}", "k".repeat(2048))), "is too long"),
    ] {
        let mut sim = Sim::new(&undisclosed(json!({})));
        sim.answer(200, None, &document);

        assert_eq!(paths(&sim), [FIRST], "{document}");
        let error = failures(&sim)[0].to_string();
        assert!(error.contains(reason), "{error}");
        assert!(error.len() < 400, "{error}");
        assert_eq!(sim.engine().trusted_keys(provider(&sim), sim.now), 0);
    }
}

fn provider(sim: &Sim) -> mesh_jwt::per_provider::ProviderId {
    sim.engine().config().providers.iter().next().expect("one").0
}

#[test]
fn without_a_document_in_either_place_the_first_answer_is_told() {
    let mut sim = Sim::new(&undisclosed(json!({})));
    assert!(sim.send_token(1, &token().compact()).is_none());

    sim.answer(403, None, "");
    sim.answer(404, None, "");

    assert_eq!(failures(&sim), [&FetchError::Discovery(DiscoveryError::Status(403))]);
    sim.run(4 * MINUTE / 60, |sim| sim.fail());
    assert_eq!(sim.verdict(1), "jwks_unavailable");
}

#[test]
fn a_listed_host_is_called_by_its_own_cluster() {
    let fields = json!({"jwksHosts": ["keys.example.com"], "jwksCluster": "idp"});
    let mut sim = Sim::new(&undisclosed(fields));
    assert!(sim.send_token(1, &token().compact()).is_none());

    serve(&mut sim, &[(FIRST, &document("https://keys.example.com/k"))]);
    serve(&mut sim, &[("/k", &keys(&[Key::alpha()]))]);

    assert_eq!(sim.verdict(1), "allowed");
    let clusters: Vec<_> = sim.world.called.iter().map(|fetch| &*fetch.target.cluster).collect();
    assert_eq!(clusters, ["idp", "outbound|443||keys.example.com"]);
}

#[test]
fn the_document_is_read_again_with_each_refresh_and_followed() {
    let mut sim = warm(json!({}));
    let moved = [(FIRST, &*document(&format!("{ISSUER}/new"))), ("/new", &*keys(&[Key::beta()]))];

    sim.run(11 * MINUTE, |sim| serve(sim, &moved));

    assert_eq!(sim.decide(&token().signed_by(Key::beta()).compact()), "allowed");
    assert!(paths(&sim).contains(&"/new"));
}

#[test]
fn probes_do_not_read_the_document_again_and_searches_once_a_second() {
    let there =
        [(FIRST, &*document(&format!("{ISSUER}/keys"))), ("/keys", &*keys(&[Key::alpha()]))];
    let gone = [("/keys", &*keys(&[Key::alpha()]))];
    for pages in [&there[..], &gone[..]] {
        let mut sim = warm(json!({}));
        sim.run(3 * MINUTE, |sim| serve(sim, pages));
        let of = |sim: &Sim, page: &str| paths(sim).iter().filter(|path| **path == page).count();
        assert_eq!(of(&sim, FIRST), 1);
        let before = of(&sim, "/keys");

        assert!(sim.send_token(1, &token().signed_by(Key::beta()).compact()).is_none());
        sim.run(MINUTE / 10, |sim| serve(sim, pages));

        assert_eq!(sim.verdict(1), "key_unknown");
        assert!(of(&sim, "/keys") > before + 18, "there was no search");
        assert!((2..=6).contains(&of(&sim, FIRST)), "{}", of(&sim, FIRST));
    }
}

/// The old place goes on to answer with the old keys.
#[test]
fn a_search_follows_the_document_to_another_place() {
    let mut sim = warm(json!({}));
    sim.run(2 * MINUTE, |sim| serve(sim, &[("/keys", &keys(&[Key::alpha()]))]));
    let moved = [
        (FIRST, &*document(&format!("{ISSUER}/new"))),
        ("/keys", &*keys(&[Key::alpha()])),
        ("/new", &*keys(&[Key::beta()])),
    ];

    assert!(sim.send_token(1, &token().signed_by(Key::beta()).compact()).is_none());
    sim.run(MINUTE / 20, |sim| serve(sim, &moved));

    assert_eq!(sim.verdict(1), "allowed");
}

#[test]
fn a_document_that_hangs_holds_up_no_refresh() {
    let mut sim = warm(json!({"cacheDuration": "1m", "staleDuration": "1h", "timeout": "5s"}));
    let set = keys(&[Key::alpha()]);

    for _ in 0..600 {
        sim.run(Duration::from_secs(1), |sim| {
            let called = &sim.world.called;
            let next = &called[called.len() - sim.world.in_flight.len()];
            if next.target.path == "/keys" && next.timeout >= Duration::from_secs(1) {
                sim.answer(200, None, &set);
            }
        });
        // How the proxy reports that the time for a call is over.
        let hung = sim.world.in_flight.len();
        for _ in 0..hung {
            sim.answer(504, None, "");
        }
        let verdict = sim.send_token(1, &token().compact());
        assert_eq!(verdict.as_ref().map(mesh_jwt::verdict::Verdict::code), Some("allowed"));
    }
    assert!(paths(&sim).iter().filter(|path| **path == FIRST).count() > 5);
}

#[test]
fn without_the_document_keys_come_from_where_they_were() {
    let mut sim = warm(json!({"staleDuration": "1h"}));
    let pages = [("/keys", &*keys(&[Key::alpha()]))];

    sim.run(HOUR, |sim| serve(sim, &pages));

    assert_eq!(sim.decide(&token().compact()), "allowed");
    assert!(failures(&sim).is_empty(), "{:?}", failures(&sim));
    let told = |event: &&Event| matches!(event, Event::DiscoveryFailed { .. });
    assert!(sim.world.events.iter().any(|event| told(&event)));

    // For as long as a key that was not published again would be trusted.
    sim.run(HOUR * 3, |sim| serve(sim, &pages));
    assert_eq!(sim.decide(&token().compact()), "jwks_unavailable");
}

#[test]
fn keys_that_are_gone_from_their_place_are_discovered_anew_by_the_next_fetch() {
    let mut sim = warm(json!({}));
    // The probes reach the old place.
    sim.run(MINUTE, |sim| sim.answer(404, None, ""));
    let moved = [
        (FIRST, &*document(&format!("{ISSUER}/new"))),
        ("/new", &*keys(&[Key::alpha(), Key::beta()])),
    ];
    let before = sim.world.called.len();

    let verdict = sim.send_token(1, &token().signed_by(Key::beta()).compact());
    assert!(verdict.is_none());
    sim.run(MINUTE / 20, |sim| serve(sim, &moved));

    assert_eq!(sim.verdict(1), "allowed");
    assert_eq!(paths(&sim)[before..before + 2], [FIRST, "/new"]);
}

#[test]
fn what_one_vm_discovered_is_known_to_all() {
    let shared = SharedData::default();
    let config = undisclosed(json!({}));
    let pages =
        [(FIRST, &*document(&format!("{ISSUER}/keys"))), ("/keys", &*keys(&[Key::alpha()]))];
    let mut first = Sim::sharing(&config, &shared, START);
    serve(&mut first, &pages);
    serve(&mut first, &pages);

    let mut second = Sim::sharing(&config, &shared, START + 1);
    second.run(MINUTE, |sim| serve(sim, &pages));

    assert_eq!(second.decide(&token().compact()), "allowed");
    assert!(!paths(&second).is_empty(), "the probes are its own");
    assert!(!paths(&second).contains(&FIRST), "{:?}", paths(&second));
}

#[test]
fn configurations_that_allow_other_hosts_share_nothing() {
    let shared = SharedData::default();
    let pages =
        [(FIRST, &*document("https://keys.example.com/keys")), ("/keys", &*keys(&[Key::alpha()]))];
    let lax = undisclosed(json!({"jwksHosts": ["keys.example.com"]}));
    let mut lax = Sim::sharing(&lax, &shared, START);
    serve(&mut lax, &pages);
    serve(&mut lax, &pages);
    assert_eq!(lax.decide(&token().compact()), "allowed");

    let mut strict = Sim::sharing(&undisclosed(json!({})), &shared, START + 1);
    strict.run(MINUTE / 10, |sim| serve(sim, &pages));

    assert_eq!(strict.decide(&token().compact()), "jwks_unavailable");
}

#[test]
fn all_calls_of_a_fetch_share_its_time_and_the_document_leaves_half_of_it() {
    let mut sim = Sim::new(&undisclosed(json!({"timeout": "5s"})));
    sim.wait(Duration::from_secs(2));
    sim.answer(200, None, &document(&format!("{ISSUER}/keys")));
    sim.wait(Duration::from_millis(2));

    let timeouts: Vec<_> = sim.world.called.iter().map(|fetch| fetch.timeout).collect();
    assert_eq!(timeouts, [Duration::from_millis(2500), Duration::from_secs(3)]);
}
