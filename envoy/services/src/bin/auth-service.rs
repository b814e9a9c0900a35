//! Issues RS256 tokens to the demo's users and publishes the keys that verify them.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_jwt_demo::{IssuerKeys, serve};
use rsa::rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("auth-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let keys = IssuerKeys::from_env()?;
    if keys.is_generated() {
        eprintln!("{GENERATED_KEY_WARNING}");
    }
    let token_lifetime = token_lifetime()?;
    let issuer = env::var("ISSUER").unwrap_or_else(|_| DEFAULT_ISSUER.to_owned());
    println!("auth-service signs as {issuer} with key {}", keys.signing().public().kid());
    for key in keys.others() {
        println!("auth-service publishes key {} as well", key.kid());
    }
    let router = Router::new()
        .route("/api/login", post(login))
        .route("/actuator/jwks", get(jwks))
        .route("/actuator/health", get(health))
        .with_state(Arc::new(Issuer { issuer, keys, token_lifetime }));

    serve("auth-service", 9001, router).await?;
    Ok(())
}

/// How long tokens are good, in seconds.
fn token_lifetime() -> Result<u64, String> {
    let Some(text) = env::var_os(TOKEN_LIFETIME) else { return Ok(DEFAULT_TOKEN_LIFETIME) };
    let seconds = text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
    seconds.ok_or_else(|| {
        format!(
            "{TOKEN_LIFETIME} is not a whole number of seconds above 0: {text:?}; unset it for \
             {DEFAULT_TOKEN_LIFETIME}"
        )
    })
}

struct Issuer {
    issuer: String,
    keys: IssuerKeys,
    /// In seconds.
    token_lifetime: u64,
}

#[derive(Deserialize)]
struct Login {
    username: String,
    tenant: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'static str,
    scope: &'static str,
    roles: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
}

async fn login(
    State(issuer): State<Arc<Issuer>>,
    login: Result<Json<Login>, JsonRejection>,
) -> Response {
    let Json(login) = match login {
        Ok(login) => login,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let Some(user) = USERS.iter().find(|user| user.name == login.username) else {
        return problem(StatusCode::UNAUTHORIZED, "unknown user; the demo knows alice and admin");
    };
    let Ok(since_epoch) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "the clock is before 1970");
    };

    let now = since_epoch.as_secs();
    let token = issuer.keys.signing().sign(&Claims {
        iss: &issuer.issuer,
        sub: user.name,
        aud: "wealist-api",
        scope: user.scope,
        roles: user.roles,
        tenant: login.tenant,
        iat: now,
        nbf: now,
        exp: now.saturating_add(issuer.token_lifetime),
        jti: token_id(),
    });
    match token {
        Ok(token) => (
            // RFC 6749 §5.1: whoever holds the answer is the user.
            [(CACHE_CONTROL, "no-store")],
            Json(json!({
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": issuer.token_lifetime,
            })),
        )
            .into_response(),
        Err(error) => {
            eprintln!("auth-service: signing failed: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the token could not be signed")
        }
    }
}

async fn jwks(State(issuer): State<Arc<Issuer>>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "public, max-age=300")], Json(issuer.keys.jwk_set()))
}

async fn health() -> impl IntoResponse {
    Json(json!({"status": "UP"}))
}

fn token_id() -> String {
    let mut id = [0; 16];
    OsRng.fill_bytes(&mut id);
    URL_SAFE_NO_PAD.encode(id)
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

struct User {
    name: &'static str,
    scope: &'static str,
    roles: &'static [&'static str],
}

const USERS: [User; 2] = [
    User { name: "alice", scope: "orders:read", roles: &["user"] },
    User { name: "admin", scope: "orders:read admin:write", roles: &["admin", "user"] },
];

/// A name, not an address: it stays the same wherever the service listens.
const DEFAULT_ISSUER: &str = "http://auth-service:9001";

const TOKEN_LIFETIME: &str = "TOKEN_LIFETIME_SECONDS";
const DEFAULT_TOKEN_LIFETIME: u64 = 1800;

const GENERATED_KEY_WARNING: &str = "\
auth-service: WARNING: JWT_RSA_PRIVATE_KEY is not set, so this process signs with a key made just now.
auth-service: WARNING: Every replica would make its own key and publish only that one: a verifier that
auth-service: WARNING: reads the JWKS of one replica refuses the tokens of the others, and requests fail
auth-service: WARNING: at random. With more than one replica, set JWT_RSA_PRIVATE_KEY to the same key.";
