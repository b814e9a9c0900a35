//! Envoy's own filter, field by field.

use serde_json::{Value, json};

use lab::http::Request;
use lab::token::{AUDIENCE, ISSUER, Key, Token, now};

use super::{Pair, convert, differ, printed_filter, same};

#[test]
fn a_provider_with_all_its_fields_takes_the_same_tokens_from_the_same_places() {
    let source = json!({
        "providers": { "main": {
            "issuer": ISSUER,
            "audiences": [AUDIENCE, "other"],
            "clock_skew_seconds": 30,
            "remote_jwks": remote_jwks(),
            "forward": false,
            "from_headers": [
                { "name": "Authorization", "value_prefix": "Bearer " },
                { "name": "X-Token", "value_prefix": "jwt:" },
            ],
            "from_cookies": ["session"],
            "from_params": ["token"],
            "forward_payload_header": "x-payload",
            "claim_to_headers": [
                { "header_name": "x-user-id", "claim_name": "sub" },
                { "header_name": "x-level", "claim_name": "level" },
                { "header_name": "x-nested", "claim_name": "realm.name" },
                { "header_name": "x-groups", "claim_name": "groups" },
            ],
            "normalize_payload_in_metadata": { "space_delimited_claims": ["scope"] },
            "jwt_cache_config": { "jwt_cache_size": 10 },
            "clear_route_cache": true,
        } },
        "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "main" } }],
    });
    let pair = start(&source, &[]);
    let bearer = |token: &Token| Request::get("/").bearer(&token.compact());
    let good = Token::good;
    let compact = good().compact();
    let forged = format!("{}AAAA", compact.strip_suffix(|_| true).unwrap_or(&compact));

    let mut rows = vec![
        same(200, "a good token", bearer(&good())),
        same(
            200,
            "claims of several types",
            bearer(&good().claim("level", 7).claim("realm", json!({ "name": "shop" }))),
        ),
        same(200, "an array of audiences", bearer(&good().claim("aud", json!(["x", "other"])))),
        same(200, "no kid", bearer(&good().without_header("kid"))),
        same(200, "no exp", bearer(&good().without_claim("exp"))),
        same(200, "expired within the skew", bearer(&good().claim("exp", now() - 15))),
        same(401, "expired after the skew", bearer(&good().claim("exp", now() - 60))),
        same(200, "valid soon, within the skew", bearer(&good().claim("nbf", now() + 15))),
        same(401, "valid later", bearer(&good().claim("nbf", now() + 60))),
        same(401, "another issuer", bearer(&good().claim("iss", "https://evil.example"))),
        same(401, "no issuer", bearer(&good().without_claim("iss"))),
        same(401, "another key under a known kid", {
            bearer(&good().signed_by(Key::beta()).header("kid", Key::alpha().name()))
        }),
        same(401, "a kid that is not known", bearer(&good().signed_by(Key::beta()))),
        same(401, "a signature that is cut short", Request::get("/").bearer(&forged)),
        same(401, "no token", Request::get("/")),
        same(401, "what is no token", Request::get("/").bearer("x.y")),
        same(401, "another scheme", Request::get("/").header("Authorization", "Basic eDp5")),
        same(200, "another header", Request::get("/").header("X-Token", &format!("jwt:{compact}"))),
        same(200, "a parameter", Request::get(&format!("/p?a=1&token={compact}"))),
        same(401, "a preflight", preflight()),
        same(
            200,
            "headers that the filter sets",
            bearer(&good()).header("x-user-id", "admin").header("x-payload", "e30"),
        ),
    ];
    rows.extend([
        differ(
            (403, 401),
            "another audience",
            bearer(&good().claim("aud", "another")),
            "RFC 6750: the token is not good here",
        ),
        differ(
            (403, 401),
            "no audience",
            bearer(&good().without_claim("aud")),
            "RFC 6750: the token is not good here",
        ),
        differ(
            (200, 200),
            "a cookie",
            Request::get("/").header("Cookie", &format!("a=1; session={compact}")),
            "the token is removed from the cookie, too",
        ),
        differ(
            (401, 200),
            "a second token that is bad, in a later place",
            bearer(&good()).header("X-Token", "jwt:a.b.c"),
            "the first place counts, and what is in the others is removed",
        ),
        differ(
            (200, 200),
            "a claim that is a list",
            bearer(&good().claim("groups", json!(["a", "b"]))),
            "lists come joined with spaces, not as base64 of JSON",
        ),
        differ(
            (200, 200),
            "a header with an underscore in its name",
            bearer(&good()).header("x_user_id", "admin"),
            "servers may take it for one that the filter sets",
        ),
        differ(
            (200, 401),
            "another typ",
            bearer(&good().header("typ", "secevent+jwt")),
            "tokens for other purposes are refused: tokenTypes",
        ),
        differ(
            (200, 401),
            "a token bound to a key",
            bearer(&good().claim("cnf", json!({ "jkt": "x" }))),
            "nobody proves possession of the key: allowBoundTokens",
        ),
    ]);
    pair.compare(rows);
}

