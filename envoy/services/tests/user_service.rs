//! user-service as it runs, in both modes of `ISTIO_JWT_MODE`.
// The helpers panic where the tests do; clippy knows only the latter for tests.
#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mesh_jwt_demo::SigningKey;
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use support::http::{self, Answer};
use support::issuer::Issuer;
use support::{ALPHA, BETA, Service, auth_service, user_service};

mod support;

#[test]
fn it_verifies_tokens_itself_unless_it_is_told_otherwise() {
    let (auth, user) = verifying();
    let mut explicit = user_service();
    explicit.env("ISTIO_JWT_MODE", "false").env("JWKS_URI", jwks_uri(&auth));
    let explicit = Service::start(&mut explicit);
    let login = auth.post_json("/api/login", &json!({"username": "alice", "tenant": "acme"}));
    let token = login.json()["access_token"].as_str().unwrap().to_owned();
    let request = format!("x-user-id: mallory\r\nx-tenant: other\r\n{}", bearer(&token));

    for service in [&user, &explicit] {
        let answer = service.get("/orders/7?access_token=secret", request.as_bytes());

        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut answer = answer.json();
        assert_eq!(answer["identity"]["claims"].take()["sub"], "alice");
        assert_eq!(
            answer,
            json!({
                "service": "user-service",
                "verification": "service",
                "method": "GET",
                "path": "/orders/7",
                "authenticated": true,
                "identity": {
                    "x-user-id": "alice",
                    "x-scopes": "orders:read",
                    "x-tenant": "acme",
                    "claims": null,
                },
                "authorization": true,
            })
        );
    }
}

#[test]
fn a_token_that_is_wrong_in_any_way_is_refused() {
    let (_auth, user) = verifying();
    let alpha = SigningKey::from_pem(ALPHA, None).unwrap();
    // Under the name of the published key.
    let forged = SigningKey::from_pem(BETA, Some(alpha.public().kid().to_owned())).unwrap();
    let other = SigningKey::from_pem(BETA, Some("other".to_owned())).unwrap();
    let sign = |key: &SigningKey, claims: &Value| bearer(&key.sign(claims).unwrap());
    let with = |name: &str, value: Value| {
        let mut claims = good_claims();
        claims[name] = value;
        sign(&alpha, &claims)
    };
    let without = |name: &str| {
        let mut claims = good_claims();
        claims.as_object_mut().unwrap().remove(name);
        sign(&alpha, &claims)
    };
    let crit = {
        let mut header = header(alpha.public().kid());
        header.crit = Some(vec!["exp".to_owned()]);
        self::sign(ALPHA, &header, &good_claims())
    };
    let hs256 = {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let header = json!({"alg": "HS256", "kid": alpha.public().kid()});
        bearer(&format!("{}.{}.c2ln", part(header), part(good_claims())))
    };

    for (headers, code) in [
        (String::new(), "token_missing"),
        ("x-user-id: admin\r\nx-mesh-jwt: verified\r\n".to_owned(), "token_missing"),
        ("authorization: Basic YTpi\r\n".to_owned(), "token_missing"),
        (bearer("a.b"), "token_malformed"),
        (sign(&alpha, &good_claims()).repeat(2), "token_malformed"),
        (with("exp", json!(now() - 121)), "token_expired"),
        (with("nbf", json!(now() + 150)), "token_not_yet_valid"),
        (with("aud", json!("another")), "audience_not_allowed"),
        (with("iss", json!("http://another")), "issuer_unknown"),
        (with("iss", json!(["http://auth-service:9001"])), "token_malformed"),
        (without("exp"), "expiration_missing"),
        (without("aud"), "audience_not_allowed"),
        (without("iss"), "issuer_unknown"),
        (sign(&forged, &good_claims()), "signature_invalid"),
        (sign(&other, &good_claims()), "key_unknown"),
        (hs256, "alg_not_allowed"),
        (bearer(&crit), "crit_unsupported"),
    ] {
        let answer = user.get("/orders", headers.as_bytes());

        assert_eq!((answer.status, code_of(&answer).as_str()), (401, code), "{headers}");
        assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
    }
    for headers in [
        sign(&alpha, &good_claims()),
        with("exp", json!(now() - 60)),
        with("nbf", json!(now() + 60)),
        with("aud", json!(["another", "wealist-api"])),
    ] {
        assert_eq!(user.get("/orders", headers.as_bytes()).status, 200, "{headers}");
    }
}

