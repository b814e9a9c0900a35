//! Replies that tell nothing, and challenges that tell where the resource describes itself.

use serde_json::json;

use lab::config::Config;
use lab::http::{Request, Response};
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::Token;

#[test]
fn reply_without_detail_has_a_status_and_a_challenge() {
    let config = config().set("replies", json!({ "detail": "none" }));
    let sidecar = Sidecar::start(&config);

    for (request, status, code) in refused() {
        let response = sidecar.send(&request);

        assert_eq!((response.status, response.text().as_str()), (status, ""), "{code}");
        assert_eq!(response.header("content-type"), None, "{code}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"e2e\""), "{code}");
        // The operator is told as ever.
        assert_eq!(sidecar.code(&response), code);
    }
    for (_, _, code) in refused() {
        assert_eq!(sidecar.counted(&format!("denied.{code}")), 1);
    }
}

#[test]
fn reply_without_detail_still_says_when_to_come_again() {
    let config = config().set("replies", json!({ "detail": "none" }));
    let sidecar = Sidecar::start_with(&config.set("jwksWaitTimeout", "300ms"), Answer::Hang, 1);

    let response = sidecar.send(&Request::get("/").bearer(&Token::good().compact()));

    assert_eq!((response.status, response.text().as_str()), (503, ""));
    assert_eq!(response.header("www-authenticate"), None);
    assert!(response.header("retry-after").is_some());
}

#[test]
fn grpc_caller_is_told_no_more_without_detail() {
    let message = |replies| {
        let sidecar = Sidecar::start(&config().set("replies", replies));
        let call = Request::new("POST", "/shop.Shop/List")
            .header("Content-Type", "application/grpc")
            .header("TE", "trailers")
            .body(vec![0; 5]);
        let response = sidecar.send(&call);
        assert_eq!(response.header("grpc-status"), Some("16"));
        response.header("grpc-message").map(str::to_owned)
    };

    assert!(message(json!({})).is_some_and(|message| message.contains("token_missing")));
    assert_eq!(message(json!({ "detail": "none" })), None);
}

#[test]
fn every_challenge_names_the_resources_metadata() {
    let replies = |detail| json!({ "resourceMetadata": METADATA, "detail": detail });
    let full = Sidecar::start(&config().set("replies", replies("full")));
    let none = Sidecar::start(&config().set("replies", replies("none")));

    for (request, _, code) in refused() {
        let end = format!(", resource_metadata=\"{METADATA}\"");
        let of_full = challenge(&full.send(&request));
        assert_eq!(of_full.matches(&end).count(), 1, "{of_full}");
        assert!(of_full.ends_with(&end), "{of_full}");
        let has_error = code != "token_missing";
        assert_eq!(of_full.contains("error=\""), has_error, "{of_full}");
        assert_eq!(challenge(&none.send(&request)), format!("Bearer realm=\"e2e\"{end}"), "{code}");
    }
}

/// Requests with the status and code of their refusal: one of each status that has a challenge.
fn refused() -> Vec<(Request, u16, &'static str)> {
    let good = Token::good().compact();
    let expired = Token::good().claim("iat", 0).claim("exp", 1).compact();
    vec![
        (Request::get("/"), 401, "token_missing"),
        (Request::get("/").bearer(&expired), 401, "token_expired"),
        (Request::get("/").bearer(&good).bearer(&good), 400, "multiple_tokens"),
        (Request::get("/admin").bearer(&good), 403, "scope_insufficient"),
    ]
}

fn config() -> Config {
    let rules = json!([{ "match": { "paths": ["/admin"] }, "scopes": ["admin:write"] }]);
    Config::new().set("rules", rules)
}

fn challenge(response: &Response) -> String {
    response.header("www-authenticate").expect("a challenge").to_owned()
}

const METADATA: &str = "https://api.example.com/.well-known/oauth-protected-resource";