#[test]
fn keys_in_the_configuration_and_limits_on_tokens_are_the_same() {
    let source = json!({
        "providers": { "main": {
            "issuer": ISSUER,
            "local_jwks": { "inline_string": json!({ "keys": [Key::alpha().jwk()] }).to_string() },
            "forward": true,
            "require_expiration": true,
            "subjects": { "exact": "user-4711" },
        }, "short": {
            "issuer": "https://short.example",
            "local_jwks": { "inline_string": json!({ "keys": [Key::beta().jwk()] }).to_string() },
            "max_lifetime": "600s",
        } },
        "rules": [
            { "match": { "prefix": "/short/" }, "requires": { "provider_name": "short" } },
            { "match": { "prefix": "/" }, "requires": { "provider_name": "main" } },
        ],
        "bypass_cors_preflight": true,
    });
    let pair = start(&source, &[]);
    let good = Token::good;
    let bearer = |token: &Token| Request::get("/").bearer(&token.compact());
    let short = |token: Token| {
        let token = token.claim("iss", "https://short.example").signed_by(Key::beta());
        Request::get("/short/x").bearer(&token.compact())
    };

    pair.compare(vec![
        same(200, "a good token, which stays", bearer(&good())),
        same(200, "the default skew", bearer(&good().claim("exp", now() - 45))),
        same(401, "after the default skew", bearer(&good().claim("exp", now() - 90))),
        same(401, "no exp", bearer(&good().without_claim("exp"))),
        same(
            200,
            "the default parameter",
            Request::get(&format!("/?access_token={}", good().compact())),
        ),
        same(200, "a preflight", preflight()),
        same(200, "a short life", short(good())),
        same(401, "no end of life", short(good().without_claim("exp"))),
        same(401, "a long life", short(good().without_claim("iat").claim("exp", now() + 3600))),
        differ(
            (401, 403),
            "another subject",
            bearer(&good().claim("sub", "user-1")),
            "who it is for is a question of rules",
        ),
        differ(
            (401, 403),
            "a good token of the other provider",
            Request::get("/short/x").bearer(&good().compact()),
            "it is good, but not enough here",
        ),
        differ(
            (200, 401),
            "a long life of which little is left",
            short(good().claim("iat", now() - 3600)),
            "maxLifetime counts from iat where there is one",
        ),
    ]);
}

