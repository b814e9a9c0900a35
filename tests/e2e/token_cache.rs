//! A token that was verified once is not verified again: what still holds for it all the same.

use std::time::Duration;

use serde_json::json;

use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::http::Request;
use lab::issuer::Answer;
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, now, payload_part};
use lab::upstream::received;
use lab::wait;

#[test]
fn token_that_comes_again_is_not_verified_again() {
    let sidecar = Sidecar::start(&Config::new());
    let request = Request::get("/").bearer(&Token::good().compact());

    for _ in 0..3 {
        assert_eq!(sidecar.decide(&request), "200 allowed");
    }

    assert_eq!(hits_and_misses(&sidecar), [2, 1]);
    assert_eq!(sidecar.counted("signature.host"), 1);
}

#[test]
fn token_cache_can_be_switched_off() {
    let config = Config::new().set("tokenCache", json!({ "maxEntries": 0 }));
    let sidecar = Sidecar::start(&config);
    let request = Request::get("/").bearer(&Token::good().compact());

    for _ in 0..2 {
        assert_eq!(sidecar.decide(&request), "200 allowed");
    }

    assert_eq!(hits_and_misses(&sidecar), [0, 0]);
    assert_eq!(sidecar.counted("signature.host"), 2);
}

#[test]
fn cached_token_expires_all_the_same() {
    let sidecar = Sidecar::start(&Config::new().provider("clockSkew", "0s"));
    let request = Request::get("/").bearer(&Token::good().claim("exp", now() + 3).compact());

    assert_eq!(sidecar.decide(&request), "200 allowed");
    assert_eq!(sidecar.decide(&request), "200 allowed");

    assert_eq!(hits_and_misses(&sidecar), [1, 1]);
    wait::until("the token expires", EXPIRY_LIMIT, || {
        let decision = sidecar.decide(&request);
        assert!(["200 allowed", "401 token_expired"].contains(&decision.as_str()), "{decision}");
        (decision == "401 token_expired").then_some(())
    });
    // It was in use until then, and no later.
    let [hits, misses] = hits_and_misses(&sidecar);
    assert_eq!(sidecar.decide(&request), "401 token_expired");
    assert_eq!(hits_and_misses(&sidecar), [hits, misses]);
    assert_eq!(misses, 1);
}

#[test]
fn cached_token_meets_the_rule_of_each_path() {
    let partner = json!({
        "name": "partner",
        "issuer": "https://partner.example.com",
        "jwks": { "keys": [Key::beta().jwk()] },
    });
    let rules = json!([
        { "match": { "paths": ["/admin/**"] }, "scopes": ["admin:write"] },
        { "match": { "paths": ["/staff/**"] }, "claims": { "staff": [true] } },
        { "match": { "paths": ["/partner/**"] }, "providers": ["partner"] },
    ]);
    let sidecar = Sidecar::start(&Config::new().add_provider(partner).set("rules", rules));
    let token = Token::good().compact();
    let at = |path: &str| sidecar.decide(&Request::get(path).bearer(&token));

    assert_eq!(at("/"), "200 allowed");

    for _ in 0..2 {
        assert_eq!(at("/admin/users"), "403 scope_insufficient");
        assert_eq!(at("/staff/users"), "403 claim_mismatch");
        assert_eq!(at("/partner/users"), "403 provider_not_allowed");
        assert_eq!(at("/"), "200 allowed");
    }
    assert_eq!(sidecar.counted("token_cache.miss"), 1);
    assert_eq!(sidecar.counted("signature.host"), 1);
}

