//! A service behind the filter (`ISTIO_JWT_MODE=true`): it verifies nothing and answers with the
//! identity that the sidecar handed it.

use std::process::ExitCode;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mesh_jwt_demo::serve;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> ExitCode {
    let router = Router::new().route("/healthz", get(health).fallback(echo)).fallback(echo);
    match serve("user-service", 9002, router).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("user-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn health() -> Json<Value> {
    Json(json!({"status": "UP"}))
}

/// Neither the query nor the value of `Authorization` is repeated: both may hold a token.
async fn echo(method: Method, uri: Uri, headers: HeaderMap) -> Json<Value> {
    Json(json!({
        "service": "user-service",
        "method": method.as_str(),
        "path": uri.path(),
        "identity": {
            "x-user-id": text(&headers, "x-user-id"),
            "x-scopes": text(&headers, "x-scopes"),
            "x-tenant": text(&headers, "x-tenant"),
        },
        "claims": claims(&headers),
        "authorization": headers.contains_key(AUTHORIZATION),
    }))
}

/// All values of a header: a second `x-user-id` is a forged identity, and must be seen.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();

    (!values.is_empty()).then(|| values.join(", "))
}

fn claims(headers: &HeaderMap) -> Option<Value> {
    let payload = URL_SAFE_NO_PAD.decode(headers.get("x-jwt-payload")?).ok()?;
    serde_json::from_slice(&payload).ok()
}
