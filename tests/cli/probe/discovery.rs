//! Discovery documents on the way to keys.

use lab::issuer::{Answer, Issuer};
use lab::token::Key;
use serde_json::json;

use super::{order, verdict};
use crate::command::mesh_jwt;

#[test]
fn the_keys_that_a_discovery_document_names_are_probed() {
    let issuer = issuer_with_document(OPENID, |own| own.to_owned());
    let document = format!("http://{}{OPENID}", issuer.address());

    let run = mesh_jwt(&["probe", "--times", "2", &document]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&[
        &format!("http://{}/keys", issuer.address()),
        &format!("named by {document}"),
        "All 2 answers agree.",
    ]);
    assert!(!run.stdout.contains("Note:"), "{run:?}");
}

#[test]
fn an_issuer_is_asked_where_the_filter_would_ask() {
    for place in [OPENID, "/.well-known/oauth-authorization-server"] {
        let issuer = issuer_with_document(place, |own| own.to_owned());
        let url = format!("http://{}", issuer.address());

        let run = mesh_jwt(&["probe", "--json", "--times", "3", "--issuer", &url]);

        assert_eq!(verdict(&run), ("agree".to_owned(), 0), "{place}: {run:?}");
        assert_eq!(order(&run), "AAA");
        assert_eq!(run.json()["endpoints"][0]["discoveredBy"], format!("{url}{place}"));
        assert_eq!(run.json()["notes"], json!([]));
    }
}

#[test]
fn a_document_of_another_issuer_is_noted() {
    let issuer = issuer_with_document(OPENID, |own| format!("{own}/"));

    let run = mesh_jwt(&["probe", "--issuer", &format!("http://{}", issuer.address())]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&["Note: the discovery document is of the issuer", "written exactly so"]);
}

#[test]
fn keys_on_another_host_are_noted_with_the_field_that_allows_them() {
    let (issuer, keys) = issuer_with_keys_elsewhere();

    let run = mesh_jwt(&["probe", "--issuer", &format!("http://{}", issuer.address())]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&[&format!(
        "Note: the keys are on another host than the issuer; the filter fetches them from there only if \
         jwksHosts lists {}.",
        keys.address()
    )]);
}

#[test]
fn headers_do_not_go_to_a_host_that_only_the_document_names() {
    let (issuer, keys) = issuer_with_keys_elsewhere();
    let url = format!("http://{}", issuer.address());

    let run = mesh_jwt(&["probe", "--header", "Authorization: Basic YTpi", "--issuer", &url]);

    assert_eq!(run.code, 0, "{run:?}");
    let credentials = |at: &Issuer| -> Vec<bool> {
        at.fetches().iter().map(|fetch| fetch.header("authorization").is_some()).collect()
    };
    assert_eq!(credentials(&issuer), [true]);
    assert_eq!(credentials(&keys), [false; 10]);
}

#[test]
fn an_issuer_without_a_document_fails_with_both_places() {
    let issuer = Issuer::start(Answer::Routes(Vec::new()));

    let run = mesh_jwt(&["probe", "--issuer", &format!("http://{}", issuer.address())]);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&[
        "Nothing was fetched.",
        ".well-known/openid-configuration: the answer has status 404",
        ".well-known/oauth-authorization-server: the answer has status 404",
    ]);
}

/// An issuer with its document at this path, in which `name` says how it calls itself.
fn issuer_with_document(path: &str, name: impl FnOnce(&str) -> String) -> Issuer {
    let issuer = Issuer::start(Answer::Hang);
    let own = format!("http://{}", issuer.address());
    let document = json!({ "issuer": name(&own), "jwks_uri": format!("{own}/keys") }).to_string();
    issuer.answer(Answer::Routes(vec![
        (path.to_owned(), Answer::raw("200 OK", "", document.as_bytes())),
        ("/keys".to_owned(), Answer::Keys(vec![Key::alpha().jwk()])),
    ]));
    issuer
}

/// An issuer, and where its document says that the keys are.
fn issuer_with_keys_elsewhere() -> (Issuer, Issuer) {
    let keys = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let issuer = Issuer::start(Answer::Hang);
    let own = format!("http://{}", issuer.address());
    let document = json!({ "issuer": own, "jwks_uri": format!("http://{}/jwks", keys.address()) });
    issuer.answer(Answer::raw("200 OK", "", document.to_string().as_bytes()));
    (issuer, keys)
}

const OPENID: &str = "/.well-known/openid-configuration";
