//! Istio's RequestAuthentication and AuthorizationPolicy. Of the source, `jwt_authn` and RBAC filters
//! stand as istiod makes them (istio.io: "JWTRule", "Authorization Policy"; the requirements of several
//! issuers as in `pilot/pkg/security/authn`).

use serde_json::{Value, json};

use lab::http::Request;
use lab::token::{AUDIENCE, ISSUER, Key, Token, now};

use super::{Converted, Pair, convert, differ, same, wasm_filter};

#[test]
fn a_request_authentication_alone_refuses_bad_tokens_only() {
    let source = json!([request_authentication(json!([
        {
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "jwksUri": JWKS_URI,
            "fromHeaders": [
                { "name": "Authorization", "prefix": "Bearer " },
                { "name": "X-Token" },
            ],
            "fromCookies": ["session"],
            "fromParams": ["token"],
            "forwardOriginalToken": true,
            "outputPayloadToHeader": "x-payload",
            "outputClaimToHeaders": [{ "header": "x-user-id", "claim": "sub" }],
            "spaceDelimitedClaims": ["groups"],
            "timeout": "2s",
        },
        {
            "issuer": "https://other.example",
            "jwks": json!({ "keys": [Key::beta().jwk()] }).to_string(),
        },
    ]))]);
    let (pair, converted) = start(&source, &[]);
    assert_eq!(converted.lost, [""; 0]);
    let good = Token::good;
    let bearer = |token: &Token| Request::get("/").bearer(&token.compact());
    let other = || good().claim("iss", "https://other.example").signed_by(Key::beta());

    pair.compare(vec![
        same(200, "no token", Request::get("/")),
        same(200, "a good token, which stays", bearer(&good())),
        same(
            200,
            "headers that the filter sets",
            Request::get("/").header("x-user-id", "admin").header("x-payload", "e30"),
        ),
        same(200, "a token of the other issuer", bearer(&other().claim("aud", "any"))),
        same(401, "an issuer that is not known", bearer(&good().claim("iss", "https://evil"))),
        same(401, "a key of the other issuer", bearer(&good().signed_by(Key::beta()))),
        same(200, "no exp", bearer(&good().without_claim("exp"))),
        same(200, "the skew of Istio", bearer(&good().claim("exp", now() - 45))),
        same(401, "after the skew", bearer(&good().claim("exp", now() - 90))),
        same(200, "another header", Request::get("/").header("X-Token", &good().compact())),
        same(
            200,
            "a cookie",
            Request::get("/").header("Cookie", &format!("session={}", good().compact())),
        ),
        same(200, "a parameter", Request::get(&format!("/?token={}", good().compact()))),
        same(200, "a preflight", preflight("/")),
        differ(
            (403, 401),
            "another audience",
            bearer(&good().claim("aud", "another")),
            "RFC 6750: the token is not good here",
        ),
        differ(
            (200, 200),
            "a header that a server may take for one that the filter sets",
            Request::get("/").header("x_user_id", "admin"),
            "it is removed as well",
        ),
    ]);
}

