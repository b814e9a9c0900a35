//! Every deny code: its status, its challenge, its body, its counter and its access-log entry.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use lab::config::{Config, REALM};
use lab::http::{Request, Response};
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, now, sign_parts};
use lab::wait;

use crate::explained::assert_explained;

#[test]
fn request_without_a_usable_token_is_denied() {
    let sidecar = strict_sidecar();
    let good = Token::good().compact();
    let bearer = |value: &str| Request::get("/").header("Authorization", value);

    assert_denied(&sidecar, &Request::get("/"), "token_missing");
    assert_denied(&sidecar, &bearer(""), "token_missing");
    assert_denied(&sidecar, &bearer("Basic dXNlcjpwYXNz"), "token_missing");
    assert_denied(&sidecar, &bearer(&format!("Bearer {good}, Bearer {good}")), "multiple_tokens");
    assert_denied(&sidecar, &bearer(&format!("Bearer {good},")), "multiple_tokens");
    assert_denied(&sidecar, &bearer(&format!("Basic x, Bearer {good}")), "multiple_tokens");
    assert_denied(&sidecar, &Request::get("/").bearer(&good).bearer(&good), "multiple_tokens");
    let beside_basic = Request::get("/").header("Authorization", "Basic x").bearer(&good);
    assert_denied(&sidecar, &beside_basic, "multiple_tokens");
}

#[test]
fn token_with_an_unacceptable_header_is_denied() {
    let sidecar = strict_sidecar();
    let too_large = Token::good().claim("padding", "p".repeat(8192));

    assert_token_denied(&sidecar, &too_large, "token_too_large");
    for algorithm in ["HS256", "RS384", "none", "rs256"] {
        assert_token_denied(&sidecar, &Token::good().header("alg", algorithm), "alg_not_allowed");
    }
    for critical in [json!(["b64"]), json!(["exp"]), json!([])] {
        assert_token_denied(&sidecar, &Token::good().header("crit", critical), "crit_unsupported");
    }
    assert_token_denied(&sidecar, &Token::good().header("typ", "secevent+jwt"), "typ_not_allowed");
}

#[test]
fn token_with_unacceptable_claims_is_denied() {
    let sidecar = strict_sidecar();
    let issuer = "https://auth.example.com/";

    assert_token_denied(&sidecar, &Token::good().claim("iss", issuer), "issuer_unknown");
    assert_token_denied(&sidecar, &Token::good().without_claim("iss"), "issuer_unknown");
    for audience in [json!("other-api"), json!(["other-api"]), json!([])] {
        let token = Token::good().claim("aud", audience);
        assert_token_denied(&sidecar, &token, "audience_not_allowed");
    }
    let token = Token::good().without_claim("aud");
    assert_token_denied(&sidecar, &token, "audience_not_allowed");
    let token = Token::good().claim("iat", now() - 900).claim("exp", now() - 600);
    assert_token_denied(&sidecar, &token, "token_expired");
    assert_token_denied(&sidecar, &Token::good().claim("nbf", now() + 600), "token_not_yet_valid");
    assert_token_denied(&sidecar, &Token::good().without_claim("exp"), "expiration_missing");
    let token = Token::good().claim("exp", now() + 7200);
    assert_token_denied(&sidecar, &token, "lifetime_too_long");
    assert_token_denied(&sidecar, &token.without_claim("iat"), "lifetime_too_long");
    for cnf in [json!({ "jkt": "x" }), json!({ "x5t#S256": "x" }), json!(null)] {
        assert_token_denied(&sidecar, &Token::good().claim("cnf", cnf), "token_bound");
    }
}

#[test]
fn token_without_a_matching_key_is_denied() {
    let sidecar = strict_sidecar();
    let good = Token::good();

    assert_token_denied(&sidecar, &good.clone().header("kid", "nobody's"), "key_unknown");
    let forged = good.clone().signed_by(Key::beta()).header("kid", "alpha");
    assert_token_denied(&sidecar, &forged, "signature_invalid");
    let compact = good.compact();
    let (_, signature) = compact.rsplit_once('.').expect("a compact token");
    let other = good.claim("sub", "root").compact();
    let (other_input, _) = other.rsplit_once('.').expect("a compact token");
    let spliced = format!("{other_input}.{signature}");
    assert_denied(&sidecar, &Request::get("/").bearer(&spliced), "signature_invalid");
}

