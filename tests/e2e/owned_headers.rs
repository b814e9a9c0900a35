//! No client can send a header that the upstream would take for the filter's.

use serde_json::json;

use lab::config::Config;
use lab::http::{Message, Request};
use lab::sidecar::Sidecar;
use lab::token::Token;
use lab::upstream::received;

#[test]
fn forged_identity_headers_are_removed_on_every_path() {
    let sidecar = Sidecar::start(&Config::new().set(
        "rules",
        json!([
            { "match": { "paths": ["/public"] }, "access": "public" },
            { "match": { "paths": ["/optional"] }, "access": "optional" },
        ]),
    ));
    let preflight = Request::new("OPTIONS", "/")
        .header("Origin", "https://shop.example.com")
        .header("Access-Control-Request-Method", "PUT");

    for request in [Request::get("/public"), Request::get("/optional"), preflight] {
        let seen = received(&sidecar.send(&forge(request)));

        assert_eq!(identity(&seen), Vec::<&str>::new());
        assert_neighbours_stay(&seen);
    }
}

#[test]
fn verified_identity_replaces_a_forged_one() {
    let sidecar = Sidecar::start(&Config::new());
    let token = Token::good().without_claim("scope").compact();

    let seen = received(&sidecar.send(&forge(Request::get("/").bearer(&token))));

    assert_eq!(seen.values("x-user-id").collect::<Vec<_>>(), ["user-4711"]);
    assert_eq!(seen.values("x-tenant").collect::<Vec<_>>(), ["acme"]);
    // The token has no such claim, so nobody may fill the gap.
    assert_eq!(seen.header("x-scopes"), None);
    assert_eq!(seen.header("x_user_id"), None);
    assert!(!seen.headers.iter().any(|(_, value)| value == FORGED));
    assert_neighbours_stay(&seen);
}

#[test]
fn forged_identity_headers_are_removed_in_report_mode() {
    let sidecar = Sidecar::start(&Config::new().set("mode", "report"));

    let seen = received(&sidecar.send(&forge(Request::get("/"))));

    assert_eq!(identity(&seen), Vec::<&str>::new());
    assert_neighbours_stay(&seen);
}

/// Adds every spelling of the owned headers, and some headers that merely look alike.
fn forge(request: Request) -> Request {
    let owned = [
        "X-User-Id",
        "x-user-id",
        "X-USER-id",
        "X_User_Id",
        "x_user-id",
        "x-user_id",
        "X-Scopes",
        "x_scopes",
        "X-Tenant",
        "X_TENANT",
        "X-Jwt-Payload",
        "x_jwt_payload",
        "X-JWT_Payload",
    ];
    let request = owned.iter().fold(request, |request, name| request.header(name, FORGED));
    NEIGHBOURS.iter().fold(request, |request, name| request.header(name, "mine"))
}

/// The names of all headers that an upstream could mistake for an identity.
fn identity(seen: &Message) -> Vec<&str> {
    seen.headers
        .iter()
        .filter(|(_, value)| value == FORGED)
        .map(|(name, _)| name.as_str())
        .collect()
}

fn assert_neighbours_stay(seen: &Message) {
    for name in NEIGHBOURS {
        assert_eq!(seen.header(name), Some("mine"), "{name}");
    }
}

const FORGED: &str = "forged";
const NEIGHBOURS: [&str; 3] = ["X-User-Ids", "X-UserId", "X-Scope"];