#[test]
fn allow_policies_let_the_same_requests_in() {
    let source = json!([
        request_authentication(jwt_rules()),
        policy(
            "allow",
            "ALLOW",
            json!([
                { "to": [{ "operation": { "paths": ["/healthz", "/public/*"], "methods": ["GET"] } }] },
                {
                    "from": [{ "source": { "requestPrincipals": ["*"] } }],
                    "to": [{ "operation": { "paths": ["/orders", "/orders/*"] } }],
                },
                {
                    "from": [{ "source": { "requestPrincipals": ["*"] } }],
                    "to": [{ "operation": { "paths": ["/admin/*"] } }],
                    "when": [{ "key": "request.auth.claims[roles]", "values": ["admin", "owner"] }],
                },
                {
                    "from": [{ "source": { "requestPrincipals": [format!("{ISSUER}/user-4711")] } }],
                    "to": [{ "operation": { "paths": ["/mine"] } }],
                },
                {
                    "to": [{ "operation": { "hosts": ["api.example.com"], "paths": ["/audience"] } }],
                    "when": [{ "key": "request.auth.audiences", "values": ["other"] }],
                },
            ])
        ),
    ]);
    let (pair, converted) = start(&source, &[]);
    assert_eq!(converted.lost, [""; 0]);
    let good = Token::good;
    let with = |path: &str, token: Token| Request::get(path).bearer(&token.compact());
    let admin = || good().claim("roles", json!(["user", "admin"]));
    let expired = || good().claim("exp", now() - 900);

    pair.compare(vec![
        same(200, "public", Request::get("/healthz")),
        same(200, "below public", Request::get("/public/a/b")),
        same(200, "public, with a good token", with("/healthz", good())),
        same(401, "public, with a bad token", with("/healthz", expired())),
        same(200, "a token", with("/orders/1", good())),
        same(200, "a claim", with("/admin/x", admin())),
        same(200, "the other value", with("/admin/x", good().claim("roles", "owner"))),
        same(403, "another value", with("/admin/x", good().claim("roles", json!(["user"])))),
        same(403, "no such claim", with("/admin/x", good())),
        same(200, "a subject", with("/mine", good())),
        same(403, "another subject", with("/mine", good().claim("sub", "user-1"))),
        same(
            200,
            "an audience",
            with("/audience", good().claim("aud", json!([AUDIENCE, "other"]))),
        ),
        same(403, "not for anybody", with("/elsewhere", admin())),
        differ((403, 401), "a preflight where a token is needed", preflight("/orders"), "as below"),
        same(403, "a neighbour of a path", with("/admins", admin())),
        same(403, "the path without what is below it", with("/admin", admin())),
        differ(
            (403, 401),
            "no token where one is needed",
            Request::get("/orders/1"),
            "the filter asks for one, and says so",
        ),
        differ(
            (403, 401),
            "public for another method",
            Request::new("POST", "/healthz"),
            "the filter asks for a token first",
        ),
        differ((403, 401), "nowhere, without a token", Request::get("/elsewhere"), "as above"),
        differ(
            (403, 401),
            "another audience",
            with("/audience", good()),
            "RFC 6750: the token is not good here",
        ),
        differ(
            (403, 401),
            "the same host with a port",
            with("/audience", good()).host("api.example.com:1"),
            "what may be routed to that host is held to its rules, and Istio refuses the rest",
        ),
        differ(
            (403, 200),
            "a token without a subject",
            with("/orders/1", good().without_claim("sub")),
            "Istio's principal is of iss and sub",
        ),
    ]);
}

#[test]
fn deny_policies_for_want_of_a_token_refuse_the_same_requests() {
    let source = json!([
        request_authentication(jwt_rules()),
        policy(
            "deny",
            "DENY",
            json!([{
                "from": [{ "source": { "notRequestPrincipals": ["*"] } }],
                "to": [{ "operation": { "notPaths": ["/healthz", "/public/*"] } }],
            }])
        ),
    ]);
    let (pair, converted) = start(&source, &[]);
    assert_eq!(converted.lost, [""; 0]);
    assert_eq!(converted.policies, [Value::Null; 0], "nothing of the policy is left");
    let good = || Token::good().compact();

    pair.compare(vec![
        same(200, "exempt", Request::get("/healthz")),
        same(200, "below exempt", Request::get("/public/x")),
        same(401, "exempt, with a bad token", Request::get("/healthz").bearer("a.b.c")),
        same(200, "a token", Request::get("/x").bearer(&good())),
        differ((403, 401), "no token", Request::get("/x"), "the filter asks for one"),
        differ((403, 401), "a preflight", preflight("/x"), "as above"),
        differ((403, 401), "beside exempt", Request::get("/healthz/x"), "as above"),
    ]);
}

