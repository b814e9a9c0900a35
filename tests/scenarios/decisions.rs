//! Requests whose keys are there.

use crate::sim::{Sim, config, token};
use crate::token::{ISSUER, Key, sign_parts};
use mesh_jwt::reason::Reason;
use mesh_jwt::request::HeaderEdit;
use mesh_jwt::verdict::Verdict;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// A VM that has the keys; each decision is explained as well.
fn warm(provider: Value, top: Value) -> Sim {
    let mut sim = Sim::new(&config(provider, top));
    sim.publish(&[Key::alpha()]);
    sim.explained()
}

fn outputs() -> Value {
    json!({
        "outputPayloadToHeader": "X-Jwt-Payload",
        "outputClaimToHeaders": [
            {"header": "X-User-Id", "claim": "sub"},
            {"header": "X-Tenant", "claim": "tenant", "default": "default"},
        ],
    })
}

fn edits(verdict: &Verdict) -> Vec<HeaderEdit> {
    match verdict {
        Verdict::Allow(allow) => allow.edits().cloned().collect(),
        Verdict::Deny(_) => Vec::new(),
        Verdict::Pass(pass) => pass.edits.clone(),
    }
}

fn set(name: &str, value: &str) -> HeaderEdit {
    HeaderEdit::Set(name.into(), value.as_bytes().into())
}

fn removed(name: &str) -> HeaderEdit {
    HeaderEdit::Remove(name.into())
}

/// One request for each code; those that need another set-up are covered by `waiting`.
#[test]
fn every_code_is_reachable() {
    let mut sim = warm(
        json!({"audiences": ["wealist-api"], "maxLifetime": "2h"}),
        json!({
            "maxTokenBytes": 2000,
            "rules": [
                {"match": {"paths": ["/scope"]}, "scopes": ["admin:write"]},
                {"match": {"paths": ["/claim"]}, "claims": {"tenant": ["other"]}},
            ],
        }),
    );
    let start = crate::sim::START;
    let good = || token().claim("exp", start + 3600);
    let long = "x".repeat(2001);
    let tampered = {
        let token = good().compact();
        let (signed, _) = token.rsplit_once('.').unwrap();
        format!("{signed}.{}", good().claim("sub", "mallory").compact().rsplit_once('.').unwrap().1)
    };
    let bearer = |token: &str| format!("Bearer {token}");
    for (path, authorization, expected) in [
        ("/", bearer(&good().compact()), "allowed"),
        ("/", bearer(&good().header("alg", "none").compact()), "alg_not_allowed"),
        ("/", bearer(&good().header("crit", json!(["exp"])).compact()), "crit_unsupported"),
        ("/", format!("Bearer {0}, Bearer {0}", good().compact()), "multiple_tokens"),
        ("/", bearer("a.b"), "token_malformed"),
        ("/", String::new(), "token_missing"),
        ("/", bearer(&long), "token_too_large"),
        ("/", bearer(&good().header("typ", "JOSE").compact()), "typ_not_allowed"),
        ("/", bearer(&good().claim("aud", "other").compact()), "audience_not_allowed"),
        ("/", bearer(&good().without_claim("exp").compact()), "expiration_missing"),
        ("/", bearer(&good().claim("iss", "https://evil").compact()), "issuer_unknown"),
        ("/", bearer(&good().without_claim("iss").compact()), "issuer_unknown"),
        ("/", bearer(&good().claim("exp", start + 8000).compact()), "lifetime_too_long"),
        ("/", bearer(&good().claim("exp", start - 120).compact()), "token_expired"),
        ("/", bearer(&good().claim("nbf", start + 121).compact()), "token_not_yet_valid"),
        ("/", bearer(&good().signed_by(Key::beta()).compact()), "key_unknown"),
        ("/", bearer(&tampered), "signature_invalid"),
        (
            "/",
            bearer(&good().signed_by(Key::beta()).header("kid", "alpha").compact()),
            "signature_invalid",
        ),
        ("/claim", bearer(&good().compact()), "claim_mismatch"),
        ("/scope", bearer(&good().compact()), "scope_insufficient"),
    ] {
        let headers = [(":method", "GET"), (":path", path), ("authorization", &authorization)];
        let verdict = sim.send(1, &headers);
        assert_eq!(sim.code_of(1, verdict), expected);
        if matches!(expected, "key_unknown" | "signature_invalid") {
            // Until the next key may be looked for as thoroughly.
            sim.run(Duration::from_secs(10), Sim::answer_again);
        }
    }
}