#[test]
fn keys_are_kept_and_asked_for_anew_when_one_is_unknown() {
    let (mut auth, user) = verifying();
    let first = login(&auth);
    let ask = |token: &str| user.get("/orders", bearer(token).as_bytes()).status;

    assert_eq!(ask(&first), 200);
    auth.signal("TERM");
    auth.process.wait().unwrap();
    assert_eq!(ask(&first), 200, "the cached key is good while the issuer is away");
    let port = auth.address.rsplit_once(':').unwrap().1.to_owned();
    let auth = Service::start(auth_service().env("JWT_RSA_PRIVATE_KEY", BETA).env("PORT", port));
    let second = login(&auth);

    // Within a second of an earlier fetch there is no other.
    let limit = Instant::now() + Duration::from_secs(20);
    while ask(&second) != 200 {
        assert!(Instant::now() < limit, "the new key is never asked for");
    }
}

#[test]
fn published_keys_that_are_not_for_rs256_signatures_verify_nothing() {
    let alpha = SigningKey::from_pem(ALPHA, Some("k".to_owned())).unwrap();
    let alpha_with = |name: &str, value: Value| {
        let mut jwk = serde_json::to_value(alpha.public().jwk()).unwrap();
        jwk[name] = value;
        jwk
    };
    let short = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2047).unwrap();
    let [n, e] = [short.n(), short.e()].map(|part| URL_SAFE_NO_PAD.encode(part.to_bytes_be()));
    let of_alpha = sign(ALPHA, &header("k"), &good_claims());
    let of_short = sign_with(&short, &header("k"), &good_claims());

    for (jwk, token, status) in [
        (alpha_with("use", json!("sig")), &of_alpha, 200),
        (alpha_with("key_ops", json!(["verify"])), &of_alpha, 200),
        (alpha_with("use", json!("enc")), &of_alpha, 401),
        (alpha_with("use", json!("other")), &of_alpha, 401),
        (alpha_with("key_ops", json!(["encrypt"])), &of_alpha, 401),
        (alpha_with("alg", json!("RS512")), &of_alpha, 401),
        (json!({"kty": "RSA", "kid": "k", "n": n, "e": e}), &of_short, 401),
    ] {
        let issuer = Issuer::answering(&json!({"keys": [jwk]}), usize::MAX);
        let user = Service::start(user_service().env("JWKS_URI", issuer.jwks_uri()));

        let answer = user.get("/orders", bearer(token).as_bytes());

        assert_eq!(answer.status, status, "{jwk}: {}", answer.body);
        if status == 401 {
            assert_eq!(code_of(&answer), "key_unknown", "{jwk}");
        }
    }
}

#[test]
fn a_key_without_a_name_may_be_that_of_any_token() {
    let alpha = SigningKey::from_pem(ALPHA, None).unwrap();
    let beta = SigningKey::from_pem(BETA, Some("beta".to_owned())).unwrap();
    let mut nameless = serde_json::to_value(alpha.public().jwk()).unwrap();
    nameless.as_object_mut().unwrap().remove("kid");
    let keys = json!({"keys": [nameless, beta.public().jwk()]});
    let issuer = Issuer::answering(&keys, usize::MAX);
    let user = Service::start(user_service().env("JWKS_URI", issuer.jwks_uri()));
    let ask = |pem: &str, kid: &str| {
        let token = sign(pem, &header(kid), &good_claims());
        let answer = user.get("/orders", bearer(&token).as_bytes());
        if answer.status == 200 { "taken".to_owned() } else { code_of(&answer) }
    };

    assert_eq!(ask(ALPHA, "any"), "taken");
    assert_eq!(ask(ALPHA, "beta"), "taken");
    assert_eq!(ask(BETA, "beta"), "taken");
    assert_eq!(ask(BETA, "any"), "key_unknown");
    let mut expired = good_claims();
    expired["exp"] = json!(now() - 121);
    let expired = bearer(&sign(ALPHA, &header("beta"), &expired));
    assert_eq!(code_of(&user.get("/orders", expired.as_bytes())), "token_expired");
}