#[test]
fn what_stays_with_istio_is_listed_and_lets_nothing_in() {
    let source = json!([
        request_authentication(jwt_rules()),
        policy(
            "allow",
            "ALLOW",
            json!([
                {
                    "from": [{ "source": { "requestPrincipals": ["*"], "ipBlocks": ["127.0.0.1"] } }],
                    "to": [{ "operation": { "paths": ["/ip"] } }],
                },
                {
                    "from": [{ "source": { "requestPrincipals": ["*"] } }],
                    "to": [{ "operation": { "paths": ["/wild*"] } }],
                    "when": [{ "key": "request.auth.claims[roles]", "values": ["admin"] }],
                },
                {
                    "from": [{ "source": { "requestPrincipals": ["*"] } }],
                    "to": [{ "operation": { "paths": ["/orders"] } }],
                },
            ])
        ),
        policy(
            "deny",
            "DENY",
            json!([{
                "from": [{ "source": { "requestPrincipals": [format!("{ISSUER}/blocked")] } }],
            }])
        ),
    ]);
    let (pair, converted) = start(&source, &[]);
    assert_eq!(
        converted.lost,
        [
            "looser items[2].spec.rules[0]",
            "stricter items[1].spec.rules[0].from[0].source.ipBlocks",
            "stricter items[1].spec.rules[1]",
        ]
    );
    let with = |path: &str, token: Token| Request::get(path).bearer(&token.compact());
    let good = Token::good;

    pair.compare(vec![
        same(200, "what moved", with("/orders", good())),
        differ((200, 403), "by address, and with a token", with("/ip", good()), "it stays"),
        differ(
            (200, 403),
            "by a pattern that is not of segments",
            with("/wildest", good().claim("roles", "admin")),
            "it stays",
        ),
        differ(
            (403, 200),
            "a subject that is blocked",
            with("/orders", good().claim("sub", "blocked")),
            "listed as looser",
        ),
    ]);
}

fn preflight(path: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("Origin", "https://app.example.com")
        .header("Access-Control-Request-Method", "GET")
}

/// The only issuer.
fn jwt_rules() -> Value {
    json!([{ "issuer": ISSUER, "audiences": [AUDIENCE], "jwksUri": JWKS_URI }])
}

fn request_authentication(jwt_rules: Value) -> Value {
    resource("RequestAuthentication", "tokens", json!({ "jwtRules": jwt_rules }))
}

fn policy(name: &str, action: &str, rules: Value) -> Value {
    resource("AuthorizationPolicy", name, json!({ "action": action, "rules": rules }))
}

fn resource(kind: &str, name: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({ "matchLabels": { "app": "shop" } });
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": { "name": name, "namespace": "shop" },
        "spec": spec,
    })
}

/// Runs what istiod makes of the resources beside what it makes of the converted ones.
fn start(resources: &Value, arguments: &[&str]) -> (Pair, Converted) {
    let all = json!({ "apiVersion": "v1", "kind": "List", "items": resources });
    let converted = convert(&all.to_string(), arguments);
    let [plugin] = converted.manifests.as_slice() else { panic!("one manifest") };
    let policies = &converted.policies;
    assert_eq!(plugin["kind"], "WasmPlugin");
    assert_eq!(plugin["metadata"], resources[0]["metadata"]);
    assert_eq!(plugin["spec"]["selector"], resources[0]["spec"]["selector"]);
    let (authentication, sources) = list(resources).split_first().expect("resources");
    // A policy of the source counts until its namesake replaces it, or until it has moved whole.
    let changed = |source: &&Value| {
        policies.iter().all(|policy| policy["metadata"]["name"] != source["metadata"]["name"])
            && !converted.steps.iter().any(|step| {
                let name = text(&source["metadata"]["name"]);
                *step == format!("delete the AuthorizationPolicy shop/{name}")
            })
    };
    let left: Vec<_> = sources.iter().filter(changed).chain(policies).cloned().collect();

    let mut filters = vec![jwt_authn(&authentication["spec"]["jwtRules"])];
    filters.extend(rbac(sources));
    let mut converted_filters = vec![wasm_filter(&plugin["spec"]["pluginConfig"])];
    converted_filters.extend(rbac(&left));
    (Pair::start(filters, converted_filters), converted)
}