#[test]
fn cached_token_is_taken_from_its_providers_locations_only() {
    let partner = json!({
        "name": "partner",
        "issuer": "https://partner.example.com",
        "jwks": { "keys": [Key::beta().jwk()] },
        "fromCookies": ["partner_token"],
    });
    let sidecar = Sidecar::start(&Config::new().add_provider(partner));
    let token = Token::good();
    let of_partner = token.clone().claim("iss", "https://partner.example.com");
    let [token, of_partner] = [token, of_partner.signed_by(Key::beta())].map(|t| t.compact());
    let in_header = |token: &str| sidecar.decide(&Request::get("/").bearer(token));
    let in_cookie = |token: &str| {
        sidecar.decide(&Request::get("/").header("Cookie", &format!("partner_token={token}")))
    };

    for _ in 0..2 {
        assert_eq!(in_header(&token), "200 allowed");
        assert_eq!(in_cookie(&of_partner), "200 allowed");
        assert_eq!(in_cookie(&token), "401 issuer_unknown");
        assert_eq!(in_header(&of_partner), "401 issuer_unknown");
    }
    assert_eq!(hits_and_misses(&sidecar), [2, 2]);
}

#[test]
fn cached_token_is_refused_once_its_key_is_withdrawn() {
    let config = Config::new().provider("cacheDuration", "2s").provider("staleDuration", "0s");
    let sidecar = Sidecar::start(&config);
    let token = Token::good().compact();
    let request = Request::get("/").bearer(&token);
    assert_eq!(sidecar.decide(&request), "200 allowed");

    sidecar.issuer.answer(Answer::Keys(vec![Key::beta().jwk()]));

    wait::until("the key is no longer trusted", EXPIRY_LIMIT, || {
        let decision = sidecar.decide(&request);
        assert!(["200 allowed", "401 key_unknown"].contains(&decision.as_str()), "{decision}");
        (decision == "401 key_unknown").then_some(())
    });
    assert_eq!(sidecar.decide(&request), "401 key_unknown");
    // Being used until the last moment did not help it.
    assert!(sidecar.counted("token_cache.hit") >= 2);
    sidecar.assert_passes(&Token::good().signed_by(Key::beta()));
}

#[test]
fn cached_token_is_judged_by_the_configuration_in_force() {
    let of_alpha = Config::new().inline_keys(&[Key::alpha().jwk()]);
    let sidecar = Sidecar::start_adapted(&of_alpha, Bootstrap::replaceable);
    let request = Request::get("/").bearer(&Token::good().compact());
    let assert_becomes = |config: &Config, decision: &str| {
        sidecar.reconfigure(config);
        // Twice: what the first leaves in the cache must not help the second.
        assert_eq!(sidecar.decide(&request), decision);
        assert_eq!(sidecar.decide(&request), decision);
    };
    assert_eq!(sidecar.decide(&request), "200 allowed");
    assert_eq!(sidecar.decide(&request), "200 allowed");
    assert_eq!(hits_and_misses(&sidecar), [1, 1]);

    let other_audience = of_alpha.clone().provider("audiences", json!(["other-api"]));
    assert_becomes(&other_audience, "401 audience_not_allowed");
    let other_issuer = of_alpha.clone().provider("issuer", "https://other.example.com");
    assert_becomes(&other_issuer, "401 issuer_unknown");
    let other_key = Config::new().inline_keys(&[Key::beta().jwk()]);
    assert_becomes(&other_key, "401 key_unknown");
    let other_key_of_the_name = Config::new().inline_keys(&[Key::beta().jwk_named("alpha")]);
    assert_becomes(&other_key_of_the_name, "401 signature_invalid");
    assert_becomes(&of_alpha.set("realm", "another"), "200 allowed");
}

#[test]
fn what_differs_from_a_cached_token_in_one_character_is_refused() {
    let sidecar = Sidecar::start(&Config::new().inline_keys(&[Key::alpha().jwk()]));
    let token = Token::good().compact();
    let decide = |token: &str| sidecar.decide(&Request::get("/").bearer(token));
    assert_eq!(decide(&token), "200 allowed");

    let last = token.len() - 1;
    for position in (0..last).step_by(STEP).chain(last - 40..=last) {
        let mut other = token.clone().into_bytes();
        other[position] = if other[position] == b'A' { b'B' } else { b'A' };
        let decision = decide(str::from_utf8(&other).expect("ASCII"));
        assert!(decision.starts_with("401 "), "{decision} with another character at {position}");
    }
    let (_, without_first) = token.split_at(1);
    let (without_last, _) = token.split_at(last);
    for other in [without_first, without_last, &format!("{token}A"), &format!("A{token}")] {
        let decision = decide(other);
        assert!(decision.starts_with("401 "), "{decision} for {other}");
    }

    assert_eq!(sidecar.counted("token_cache.hit"), 0);
    assert_eq!(decide(&token), "200 allowed");
    assert_eq!(sidecar.counted("token_cache.hit"), 1);
}

