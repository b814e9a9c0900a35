//! Which rule a request falls under, and what the rule asks of its token.

use serde_json::json;

use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token};

use crate::explained::decide;

#[test]
fn rules_match_by_host_method_and_path() {
    let sidecar = Sidecar::start(&Config::new().set(
        "rules",
        json!([
            { "match": { "methods": ["GET"], "paths": ["/healthz", "/docs/**"] },
              "access": "public" },
            { "match": { "paths": ["/users/*/avatar"] }, "access": "public" },
            { "match": { "hosts": ["*.open.example.com", "exact.example.com"] },
              "access": "public" },
            { "match": { "hosts": ["one.example.com:8443", "any.example.com:*"] },
              "access": "public" },
        ]),
    ));
    let cases = [
        ("GET", "api.example.com", "/healthz", "200 public"),
        ("GET", "api.example.com", "/healthz?probe=1", "200 public"),
        ("POST", "api.example.com", "/healthz", "401 token_missing"),
        ("GET", "api.example.com", "/healthz/", "401 token_missing"),
        ("GET", "api.example.com", "/healthz2", "401 token_missing"),
        ("GET", "api.example.com", "/HEALTHZ", "401 token_missing"),
        ("GET", "api.example.com", "/docs", "200 public"),
        ("GET", "api.example.com", "/docs/", "200 public"),
        ("GET", "api.example.com", "/docs/a/b.html", "200 public"),
        ("GET", "api.example.com", "/docsets", "401 token_missing"),
        ("GET", "api.example.com", "/users/7/avatar", "200 public"),
        ("GET", "api.example.com", "/users/7/8/avatar", "401 token_missing"),
        ("GET", "api.example.com", "/users/7/avatar/raw", "401 token_missing"),
        ("GET", "api.example.com", "/users//avatar", "401 token_missing"),
        ("GET", "a.open.example.com", "/x", "200 public"),
        ("GET", "A.Open.EXAMPLE.com", "/x", "200 public"),
        // Envoy sends these to another virtual host, unless it is told to ignore ports.
        ("GET", "a.open.example.com:8443", "/x", "401 token_missing"),
        ("GET", "open.example.com", "/x", "401 token_missing"),
        ("GET", "aopen.example.com", "/x", "401 token_missing"),
        ("GET", "a.open.example.com.evil.test", "/x", "401 token_missing"),
        ("GET", "exact.example.com", "/x", "200 public"),
        ("GET", "exact.example.com:80", "/x", "401 token_missing"),
        ("GET", "exact.example.com:1234", "/x", "401 token_missing"),
        ("GET", "exact.example.com:", "/x", "401 token_missing"),
        ("GET", "exact.example.com:99999999", "/x", "401 token_missing"),
        ("GET", "exact.example.com.", "/x", "401 token_missing"),
        ("GET", "x", "http://exact.example.com:1234/x", "401 token_missing"),
        ("GET", "x", "http://exact.example.com/x", "200 public"),
        ("GET", "one.example.com:8443", "/x", "200 public"),
        ("GET", "one.example.com", "/x", "401 token_missing"),
        ("GET", "any.example.com:1234", "/x", "200 public"),
        ("GET", "not-exact.example.com", "/x", "401 token_missing"),
    ];

    for (method, host, path, decision) in cases {
        let request = Request::new(method, path).host(host);
        assert_eq!(decide(&sidecar, &request), decision, "{method} {host}{path}");
    }
}

/// In a sidecar's chain of a port and in the one for all others, whatever headers say.
#[test]
fn rules_match_by_the_port_that_the_connection_came_to() {
    let rules = json!([
        { "match": { "ports": [9090, 9091] }, "access": "public" },
        { "match": { "ports": [8080], "paths": ["/admin/**"] }, "scopes": ["admin:write"] },
    ]);
    let sidecar = Sidecar::start_adapted(&Config::new().set("rules", rules), |bootstrap| {
        bootstrap.inbound(&[8080, 9090])
    });
    let good = Token::good().compact();

    for (port, target, decision) in [
        (9090, "/", "200 public"),
        (9091, "/admin/x", "200 public"),
        (8080, "/", "401 token_missing"),
        (9092, "/", "401 token_missing"),
    ] {
        let request = Request::get(target).going_to(port);
        assert_eq!(decide(&sidecar, &request), decision, "{port}{target}");
    }
    for (port, decision) in [(8080, "403 scope_insufficient"), (9092, "200 allowed")] {
        let request = Request::get("/admin/x").bearer(&good).going_to(port);
        assert_eq!(decide(&sidecar, &request), decision, "{port}");
    }
    for (name, value) in [
        ("X-Forwarded-Port", "9090"),
        ("X-Forwarded-Host", "api.example.com:9090"),
        ("Forwarded", "host=\"api.example.com:9090\""),
        ("X-Envoy-Original-Dst-Host", "127.0.0.1:9090"),
    ] {
        let request = Request::get("/").going_to(8080).header(name, value);
        assert_eq!(decide(&sidecar, &request), "401 token_missing", "{name}");
    }
    let request = Request::get("http://127.0.0.1:9090/").host("127.0.0.1:9090").going_to(8080);
    assert_eq!(decide(&sidecar, &request), "401 token_missing");
}

#[test]
fn port_of_a_listener_that_nothing_is_redirected_to() {
    let ports = |ports: &[u16]| {
        Config::new().set("rules", json!([{ "match": { "ports": ports }, "access": "public" }]))
    };
    let sidecar = Sidecar::start_adapted(&ports(&[1]), Bootstrap::replaceable);
    assert_eq!(sidecar.decide(&Request::get("/")), "401 token_missing");

    sidecar.reconfigure(&ports(&[sidecar.address().port()]));

    assert_eq!(sidecar.decide(&Request::get("/")), "200 public");
}

