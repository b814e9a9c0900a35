//! gRPC callers read the denial from `grpc-status`, under HTTP status 200.

use serde_json::json;

use lab::config::Config;
use lab::http::{Request, Response};
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::Token;

#[test]
fn denial_of_a_grpc_call_carries_a_grpc_status() {
    let rules = json!([{ "match": { "paths": ["/admin.Admin/**"] }, "scopes": ["admin"] }]);
    let sidecar = Sidecar::start(&Config::new().set("rules", rules));
    let good = Token::good().compact();

    let unauthenticated = sidecar.send(&call("/shop.Shop/List"));
    let forbidden = sidecar.send(&call("/admin.Admin/Reset").bearer(&good));

    assert_grpc(&unauthenticated, UNAUTHENTICATED);
    assert_eq!(sidecar.code(&unauthenticated), "token_missing");
    assert_grpc(&forbidden, PERMISSION_DENIED);
    assert_eq!(sidecar.code(&forbidden), "scope_insufficient");
    assert_eq!(sidecar.decide(&call("/shop.Shop/List").bearer(&good)), "200 allowed");
}

#[test]
fn paused_grpc_call_is_told_that_keys_are_unavailable() {
    let config = Config::new().set("jwksWaitTimeout", "300ms");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);

    let response = sidecar.send(&call("/shop.Shop/List").bearer(&Token::good().compact()));

    assert_grpc(&response, UNAVAILABLE);
    assert_eq!(sidecar.code(&response), "jwks_unavailable");
}

fn call(path: &str) -> Request {
    Request::new("POST", path)
        .header("Content-Type", "application/grpc")
        .header("TE", "trailers")
        .body(vec![0; 5])
}

fn assert_grpc(response: &Response, status: &str) {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/grpc"));
    assert_eq!(response.header("grpc-status"), Some(status));
}

const PERMISSION_DENIED: &str = "7";
const UNAVAILABLE: &str = "14";
const UNAUTHENTICATED: &str = "16";
