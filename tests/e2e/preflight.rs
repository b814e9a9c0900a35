//! CORS preflights cannot carry a token and pass without one; nothing else does.

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;

use crate::explained::decide;

#[test]
fn preflight_passes_without_a_token() {
    let sidecar = Sidecar::start(&Config::new());

    assert_eq!(decide(&sidecar, &preflight()), "200 cors_preflight");

    assert_eq!(sidecar.counted("cors_preflight"), 1);
}

#[test]
fn only_a_preflight_is_a_preflight() {
    let sidecar = Sidecar::start(&Config::new());
    let options = || Request::new("OPTIONS", "/");
    let others = [
        options(),
        options().header("Origin", ORIGIN),
        options().header("Access-Control-Request-Method", "PUT"),
        Request::get("/").header("Origin", ORIGIN).header("Access-Control-Request-Method", "PUT"),
    ];

    for request in others {
        assert_eq!(decide(&sidecar, &request), "401 token_missing");
    }
}

#[test]
fn preflight_needs_a_token_where_the_bypass_is_off() {
    let sidecar = Sidecar::start(&Config::new().set("bypassCorsPreflight", false));

    assert_eq!(decide(&sidecar, &preflight()), "401 token_missing");
}

fn preflight() -> Request {
    Request::new("OPTIONS", "/")
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "PUT")
}

const ORIGIN: &str = "https://shop.example.com";