#[test]
fn first_matching_rule_decides() {
    let sidecar = Sidecar::start(&Config::new().set(
        "rules",
        json!([
            { "match": { "paths": ["/docs/internal/**"] } },
            { "match": { "paths": ["/docs/**"] }, "access": "public" },
            { "match": { "paths": ["/docs/late/**"] }, "access": "required" },
        ]),
    ));

    assert_eq!(decide(&sidecar, &Request::get("/docs/internal/x")), "401 token_missing");
    assert_eq!(decide(&sidecar, &Request::get("/docs/late/x")), "200 public");
}

#[test]
fn rules_ask_for_scopes_claims_and_providers() {
    let partner = json!({
        "name": "partner",
        "issuer": "https://partner.example.com",
        "jwks": { "keys": [Key::beta().jwk()] },
    });
    let sidecar = Sidecar::start(&Config::new().add_provider(partner).set(
        "rules",
        json!([
            { "match": { "paths": ["/admin/**"] }, "scopes": ["admin:read", "admin:write"] },
            { "match": { "paths": ["/owners"] },
              "claims": { "roles": ["admin", "owner"], "tenant": ["acme"] } },
            { "match": { "paths": ["/nested"] }, "claims": { "realm_access.roles": ["admin"] } },
            { "match": { "paths": ["/partners"] }, "providers": ["partner"] },
        ]),
    ));
    let good = Token::good;
    let of_partner = || good().claim("iss", "https://partner.example.com").signed_by(Key::beta());
    let scp = good().without_claim("scope").claim("scp", json!(["admin:write", "admin:read"]));
    let cases = [
        ("/admin", good().claim("scope", "admin:write x admin:read"), "200 allowed"),
        ("/admin/x", good().claim("scope", json!(["admin:read", "admin:write"])), "200 allowed"),
        ("/admin/x", scp, "200 allowed"),
        ("/admin/x", good().claim("scope", "admin:write"), "403 scope_insufficient"),
        ("/admin/x", good().claim("scope", "admin:read admin:writer"), "403 scope_insufficient"),
        ("/admin/x", good().without_claim("scope"), "403 scope_insufficient"),
        ("/owners", good().claim("roles", json!(["user", "owner"])), "200 allowed"),
        ("/owners", good().claim("roles", "admin"), "200 allowed"),
        ("/owners", good().claim("roles", "administrator"), "403 claim_mismatch"),
        ("/owners", good(), "403 claim_mismatch"),
        ("/owners", good().claim("roles", "admin").claim("tenant", "x"), "403 claim_mismatch"),
        ("/nested", good().claim("realm_access", json!({ "roles": ["admin"] })), "200 allowed"),
        ("/nested", good().claim("realm_access", json!({ "roles": [] })), "403 claim_mismatch"),
        ("/partners", of_partner(), "200 allowed"),
        ("/partners", good(), "403 provider_not_allowed"),
        ("/anything", of_partner(), "200 allowed"),
    ];

    for (path, token, decision) in cases {
        let request = Request::get(path).bearer(&token.compact());
        assert_eq!(decide(&sidecar, &request), decision, "{path} with {}", token.payload_text());
    }
}

/// One issuer, many APIs: each path takes only the tokens that are for its own.
#[test]
fn rules_ask_for_audiences_beside_the_providers() {
    let sidecar = Sidecar::start(
        &Config::new().provider("audiences", json!(["wealist-api", "orders-api"])).set(
            "rules",
            json!([
                { "match": { "paths": ["/orders/**"] },
                  "requires": { "audiences": ["orders-api", "all"] }, "scopes": ["users:read"] },
                { "match": { "paths": ["/users/**"] }, "requires": { "audiences": ["users-api"] } },
                { "match": { "paths": ["/maybe"] }, "access": "optional",
                  "requires": { "audiences": ["orders-api"] } },
            ]),
        ),
    );
    let both = json!(["wealist-api", "orders-api"]);
    let users = json!(["orders-api", "users-api"]);
    let cases = [
        ("/any", json!("wealist-api"), "200 allowed"),
        ("/orders", json!("orders-api"), "200 allowed"),
        ("/orders", both.clone(), "200 allowed"),
        ("/orders", json!("wealist-api"), "401 audience_not_allowed"),
        // For this rule, but not for the provider.
        ("/orders", json!("all"), "401 audience_not_allowed"),
        ("/users", both.clone(), "401 audience_not_allowed"),
        ("/users", users.clone(), "200 allowed"),
        ("/maybe", json!("wealist-api"), "401 audience_not_allowed"),
        ("/maybe", both.clone(), "200 allowed"),
        // Servers may read it as either path: it must be for both.
        ("/orders/..%2fusers", both, "401 audience_not_allowed"),
        ("/orders/..%2fusers", users, "200 allowed"),
    ];

    for (path, audience, decision) in cases {
        let token = Token::good().claim("aud", audience.clone()).compact();
        let request = Request::get(path).bearer(&token);
        assert_eq!(decide(&sidecar, &request), decision, "{path} with {audience}");
        // And again, when the token is remembered.
        assert_eq!(decide(&sidecar, &request), decision, "{path} with {audience} again");
    }
    assert_eq!(decide(&sidecar, &Request::get("/maybe")), "200 public");
    // Nobody asks the issuer for the key of a token that no key would help.
    let unknown = Token::good().header("kid", "unknown").compact();
    let refused = sidecar.send(&Request::get("/orders").bearer(&unknown));
    assert_eq!(refused.json()["code"], "audience_not_allowed");
    let challenge = refused.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
    assert_eq!(sidecar.counted("jwks.wealist.miss"), 0);
}
