//! Routes of a Spring Cloud Gateway, by what their filter `JwtAuth` is documented to do.

use lab::http::Request;
use lab::token::{ISSUER, Token, now};
use lab::upstream::received;

use super::{Pair, convert, wasm_filter};

#[test]
fn routes_with_the_filter_need_its_tokens_and_others_none() {
    let source = format!(
        "
spring:
  cloud:
    gateway:
      routes:
      - id: users
        uri: http://users
        predicates:
        - Path=/users/{{id}},/users/{{id}}/**
        - Method=GET,POST
        filters:
        - name: JwtAuth
          args:
            jwk-set-uri: http://auth.example.com/jwks
            expected-issuer: {ISSUER}
            expected-audience: users
            clock-skew: PT30S
            inject-headers: {{X-User-Id: sub, X-Tenant: tenant}}
      - id: billing
        uri: http://billing
        predicates: [{{name: Path, args: {{patterns: /billing/**}}}}]
        filters:
        - name: JwtAuth
          args:
            jwkSetUri: http://auth.example.com/jwks
            expectedIssuer: {ISSUER}
            expectedAudience: [billing, invoices]
            clockSkew: 30s
            injectHeaders: {{X-User-Id: sub, X-Tenant: tenant}}
      - id: open
        predicates: [Path=/open/**]
"
    );
    let converted = convert(&source, &["--kind", "plugin-config"]);
    assert_eq!(converted.lost, [""; 0]);
    let [config] = converted.manifests.as_slice() else { panic!("one manifest") };
    let pair = Pair::start(Vec::new(), vec![wasm_filter(config)]);
    let good = |audience: &str| Token::good().claim("aud", audience);
    let with = |path: &str, token: Token| Request::get(path).bearer(&token.compact());

    let users = with("/users/1", good("users")).header("X-User-Id", "admin");
    let seen = received(&pair.converted.send(&users));
    assert_eq!(seen.header("x-user-id"), Some("user-4711"));
    assert_eq!(seen.header("x-tenant"), Some("acme"));
    assert!(seen.header("authorization").is_some(), "a gateway passes the token on");

    for (what, request, expected) in [
        ("below", with("/users/1/orders", good("users")), 200),
        ("the audience of another route", with("/users/1", good("billing")), 401),
        ("an issuer", with("/users/1", good("users").claim("iss", "https://evil.example")), 401),
        ("within the skew", with("/users/1", good("users").claim("exp", now() - 15)), 200),
        ("after the skew", with("/users/1", good("users").claim("exp", now() - 60)), 401),
        ("no token", Request::get("/users/1"), 401),
        ("the other route", with("/billing", good("billing")), 200),
        ("its other audience", with("/billing/x", good("invoices")), 200),
        ("the audience of the first route", with("/billing/x", good("users")), 401),
        ("a route without the filter", Request::get("/open/x"), 200),
        ("no route", Request::get("/elsewhere"), 401),
    ] {
        assert_eq!(pair.converted.send(&request).status, expected, "{what}");
    }
}
