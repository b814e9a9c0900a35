//! Envoy's log at `wasm:debug`, read by someone who hopes to find a token in it.

use serde_json::json;

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, now};

#[test]
fn log_holds_no_token_and_no_claim_value() {
    let rules = json!([{ "match": { "paths": ["/admin"] }, "scopes": ["admin"] }]);
    let config = Config::new().tokens_from_everywhere().set("rules", rules);
    let sidecar = Sidecar::start(&config);
    let good = Token::good().claim("email", "someone@secret.example").compact();
    let tokens = [
        good.clone(),
        Token::good().signed_by(Key::beta()).header("kid", "alpha").compact(),
        Token::good().claim("exp", now() - 600).compact(),
        Token::good().claim("iss", "https://secret-issuer.example").compact(),
        Token::good().claim("aud", "secret-audience").compact(),
        Token::good().header("alg", "HS256").compact(),
        Token::good().header("typ", "secret-type").compact(),
        Token::good().header("kid", "unknown-kid").compact(),
        format!("{good}.{good}"),
        "opaque-secret-token".to_owned(),
    ];

    for token in &tokens {
        sidecar.send(&Request::get("/").bearer(token));
        sidecar.send(&Request::get("/").header("Cookie", &format!("access_token={token}")));
        sidecar.send(&Request::get(&format!("/?access_token={token}")));
    }
    sidecar.send(&Request::get("/admin").bearer(&good));

    let log = sidecar.envoy_log();
    assert!(log.contains("signature_invalid"), "denials are logged at debug level");
    let parts = tokens.iter().flat_map(|token| token.split('.'));
    let values = ["user-4711", "acme", "users:read", "someone@secret.example", "secret-"];
    for secret in parts.chain(values) {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
