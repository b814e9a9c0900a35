//! Issuers with a certificate, which a real Envoy presents.

use std::path::PathBuf;

use lab::bootstrap::Bootstrap;
use lab::checkout;
use lab::envoy::Envoy;
use lab::issuer::{Answer, Issuer};
use lab::token::Key;

use crate::command::{Run, mesh_jwt, mesh_jwt_in};

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let run = probe("node-1", &["--cacert", "tests/keys/kubernetes-ca.crt"]);

    assert_eq!(run.code, 0, "{run:?}");
    run.assert_prints(&["https://node-1:", "127.0.0.1:", "All 10 answers agree."]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_with_the_mend() {
    let run = probe("node-1", &[]);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&["certificate", "--cacert"]);
}

#[test]
fn a_certificate_of_another_host_is_refused() {
    let run = probe("node-2", &["--cacert", "tests/keys/kubernetes-ca.crt"]);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&["certificate"]);
}

#[test]
fn plain_http_where_tls_is_expected_is_told() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let envoy = Envoy::start(&Bootstrap::new(issuer.address()), 1);
    let url = format!("https://{}/jwks", envoy.address());

    let run = mesh_jwt(&["probe", "--times", "1", &url]);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&["write http://"]);
}

#[test]
fn a_system_without_authorities_is_told_so() {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let url = format!("https://{}/jwks", issuer.address());
    // As in an image FROM scratch.
    let nowhere = [("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")];

    let run = mesh_jwt_in(&["probe", "--times", "1", &url], &nowhere);

    assert_eq!(run.code, 3, "{run:?}");
    run.assert_prints(&["this system has no certificate authorities", "--cacert"]);
}

/// Probes an issuer that proves to be `node-1`.
fn probe(host: &str, options: &[&str]) -> Run {
    let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
    let file = |name: &str| -> PathBuf { checkout::root().join("tests/keys").join(name) };
    let bootstrap = Bootstrap::new(issuer.address());
    let envoy = Envoy::start(&bootstrap.certificate(file("kubelet.crt"), file("beta.pem")), 1);
    let port = envoy.address().port();
    let (url, resolve) =
        (format!("https://{host}:{port}/jwks"), format!("{host}:{port}:127.0.0.1"));
    mesh_jwt(&[&["probe", &url, "--resolve", &resolve][..], options].concat())
}
