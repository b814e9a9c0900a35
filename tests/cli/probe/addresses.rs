//! Hosts with several addresses.

use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use lab::http::{Message, Role};
use lab::issuer::{Answer, Issuer};
use lab::token::Key;

use super::{order, probe, verdict};
use crate::command::{mesh_jwt, mesh_jwt_in};

#[test]
fn every_address_of_a_host_is_asked_in_turns() {
    let [one, other] = two_pods([Key::alpha(), Key::beta()]);
    let port = one.address().port();
    let resolve = format!("auth:{port}:127.0.0.1,127.0.0.2");
    let url = format!("http://auth:{port}/jwks");

    let run = mesh_jwt(&["probe", "--times", "4", "--json", "--resolve", &resolve, &url]);

    assert_eq!(order(&run), "ABABABAB");
    assert_eq!(verdict(&run), ("disagree".to_owned(), 1));
    let addresses = run.json()["endpoints"].clone();
    assert_eq!(addresses[0]["address"], format!("127.0.0.1:{port}"));
    assert_eq!(addresses[1]["address"], format!("127.0.0.2:{port}"));
    for issuer in [&one, &other] {
        let fetches = issuer.fetches();
        assert_eq!(fetches.len(), 4);
        let host = format!("auth:{port}");
        assert!(fetches.iter().all(|fetch| fetch.header("host") == Some(&host)), "{fetches:?}");
    }
}

#[test]
fn addresses_with_one_set_agree() {
    let [one, _other] = two_pods([Key::alpha(), Key::alpha()]);
    let port = one.address().port();
    let resolve = format!("auth:{port}:127.0.0.1,127.0.0.2");

    let run = mesh_jwt(&["probe", "--resolve", &resolve, &format!("http://auth:{port}/jwks")]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&["All 20 answers agree.", "behind one of 2 addresses"]);
}

#[test]
fn a_host_is_resolved() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let port = issuer.address().port();

    let run = mesh_jwt(&["probe", "--json", &format!("http://localhost:{port}/jwks")]);

    // There may be ::1 as well, where nobody listens.
    let endpoints = run.json()["endpoints"].clone();
    let endpoints = endpoints.as_array().expect("endpoints");
    let here = issuer.address().to_string();
    assert!(endpoints.iter().any(|endpoint| endpoint["address"] == here), "{endpoints:?}");
    assert_eq!(run.json()["diagnosis"]["verdict"], "agree");
}

#[test]
fn several_urls_are_compared() {
    let pods = [Key::alpha(), Key::beta()].map(|key| Issuer::start(Answer::Keys(vec![key.jwk()])));
    let urls = pods.each_ref().map(|pod| format!("http://{}/jwks", pod.address()));

    let run = mesh_jwt(&["probe", "--times", "2", "--json", &urls[0], &urls[1]]);

    assert_eq!(order(&run), "ABAB");
    assert_eq!(verdict(&run), ("disagree".to_owned(), 1));
}

#[test]
fn each_fetch_has_a_connection_of_its_own_and_the_headers_that_were_asked_for() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let headers = ["--header", "X-Tenant: acme", "--header", "Accept: application/json"];

    let run = probe(issuer.address(), &[&["--times", "3"][..], &headers].concat());

    assert_eq!(run.code, 0);
    let fetches = issuer.fetches();
    assert_eq!(fetches.len(), 3);
    for fetch in fetches {
        assert_eq!(fetch.header("connection"), Some("close"));
        assert_eq!(fetch.header("x-tenant"), Some("acme"));
        assert_eq!(fetch.header("accept"), Some("application/json"));
    }
}

#[test]
fn a_connection_that_stays_open_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = thread::spawn(move || {
        // Each takes one request, and stays open.
        let answer_one = |_| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = Message::read(&mut BufReader::new(&stream), Role::Request);
            request.expect("HTTP").expect("a request");
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n";
            write!(stream, "{head}{{\"keys\":[]}}").expect("a client");
            stream
        };
        (0..3).map(answer_one).collect::<Vec<_>>()
    });

    let run = probe(address, &["--times", "3", "--json"]);

    assert_eq!(order(&run), "AAA");
    assert_eq!(server.join().expect("no panic").len(), 3);
}

#[test]
fn an_address_without_a_route_is_left_out_with_a_note() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let port = issuer.address().port();
    // A link-local address says nothing without its link.
    let resolve = format!("auth:{port}:[fe80::1],127.0.0.1");

    let run = mesh_jwt(&["probe", "--resolve", &resolve, &format!("http://auth:{port}/jwks")]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&["All 10 answers agree.", &format!("Note: [fe80::1]:{port} is left out")]);
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let url = format!("http://{}/jwks", issuer.address());
    // Nobody listens there.
    let proxy = "http://127.0.0.1:1";

    let run = mesh_jwt_in(
        &["probe", &url],
        &[("HTTP_PROXY", proxy), ("http_proxy", proxy), ("ALL_PROXY", proxy)],
    );

    assert_eq!(run.code, 0, "{run:?}");
}

/// One at 127.0.0.1 and one at 127.0.0.2, both on the same port.
fn two_pods(keys: [&Key; 2]) -> [Issuer; 2] {
    let [one, other] = keys.map(|key| Answer::Keys(vec![key.jwk()]));
    let one = Issuer::start(one);
    let beside = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), one.address().port()));
    [one, Issuer::start_at(beside, other)]
}