#[test]
fn whose_key_is_known_does_not_wait_for_the_key_of_another() {
    let alpha = SigningKey::from_pem(ALPHA, None).unwrap();
    let issuer = Issuer::answering(&json!({"keys": [alpha.public().jwk()]}), 1);
    let user = Service::start(user_service().env("JWKS_URI", issuer.jwks_uri()));
    let good = bearer(&alpha.sign(&good_claims()).unwrap());
    let junk = bearer(&sign(BETA, &header("invented"), &good_claims()));
    assert_eq!(user.get("/orders", good.as_bytes()).status, 200);

    thread::scope(|scope| {
        // Within a second of an earlier fetch there is no other.
        let junk = scope.spawn(|| {
            loop {
                let answer = http::send(&user.address, "GET", "/orders", junk.as_bytes(), "");
                if issuer.requests() > 1 {
                    return answer;
                }
            }
        });
        let mut fetch = issuer.unanswered();

        let answer = user.get("/orders", good.as_bytes());

        assert!(fetch.is_waiting(), "the good request was answered after the fetch only");
        assert!(!junk.is_finished());
        assert_eq!(answer.status, 200, "{}", answer.body);
        fetch.answer();
        let answer = junk.join().unwrap();
        assert_eq!((answer.status, code_of(&answer).as_str()), (401, "key_unknown"));
    });
}

#[test]
fn without_any_key_nobody_can_be_judged() {
    let mut command = user_service();
    let user = Service::start(command.env("JWKS_URI", "http://127.0.0.1:1/jwks"));
    let token = SigningKey::from_pem(ALPHA, None).unwrap().sign(&good_claims()).unwrap();

    let answer = user.get("/orders", bearer(&token).as_bytes());

    assert_eq!((answer.status, code_of(&answer).as_str()), (503, "jwks_unavailable"));
}

