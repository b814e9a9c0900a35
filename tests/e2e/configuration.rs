//! A configuration that is wrong keeps Envoy from starting, with one line that tells where.

use serde_json::json;

use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::Token;
use lab::upstream::Upstream;

#[test]
fn wrong_value_is_refused_by_its_path() {
    let no_issuer = Config::new().provider_without("issuer");
    assert_refused(&no_issuer.render(), "providers[0].issuer");
    let plaintext = Config::new().provider("allowPlaintextJwks", false);
    assert_refused(&plaintext.render(), "providers[0].jwksUri");
    let no_duration = Config::new().provider("timeout", "5 parsecs");
    assert_refused(&no_duration.render(), "providers[0].timeout");
}

#[test]
fn unknown_field_is_refused_by_its_path() {
    let in_provider = Config::new().provider("forwardPayloadHeader", "X-Payload");
    assert_refused(&in_provider.render(), "providers[0].forwardPayloadHeader");
    let rules = json!([{ "match": { "path": "/healthz" }, "access": "public" }]);
    assert_refused(&Config::new().set("rules", rules).render(), "rules[0].match.path");
}

#[test]
fn rule_that_names_no_provider_is_refused_by_its_path() {
    let rules = json!([{ "match": {} }, { "providers": ["wealist", "weelist"] }]);
    assert_refused(&Config::new().set("rules", rules).render(), "rules[1].providers[1]");
}

#[test]
fn configuration_that_is_no_json_is_refused() {
    for configuration in ["", "providers: []", "[]", "{\"providers\":[]}"] {
        assert_refused(configuration, "");
    }
}

#[test]
fn smallest_configuration_is_accepted() {
    let config = ["name", "audiences", "outputPayloadToHeader", "outputClaimToHeaders"]
        .iter()
        .fold(Config::new(), |config, field| config.provider_without(field));
    let sidecar = Sidecar::start(&config);

    let good = Request::get("/").bearer(&Token::good().compact());
    assert_eq!(sidecar.decide(&good), "200 allowed");
    assert_eq!(sidecar.decide(&Request::get("/")), "401 token_missing");
}

/// The module itself must have refused, in one line with the path; Envoy adds lines of its own.
fn assert_refused(plugin_configuration: &str, path: &str) {
    let upstream = Upstream::start();
    let bootstrap = Bootstrap::new(upstream.address()).filter("mesh-jwt", plugin_configuration);

    let log = Envoy::refuse(&bootstrap);

    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("[error][wasm]") && line.contains("wasm log"))
        .collect();
    assert!(
        errors.len() == 1 && errors[0].contains(path),
        "not one line about {path:?} for {plugin_configuration}:\n{}",
        errors.join("\n")
    );
    assert!(!log.contains("panicked"), "the module panicked over {plugin_configuration}");
}
