//! A service that is switched from tokens to identity headers with `ISTIO_JWT_MODE`: it answers with
//! who is calling, and with how it knows.

mod identity;
mod jwks;
mod key;
mod refusal;
mod settings;
mod sidecar;
mod token;
mod verification;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mesh_jwt_demo::serve;
use serde_json::{Value, json};

use crate::verification::Verification;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("user-service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let verification = settings::verification()?;
    println!("user-service {verification}");
    let router = Router::new()
        .route("/healthz", get(health).fallback(answer))
        .fallback(answer)
        .with_state(Arc::new(verification));

    serve("user-service", 9002, router).await?;
    Ok(())
}

async fn health() -> Json<Value> {
    Json(json!({"status": "UP"}))
}

/// Neither the query nor the value of `Authorization` is repeated: both may hold a token.
async fn answer(
    State(verification): State<Arc<Verification>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let identity = match verification.identity(is_public(uri.path()), &headers).await {
        Ok(identity) => identity,
        Err(refusal) => return refusal.answer(verification.name()),
    };
    Json(json!({
        "service": "user-service",
        "verification": verification.name(),
        "method": method.as_str(),
        "path": uri.path(),
        "authenticated": identity.is_some(),
        "identity": identity.unwrap_or_default(),
        "authorization": headers.contains_key(AUTHORIZATION),
    }))
    .into_response()
}

/// Those that the rules in `envoy/envoy.yaml` make public as well.
fn is_public(path: &str) -> bool {
    ["/healthz", "/public"].contains(&path) || path.starts_with("/public/")
}