#[test]
fn rules_are_for_the_same_requests() {
    let pair = start(&rules(), &["--whole-segments"]);
    let good = Token::good().compact();
    let with = |request: Request| request.bearer(&good);
    let get = Request::get;
    let other = Token::good().claim("aud", "billing").compact();
    let expired = Token::good().claim("exp", now() - 900).compact();

    pair.compare(vec![
        same(200, "public", get("/health")),
        same(200, "below public", get("/health/live")),
        same(200, "public by path", get("/exact")),
        same(401, "not quite that path", get("/exact/x")),
        same(401, "nor that", get("/exact/")),
        same(401, "guarded", get("/api")),
        same(401, "below guarded", get("/api/x")),
        same(200, "guarded, with a token", with(get("/api/x"))),
        same(401, "guarded, with a query", get("/api?x=/health")),
        same(401, "a bad token where one is needed", get("/api").bearer(&expired)),
        same(200, "optional, without", get("/optional/x")),
        same(200, "optional, with", with(get("/optional/x"))),
        same(401, "optional, with a bad one", get("/optional/x").bearer(&expired)),
        same(200, "by method, another", Request::new("GET", "/orders/1")),
        same(401, "by method", Request::new("POST", "/orders/1")),
        same(401, "by one of several methods", Request::new("DELETE", "/orders/1")),
        same(401, "by host", get("/host").host("admin.example.com")),
        same(401, "by the end of the host", get("/host").host("x.internal.example.com")),
        same(200, "by host, another", get("/host").host("www.example.com")),
        same(401, "by segments", get("/seg")),
        same(401, "below segments", get("/seg/x")),
        same(200, "not by segments", get("/segment")),
        same(401, "by template", get("/tenants/a/users/x")),
        same(200, "not by template", get("/tenants/a/groups/x")),
        same(200, "for another audience", get("/billing").bearer(&other)),
        same(401, "by requirement name", get("/named")),
        same(200, "by requirement name, with", with(get("/named"))),
        same(200, "no rule", get("/unknown")),
        same(200, "no rule, with a token", with(get("/unknown"))),
        differ(
            (403, 401),
            "an audience of the provider where a rule has its own",
            with(get("/billing")),
            "RFC 6750: the token is not good here",
        ),
        differ(
            (200, 401),
            "a path that servers read differently",
            get("/health%2F..%2Fapi"),
            "no public or optional rule is for it",
        ),
        differ(
            (401, 200),
            "a neighbour of a prefix",
            get("/apis"),
            "--whole-segments says that there is none",
        ),
        differ(
            (200, 401),
            "a neighbour of a public prefix",
            get("/healthy").host("admin.example.com"),
            "prefixes are whole segments, and the next rule counts",
        ),
        differ(
            (200, 401),
            "a bad token beside no need for one",
            get("/failed").bearer(&expired),
            "allow_missing_or_failed is not carried over",
        ),
    ]);
}

#[test]
fn what_the_filter_cannot_tell_apart_needs_a_token() {
    let source = json!({
        "providers": { "main": { "issuer": ISSUER, "remote_jwks": remote_jwks() } },
        "rules": [
            { "match": { "prefix": "/health" } },
            { "match": { "prefix": "/v1/api" }, "requires": { "provider_name": "main" } },
            {
                "match": { "safe_regex": { "regex": "/v2/[a-z]+/secret" } },
                "requires": { "provider_name": "main" },
            },
            {
                "match": {
                    "prefix": "/beta/",
                    "query_parameters": [{ "name": "x", "string_match": { "exact": "1" } }],
                },
                "requires": { "provider_name": "main" },
            },
            {
                "match": {
                    "prefix": "/open/",
                    "headers": [{ "name": "x-open", "present_match": true }],
                },
            },
            { "match": { "prefix": "/open/" }, "requires": { "provider_name": "main" } },
        ],
    });
    let pair = start(&source, &[]);
    let get = Request::get;

    pair.compare(vec![
        same(401, "a neighbour of a guarded prefix", get("/v1/apis")),
        same(401, "guarded by a pattern", get("/v2/a/secret")),
        same(401, "guarded by a parameter", get("/beta/a?x=1")),
        same(401, "what another condition would open", get("/open/a")),
        same(200, "elsewhere", get("/v3/a")),
        same(200, "public", get("/health/a")),
        differ((200, 401), "beside the prefix", get("/v1/other"), "it might be a neighbour"),
        differ((200, 401), "beside the pattern", get("/v2/a/b"), "it might match"),
        differ((200, 401), "without the parameter", get("/beta/a"), "it is not looked at"),
        differ(
            (200, 401),
            "opened by a header",
            get("/open/a").header("x-open", "1"),
            "it is not looked at",
        ),
    ]);
}