/// What istiod makes of `jwtRules`.
fn jwt_authn(rules: &Value) -> Value {
    let rules = list(rules);
    let provider = |rule: &Value| {
        let keys = match rule.get("jwks") {
            Some(keys) => ("local_jwks", json!({ "inline_string": keys })),
            None => (
                "remote_jwks",
                json!({
                    "http_uri": { "uri": rule["jwksUri"], "cluster": "issuer", "timeout": "5s" },
                    "cache_duration": "300s",
                }),
            ),
        };
        let field = |name: &str| rule.get(name).cloned().unwrap_or_else(|| json!([]));
        let headers = field("fromHeaders");
        let headers = list(&headers).iter().map(|header| {
            json!({ "name": header["name"], "value_prefix": header["prefix"].as_str().unwrap_or("") })
        });
        let outputs = field("outputClaimToHeaders");
        let outputs = list(&outputs).iter().map(
            |output| json!({ "header_name": output["header"], "claim_name": output["claim"] }),
        );
        let mut provider = json!({
            "issuer": rule["issuer"],
            "audiences": field("audiences"),
            "forward": rule["forwardOriginalToken"].as_bool().unwrap_or(false),
            "forward_payload_header": rule["outputPayloadToHeader"].as_str().unwrap_or(""),
            "from_headers": headers.collect::<Vec<_>>(),
            "from_params": field("fromParams"),
            "from_cookies": field("fromCookies"),
            "claim_to_headers": outputs.collect::<Vec<_>>(),
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": { "space_delimited_claims": ["permission", "scope"] },
        });
        provider[keys.0] = keys.1;
        provider
    };
    let providers: serde_json::Map<_, _> = rules
        .iter()
        .enumerate()
        .map(|(index, rule)| (format!("origins-{index}"), provider(rule)))
        .collect();
    let each: Vec<_> = providers.keys().map(|name| json!({ "provider_name": name })).collect();
    let or_missing = |requirement: &Value| json!({ "requires_any": { "requirements": [requirement, { "allow_missing": {} }] } });
    let requires = match each.as_slice() {
        [only] => or_missing(only),
        several => {
            let all: Vec<_> = several.iter().map(or_missing).collect();
            let mut any = several.to_vec();
            any.push(json!({ "requires_all": { "requirements": all } }));
            json!({ "requires_any": { "requirements": any } })
        }
    };
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{ "match": { "prefix": "/" }, "requires": requires }],
            "bypass_cors_preflight": true,
        },
    })
}

/// What istiod makes of policies: DENY first, then ALLOW.
fn rbac(policies: &[Value]) -> Vec<Value> {
    let filter = |action: &str| {
        let of_action = |policy: &&Value| policy["spec"]["action"].as_str() == Some(action);
        let mut all = serde_json::Map::new();
        for policy in policies.iter().filter(of_action) {
            for (index, rule) in list(&policy["spec"]["rules"]).iter().enumerate() {
                let name = format!("{}-{index}", policy["metadata"]["name"]);
                all.insert(
                    name,
                    json!({
                        "permissions": [permission(rule)],
                        "principals": [principal(rule)],
                    }),
                );
            }
        }
        (!all.is_empty()).then(|| {
            json!({
                "name": "envoy.filters.http.rbac",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                    "rules": { "action": action, "policies": all },
                },
            })
        })
    };
    ["DENY", "ALLOW"].into_iter().filter_map(filter).collect()
}