#[test]
fn a_provider_that_the_rule_does_not_take_is_forbidden() {
    let mut document = config(json!({}), json!({"rules": [{"providers": ["other"]}]}));
    let other = json!({"name": "other", "issuer": "https://other", "jwksUri": "https://other/k"});
    document["providers"].as_array_mut().unwrap().push(other);
    let mut sim = Sim::new(&document);

    assert_eq!(sim.decide(&token().compact()), "provider_not_allowed");
}

#[test]
fn a_provider_accepts_tokens_only_from_its_own_locations() {
    let mut document = config(json!({"fromHeaders": [{"name": "X-Jwt"}]}), json!({}));
    let other = json!({"name": "other", "issuer": "https://other", "jwksUri": "https://other/k"});
    document["providers"].as_array_mut().unwrap().push(other);
    let mut sim = Sim::new(&document);
    sim.publish(&[Key::alpha()]);

    assert_eq!(sim.decide(&token().compact()), "issuer_unknown");
    let there = sim.send(1, &[(":path", "/"), ("x-jwt", &token().compact())]).unwrap();
    assert_eq!(there.code(), "allowed");
}

#[test]
fn identity_is_set_and_token_and_forgeries_are_removed() {
    let mut sim = warm(outputs(), json!({}));
    let token = token().without_claim("tenant").compact();

    let verdict = sim
        .send(
            1,
            &[
                (":path", "/"),
                ("x-user-id", "admin"),
                ("X_User_Id", "admin"),
                ("x-tenant", "evil"),
                ("x-user-id-extra", "kept"),
                ("authorization", &format!("bearer {token}")),
            ],
        )
        .unwrap();

    assert!(matches!(verdict, Verdict::Allow(_)));
    assert_eq!(
        edits(&verdict),
        [
            removed("x-user-id"),
            removed("X_User_Id"),
            removed("x-tenant"),
            removed("authorization"),
            set("x-jwt-payload", token.split('.').nth(1).unwrap()),
            set("x-user-id", "user-4711"),
            set("x-tenant", "default"),
        ]
    );
}

#[test]
fn the_original_token_is_forwarded_on_request_but_no_other_is() {
    let mut sim = warm(
        json!({
            "forwardOriginalToken": true,
            "fromHeaders": [{"name": "Authorization", "prefix": "Bearer "}],
            "fromCookies": ["at"],
            "fromParams": ["at"],
        }),
        json!({}),
    );

    let verdict = sim
        .send(
            1,
            &[
                (":path", "/a?x=1&at=unverified"),
                ("cookie", "a=b; at=unverified"),
                ("authorization", &format!("Bearer {}", token().compact())),
            ],
        )
        .unwrap();

    assert_eq!(verdict.code(), "allowed");
    assert_eq!(edits(&verdict), [set("cookie", "a=b"), set(":path", "/a?x=1")]);
}

#[test]
fn public_paths_keep_the_token_and_lose_the_forgeries() {
    let mut sim = warm(
        outputs(),
        json!({"rules": [{"match": {"paths": ["/public/**"]}, "access": "public"}]}),
    );
    let headers = [
        (":path", "/public/x"),
        ("x-user-id", "admin"),
        ("authorization", "Bearer not-even-a-token"),
    ];

    let verdict = sim.send(1, &headers).unwrap();

    assert_eq!((verdict.code(), edits(&verdict)), ("public", vec![removed("x-user-id")]));
}