#[test]
fn good_token_that_a_rule_refuses_is_denied() {
    let sidecar = strict_sidecar();
    let good = Token::good().compact();
    let get = |path| Request::get(path).bearer(&good);

    assert_denied(&sidecar, &get("/partners"), "provider_not_allowed");
    assert_denied(&sidecar, &get("/owners"), "claim_mismatch");
    let response = assert_denied(&sidecar, &get("/admin"), "scope_insufficient");

    assert_eq!(challenge(&response)["scope"], "admin:read admin:write");
}

#[test]
fn malformed_token_is_denied() {
    let sidecar = strict_sidecar();
    let header = Token::good().header_text();
    let payload = Token::good().payload_text();
    let nested = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let with = |payload_member: &str| payload.replacen('{', &format!("{{{payload_member},"), 1);

    let headers = [
        format!("[{header}]"),
        format!("{header} {{}}"),
        header.replacen('{', "{\"alg\":\"RS256\",", 1),
        header.replacen('{', &format!("{{\"x\":{nested},"), 1),
        "\"RS256\"".to_owned(),
        "not json".to_owned(),
    ];
    let payloads = [
        format!("[{payload}]"),
        format!("{payload}x"),
        with("\"sub\":\"root\""),
        with("\"x\":{\"y\":1,\"y\":2}"),
        with(&format!("\"x\":{nested}")),
        Token::good().claim("exp", (now() + 300).to_string()).payload_text(),
        Token::good().claim("iat", "now").payload_text(),
        Token::good().claim("nbf", json!([0])).payload_text(),
        Token::good().claim("aud", 7).payload_text(),
        Token::good().claim("aud", json!([7, "wealist-api"])).payload_text(),
        "not json".to_owned(),
    ];
    let well_signed = headers
        .iter()
        .map(|header| (header.as_str(), payload.as_str()))
        .chain(payloads.iter().map(|payload| (header.as_str(), payload.as_str())));
    for (header, payload) in well_signed {
        let token = sign_parts(header, payload, Key::alpha());
        assert_denied(&sidecar, &Request::get("/").bearer(&token), "token_malformed");
    }

    let good = Token::good().compact();
    let (input, signature) = good.rsplit_once('.').expect("a compact token");
    let compacts = [
        "token".to_owned(),
        input.to_owned(),
        format!("{input}."),
        format!(".{input}"),
        format!("{good}.{signature}"),
        format!("{good}=="),
        format!("{good}!"),
        not_canonical(&good),
    ];
    for compact in compacts {
        assert_denied(&sidecar, &Request::get("/").bearer(&compact), "token_malformed");
    }
}

#[test]
fn missing_keys_are_the_servers_fault() {
    let config = Config::new().set("jwksWaitTimeout", "300ms");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);

    let request = Request::get("/").bearer(&Token::good().compact());
    let response = assert_denied(&sidecar, &request, "jwks_unavailable");

    let retry_after: u64 =
        response.header("retry-after").and_then(|after| after.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&retry_after), "Retry-After: {retry_after}");
}

#[test]
fn request_above_the_limit_of_paused_ones_is_denied_at_once() {
    let config = Config::new().set("maxPausedRequests", 1).set("jwksWaitTimeout", "5s");
    let sidecar = Sidecar::start_with(&config, Answer::Hang, 1);
    let request = Request::get("/").bearer(&Token::good().compact());
    let paused = sidecar.open(&request);
    wait::until("the first request is paused", PAUSE_LIMIT, || {
        (sidecar.stat("paused") == 1).then_some(())
    });

    assert_denied(&sidecar, &request, "overloaded");

    sidecar.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    assert_eq!(paused.finish().expect("an answer").status, 200);
}

#[test]
fn realm_defaults_to_the_authority_of_the_request() {
    let sidecar = Sidecar::start(&Config::new().without("realm"));

    let response = sidecar.send(&Request::get("/").host("shop.example.com"));

    assert_eq!(challenge(&response)["realm"], "shop.example.com");
}

