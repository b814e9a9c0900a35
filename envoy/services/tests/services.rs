//! The two programs as they run: started, spoken to over HTTP, and stopped with a signal.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Answer;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

#[path = "support/http.rs"]
mod http;

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
fn unusable_key_stops_the_start_and_names_the_mend() {
    let output = auth_service().env("JWT_RSA_PRIVATE_KEY", "").output().unwrap();

    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("auth-service: JWT_RSA_PRIVATE_KEY: not an"), "{stderr}");
    assert!(stderr.contains("openssl genpkey"), "{stderr}");
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

#[test]
fn user_service_answers_with_the_identity_it_was_handed() {
    let service = Service::start(&mut user_service());
    let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"alice"}"#);

    let answer = service.get(
        "/orders/7?access_token=secret",
        format!(
            "x-user-id: alice\r\nx-scopes: orders:read\r\nx-jwt-payload: {payload}\r\n\
             authorization: Bearer secret\r\n"
        )
        .as_bytes(),
    );

    assert_eq!(
        answer.json(),
        json!({
            "service": "user-service",
            "method": "GET",
            "path": "/orders/7",
            "identity": {"x-user-id": "alice", "x-scopes": "orders:read", "x-tenant": null},
            "claims": {"sub": "alice"},
            "authorization": true,
        })
    );
}

#[test]
fn user_service_survives_header_bytes_that_are_not_utf8() {
    let service = Service::start(&mut user_service());

    let answer = service.get("/", b"x-user-id: \xff\r\nx-tenant: a\r\nx-tenant: b\r\n");

    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json()["identity"],
        json!({"x-user-id": "\u{fffd}", "x-scopes": null, "x-tenant": "a, b"})
    );
}

#[test]
fn user_service_is_healthy_without_identity() {
    let service = Service::start(&mut user_service());

    assert_eq!(service.get("/healthz", b"").json(), json!({"status": "UP"}));
    assert_eq!(service.get("/", b"").json()["claims"], Value::Null);
}

fn auth_service() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth-service"));
    for variable in ["HOST", "ISSUER", "JWT_KEY_ID", "JWT_RSA_PRIVATE_KEY"] {
        command.env_remove(variable);
    }
    command.env("PORT", "0");
    command
}

fn user_service() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user-service"));
    command.env_remove("HOST").env("PORT", "0");
    command
}

fn verify(login: &Answer, jwks: &Answer) -> Value {
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    let keys: JwkSet = serde_json::from_str(&jwks.body).unwrap();
    let key = keys.find(&decode_header(&token).unwrap().kid.unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["wealist-api"]);

    decode(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

struct Service {
    process: Child,
    address: String,
}

impl Service {
    /// Starts the program on a port that the system picks, and reads it from its output.
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let address = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .find_map(|line| line.unwrap().split_once(" listens on ").map(|(_, at)| at.to_owned()))
            .unwrap();

        Self { process, address }
    }

    fn get(&self, path: &str, headers: &[u8]) -> Answer {
        self.send("GET", path, headers, "")
    }

    fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, b"content-type: application/json\r\n", &body.to_string())
    }

    fn send(&self, method: &str, path: &str, headers: &[u8], body: &str) -> Answer {
        http::send(&self.address, method, path, headers, body)
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Fails where the test has already stopped it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const ALPHA: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/keys/alpha.pem"));