#[test]
fn ambiguous_paths_never_loosen_access() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"paths": ["/admin/**"]}, "scopes": ["admin:write"]},
            {"match": {"paths": ["/public/**"]}, "access": "public"},
            {"match": {"paths": ["/maybe/**"]}, "access": "optional"},
            {"match": {"hosts": ["open.example.com"]}, "access": "public"},
        ]}),
    );
    let mut code = |path: &str| {
        let headers = [(":path", path), (":authority", "open.example.com")];
        sim.send(1, &headers).unwrap().code()
    };

    for path in ["/public/x", "/public/./x", "/public//x", "/public/y/../x", "/maybe", "/other"] {
        assert_eq!(code(path), "public", "{path}");
    }
    // In each reading by another rule.
    for path in ["/x/../public/", "//public/admin", "/maybe/../public/x"] {
        assert_eq!(code(path), "public", "{path}");
    }
    for path in ["/admin", "/public/../admin/x", "/public/%2e%2e/admin", "//admin//x"] {
        assert_eq!(code(path), "token_missing", "{path}");
    }
    // Public in one reading only, or of no certain meaning at all.
    for path in [
        "/admin/../public/x",
        "/admin//../public/x",
        "/public/../admin//../public/x",
        "/public/%2F",
        "/public/%5cx",
        "/public\\x",
        "/public;x/y",
        "/public/%00",
        "/public/%252e%252e/admin",
        "/public/%c0%ae%c0%ae/admin",
        "/maybe/%2e%2e%2fadmin",
        "/admin%2Fx",
        "public",
        "",
    ] {
        assert_eq!(code(path), "token_missing", "{path}");
    }
}

/// To read it would cost too much.
#[test]
fn a_path_of_more_than_16_kb_must_meet_every_rule() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"paths": ["/public/**"]}, "access": "public"},
            {"match": {"paths": ["/admin/**"], "methods": ["DELETE"]}, "scopes": ["admin:write"]},
            {"match": {"paths": ["/users/**"]}, "scopes": ["users:read"]},
        ]}),
    );
    let bearer = format!("Bearer {}", token().compact());
    let mut code = |method: &str, bytes: usize, authorization: &str| {
        let path = format!("/public/{}", "x".repeat(bytes - 8));
        let headers = [(":method", method), (":path", &path), ("authorization", authorization)];
        sim.send(1, &headers).unwrap().code()
    };

    assert_eq!(code("GET", 16 * 1024, ""), "public");
    assert_eq!(code("GET", 16 * 1024 + 1, ""), "token_missing");
    assert_eq!(code("GET", 16 * 1024 + 1, &bearer), "allowed");
    assert_eq!(code("DELETE", 16 * 1024 + 1, &bearer), "scope_insufficient");
}

#[test]
fn no_spelling_of_a_path_escapes_what_its_rule_asks_for() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"paths": ["/users/**"]}, "scopes": ["users:read"]},
            {"match": {"paths": ["/admin/**"]}, "scopes": ["admin:write"]},
            {"match": {"hosts": ["admin.example.com"]}, "claims": {"tenant": ["admin"]}},
        ]}),
    );
    let bearer = format!("Bearer {}", token().compact());
    let mut code = |host: &str, path: &str| {
        let headers = [(":path", path), (":authority", host), ("authorization", &bearer)];
        let verdict = sim.send(1, &headers);
        sim.code_of(1, verdict)
    };

    for path in ["/users/7", "/other", "/administration", "/users/%2e/7"] {
        assert_eq!(code("a", path), "allowed", "{path}");
    }
    for path in [
        "/admin/users",
        "/admin;x/users",
        "/admin%2Fusers",
        "/admin%5Cusers",
        "/admin\\users",
        "/admin%252Fusers",
        "/%2Fadmin/users",
        "/x%2F..%2Fadmin/users",
        "/;/admin/users",
        "/x/..;/admin/users",
        "//admin/users",
        "/x/../admin/users",
        "/admin/../users/7",
        "/users/..%2Fadmin/x",
        "/admin%00/x",
    ] {
        assert_eq!(code("a", path), "scope_insufficient", "{path}");
    }
    for host in ["admin.example.com", "ADMIN.example.com.", "admin.example.com.:443"] {
        assert_eq!(code(host, "/"), "claim_mismatch", "{host}");
    }
}

