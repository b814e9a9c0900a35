//! `mesh-jwt explain`: what its options do. That it decides as the filter does is shown in Envoy, by
//! `tests/e2e/explained.rs`.

use std::fs;
use std::path::PathBuf;

use lab::token::{Key, Token, now};
use serde_json::json;

use crate::command::{Run, mesh_jwt};

#[test]
fn the_steps_of_a_token_end_with_the_one_that_decides() {
    let case = Case::new(json!({}));

    let run = case.token(&Token::good().claim("exp", now() - 3600), &[]);

    assert_eq!(run.code, 1, "{run:?}");
    let last = run.stdout.rsplit_once("no  expiration").expect("a step that fails").1;
    assert!(last.contains("saw     exp was 1h"), "{last}");
    assert!(last.contains("wanted  exp not over by 2m (clockSkew)"), "{last}");
    assert!(last.contains("401 token_expired: the token has expired\nRefresh the token"), "{last}");
    assert!(!run.stdout.contains("audience"), "what comes after is not told: {}", run.stdout);
}

#[test]
fn claims_are_masked_unless_asked_for() {
    let case =
        Case::new(json!({"outputClaimToHeaders": [{"header": "X-User-Id", "claim": "sub"}]}));

    let masked = case.token(&Token::good(), &[]);
    let shown = case.token(&Token::good(), &["--show-claims"]);

    assert!(masked.stdout.contains("allowed: the request passes"), "{masked:?}");
    assert!(masked.stdout.contains("x-user-id: a text of 9 characters"), "{masked:?}");
    assert!(!masked.stdout.contains("user-4711"), "{masked:?}");
    assert!(shown.stdout.contains("x-user-id: \"user-4711\""), "{shown:?}");
    let signature = Token::good().compact().rsplit_once('.').expect("a token").1.to_owned();
    assert!(!shown.stdout.contains(&signature), "{shown:?}");
}

#[test]
fn the_time_may_be_another() {
    let case = Case::new(json!({}));

    let run = case.token(&Token::good(), &["--at", "2020-01-31T12:00:00Z"]);

    // The token is from the future, but has no nbf.
    assert_eq!(run.code, 0, "{run:?}");
    let run = case.token(&Token::good(), &["--at", "2099-01-31T12:00:00Z"]);
    assert!(run.stdout.contains("401 token_expired"), "{run:?}");
}

#[test]
fn keys_that_nobody_gave_are_asked_for() {
    let case = Case::new(json!({}));
    let token = case.write("token", Token::good().compact().as_bytes());

    let run = mesh_jwt(&["explain", "--config", &case.config, "--token", &token]);

    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("depends on the keys of the provider \"wealist\""), "{run:?}");
    assert!(run.stderr.contains("--jwks"), "{run:?}");
}

#[test]
fn what_the_issuer_publishes_is_told_where_no_key_fits() {
    let case = Case::new(json!({}));

    let unknown = case.token(&Token::good().header("kid", "other"), &[]);
    let forged = case.token(&Token::good().signed_by(Key::beta()).header("kid", "alpha"), &[]);
    fs::write(&case.jwks, r#"{"keys":[{"kty":"EC","kid":"ec"}]}"#).expect("a writable file");
    let unusable = case.token(&Token::good(), &[]);

    assert!(unknown.stdout.contains("kid \"other\", and the JWK Set has the kids \"alpha\""));
    assert!(unknown.stdout.contains("401 key_unknown"), "{unknown:?}");
    assert!(forged.stdout.contains("1 keys tried, and none made it"), "{forged:?}");
    assert!(forged.stdout.contains("401 signature_invalid"), "{forged:?}");
    assert!(unusable.stdout.contains("kty is not RSA"), "{unusable:?}");
    assert!(unusable.stdout.contains("503 jwks_unavailable"), "{unusable:?}");
}

#[test]
fn a_request_may_be_as_curl_prints_it() {
    let case = Case::new(json!({}));
    let token = Token::good().compact();
    for text in [
        format!("GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\nbody"),
        format!(
            "*   Trying 127.0.0.1:80...\n* Connected\n> GET /a HTTP/2\n> Host: h\n\
             > authorization: Bearer {token}\n> \n< HTTP/2 200\n< a: b\n"
        ),
        format!(":method: GET\n:path: /a\n:authority: h\nauthorization: bearer {token}\n"),
    ] {
        let request = case.write("request", text.as_bytes());

        let run = mesh_jwt(&[
            "explain",
            "--config",
            &case.config,
            "--jwks",
            &case.jwks,
            "--request",
            &request,
        ]);

        assert!(run.stdout.contains("saw     GET /a at \"h\""), "{run:?}");
        assert_eq!(run.code, 0, "{run:?}");
    }
    let request = case.write("request", b"hello");
    let run = mesh_jwt(&["explain", "--config", &case.config, "--request", &request]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("line 1: is no request line; write one such as"), "{run:?}");
}

#[test]
fn secrets_are_not_told_wherever_they_stand() {
    let secret = "0123456789abcdefSECRET";
    let mut case = Case::new(json!({"fromParams": ["access_token"]}));
    let mut config = case.configuration();
    config["verifiedHeader"] = json!({"name": "X-Mesh-Jwt", "secret": secret});
    case.config = case.write("config.json", config.to_string().as_bytes());
    let token = Token::good().compact();
    for (text, code) in [
        (format!("GET http://h.example?access_token={token} HTTP/1.1\n"), "allowed"),
        (format!("GET HTTP://user:{secret}@h.example/?access_token={token} HTTP/1.1\n"), "allowed"),
        (format!("GET /?access_token={token}.x HTTP/1.1\nHost: h\n"), "token_malformed"),
    ] {
        for options in [&["--show-claims"][..], &["--json"], &["--show-claims", "--json"]] {
            let run = case.request(text.as_bytes(), options);

            assert!(run.stdout.contains(code), "{run:?}");
            for hidden in ["eyJ", secret] {
                assert!(!run.stdout.contains(hidden), "{hidden} is in {run:?}");
            }
        }
    }
}

#[test]
fn what_a_stranger_wrote_cannot_drive_the_terminal() {
    let case = Case::new(json!({}));
    let token = Token::good().header("alg", "a\u{9b}31m\u{202e}\u{1b}[31m").compact();
    let text =
        format!("G\u{1b}[31mET /\u{9d}a HTTP/1.1\nHost: h\u{9b}\nAuthorization: Bearer {token}\n");

    for options in [&[][..], &["--json"], &["--show-claims", "--json"]] {
        let run = case.request(text.as_bytes(), options);

        assert!(run.stdout.contains("alg_not_allowed"), "{run:?}");
        let drives = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!run.stdout.contains(drives), "{run:?}");
    }
}