#[test]
fn what_is_not_carried_over_is_listed() {
    let mut source = rules();
    let provider = &mut source["providers"]["main"];
    provider["payload_in_metadata"] = json!("payload");
    provider["subjects"] = json!({ "prefix": "spiffe://" });
    provider["from_the_future"] = json!({ "a": 1 });
    source["filter_state_rules"] = json!({ "name": "x", "requires": {} });

    let converted = convert(&source.to_string(), &["--whole-segments"]);

    let mut lost = converted.lost;
    lost.sort();
    assert_eq!(
        lost,
        [
            "looser providers.main.subjects",
            "none requirement_map.unused",
            "stricter filter_state_rules",
            "stricter rules[12].requires.requires_any.requirements[1].allow_missing_or_failed",
            "unknown providers.main.from_the_future",
            "unknown providers.main.payload_in_metadata",
        ]
    );
}

fn rules() -> Value {
    let header = |name: &str, how: &str, value: &str| json!({ "prefix": "/", "headers": [{ "name": name, "string_match": { how: value } }] });
    let needs =
        |matched: Value| json!({ "match": matched, "requires": { "provider_name": "main" } });
    let mut by_method = header(":method", "exact", "POST");
    by_method["prefix"] = json!("/orders/");
    let several = json!({
        "prefix": "/orders/",
        "headers": [{ "name": ":method", "string_match": { "safe_regex": { "regex": "PUT|DELETE" } } }],
    });
    let template = json!({ "path_match_policy": {
        "name": "envoy.path.match.uri_template.uri_template_matcher",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
            "path_template": "/tenants/{tenant}/users/**",
        },
    } });
    let any = |other: Value| {
        json!({ "requires_any": {
        "requirements": [{ "provider_name": "main" }, other],
    } })
    };
    json!({
        "providers": { "main": {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "remote_jwks": remote_jwks(),
        } },
        "rules": [
            { "match": { "prefix": "/health" } },
            { "match": { "path": "/exact" } },
            needs(json!({ "prefix": "/exact/" })),
            needs(json!({ "prefix": "/api" })),
            {
                "match": { "prefix": "/optional/" },
                "requires": any(json!({ "allow_missing": {} })),
            },
            needs(by_method),
            needs(several),
            needs(header(":authority", "exact", "admin.example.com")),
            needs(header(":authority", "suffix", ".internal.example.com")),
            needs(json!({ "path_separated_prefix": "/seg" })),
            needs(template),
            {
                "match": { "path": "/billing" },
                "requires": { "provider_and_audiences": {
                    "provider_name": "main",
                    "audiences": ["billing"],
                } },
            },
            {
                "match": { "path": "/failed" },
                "requires": any(json!({ "allow_missing_or_failed": {} })),
            },
            { "match": { "path": "/named" }, "requirement_name": "named" },
        ],
        "requirement_map": {
            "named": { "provider_name": "main" },
            "unused": { "provider_name": "main" },
        },
        "strip_failure_response": true,
    })
}

fn remote_jwks() -> Value {
    json!({
        "http_uri": { "uri": "http://auth.example.com/jwks", "cluster": "issuer", "timeout": "2s" },
        "cache_duration": "300s",
        "async_fetch": { "fast_listener": true, "failed_refetch_duration": "1s" },
        "retry_policy": { "num_retries": 2 },
    })
}

fn preflight() -> Request {
    Request::new("OPTIONS", "/")
        .header("Origin", "https://app.example.com")
        .header("Access-Control-Request-Method", "GET")
}

/// Puts the filter into an envoy.yaml, converts that, and runs what is printed beside it.
fn start(source: &Value, arguments: &[&str]) -> Pair {
    let mut message = source.clone();
    message["@type"] =
        json!("type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");
    let filter = json!({ "name": "envoy.filters.http.jwt_authn", "typed_config": message });
    let bootstrap = json!({ "static_resources": { "listeners": [{ "filter_chains": [{ "filters": [
        { "typed_config": { "http_filters": [filter] } },
    ] }] }] } });
    let converted = convert(&bootstrap.to_string(), arguments);
    let [manifest] = converted.manifests.as_slice() else { panic!("one filter") };
    Pair::start(vec![filter], vec![printed_filter(manifest)])
}