/// Envoy compares ports, and the dot of the DNS root, when it chooses a virtual host, unless it is told
/// not to; so either may lead to the host that is named, or elsewhere.
#[test]
fn a_host_that_may_be_another_is_never_let_through() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"hosts": ["open.example.com", "any.example.com:*"]}, "access": "public"},
            {"match": {"hosts": ["one.example.com:8443"]}, "access": "public"},
        ]}),
    );
    let mut code = |host| sim.send(1, &[(":path", "/"), (":authority", host)]).unwrap().code();

    for host in ["Open.example.com", "any.example.com", "any.example.com:1", "one.example.com:8443"]
    {
        assert_eq!(code(host), "public", "{host}");
    }
    for host in [
        "open.example.com:80",
        "open.example.com:1234",
        "open.example.com:",
        "open.example.com:99999999",
        "open.example.com:x",
        "open.example.com.",
        "open.example.com.:80",
        "one.example.com",
        "one.example.com:8444",
        "",
    ] {
        assert_eq!(code(host), "token_missing", "{host}");
    }
}

#[test]
fn a_port_that_nobody_knows_escapes_no_rule_and_loosens_nothing() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"ports": [9090]}, "access": "public"},
            {"match": {"ports": [8080], "paths": ["/admin/**"]}, "scopes": ["admin:write"]},
            {"match": {"ports": [8443, 8444]}, "claims": {"tenant": ["admin"]}},
            {"match": {"paths": ["/public/**"]}, "access": "public"},
        ]}),
    );
    let bearer = format!("Bearer {}", token().compact());
    let too_long = format!("/public/{}", "x".repeat(17_000));
    for (port, path, without_a_token, with_one) in [
        (Some(9090), "/admin/x", "public", "public"),
        (Some(8080), "/admin/x", "token_missing", "scope_insufficient"),
        (Some(8080), "/x", "token_missing", "allowed"),
        (Some(8080), "/public/x", "public", "public"),
        (Some(8444), "/x", "token_missing", "claim_mismatch"),
        (Some(8444), "/public/x", "token_missing", "claim_mismatch"),
        (Some(80), "/admin/x", "token_missing", "allowed"),
        (Some(80), "/public/x", "public", "public"),
        (Some(80), &too_long, "token_missing", "allowed"),
        (Some(8080), &too_long, "token_missing", "scope_insufficient"),
        (None, "/x", "token_missing", "claim_mismatch"),
        (None, "/public/x", "token_missing", "claim_mismatch"),
        (None, "/admin/x", "token_missing", "scope_insufficient"),
        (None, &too_long, "token_missing", "scope_insufficient"),
    ] {
        sim.port = port;
        let mut code = |authorization| {
            let headers = [(":method", "GET"), (":path", path), ("authorization", authorization)];
            sim.send(1, &headers).unwrap().code()
        };
        let path = path.get(..20).unwrap_or(path);
        assert_eq!(code(""), without_a_token, "{port:?} {path}");
        assert_eq!(code(&bearer), with_one, "{port:?} {path}");
    }
}

#[test]
fn a_port_that_nobody_knows_is_public_where_every_port_is() {
    let rules = json!([
        {"match": {"ports": [9090]}, "access": "public"},
        {"match": {"paths": ["/public/**"]}, "access": "public"},
    ]);
    let mut sim = warm(json!({}), json!({"rules": rules}));
    let mut code = |path| sim.send(1, &[(":method", "GET"), (":path", path)]).unwrap().code();

    assert_eq!(code("/public/x"), "public");
    assert_eq!(code("/x"), "token_missing");
}