#[test]
fn a_port_that_rules_go_by_is_asked_for() {
    let mut case = Case::new(json!({}));
    let mut config = case.configuration();
    config["rules"] = json!([{"match": {"ports": [8080]}, "access": "public"}]);
    case.config = case.write("config.json", config.to_string().as_bytes());

    let without = case.token(&Token::good(), &[]);
    let with = case.token(&Token::good(), &["--port", "8080"]);

    assert_eq!((without.code, with.code), (2, 0), "{without:?}");
    assert!(without.stderr.contains("give it with --port"), "{without:?}");
    assert!(with.stdout.contains("public: the request passes"), "{with:?}");
}

#[test]
fn a_token_is_put_where_its_provider_looks_for_it() {
    let mut case = Case::new(json!({}));
    let mut config = case.configuration();
    let mut other = config["providers"][0].clone();
    other["issuer"] = json!("https://other.example.com");
    other["name"] = json!("other");
    other["fromHeaders"] = json!([{"name": "X-Other"}]);
    config["providers"].as_array_mut().expect("a list").push(other);
    case.config = case.write("config.json", config.to_string().as_bytes());
    let token = Token::good().claim("iss", "https://other.example.com").compact();
    let token = case.write("token", token.as_bytes());
    let jwks = format!("other={}", case.jwks);

    let run = mesh_jwt(&["explain", "--config", &case.config, "--jwks", &jwks, "--token", &token]);

    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("one in the header x-other"), "{run:?}");
}

#[test]
fn what_is_no_jwk_set_is_an_error_and_no_decision() {
    let case = Case::new(json!({}));
    for text in ["<html>", r#"{"jwks_uri": "https://a.example"}"#] {
        fs::write(&case.jwks, text).expect("a writable file");

        let run = case.token(&Token::good(), &[]);

        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.stderr.contains("give what the issuer's jwks_uri leads to"), "{run:?}");
    }
}

#[test]
fn the_lifetime_counts_as_in_the_filter() {
    let case = Case::new(json!({"maxLifetime": "1h"}));
    let token = Token::good().claim("iat", now() + 8000).claim("exp", now() + 9000);

    let run = case.token(&token, &[]);

    assert!(run.stdout.contains("no  lifetime\n      saw     2h"), "{run:?}");
    assert!(run.stdout.contains("counted from now, since iat is ahead"), "{run:?}");
}

/// A configuration and what its issuer publishes.
struct Case {
    folder: tempfile::TempDir,
    config: String,
    jwks: String,
}

impl Case {
    fn new(provider: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = json!({"providers": [{
            "name": "wealist", "issuer": "https://auth.example.com", "audiences": ["wealist-api"],
            "jwksUri": "https://auth.example.com/jwks",
        }]});
        for (name, value) in provider.as_object().expect("fields") {
            config["providers"][0][name] = value.clone();
        }
        let keys = json!({"keys": [Key::alpha().jwk()]});
        let mut case = Self { folder, config: String::new(), jwks: String::new() };
        case.config = case.write("config.json", config.to_string().as_bytes());
        case.jwks = case.write("jwks.json", keys.to_string().as_bytes());
        case
    }

    fn configuration(&self) -> serde_json::Value {
        let text = fs::read_to_string(&self.config).expect("a configuration");
        serde_json::from_str(&text).expect("JSON")
    }

    fn request(&self, text: &[u8], options: &[&str]) -> Run {
        let request = self.write("request", text);
        let args =
            ["explain", "--config", &self.config, "--jwks", &self.jwks, "--request", &request];
        mesh_jwt(&[&args[..], options].concat())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::write(&path, bytes).expect("a writable folder");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn token(&self, token: &Token, options: &[&str]) -> Run {
        let token = self.write("token", token.compact().as_bytes());
        let args = ["explain", "--config", &self.config, "--jwks", &self.jwks, "--token", &token];
        mesh_jwt(&[&args[..], options].concat())
    }
}