/// A sidecar whose configuration can answer with every code.
fn strict_sidecar() -> Sidecar {
    let partner = json!({
        "name": "partner",
        "issuer": "https://partner.example.com",
        "jwks": { "keys": [Key::beta().jwk()] },
    });
    let rules = json!([
        { "match": { "paths": ["/partners"] }, "providers": ["partner"] },
        { "match": { "paths": ["/owners"] }, "claims": { "roles": ["admin", "owner"] } },
        { "match": { "paths": ["/admin"] }, "scopes": ["admin:read", "admin:write"] },
    ]);
    let config = Config::new()
        .provider("maxLifetime", "1h")
        // One answer tells that a key is not there.
        .provider("jwksEndpoints", 1)
        .add_provider(partner)
        .set("rules", rules);
    Sidecar::start(&config)
}

fn assert_token_denied(sidecar: &Sidecar, token: &Token, code: &str) {
    assert_denied(sidecar, &Request::get("/").bearer(&token.compact()), code);
}

/// Sends the request and checks everything that a denial with this code promises.
fn assert_denied(sidecar: &Sidecar, request: &Request, code: &str) -> Response {
    let counter = format!("denied.{code}");
    let counted = sidecar.stat(&counter);
    let forwarded = sidecar.upstream.requests();

    let response = sidecar.send(request);

    let (status, error) = promised(code);
    let text = response.text();
    assert_eq!((response.status, sidecar.code(&response).as_str()), (status, code), "{text}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["code"], code);
    assert_eq!(problem["status"], status);
    for field in ["title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {text}");
    }
    if status != 503 {
        let challenge = challenge(&response);
        assert_eq!(challenge["realm"], REALM);
        assert_eq!(challenge.get("error").map(String::as_str), error);
        match error {
            // Without a token there is nothing to say but who asks (RFC 6750 §3).
            None => assert_eq!(challenge.len(), 1),
            Some("invalid_token") => assert!(challenge.contains_key("error_description")),
            Some(_) => {}
        }
    }
    assert_quotes_nothing(&response);
    assert_explained(sidecar, request, code);
    let is_counted = || sidecar.stat(&counter) > counted;
    wait::until("the denial is counted", COUNT_LIMIT, || is_counted().then_some(()));
    assert_eq!(sidecar.stat(&counter), counted + 1, "{counter}");
    assert_eq!(sidecar.upstream.requests(), forwarded, "the request went through");
    response
}

/// The status and the `error` parameter of the challenge (RFC 6750 §3.1).
fn promised(code: &str) -> (u16, Option<&str>) {
    match code {
        "token_missing" => (401, None),
        "multiple_tokens" => (400, Some("invalid_request")),
        "provider_not_allowed" | "scope_insufficient" | "claim_mismatch" => {
            (403, Some("insufficient_scope"))
        }
        "jwks_unavailable" | "overloaded" => (503, None),
        _ => (401, Some("invalid_token")),
    }
}

/// The parameters of `WWW-Authenticate: Bearer …`.
fn challenge(response: &Response) -> BTreeMap<String, String> {
    let challenge = response.header("www-authenticate").expect("a challenge");
    let parameters = challenge.strip_prefix("Bearer ").expect("the scheme Bearer");
    let pieces: Vec<&str> = parameters.split('"').collect();
    let (pairs, rest) = pieces.as_chunks::<2>();
    assert_eq!(rest, [""], "quotation marks pair up in {challenge}");
    pairs
        .iter()
        .map(|[name, value]| {
            let name = name.trim_start_matches(", ").strip_suffix('=').expect("name=\"value\"");
            (name.to_owned(), (*value).to_owned())
        })
        .collect()
}

/// Nothing of a token and no claim value is in the answer.
fn assert_quotes_nothing(response: &Response) {
    let mut answer = response.text();
    for (_, value) in &response.message.headers {
        answer.push_str(value);
    }
    for secret in ["eyJ", "user-4711", "acme", "users:read"] {
        assert!(!answer.contains(secret), "{secret} is in {answer}");
    }
}

/// The same token with a signature whose last character sets bits that decode to nothing.
fn not_canonical(token: &str) -> String {
    let (rest, last) = token.split_at(token.len() - 1);
    let changed = match last {
        "A" => "B",
        "Q" => "R",
        "g" => "h",
        "w" => "x",
        _ => panic!("256 bytes end in one of four characters, not in {last}"),
    };
    format!("{rest}{changed}")
}

const PAUSE_LIMIT: Duration = Duration::from_secs(3);
const COUNT_LIMIT: Duration = Duration::from_secs(3);