/// Servers fold methods, run a GET for a HEAD, see one behind an upgrade, and take them from headers.
#[test]
fn no_spelling_of_a_method_escapes_what_its_rule_asks_for() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"methods": ["DELETE"]}, "scopes": ["admin:write"]},
            {"match": {"methods": ["GET"], "paths": ["/ws"]}, "claims": {"tenant": ["admin"]}},
            {"match": {"methods": ["PUT"]}, "access": "public"},
        ]}),
    );
    let bearer = format!("Bearer {}", token().compact());
    let mut code = |method: &str, path: &str, more: Option<(&str, &str)>| {
        let headers = [(":method", method), (":path", path), ("authorization", &bearer)];
        let headers: Vec<_> = headers.into_iter().chain(more).collect();
        sim.send(1, &headers).unwrap().code()
    };

    assert_eq!(code("POST", "/", None), "allowed");
    assert_eq!(code("PUT", "/", None), "public");
    assert_eq!(code("PUT", "/ws", Some(("upgrade", "websocket"))), "claim_mismatch");
    assert_eq!(code("put", "/", None), "allowed");
    for method in ["DELETE", "delete", "Delete"] {
        assert_eq!(code(method, "/", None), "scope_insufficient", "{method}");
    }
    for name in ["x-http-method-override", "x-http-method", "x-method-override", "x_http_method"] {
        for method in ["PUT", "POST"] {
            let code = code(method, "/", Some((name, "delete")));
            assert_eq!(code, "scope_insufficient", "{method} {name}");
        }
    }
    for (method, name) in [("POST", "upgrade"), ("HEAD", "x"), ("CONNECT", ":protocol")] {
        let code = code(method, "/ws", Some((name, "websocket")));
        assert_eq!(code, "claim_mismatch", "{method} {name}");
    }
}

#[test]
fn what_every_reading_lets_through_is_let_through() {
    let mut sim = warm(
        json!({}),
        json!({"rules": [
            {"match": {"hosts": ["a.example.com"]}, "access": "public"},
            {"match": {"hosts": ["a.example.com:8443"]}, "access": "public"},
            {"match": {"hosts": ["b.example.com"]}, "access": "public"},
            {"match": {"hosts": ["b.example.com:8443"]}, "access": "optional", "scopes": ["x"]},
            {"match": {"methods": ["GET"], "paths": ["/h"]}, "access": "public"},
            {"match": {"methods": ["GET", "HEAD"], "paths": ["/h"]}, "access": "optional"},
        ]}),
    );
    let bearer = format!("Bearer {}", token().compact());
    let mut code = |method: &str, host: &str, path: &str, authorization: &str| {
        let headers = [
            (":method", method),
            (":authority", host),
            (":path", path),
            ("authorization", authorization),
        ];
        sim.send(1, &headers).unwrap().code()
    };

    assert_eq!(code("GET", "a.example.com:8443", "/", "Bearer x"), "public");
    assert_eq!(code("GET", "b.example.com:8443", "/", ""), "public");
    assert_eq!(code("GET", "b.example.com:8443", "/", "Bearer x"), "token_malformed");
    assert_eq!(code("GET", "b.example.com:8443", "/", &bearer), "scope_insufficient");
    assert_eq!(code("GET", "b.example.com", "/", "Bearer x"), "public");
    assert_eq!(code("HEAD", "c", "/h", ""), "public");
    assert_eq!(code("HEAD", "c", "/h", "Bearer x"), "token_malformed");
}

#[test]
fn a_guarded_path_is_guarded_with_a_slash_at_its_end_and_in_capitals_if_asked() {
    let rules = json!([
        {"match": {"paths": ["/exact", "/users/*/keys/"]}, "scopes": ["admin:write"]},
        {"match": {"paths": ["/admin/**"]}, "scopes": ["admin:write"]},
        {"match": {"paths": ["/open", "/Help/**"]}, "access": "public"},
    ]);
    let bearer = format!("Bearer {}", token().compact());
    let code = |sim: &mut Sim, path: &str| {
        sim.send(1, &[(":path", path), ("authorization", &bearer)]).unwrap().code()
    };
    let mut sim = warm(json!({}), json!({"rules": rules}));
    for path in ["/exact", "/exact/", "/exact%2f", "/exact//", "/users/7/keys", "/users/7/keys/"] {
        assert_eq!(code(&mut sim, path), "scope_insufficient", "{path}");
    }
    for (path, expected) in [
        ("/open", "public"),
        ("/open/", "allowed"),
        ("/exact/x", "allowed"),
        ("/ADMIN/x", "allowed"),
        ("/help/x", "allowed"),
    ] {
        assert_eq!(code(&mut sim, path), expected, "{path}");
    }

    let mut sim = warm(json!({}), json!({"rules": rules, "caseInsensitivePaths": true}));
    for path in ["/ADMIN/x", "/Exact/", "/Users/7/Keys", "/x%252F..%2541dmin%2541/../Admin/"] {
        assert_eq!(code(&mut sim, path), "scope_insufficient", "{path}");
    }
    for path in ["/OPEN", "/hElp/x"] {
        assert_eq!(code(&mut sim, path), "public", "{path}");
    }
}