#[test]
fn another_text_under_the_signature_of_a_cached_token_is_refused() {
    let sidecar = Sidecar::start(&Config::new().inline_keys(&[Key::alpha().jwk()]));
    let token = Token::good();
    let admin = token.clone().claim("sub", "admin").compact();
    let token = token.compact();
    let (header_and_payload, _) = admin.rsplit_once('.').expect("a signature");
    let (_, signature) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{header_and_payload}.{signature}");
    let decide = |token: &str| sidecar.decide(&Request::get("/").bearer(token));

    assert_eq!(decide(&token), "200 allowed");
    for _ in 0..3 {
        assert_eq!(decide(&forged), "401 signature_invalid");
        assert_eq!(decide(&token), "200 allowed");
    }

    assert_eq!(hits_and_misses(&sidecar), [3, 4]);
}

#[test]
fn forged_tokens_are_never_cached() {
    let sidecar = Sidecar::start(&Config::new().inline_keys(&[Key::alpha().jwk()]));
    let forged = |number: usize| {
        let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha");
        Request::get("/").bearer(&forged.claim("jti", number).compact())
    };

    for number in 0..FORGED {
        assert_eq!(sidecar.decide(&forged(number)), "401 signature_invalid");
    }
    let again = forged(0);
    for _ in 0..FORGED {
        assert_eq!(sidecar.decide(&again), "401 signature_invalid");
    }

    assert_eq!(hits_and_misses(&sidecar), [0, 2 * u64::try_from(FORGED).expect("few")]);
    assert_eq!(sidecar.upstream.requests(), 0);
}

#[test]
fn each_hit_tells_whose_token_it_is() {
    let sidecar = Sidecar::start(&Config::new());
    let users = [("alice", "acme"), ("bob", "globex")].map(|(subject, tenant)| {
        let token = Token::good().claim("sub", subject).claim("tenant", tenant);
        (subject, tenant, token.claim("scope", format!("of:{subject}")).compact())
    });

    for _ in 0..ROUNDS {
        for (subject, tenant, token) in &users {
            let seen = received(&sidecar.send(&Request::get("/").bearer(token)));

            assert_eq!(seen.header("x-user-id"), Some(*subject));
            assert_eq!(seen.header("x-tenant"), Some(*tenant));
            assert_eq!(seen.header("x-scopes"), Some(format!("of:{subject}").as_str()));
            assert_eq!(seen.header("x-jwt-payload"), Some(payload_part(token)));
        }
    }

    assert_eq!(hits_and_misses(&sidecar), [2 * (ROUNDS - 1), 2]);
}

/// There is a place for one token, and three take turns.
#[test]
fn full_cache_changes_no_verdict() {
    let config = Config::new().set("tokenCache", json!({ "maxEntries": 1 }));
    let sidecar = Sidecar::start(&config);
    let tokens = ["alice", "bob", "carol"]
        .map(|subject| (subject, Token::good().claim("sub", subject).compact()));

    for _ in 0..ROUNDS {
        for (subject, token) in &tokens {
            let seen = received(&sidecar.send(&Request::get("/").bearer(token)));
            assert_eq!(seen.header("x-user-id"), Some(*subject));
        }
    }

    let [hits, misses] = hits_and_misses(&sidecar);
    assert_eq!(hits + misses, 3 * ROUNDS);
    assert_eq!(sidecar.counted("signature.host"), misses);
}

fn hits_and_misses(sidecar: &Sidecar) -> [u64; 2] {
    ["token_cache.hit", "token_cache.miss"].map(|name| sidecar.counted(name))
}

const EXPIRY_LIMIT: Duration = Duration::from_secs(8);
const FORGED: usize = 50;
const ROUNDS: u64 = 20;
/// Odd, so that each place of a group of four base64url characters comes up.
const STEP: usize = 13;