#[test]
fn behind_the_filter_it_takes_the_identity_that_it_is_handed() {
    let user = Service::start(behind_filter().env("VERIFIED_SECRET", SECRET));
    let payload = URL_SAFE_NO_PAD.encode(r#"{"sub":"alice"}"#);
    let headers = format!(
        "x-user-id: alice\r\nx-scopes: orders:read\r\nx-jwt-payload: {payload}\r\n{}\
         authorization: Bearer not.a.token\r\n",
        mark(SECRET)
    );

    let answer = user.get("/orders/7?access_token=secret", headers.as_bytes());

    assert_eq!(
        answer.json(),
        json!({
            "service": "user-service",
            "verification": "sidecar",
            "method": "GET",
            "path": "/orders/7",
            "authenticated": true,
            "identity": {
                "x-user-id": "alice",
                "x-scopes": "orders:read",
                "x-tenant": null,
                "claims": {"sub": "alice"},
            },
            "authorization": true,
        })
    );
}

#[test]
fn without_the_filter_it_refuses_whoever_needs_or_claims_an_identity() {
    let user = Service::start(behind_filter().env("VERIFIED_SECRET", SECRET));
    let forged = |mark: &str| format!("x-user-id: admin\r\n{mark}");
    let long = format!("{SECRET}x");

    for (path, headers) in [
        ("/orders", String::new()),
        ("/orders", forged("")),
        ("/orders", forged("x-mesh-jwt: verified\r\n")),
        ("/orders", forged(&mark("a-secret-of-another"))),
        ("/orders", forged(&mark(&long))),
        ("/orders", forged("x-mesh-jwt: verified;secret=5\r\n")),
        ("/orders", forged(&mark(SECRET).replace("verified", "refused"))),
        ("/orders", forged(&mark(SECRET).repeat(2))),
        ("/orders", forged("x-mesh-jwt: \r\n")),
        ("/orders", forged("x-mesh-jwt: \"verified\r\n")),
        ("/orders", bearer("not.a.token")),
        ("/public/hello", forged("")),
        ("/public/hello", "x-mesh-jwt: verified\r\n".to_owned()),
        ("/healthz/x", forged("")),
    ] {
        let answer = user.get(path, headers.as_bytes());

        assert_eq!(
            (answer.status, code_of(&answer).as_str()),
            (503, "filter_missing"),
            "{headers}"
        );
        assert_eq!(answer.json()["verification"], "sidecar");
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert!(!answer.body.contains(SECRET), "{}", answer.body);
    }
}

#[test]
fn without_the_filter_it_says_so_in_its_log_but_not_each_time() {
    let mut user = Service::start(behind_filter().stderr(Stdio::piped()));

    for _ in 0..100 {
        assert_eq!(user.get("/orders", b"").status, 503);
    }
    let mut log = String::new();
    user.signal("TERM");
    user.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();

    let missing = "user-service: x-mesh-jwt is missing: no filter stands before this service, or it \
                   let the request through";
    assert!(log.starts_with(missing), "{log}");
    assert!(log.contains("(64 requests refused so far)"), "{log}");
    assert_eq!(log.lines().count(), 7, "{log}");
}

#[test]
fn a_refusal_for_the_filter_says_what_is_known_and_no_more() {
    let user = Service::start(behind_filter().env("VERIFIED_SECRET", SECRET));

    for (headers, detail) in [
        (String::new(), "x-mesh-jwt is missing: no filter stands before this service, or it let"),
        (mark("a-secret-of-another"), "x-mesh-jwt does not hold the secret in VERIFIED_SECRET"),
        (mark(SECRET).repeat(2), "x-mesh-jwt is not as a filter sets it"),
        ("x-mesh-jwt: refused\r\n".to_owned(), "x-mesh-jwt is not as a filter sets it"),
    ] {
        let answer = user.get("/orders", headers.as_bytes()).json();

        assert!(answer["detail"].as_str().unwrap().starts_with(detail), "{answer}");
    }
}

#[test]
fn header_and_secret_are_those_of_the_filter() {
    let user = Service::start(behind_filter().env("VERIFIED_HEADER", "X-Checked"));

    assert_eq!(user.get("/", b"x-mesh-jwt: verified\r\n").status, 503);
    // Without a secret, any caller who gets this far can write it.
    for value in ["verified", "verified;provider=\"wealist\"", "verified;secret=\"any\""] {
        assert_eq!(user.get("/", format!("x-checked: {value}\r\n").as_bytes()).status, 200);
    }
}

#[test]
fn public_paths_need_nobody() {
    let (_auth, service) = verifying();
    let sidecar = Service::start(&mut behind_filter());

    for (user, verification) in [(service, "service"), (sidecar, "sidecar")] {
        assert_eq!(user.get("/healthz", b"").json(), json!({"status": "UP"}));
        for path in ["/public", "/public/hello"] {
            let answer = user.get(path, b"authorization: Bearer not.a.token\r\n").json();

            assert_eq!(answer["verification"], verification);
            assert_eq!(
                (&answer["authenticated"], &answer["identity"]["x-user-id"]),
                (&json!(false), &Value::Null)
            );
        }
        assert_ne!(user.get("/publicity", b"").status, 200);
    }
}

#[test]
fn header_bytes_that_are_not_utf8_and_a_second_value_are_seen() {
    let user = Service::start(&mut behind_filter());

    let answer =
        user.get("/", b"x-mesh-jwt: verified\r\nx-user-id: \xff\r\nx-tenant: a\r\nx-tenant: b\r\n");

    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["identity"]["x-user-id"], "\u{fffd}");
    assert_eq!(answer.json()["identity"]["x-tenant"], "a, b");
}