#[test]
fn optional_takes_no_token_but_no_bad_one() {
    let mut sim = warm(outputs(), json!({"rules": [{"access": "optional"}]}));

    let verdict = sim.send(1, &[(":path", "/"), ("x-user-id", "admin")]).unwrap();
    assert_eq!((verdict.code(), edits(&verdict)), ("public", vec![removed("x-user-id")]));
    assert_eq!(sim.decide("x.y.z"), "token_malformed");
    assert_eq!(sim.decide(&token().compact()), "allowed");
}

#[test]
fn optional_lets_no_unverified_token_through_wherever_it_is() {
    let mut document =
        config(json!({}), json!({"rules": [{"access": "optional", "providers": ["wealist"]}]}));
    let other = json!({"name": "other", "issuer": "https://other", "jwksUri": "https://other/k",
        "fromHeaders": [{"name": "X-Other"}], "fromParams": ["at"]});
    document["providers"].as_array_mut().unwrap().push(other);
    let mut sim = Sim::new(&document);
    let mut code = |name, value| sim.send(1, &[(":path", "/"), (name, value)]).unwrap().code();

    assert_eq!(code("x-other", "a.b.c"), "token_malformed");
    assert_eq!(code("authorization", "Bearer\ta.b.c"), "token_malformed");
    assert_eq!(code("authorization", "bearer,a.b.c"), "multiple_tokens");
    assert_eq!(code("authorization", "Basic dXNlcg=="), "public");
}

/// What lax servers take for a token, and the filter for none.
#[test]
fn what_may_be_a_token_goes_with_a_request_that_has_none() {
    let config = config(
        json!({"fromHeaders": [{"name": "Authorization", "prefix": "Bearer "}],
            "fromCookies": ["at"], "fromParams": ["at"]}),
        json!({"rules": [{"access": "optional"}]}),
    );
    let mut sim = Sim::new(&config);
    let good = token().compact();
    sim.publish(&[Key::alpha()]);

    for (name, value) in [
        ("authorization", "JWT e.e.e"),
        ("authorization", "e.e"),
        ("cookie", "AT=e.e"),
        ("cookie", "%61t=e.e"),
    ] {
        let verdict = sim.send(1, &[(":path", "/"), (name, value)]).unwrap();
        assert_eq!((verdict.code(), edits(&verdict)), ("public", vec![removed(name)]), "{value}");

        let path = format!("/?at={good}");
        let beside = sim.send(1, &[(":path", &path), (name, value)]).unwrap();
        let expected = [removed(name), set(":path", "/")];
        assert_eq!((beside.code(), edits(&beside)), ("allowed", expected.to_vec()), "{value}");
    }
    let verdict = sim.send(1, &[(":path", "/a?AT=e.e&b=1")]).unwrap();
    assert_eq!((verdict.code(), edits(&verdict)), ("public", vec![set(":path", "/a?b=1")]));
    for value in ["Bearer\u{a0}e.e.e", "\u{feff}Bearer e.e.e", "Bearer\u{3000}e.e.e"] {
        let verdict = sim.send(1, &[(":path", "/"), ("authorization", value)]).unwrap();
        assert_eq!(verdict.code(), "token_malformed", "{value}");
    }
}

#[test]
fn no_next_proxy_is_told_to_drop_what_the_filter_says() {
    let mut sim = warm(outputs(), json!({"rules": [{"access": "optional"}]}));
    let mut connection = |value| {
        let headers = [(":path", "/"), ("upgrade", "websocket"), ("connection", value)];
        let verdict = sim.send(1, &headers).unwrap();
        edits(&verdict)
    };

    assert_eq!(connection("Upgrade"), []);
    assert_eq!(connection("Upgrade, X-User-Id"), [set("connection", "Upgrade")]);
    assert_eq!(connection("x_user-id ,upgrade,authorization"), [set("connection", "upgrade")]);
    assert_eq!(connection("X-Tenant"), [removed("connection")]);
}

