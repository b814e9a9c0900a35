//! Fetches that fail, and command lines that are wrong.

use std::net::TcpListener;

use lab::issuer::{Answer, Issuer};
use lab::token::Key;

use super::{order, probe, verdict};
use crate::command::mesh_jwt;

#[test]
fn answers_that_fail_now_and_then_are_counted_with_the_reason() {
    let good = Answer::Keys(vec![Key::alpha().jwk()]);
    let bad = Answer::raw("503 Service Unavailable", "", b"later");
    let issuer = Issuer::start(Answer::Cycle(vec![good.clone(), good, bad]));

    let run = probe(issuer.address(), &["--times", "6"]);

    assert_eq!(run.code, 3);
    run.assert_prints(&[
        "A 4 times, 2 failed",
        "All 4 answers agree.",
        "2 of 6 fetches failed:",
        "2 of them: the answer has status 503",
    ]);
}

#[test]
fn failures_do_not_hide_that_pods_disagree() {
    let [one, other] = [Key::alpha(), Key::beta()].map(|key| Answer::Keys(vec![key.jwk()]));
    let issuer = Issuer::start(Answer::Cycle(vec![one, other, Answer::Reset]));

    let run = probe(issuer.address(), &["--times", "6", "--json"]);

    assert_eq!(order(&run), "A-BA-B");
    assert_eq!(verdict(&run), ("disagree".to_owned(), 1));
}

#[test]
fn every_failure_is_told_in_plain_words() {
    let large = vec![b' '; 1024 * 1024 + 1];
    for (answer, words) in [
        (Answer::Reset, "the connection ended before there was an answer"),
        (Answer::CutOff, "the connection ended before there was an answer"),
        (Answer::raw("302 Found", "Location: /other\r\n", b""), "redirects are not followed"),
        (Answer::raw("200 OK", "", b"<html>"), "the document is not JSON"),
        (Answer::raw("200 OK", "", b"{}"), "no array \"keys\""),
        (Answer::raw("200 OK", "", &large), "more than 1048576 bytes"),
    ] {
        let issuer = Issuer::start(answer);

        let run = probe(issuer.address(), &["--times", "1"]);

        assert_eq!(run.code, 3, "{words}: {run:?}");
        run.assert_prints(&["Nothing was fetched.", words]);
    }
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_longer_than_told() {
    let issuer = Issuer::start(Answer::Hang);

    let run = probe(issuer.address(), &["--times", "2", "--timeout", "200ms"]);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&["2 of them: there was no answer in time"]);
}

#[test]
fn a_port_that_nobody_listens_on_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");

    let run = probe(port, &["--times", "2"]);

    assert_eq!(run.code, 3);
    run.assert_prints(&["2 of 2 fetches failed", "the connection is refused"]);
}

#[test]
fn a_host_that_does_not_resolve_is_told_beside_what_answers() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let url = format!("http://{}/jwks", issuer.address());

    let run = mesh_jwt(&["probe", &url, "http://no-such-host.invalid/jwks"]);

    assert_eq!(run.code, 3);
    run.assert_prints(&["All 10 answers agree.", "the host no-such-host.invalid does not resolve"]);
}

#[test]
fn a_wrong_command_line_has_a_code_of_its_own() {
    for (args, words) in [
        (&["probe"][..], "URL"),
        (&["probe", "auth:8080/jwks"], "write it such as http://auth:8080/jwks"),
        (&["probe", "/jwks"], "the scheme is missing"),
        (&["probe", "http://a:b@auth/jwks"], "send it with --header"),
        (&["probe", "http://auth/", "--times", "0"], "--times"),
        (&["probe", "http://auth/", "--timeout", "0s"], "longer than nothing"),
        (&["probe", "http://auth/", "--resolve", "auth:pod-1"], "HOST:PORT:ADDRESS"),
        (&["probe", "http://auth/", "--cacert", "no-such-file"], "no-such-file cannot be read"),
        (&["probe", "http://auth/", "--cacert", "Cargo.toml"], "holds no certificate"),
        (&["probe", "http://auth/", "--cacert", "tests/keys/alpha.pem"], "take it out"),
    ] {
        let run = mesh_jwt(args);

        assert_eq!(run.code, 2, "{args:?}: {run:?}");
        assert!(run.stderr.contains(words), "{args:?}: {run:?}");
    }
}

#[test]
fn a_header_that_cannot_be_sent_is_not_repeated() {
    let run = mesh_jwt(&["probe", "http://auth/", "--header", "Authorization: s3cret\u{1}"]);

    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--header") && !run.stderr.contains("s3cret"), "{run:?}");
}
