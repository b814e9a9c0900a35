//! Spellings of a path that mean one thing to a proxy and another to the service behind it.
//!
//! Envoy's own normalisation is off: nothing but the filter stands between these and the upstream.

use serde_json::json;

use lab::config::Config;
use lab::http::Request;
use lab::sidecar::Sidecar;
use lab::token::Token;

use crate::explained::decide;

#[test]
fn no_spelling_of_a_protected_path_is_public() {
    let sidecar = guarded();
    let targets = [
        "/public/../admin",
        "/public/./../admin",
        "/public//../admin",
        "/public/x/../../admin",
        "/public/%2e%2e/admin",
        "/public/%2E./admin",
        "/public/.%2e/admin",
        "/public/..",
        "/public/..%2Fadmin",
        "/public/..%2fadmin",
        "/public/%2e%2e%2fadmin",
        "/public%2F..%2Fadmin",
        "/public%2Fx",
        "/public/..%5Cadmin",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public\\x",
        "/public/..;/admin",
        "/public/;/../admin",
        "/public/x;a=b",
        "/public;x",
        "/public/%00",
        "/public/x%00.html",
        "/public/%252e%252e/admin",
        "/public/%252fx",
        "/public/%25%32%65",
        "/../public/../admin",
        // Public only for those who resolve dots and slashes first; a route, or a service that takes
        // what follows two slashes for a host, may see something else.
        "/admin/../public/x",
        "/admin/%2e%2e/public/x",
        "/admin//../public/x",
        "//public/admin",
        "/x/../public/y",
        "/public/../admin//../public/x",
        "/public/%c0%ae%c0%ae/admin",
        "/publicity",
        "/public.",
        "/Public/x",
        "/optional/..%2fadmin",
        "/optional;x",
    ];

    for target in targets {
        assert_eq!(decide(&sidecar, &Request::get(target)), "401 token_missing", "{target}");
    }
}

#[test]
fn harmless_spellings_of_a_public_path_are_public() {
    let sidecar = guarded();
    let targets = [
        "/public",
        "/public/",
        "/public/x",
        "/public//x",
        "/./public/x",
        "/public/./x",
        "/public/x/.",
        "/public/x/../y",
        "/%70ublic/%78",
        "/public/%7Euser/a-b_c",
        "/public/x?next=/../admin;%2F",
        "/public/%20x",
    ];

    for target in targets {
        assert_eq!(decide(&sidecar, &Request::get(target)), "200 public", "{target}");
    }
}

#[test]
fn no_spelling_escapes_the_rule_of_a_protected_path() {
    let sidecar = guarded();
    let token = Token::good().compact();
    let targets = [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/./admin",
        "/x/../admin/y",
        "/x/%2e%2e/admin/y",
        "/%61dmin",
        "/%61%64%6D%69%6e/x",
        "/public/../admin",
        "/admin/a%2Fb",
        "/admin/x;y",
        "/admin/%252e",
        "/admin/../public/x",
        "/admin;x/users",
        "/admin%2Fusers",
        "/admin%5Cusers",
        "/admin%252Fusers",
        "/%2Fadmin/users",
        "/x%2F..%2Fadmin/users",
        "/;/admin/users",
        "/x/..;/admin/users",
        "/admin%2f..%2fx",
        "/admin%2f%2e%2e%2fx",
        "/admin%2f..",
        "/%61dmin%2f..%2fx",
        "/admin%2F.%2F..%2Fx/y",
        "/admin%2f%2f..%2fx",
        "/admin%252f..%252fx",
        "/admin\\..\\x",
        "/admin;a=/..%2fx",
        "/x%00%2f..%2fadmin",
        "/x%23%2f..%2fadmin/y",
    ];

    for target in targets {
        let request = Request::get(target).bearer(&token);
        assert_eq!(decide(&sidecar, &request), "403 scope_insufficient", "{target}");
    }
}

fn guarded() -> Sidecar {
    Sidecar::start(&Config::new().set(
        "rules",
        json!([
            { "match": { "paths": ["/public/**"] }, "access": "public" },
            { "match": { "paths": ["/optional/**"] }, "access": "optional" },
            { "match": { "paths": ["/admin/**"] }, "scopes": ["admin:write"] },
        ]),
    ))
}