#[test]
fn preflights_pass_unless_switched_off() {
    let preflight = [
        (":method", "OPTIONS"),
        (":path", "/"),
        ("origin", "https://app"),
        ("access-control-request-method", "POST"),
        ("x-user-id", "admin"),
    ];

    let verdict = warm(outputs(), json!({})).send(1, &preflight).unwrap();
    assert_eq!((verdict.code(), edits(&verdict)), ("cors_preflight", vec![removed("x-user-id")]));
    let mut strict = warm(outputs(), json!({"bypassCorsPreflight": false}));
    assert_eq!(strict.send(1, &preflight).unwrap().code(), "token_missing");
    let plain_options = warm(outputs(), json!({})).send(1, &preflight[..3]).unwrap();
    assert_eq!(plain_options.code(), "token_missing");
}

/// A browser adds nothing to a preflight that has a server do something.
#[test]
fn only_what_a_browser_sends_is_a_preflight() {
    let everywhere =
        json!({"fromHeaders": [{"name": "X-Jwt"}], "fromCookies": ["at"], "fromParams": ["at"]});
    let mut sim = warm(everywhere, json!({}));
    let preflight = [
        (":method", "OPTIONS"),
        (":path", "/?at=e.e.e&x=1"),
        ("origin", "https://app"),
        ("access-control-request-method", "POST"),
    ];
    let mut send = |more: &[(&str, &str)]| sim.send(1, &[&preflight[..], more].concat()).unwrap();

    let verdict = send(&[("x-jwt", "e.e.e"), ("cookie", "at=e.e.e; a=1")]);
    assert_eq!(verdict.code(), "cors_preflight");
    assert_eq!(edits(&verdict), [removed("x-jwt"), set("cookie", "a=1"), set(":path", "/?x=1")]);
    for more in [
        ("upgrade", "websocket"),
        (":protocol", "websocket"),
        ("authorization", "Basic x"),
        ("x-http-method-override", "DELETE"),
    ] {
        assert_ne!(send(&[more]).code(), "cors_preflight", "{more:?}");
    }
}

#[test]
fn report_mode_denies_nothing_and_leaves_tokens_to_the_upstream() {
    let mut sim = warm(outputs(), json!({"mode": "report"}));
    let send = |sim: &mut Sim, token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [(":path", "/"), ("x-user-id", "admin"), ("authorization", bearer.as_str())];
        sim.send(1, &headers).unwrap()
    };

    let denied = send(&mut sim, &token().claim("exp", 1).compact());
    assert!(matches!(denied, Verdict::Pass(_)));
    assert_eq!((denied.code(), edits(&denied)), ("token_expired", vec![removed("x-user-id")]));
    let good = token().compact();
    let allowed = send(&mut sim, &good);
    assert!(matches!(allowed, Verdict::Allow(_)));
    assert!(!edits(&allowed).contains(&removed("authorization")));
    assert!(edits(&allowed).contains(&set("x-user-id", "user-4711")));
}

#[test]
fn nothing_that_is_printed_holds_a_part_of_a_token() {
    let mut sim = warm(outputs(), json!({"rules": [{"scopes": ["nobody-has-this"]}]}));
    let tokens = [
        token().compact(),
        token().claim("exp", 1).compact(),
        token().claim("iss", "https://evil").compact(),
        token().signed_by(Key::beta()).compact(),
        sign_parts(
            r#"{"alg":"RS256","kid":"alpha"}"#,
            r#"{"iss":7,"sub":"user-4711"}"#,
            Key::alpha(),
        ),
        "secret-token".to_owned(),
    ];

    let mut denied = BTreeSet::new();
    for token in &tokens {
        denied.insert(sim.decide(token));
    }

    assert!(denied.len() > 4, "{denied:?}");
    for token in &tokens {
        for part in token.split('.') {
            assert!(!sim.world.printed.contains(part), "{part}");
        }
    }
    for claim in ["user-4711", "acme", "users:read", "https://evil"] {
        assert!(!sim.world.printed.contains(claim), "{claim}");
    }
    assert!(sim.world.printed.contains(Reason::TokenExpired.code()));
    assert!(!ISSUER.is_empty());
}