fn permission(rule: &Value) -> Value {
    let Some(to) = rule["to"].as_array() else { return json!({ "any": true }) };
    let operation = |to: &Value| {
        let operation = &to["operation"];
        let path = |path: &str| json!({ "url_path": { "path": string_match(path) } });
        let header = |name: &str, value: &str| json!({ "header": { "name": name, "string_match": string_match(value) } });
        let mut all = Vec::new();
        let mut add = |name: &str, one: &dyn Fn(&str) -> Value| {
            if let Some(values) = operation[name].as_array() {
                let any: Vec<_> = values.iter().map(|value| one(text(value))).collect();
                all.push((name.starts_with("not"), json!({ "or_rules": { "rules": any } })));
            }
        };
        add("paths", &path);
        add("notPaths", &path);
        add("methods", &|method| header(":method", method));
        add("hosts", &|host| header(":authority", host));
        let all: Vec<_> = all
            .into_iter()
            .map(|(is_not, rule)| if is_not { json!({ "not_rule": rule }) } else { rule })
            .collect();
        json!({ "and_rules": { "rules": all } })
    };
    let any: Vec<_> = to.iter().map(operation).collect();
    json!({ "or_rules": { "rules": any } })
}

fn principal(rule: &Value) -> Value {
    let mut all = Vec::new();
    if let Some(from) = rule["from"].as_array() {
        let any: Vec<_> = from.iter().map(|from| source(&from["source"])).collect();
        all.push(json!({ "or_ids": { "ids": any } }));
    }
    for condition in rule["when"].as_array().into_iter().flatten() {
        let key = text(&condition["key"]);
        let claim = match key {
            "request.auth.audiences" => "aud",
            key => {
                let rest = key.strip_prefix("request.auth.claims[").expect("a claim");
                rest.strip_suffix(']').expect("a claim")
            }
        };
        let values = list(&condition["values"]);
        let any: Vec<_> = values
            .iter()
            .flat_map(|value| {
                let one = json!({ "string_match": { "exact": value } });
                [
                    claim_is(claim, &one),
                    claim_is(claim, &json!({ "list_match": { "one_of": one } })),
                ]
            })
            .collect();
        all.push(json!({ "or_ids": { "ids": any } }));
    }
    match all.is_empty() {
        true => json!({ "any": true }),
        false => json!({ "and_ids": { "ids": all } }),
    }
}

fn source(source: &Value) -> Value {
    let request_principal = |text: &str| {
        let any = json!({ "string_match": { "safe_regex": { "regex": ".+" } } });
        let exact = |text: &str| json!({ "string_match": { "exact": text } });
        let (iss, sub) = match text.rsplit_once('/') {
            Some((iss, "*")) => (exact(iss), any),
            Some((iss, sub)) => (exact(iss), exact(sub)),
            None => (any.clone(), any),
        };
        json!({ "and_ids": { "ids": [claim_is("iss", &iss), claim_is("sub", &sub)] } })
    };
    let mut all = Vec::new();
    let values = |name: &str| {
        let values = source[name].as_array()?;
        Some(values.iter().map(|value| text(value).to_owned()).collect::<Vec<_>>())
    };
    let of_tokens = |values: Vec<String>| {
        let any: Vec<_> = values.iter().map(|value| request_principal(value)).collect();
        json!({ "or_ids": { "ids": any } })
    };
    all.extend(values("requestPrincipals").map(of_tokens));
    all.extend(values("notRequestPrincipals").map(|v| json!({ "not_id": of_tokens(v) })));
    all.extend(values("ipBlocks").map(|blocks| {
        let any: Vec<_> = blocks
            .iter()
            .map(|ip| json!({ "direct_remote_ip": { "address_prefix": ip, "prefix_len": 32 } }))
            .collect();
        json!({ "or_ids": { "ids": any } })
    }));
    json!({ "and_ids": { "ids": all } })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// A claim in the metadata that `jwt_authn` writes.
fn claim_is(claim: &str, value: &Value) -> Value {
    json!({ "metadata": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{ "key": "payload" }, { "key": claim }],
        "value": value,
    } })
}

/// `a`, `a*` or `*a`.
fn string_match(text: &str) -> Value {
    match (text.strip_suffix('*'), text.strip_prefix('*')) {
        (Some(prefix), _) => json!({ "prefix": prefix }),
        (_, Some(suffix)) => json!({ "suffix": suffix }),
        _ => json!({ "exact": text }),
    }
}

/// Its cluster is that of Istio for such a host.
const JWKS_URI: &str = "http://auth.example.com/jwks";
