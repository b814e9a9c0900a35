//! The providers of `docs/issuers.md` take tokens of the shape that their issuers make.

use lab::token::{Key, Token, now};
use mesh_jwt::config::Config;
use mesh_jwt::explain::{Decision, Explainer, Mask};
use mesh_jwt::request::RequestHead;
use mesh_jwt::time::Timestamp;
use serde_json::{Value, json};

use crate::blocks::blocks;

#[test]
fn auth0() {
    let token = shaped(json!({
        "iss": "https://acme.eu.auth0.com/",
        "aud": ["https://api.example.com", "https://acme.eu.auth0.com/userinfo"],
        "azp": "client", "scope": "openid orders:read", "permissions": ["orders:read"],
    }));

    assert_eq!(code("auth0", None, &token.clone().header("typ", "at+jwt")), "allowed");
    let without_slash = token.clone().claim("iss", "https://acme.eu.auth0.com");
    assert_eq!(code("auth0", None, &without_slash), "issuer_unknown");
    assert_eq!(code("auth0", None, &token.header("alg", "HS256")), "alg_not_allowed");
}

#[test]
fn keycloak() {
    let token = shaped(json!({
        "iss": "https://sso.example.com/realms/shop", "aud": ["orders-api", "account"],
        "typ": "Bearer", "azp": "web", "scope": "openid profile",
        "realm_access": {"roles": ["admin", "offline_access"]},
    }));
    let rule = json!({"rules": [{"claims": {"realm_access.roles": ["admin"]}}]});

    assert_eq!(code("keycloak", Some(&rule), &token), "allowed");
    let untold = token.clone().claim("aud", "account");
    assert_eq!(code("keycloak", Some(&rule), &untold), "audience_not_allowed");
    let user = token.claim("realm_access", json!({"roles": ["user"]}));
    assert_eq!(code("keycloak", Some(&rule), &user), "claim_mismatch");
}

#[test]
fn cognito() {
    let rule = block(|block| block.get("rules").is_some());
    let token = shaped(json!({
        "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example01",
        "client_id": "1example23456789", "token_use": "access", "scope": "openid",
        "cognito:groups": ["admin"], "version": 2,
    }));
    let token = token.without_claim("aud").without_header("typ");

    assert_eq!(code("cognito", Some(&rule), &token), "allowed");
    let id_token = token.claim("aud", "1example23456789").claim("token_use", "id");
    assert_eq!(code("cognito", Some(&rule), &id_token), "claim_mismatch");
}

#[test]
fn entra() {
    let tenant = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    let rule = json!({"rules": [{"scopes": ["Orders.Read"]}]});
    let token = shaped(json!({
        "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"),
        "aud": "11111111-2222-3333-4444-555555555555", "tid": tenant, "ver": "2.0",
        "scp": "Orders.Read Orders.Write", "roles": ["reader"],
    }))
    .without_claim("scope");

    assert_eq!(code("entra", Some(&rule), &token), "allowed");
    let version_1 = token.clone().claim("iss", format!("https://sts.windows.net/{tenant}/"));
    assert_eq!(code("entra", Some(&rule), &version_1), "issuer_unknown");
    let application = token.without_claim("scp");
    assert_eq!(code("entra", Some(&rule), &application), "scope_insufficient");
}

#[test]
fn kubernetes() {
    let token = shaped(json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "aud": ["orders"],
        "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": {"namespace": "shop", "serviceaccount": {"name": "web"}},
    }))
    .without_header("typ");

    assert_eq!(code("cluster", None, &token), "allowed");
    assert_eq!(code("cluster", None, &token.without_claim("exp")), "expiration_missing");
}

/// A good token with these claims.
fn shaped(claims: Value) -> Token {
    let claims = claims.as_object().expect("claims");
    claims.iter().fold(Token::good(), |token, (name, value)| token.claim(name, value.clone()))
}

/// What the provider of this name decides of a token, where its issuer publishes the token's key.
fn code(provider: &str, rules: Option<&Value>, token: &Token) -> &'static str {
    let provider = block(|block| block["name"] == provider);
    let mut config = json!({ "providers": [provider] });
    if let Some(rules) = rules {
        config["rules"] = rules["rules"].clone();
    }
    let config = Config::parse(config.to_string().as_bytes()).expect("the guide's configuration");
    let mut explainer = Explainer::new(config);
    let keys = json!({ "keys": [Key::alpha().jwk()] });
    explainer.publish(None, keys.to_string().as_bytes()).expect("a provider that fetches");
    let authorization = format!("Bearer {}", token.compact());
    let headers = [(":method", "GET"), (":path", "/"), ("authorization", &authorization)];
    let head: RequestHead<'_> =
        headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();

    match explainer.explain(&head, Timestamp::from_secs(now()), Mask::Values).decision {
        Decision::Passes { code } | Decision::Refused { code, .. } => code,
        Decision::NeedsKeys { provider } => panic!("the keys of {provider} were given"),
    }
}

fn block(is_wanted: impl Fn(&Value) -> bool) -> Value {
    let blocks = blocks(include_str!("../../docs/issuers.md")).into_iter();
    let mut blocks = blocks.filter(|block| block.language == "json").map(|block| {
        serde_json::from_str::<Value>(&block.text)
            .unwrap_or_else(|error| panic!("docs/issuers.md:{}: {error}", block.line))
    });
    blocks.find(is_wanted).expect("a block of the guide")
}
