//! What the upstream gets to see of a verified token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, payload_part};
use lab::upstream::received;

use crate::explained::decide;

#[test]
fn verified_token_becomes_identity_headers() {
    let sidecar = Sidecar::start(&Config::new());
    let token = Token::good().compact();

    let response = sidecar.send(&Request::get("/orders?x=%20a+b&&y").bearer(&token));

    let seen = received(&response);
    assert_eq!(seen.start_line, "GET /orders?x=%20a+b&&y HTTP/1.1");
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(seen.header("x-scopes"), Some("users:read users:write"));
    assert_eq!(seen.header("x-tenant"), Some("acme"));
    assert_eq!(seen.header("x-jwt-payload"), Some(payload_part(&token)));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(sidecar.code(&response), "allowed");
    assert_eq!(sidecar.provider(&response), "wealist");
    assert_eq!(sidecar.counted("allowed"), 1);
}

#[test]
fn original_token_is_forwarded_where_the_provider_says_so() {
    let sidecar = Sidecar::start(&Config::new().provider("forwardOriginalToken", true));
    let token = Token::good().compact();

    let seen = received(&sidecar.send(&Request::get("/").bearer(&token)));

    assert_eq!(seen.header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
}

#[test]
fn claims_are_found_and_written_as_configured() {
    let sidecar = Sidecar::start(&Config::new().provider(
        "outputClaimToHeaders",
        json!([
            { "header": "X-Scopes", "claim": "scope" },
            { "header": "X-Level", "claim": "level" },
            { "header": "X-Staff", "claim": "staff" },
            { "header": "X-Roles", "claim": "realm_access.roles" },
            { "header": "X-First-Role", "claim": "/realm_access/roles/0" },
            { "header": "X-Org", "claim": "https://example.com/org" },
            { "header": "X-Name", "claim": "name", "encoding": "base64url" },
        ]),
    ));
    let token = Token::good()
        .claim("scope", json!(["a", "b", 3]))
        .claim("level", 42)
        .claim("staff", true)
        .claim("realm_access", json!({ "roles": ["owner", "editor"] }))
        .claim("https://example.com/org", "acme.kr")
        .claim("name", "홍길동");

    let seen = received(&sidecar.send(&Request::get("/").bearer(&token.compact())));

    assert_eq!(seen.header("x-scopes"), Some("a b 3"));
    assert_eq!(seen.header("x-level"), Some("42"));
    assert_eq!(seen.header("x-staff"), Some("true"));
    assert_eq!(seen.header("x-roles"), Some("owner editor"));
    assert_eq!(seen.header("x-first-role"), Some("owner"));
    assert_eq!(seen.header("x-org"), Some("acme.kr"));
    assert_eq!(seen.header("x-name"), Some(URL_SAFE_NO_PAD.encode("홍길동").as_str()));
}

#[test]
fn claim_that_is_no_header_value_is_left_out() {
    let sidecar = Sidecar::start(&Config::new());
    let tenant_and_subject = |tenant, subject| {
        let token = Token::good().claim("tenant", tenant).claim("sub", subject).compact();
        let seen = received(&sidecar.send(&Request::get("/").bearer(&token)));
        [seen.header("x-tenant").map(str::to_owned), seen.header("x-user-id").map(str::to_owned)]
    };
    // Nor is it what the default says, which is for a token without the claim.
    let left_out = [None, None];

    assert_eq!(tenant_and_subject("acme\r\nx-scopes: admin", "a\nb"), left_out);
    assert_eq!(tenant_and_subject("아크메", "사용자"), left_out);
    assert_eq!(tenant_and_subject("münchen", ""), left_out);
    assert_eq!(tenant_and_subject("a\u{0}b", "a\u{7f}b"), left_out);
    let without = Token::good().without_claim("tenant").compact();
    let seen = received(&sidecar.send(&Request::get("/").bearer(&without)));
    assert_eq!(seen.header("x-tenant"), Some("default"));
}

#[test]
fn token_is_checked_against_the_provider_of_its_issuer() {
    let partner = json!({
        "name": "partner",
        "issuer": "https://partner.example.com",
        "jwks": { "keys": [Key::beta().jwk()] },
        "outputClaimToHeaders": [{ "header": "X-Partner", "claim": "sub" }],
    });
    let sidecar = Sidecar::start(&Config::new().add_provider(partner));
    let of_partner = Token::good().claim("iss", "https://partner.example.com");

    let response = sidecar
        .send(&Request::get("/").bearer(&of_partner.clone().signed_by(Key::beta()).compact()));

    let seen = received(&response);
    assert_eq!(seen.header("x-partner"), Some("user-4711"));
    assert_eq!(seen.header("x-user-id"), None);
    assert_eq!(sidecar.provider(&response), "partner");
    // The first provider's key is no key of the second.
    let by_alpha = of_partner.header("kid", "beta").compact();
    assert_eq!(decide(&sidecar, &Request::get("/").bearer(&by_alpha)), "401 signature_invalid");
}
