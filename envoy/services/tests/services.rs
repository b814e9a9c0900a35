//! auth-service as it runs, and how both services end.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::Read;
use std::process::Stdio;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use support::http::Answer;
use support::{ALPHA, BETA, Service, auth_service, user_service};

mod support;

#[test]
fn login_answers_a_token_that_the_published_key_verifies() {
    let service = Service::start(auth_service().env("JWT_RSA_PRIVATE_KEY", ALPHA));

    let login = service.post_json("/api/login", &json!({"username": "admin", "tenant": "acme"}));
    let jwks = service.get("/actuator/jwks", b"");

    assert_eq!(login.status, 200);
    assert_eq!(login.json()["token_type"], "Bearer");
    assert_eq!(login.json()["expires_in"], 1800);
    assert!(jwks.head.contains("cache-control: public, max-age="), "{}", jwks.head);
    let claims = verify(&login, &jwks);
    assert_eq!(claims["iss"], "http://auth-service:9001");
    assert_eq!(claims["sub"], "admin");
    assert_eq!(claims["scope"], "orders:read admin:write");
    assert_eq!(claims["roles"], json!(["admin", "user"]));
    assert_eq!(claims["tenant"], "acme");
    assert_eq!(claims["iat"], claims["nbf"]);
    assert_eq!(claims["exp"].as_u64(), claims["iat"].as_u64().map(|iat| iat + 1800));
    assert!(claims["jti"].is_string());
}

#[test]
fn unknown_user_and_unusable_body_are_problems() {
    let service = Service::start(auth_service().env("JWT_RSA_PRIVATE_KEY", ALPHA));

    let unknown = service.post_json("/api/login", &json!({"username": "mallory"}));
    let unusable = service.post_json("/api/login", &json!({"name": "alice"}));

    for (answer, status) in [(unknown, 401), (unusable, 422)] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["status"], status);
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    }
}

#[test]
fn without_a_key_one_is_made_and_the_danger_is_told() {
    let mut service = Service::start(auth_service().stderr(Stdio::piped()));

    let login = service.post_json("/api/login", &json!({"username": "alice"}));
    let jwks = service.get("/actuator/jwks", b"");
    let mut warning = String::new();
    service.signal("TERM");
    service.process.stderr.take().unwrap().read_to_string(&mut warning).unwrap();

    assert_eq!(verify(&login, &jwks)["sub"], "alice");
    assert!(warning.contains("WARNING: JWT_RSA_PRIVATE_KEY is not set"), "{warning}");
}

#[test]
fn other_keys_are_published_beside_the_one_that_signs() {
    let before = Service::start(auth_service().envs([
        ("JWT_RSA_PRIVATE_KEY", ALPHA),
        ("JWT_RSA_PUBLIC_KEYS", BETA),
        ("TOKEN_LIFETIME_SECONDS", "60"),
    ]));
    let after = Service::start(
        auth_service()
            .env("JWT_RSA_PRIVATE_KEY", BETA.replace('\n', "\\n"))
            .env("JWT_RSA_PUBLIC_KEYS", ALPHA.replace('\n', "\\n")),
    );

    // Whichever pod a token is of, and whichever pod a verifier asks.
    for issuer in [&before, &after] {
        let login = issuer.post_json("/api/login", &json!({"username": "alice"}));
        for publisher in [&before, &after] {
            let jwks = publisher.get("/actuator/jwks", b"");
            assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 2);
            assert_eq!(verify(&login, &jwks)["sub"], "alice");
        }
    }
    let login = before.post_json("/api/login", &json!({"username": "alice"}));
    assert_eq!(login.json()["expires_in"], 60);
}

#[test]
fn unusable_variable_stops_the_start_and_names_the_mend() {
    for (variable, value, problem, mend) in [
        ("JWT_RSA_PRIVATE_KEY", "", "JWT_RSA_PRIVATE_KEY: not an", "`openssl genpkey"),
        ("JWT_RSA_PUBLIC_KEYS", "null", "JWT_RSA_PUBLIC_KEYS: key 1: not an", "-pubout`"),
        ("JWT_KEY_ID", "k1", "JWT_KEY_ID would name", "unset JWT_KEY_ID"),
        ("TOKEN_LIFETIME_SECONDS", "1h", "TOKEN_LIFETIME_SECONDS is not", "unset it"),
    ] {
        let output = auth_service()
            .envs([("JWT_RSA_PRIVATE_KEY", ALPHA), ("JWT_RSA_PUBLIC_KEYS", BETA)])
            .env(variable, value)
            .output()
            .unwrap();

        assert!(!output.status.success(), "{variable}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(&format!("auth-service: {problem}")), "{stderr}");
        assert!(stderr.contains(mend), "{stderr}");
    }
}

#[test]
fn both_services_end_well_on_either_signal() {
    for (mut service, signal) in [
        (Service::start(auth_service().env("JWT_RSA_PRIVATE_KEY", ALPHA)), "TERM"),
        (Service::start(&mut user_service()), "INT"),
    ] {
        service.signal(signal);

        assert!(service.process.wait().unwrap().success());
    }
}

fn verify(login: &Answer, jwks: &Answer) -> Value {
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    let keys: JwkSet = serde_json::from_str(&jwks.body).unwrap();
    let key = keys.find(&decode_header(&token).unwrap().kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["wealist-api"]);

    decode(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}