#[test]
fn it_says_which_mode_it_is_in() {
    for (mode, settings, said) in [
        (None, vec![], "user-service verifies tokens itself (ISTIO_JWT_MODE=false)"),
        (
            Some("true"),
            vec![("VERIFIED_SECRET", SECRET)],
            "user-service verifies no token (ISTIO_JWT_MODE=true): identity headers count beside \
             x-mesh-jwt, and its secret",
        ),
        (Some("true"), vec![], "beside x-mesh-jwt, which has no secret"),
    ] {
        let mut command = user_service();
        command.envs(mode.map(|mode| ("ISTIO_JWT_MODE", mode))).envs(settings);
        let mut user = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(user.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        user.kill().unwrap();
        user.wait().unwrap();

        assert!(line.contains(said), "{line}");
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[test]
fn settings_that_cannot_be_meant_stop_the_start_and_name_the_mend() {
    let secret = |secret| vec![("ISTIO_JWT_MODE", "true"), ("VERIFIED_SECRET", secret)];
    let secret_mend = "VERIFIED_SECRET: the filter takes no such secret; write the one in its \
                       verifiedHeader, 16 characters or more";

    for (variables, mend) in [
        (
            vec![("ISTIO_JWT_MODE", "TRUE")],
            "ISTIO_JWT_MODE=\"TRUE\": write \"true\" where the filter stands before this service",
        ),
        (vec![("ISTIO_JWT_MODE", "")], "ISTIO_JWT_MODE=\"\": write \"true\""),
        (
            vec![("JWKS_URI", "https://idp/jwks")],
            "JWKS_URI=\"https://idp/jwks\": write a URI with http://",
        ),
        (vec![("JWKS_URI", "auth-service")], "JWKS_URI=\"auth-service\": write a URI"),
        (
            vec![("ISTIO_JWT_MODE", "true"), ("VERIFIED_HEADER", "X Mesh")],
            "VERIFIED_HEADER=\"X Mesh\": write the name in verifiedHeader of the filter",
        ),
        (secret(""), secret_mend),
        (secret("0123456789abcde"), secret_mend),
        (secret("0123456789abcdef\n"), secret_mend),
        (secret("0123456789\"abcdef"), secret_mend),
        (secret("0123456789\\abcdef"), secret_mend),
        (secret("0123456789abcdéf"), secret_mend),
        (secret("0123456789abcdef\u{7f}"), secret_mend),
    ] {
        let output = user_service().envs(variables).output().unwrap();

        assert!(!output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(&format!("user-service: {mend}")), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!stderr.contains("0123456789"), "{stderr}");
    }
}

/// An auth-service with `ALPHA`, and a user-service that verifies its tokens.
fn verifying() -> (Service, Service) {
    let auth = Service::start(auth_service().env("JWT_RSA_PRIVATE_KEY", ALPHA));
    let user = Service::start(user_service().env("JWKS_URI", jwks_uri(&auth)));
    (auth, user)
}

fn behind_filter() -> Command {
    let mut command = user_service();
    command.env("ISTIO_JWT_MODE", "true");
    command
}

fn jwks_uri(auth: &Service) -> String {
    format!("http://{}/actuator/jwks", auth.address)
}

fn login(auth: &Service) -> String {
    let login = auth.post_json("/api/login", &json!({"username": "alice"}));
    login.json()["access_token"].as_str().unwrap().to_owned()
}

fn good_claims() -> Value {
    let issuer = "http://auth-service:9001";
    json!({"iss": issuer, "sub": "alice", "aud": "wealist-api", "exp": now() + 600})
}

fn header(kid: &str) -> Header {
    Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) }
}

/// A token, whatever its header says.
fn sign(pem: &str, header: &Header, claims: &Value) -> String {
    sign_with(&RsaPrivateKey::from_pkcs8_pem(pem).unwrap(), header, claims)
}

fn sign_with(key: &RsaPrivateKey, header: &Header, claims: &Value) -> String {
    let key = EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes());
    jsonwebtoken::encode(header, claims, &key).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// What the filter sets.
fn mark(secret: &str) -> String {
    format!("x-mesh-jwt: verified;provider=\"wealist\";secret=\"{secret}\"\r\n")
}

fn code_of(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap().to_owned()
}

const SECRET: &str = "0123456789abcdef";
