//! Tests of the whole plugin configuration: what is refused and where, what is accepted and how.

use super::*;
use crate::jose::KeySet;
use crate::reply::Detail;
use crate::request::{HeaderEdit, RequestHead};
use crate::rules::{Access, Requirement};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

// === What is refused ===

/// A change to [`full`]: a JSON Pointer, and the new value or `None` to remove the member.
type Edit = (&'static str, Option<Value>);

/// Edits, the path of the error they cause, and words of its advice.
type Refusal<'a> = (Vec<Edit>, &'a str, &'a str);

fn set(pointer: &'static str, value: Value) -> Vec<Edit> {
    vec![(pointer, Some(value))]
}

#[track_caller]
fn assert_refused(refusals: Vec<Refusal<'_>>) {
    for (edits, path, mend) in refusals {
        let shown = format!("{edits:?}");
        let error = refusal(&edited(edits)).unwrap_or_else(|| panic!("accepted: {shown}"));
        assert_eq!(error.path(), path, "{shown}: {error}");
        assert!(error.to_string().contains(mend), "{shown}: {error}");
    }
}

#[test]
fn documents_that_are_no_configuration_are_refused() {
    for (text, path, mend) in [
        (&b""[..], "", "the plugin configuration is empty; it needs at least \"providers\""),
        (b" \n", "", "is empty"),
        (b"providers: []", "", "not valid JSON: expected value at line 1 column 1"),
        (b"{\"providers\":[", "", "not valid JSON: EOF"),
        (b"{\"providers\":[]}{}", "", "trailing characters"),
        (b"{\"mode\":\"report\",\"mode\":\"enforce\"}", "", "duplicate member name"),
        (b"{\"mode\":\"report\",\"m\\u006fde\":\"enforce\"}", "", "duplicate member name"),
        (b"{\"realm\":\"\xff\"}", "", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "", "not valid JSON"),
        (b"[]", "", "expected an object, found an array"),
        (b"null", "", "expected an object, found null"),
        (b"\"{}\"", "", "expected an object, found a string"),
        (b"{}", "providers", "is missing or empty; name at least one issuer"),
        (b"{\"providers\":[]}", "providers", "is missing or empty"),
    ] {
        let error = Config::parse(text).expect_err("accepted");
        assert_eq!(error.path(), path, "{error}");
        assert!(error.to_string().contains(mend), "{error}");
    }
}

#[test]
fn too_deep_a_document_is_refused() {
    let claims = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let text = format!(r#"{{"rules":[{{"claims":{{"a":{claims}}}}}]}}"#);

    let error = Config::parse(text.as_bytes()).unwrap_err();

    assert!(error.to_string().contains("nested too deeply"), "{error}");
}

#[test]
fn unknown_fields_are_refused_with_the_one_that_was_meant() {
    assert_refused(vec![
        (set("/modes", json!("report")), "modes", "did you mean \"mode\"?"),
        (
            vec![("/providers/0/issuer", None), ("/providers/0/isuer", Some(json!("i")))],
            "providers[0].isuer",
            "did you mean \"issuer\"?",
        ),
        (set("/jwks_wait_timeout", json!("1s")), "jwks_wait_timeout", "\"jwksWaitTimeout\"?"),
        (set("/tokenCache/max", json!(1)), "tokenCache.max", "the fields here are maxEntries"),
        (set("/providers/0/audience", json!("a")), "providers[0].audience", "\"audiences\"?"),
        (set("/providers/0/jwksURI", json!("a")), "providers[0].jwksURI", "\"jwksUri\"?"),
        (set("/providers/0/forward", json!(true)), "providers[0].forward", "the fields here are"),
        (
            set("/providers/0/fromHeaders/0/Prefix", json!("x")),
            "providers[0].fromHeaders[0].Prefix",
            "\"prefix\"?",
        ),
        (
            set("/providers/0/outputClaimToHeaders/2/defaults", json!("x")),
            "providers[0].outputClaimToHeaders[2].defaults",
            "\"default\"?",
        ),
        (set("/rules/1/scope", json!(["a"])), "rules[1].scope", "\"scopes\"?"),
        (set("/rules/1/audiences", json!(["a"])), "rules[1].audiences", "the fields here are"),
        (
            set("/rules/1/requires/audience", json!("a")),
            "rules[1].requires.audience",
            "\"audiences\"?",
        ),
        (set("/rules/0/match/path", json!(["/"])), "rules[0].match.path", "\"paths\"?"),
        // An error is one line, whatever the name of the field.
        (set("/a\nb", json!(1)), "a\\nb", "the fields here are providers, verifiedHeader"),
    ]);
}

#[test]
fn values_of_another_type_are_refused() {
    for (pointer, path) in STRINGS {
        assert_refused(vec![
            (set(pointer, json!(7)), path, "expected a string, found a number"),
            (set(pointer, json!(null)), path, "expected a string, found null"),
            (set(pointer, json!("")), path, "is empty; give it a value or remove it"),
        ]);
    }
    for (pointer, path) in STRINGS_OR_EMPTY {
        assert_refused(vec![
            (set(pointer, json!(7)), path, "expected a string, found a number"),
            (set(pointer, json!(null)), path, "expected a string, found null"),
        ]);
    }
    for (pointer, path) in STRING_ARRAYS {
        let item = &format!("{path}[1]");
        assert_refused(vec![
            (set(pointer, json!("a")), path, "expected an array of strings, found a string"),
            (set(pointer, json!(null)), path, "expected an array of strings, found null"),
            (set(pointer, json!(["/a", 7])), item, "expected a string, found a number"),
            (set(pointer, json!(["/a", ""])), item, "is empty; give it a value or remove it"),
        ]);
    }
    for (pointer, path) in OBJECT_ARRAYS {
        let item = &format!("{path}[0]");
        assert_refused(vec![
            (set(pointer, json!({})), path, "expected an array of objects, found an object"),
            (set(pointer, json!(null)), path, "expected an array of objects, found null"),
            (set(pointer, json!(["a"])), item, "expected an object, found a string"),
        ]);
    }
    for (pointer, path) in OBJECTS {
        assert_refused(vec![
            (set(pointer, json!([])), path, "expected an object, found an array"),
            (set(pointer, json!(null)), path, "expected an object, found null"),
        ]);
    }
    for (pointer, path) in BOOLEANS {
        assert_refused(vec![
            (set(pointer, json!("true")), path, "expected true or false, found a string"),
            (set(pointer, json!(1)), path, "expected true or false, found a number"),
            (set(pointer, json!(null)), path, "expected true or false, found null"),
        ]);
    }
}

#[test]
fn durations_need_a_unit_and_have_bounds() {
    for (pointer, path, minimum) in DURATIONS {
        for value in [json!("5"), json!("5d"), json!("-5s"), json!("5 s"), json!(5), json!(null)] {
            assert_refused(vec![(set(pointer, value), path, "is not a duration; write a number")]);
        }
        if let Some((below, mend)) = minimum {
            assert_refused(vec![(set(pointer, json!(below)), path, mend)]);
        }
    }
    assert_refused(vec![
        (
            set("/providers/0/clockSkew", json!("two minutes")),
            "providers[0].clockSkew",
            "\"two minutes\" is not a duration; write a number with a unit, such as \"500ms\"",
        ),
        (
            // 2^32 ms
            set("/providers/0/timeout", json!("4294967.296s")),
            "providers[0].timeout",
            "must be at most 1h",
        ),
    ]);
}

#[test]
fn counts_have_bounds() {
    for (pointer, path, least) in
        [("/maxPausedRequests", "maxPausedRequests", 0), ("/maxTokenBytes", "maxTokenBytes", 1)]
            .into_iter()
            .chain([("/tokenCache/maxEntries", "tokenCache.maxEntries", 0)])
    {
        let mend = &format!("is not a whole number from {least} to 1000000");
        for value in [json!(-1), json!(1_000_001), json!(1.5), json!("8"), json!(null)] {
            assert_refused(vec![(set(pointer, value), path, mend)]);
        }
        assert_eq!(refusal(&edited(set(pointer, json!(least)))), None);
    }
    assert_refused(vec![(set("/maxTokenBytes", json!(0)), "maxTokenBytes", "0 is not a whole")]);
    for endpoints in [0, 17] {
        let mend = &format!("{endpoints} is not a whole number from 1 to 16");
        let edit = set("/providers/0/jwksEndpoints", json!(endpoints));
        assert_refused(vec![(edit, "providers[0].jwksEndpoints", mend)]);
    }
}

#[test]
fn choices_take_known_words_only() {
    assert_refused(vec![
        (set("/mode", json!("dry-run")), "mode", "is not one of \"enforce\", \"report\""),
        (set("/mode", json!(null)), "mode", "null is not one of \"enforce\""),
        (set("/filterState", json!(true)), "filterState", "is not one of \"full\", \"code\""),
        (set("/hostCrypto", json!("on")), "hostCrypto", "is not one of \"auto\", \"off\""),
        (set("/rules/0/access", json!("deny")), "rules[0].access", "\"public\", \"optional\""),
        (
            set("/providers/0/outputClaimToHeaders/0/encoding", json!("base64")),
            "providers[0].outputClaimToHeaders[0].encoding",
            "is not one of \"plain\", \"base64url\"",
        ),
    ]);
}

#[test]
fn providers_need_an_issuer_and_a_name_of_their_own() {
    let realm = |name: &str| {
        json!({"issuer": format!("https://sso.example.com/realms/{name}"),
        "jwksUri": "https://sso.example.com/jwks"})
    };
    let second =
        |issuer: &str, name: &str| json!({"issuer": issuer, "name": name, "jwksUri": "https://i/"});
    assert_refused(vec![
        (vec![("/providers/0/issuer", None)], "providers[0].issuer", "the exact \"iss\""),
        (
            set("/providers/0/name", json!("a b")),
            "providers[0].name",
            "may hold letters, digits, '.', '_' and '-' only",
        ),
        (
            set("/providers/1", second("https://auth.example.com", "other")),
            "providers[1].issuer",
            "\"wealist\" has the issuer \"https://auth.example.com\" already; make them one",
        ),
        (
            set("/providers/1", second("https://other.example.com", "wealist")),
            "providers[1].name",
            "\"wealist\" names two providers; give each a name of its own",
        ),
        // Two Keycloak realms on one host.
        (
            set("/providers", json!([realm("staff"), realm("customers")])),
            "providers[1].name",
            "\"sso.example.com\" names two providers; give each a name of its own",
        ),
    ]);
}

#[test]
fn keys_need_a_place_to_come_from() {
    let uri = |uri: &str| set("/providers/0/jwksUri", json!(uri));
    let without_keys = || vec![("/providers/0/jwksUri", None), ("/providers/0/jwks", None)];
    let no_uri = "providers[0].jwksUri";
    assert_refused(vec![
        (
            [without_keys(), set("/providers/0/issuer", json!("auth@example.com"))].concat(),
            no_uri,
            "cannot be discovered: the issuer is not an https:// (or http://) URI; write the",
        ),
        (
            [without_keys(), set("/providers/0/issuer", json!("https://a.example/?x"))].concat(),
            no_uri,
            "cannot be discovered: the issuer holds a query; write the jwks_uri",
        ),
        (
            [without_keys(), set("/providers/0/issuer", json!("http://a.example"))].concat(),
            "providers[0].issuer",
            "use https://, or set allowPlaintextJwks: true where the mesh encrypts the call",
        ),
        (
            vec![("/providers/0/jwksUri", None)],
            "providers[0].jwksCluster",
            "has no use where all keys are in \"jwks\"; remove it, or add a jwksUri",
        ),
        (
            set("/providers/0/jwksHosts", json!(["keys.example.com"])),
            "providers[0].jwksHosts",
            "is for the jwks_uri that discovery finds; remove it, or jwksUri",
        ),
        (
            [without_keys(), set("/providers/0/jwksHosts", json!(["a.example", "https://b"]))]
                .concat(),
            "providers[0].jwksHosts[1]",
            "\"https://b\" is not a host; write one such as \"keys.example.com\"",
        ),
        (
            set("/providers/0/jwks_uri", json!("https://auth.example.com/jwks")),
            "providers[0].jwks_uri",
            "is a second jwksUri; remove it",
        ),
        (
            uri("http://auth-service:8080/jwks"),
            no_uri,
            "use https://, or set allowPlaintextJwks: true where the mesh encrypts the call",
        ),
        (
            vec![
                ("/providers/0/jwksUri", None),
                ("/providers/0/jwks_uri", Some(json!("http://auth-service/jwks"))),
            ],
            "providers[0].jwks_uri",
            "set allowPlaintextJwks: true",
        ),
        (uri("/jwks"), no_uri, "\"/jwks\" is not an https:// (or http://) URI"),
        (uri("https://a.example/#keys"), no_uri, "remove everything from '#'"),
        (uri("https://user@a.example/"), no_uri, "remove everything up to '@'"),
        (uri("https://a.example:x/"), no_uri, "a port that is not a number"),
        (uri("https:///jwks"), no_uri, "has no host"),
    ]);
}

#[test]
fn inline_keys_that_cannot_be_used_are_refused_each_for_its_reason() {
    let keys = |keys: Value| set("/providers/0/jwks", json!({"keys": keys}));
    let key = |change: fn(&mut Value)| {
        let mut key = rsa_key();
        change(&mut key);
        keys(json!([key]))
    };
    let modulus = |octets: Vec<u8>| {
        let mut key = rsa_key();
        key["n"] = json!(URL_SAFE_NO_PAD.encode(octets));
        keys(json!([key]))
    };
    let text = |text: &str| set("/providers/0/jwks", json!(text));
    let refusals: Vec<(Vec<Edit>, &str)> = vec![
        (set("/providers/0/jwks", json!(7)), "expected a JWK Set as an object or as a string"),
        (set("/providers/0/jwks", json!(null)), "expected a JWK Set as an object or as a string"),
        (text("https://auth.example.com/jwks"), "is not JSON (line 1, column 1)"),
        (text("[]"), "has no array \"keys\""),
        (text("{\"keys\":[],\"keys\":[]}"), "has no array \"keys\", or two of them"),
        (set("/providers/0/jwks", rsa_key()), "has no array \"keys\""),
        (keys(json!([])), "the JWK Set holds no keys; write a JWK Set with an RSA signing key"),
        (keys(json!(vec![0; 1025])), "holds 1025 keys, at most 1024"),
        (keys(json!(["k"])), "keys[0]: it is not a JSON object"),
        (keys(json!([{"kty": "EC", "crv": "P-256"}])), "keys[0]: kty is not RSA"),
        (key(|key| key["use"] = json!("enc")), "use is not sig"),
        (key(|key| key["key_ops"] = json!(["sign"])), "key_ops does not hold verify"),
        (key(|key| key["alg"] = json!("RS512")), "alg is not RS256"),
        (key(|key| key["kid"] = json!(1)), "kid is not a string"),
        (key(|key| key["n"] = json!("AQAB==")), "n is not base64url without padding"),
        (key(|key| key["e"] = json!(65537)), "e is not base64url without padding"),
        (key(|key| key["e"] = json!("AQ")), "the exponent is not an odd number from 3 to 2^32"),
        (modulus(odd(255)), "the modulus is shorter than 2048 bits"),
        (modulus(odd(1025)), "the modulus is longer than 8192 bits"),
        (modulus([vec![0x80], vec![0; 255]].concat()), "the modulus is even"),
    ];
    let at_jwks = |(edits, mend)| (edits, "providers[0].jwks", mend);
    assert_refused(refusals.into_iter().map(at_jwks).collect());
}

#[test]
fn headers_need_a_name_that_is_free() {
    let output = |header: &str| json!({"header": header, "claim": "sub"});
    let outputs = "providers[0].outputClaimToHeaders";
    assert_refused(vec![
        (
            vec![("/providers/0/outputClaimToHeaders/0/header", None)],
            "providers[0].outputClaimToHeaders[0].header",
            "is missing; name a header",
        ),
        (
            vec![("/providers/0/outputClaimToHeaders/0/claim", None)],
            "providers[0].outputClaimToHeaders[0].claim",
            "is missing; name the claim to put into the header",
        ),
        (
            set("/providers/0/outputClaimToHeaders/0", output("X User")),
            "providers[0].outputClaimToHeaders[0].header",
            "\"X User\" is not a header name (RFC 9110 §5.1)",
        ),
        (
            set("/providers/0/outputClaimToHeaders/0", output(":authority")),
            "providers[0].outputClaimToHeaders[0].header",
            "is not a header name",
        ),
        (
            set("/providers/0/outputClaimToHeaders/0", output("Host")),
            "providers[0].outputClaimToHeaders[0].header",
            "the header \"host\" has a meaning of its own; choose another",
        ),
        (
            set("/providers/0/outputPayloadToHeader", json!("Content-Length")),
            "providers[0].outputPayloadToHeader",
            "has a meaning of its own; choose another",
        ),
        (
            set("/providers/0/outputPayloadToHeader", json!("X\r\nY")),
            "providers[0].outputPayloadToHeader",
            "is not a header name",
        ),
        (
            set("/providers/0/fromHeaders/0/name", json!("Cookie")),
            "providers[0].fromHeaders[0].name",
            "has a meaning of its own; choose another",
        ),
        (
            vec![("/providers/0/fromHeaders/0/name", None)],
            "providers[0].fromHeaders[0].name",
            "is missing; name a header",
        ),
        (
            set("/providers/0/outputClaimToHeaders/1", output("x-user-id")),
            outputs,
            "the header \"x-user-id\" is set twice; keep one of them",
        ),
        (
            set("/providers/0/outputPayloadToHeader", json!("X-USER-ID")),
            outputs,
            "the header \"x-user-id\" is set twice; keep one of them",
        ),
        (
            set("/providers/0/outputClaimToHeaders/2/default", json!("é")),
            "providers[0].outputClaimToHeaders[2].default",
            "may hold printable ASCII characters only",
        ),
        (
            set("/providers/0/outputClaimToHeaders/2/default", json!(" d")),
            "providers[0].outputClaimToHeaders[2].default",
            "and no space at its ends",
        ),
        (set("/realm", json!("a\tb")), "realm", "may hold printable ASCII characters only"),
    ]);
}

#[test]
fn a_header_that_the_filter_sets_cannot_bring_a_token() {
    let source = |name: &str| json!([{"name": name}]);
    let other = |name: &str| {
        json!({"issuer": "https://other.example.com", "jwksUri": "https://i/",
            "fromHeaders": source(name)})
    };
    let mend = "is also an output, and those are removed from every request; take the token from \
                another header";
    assert_refused(vec![
        (set("/providers/0/fromHeaders", source("X-User-Id")), "providers[0].fromHeaders", mend),
        (set("/providers/0/fromHeaders", source("x_user_id")), "providers[0].fromHeaders", mend),
        (set("/providers/1", other("X-Jwt-Payload")), "providers[1].fromHeaders", mend),
        (set("/providers/1", other("X_User-Id")), "providers[1].fromHeaders", mend),
        (
            vec![
                ("/providers/0/fromHeaders", None),
                ("/providers/0/fromCookies", None),
                ("/providers/0/fromParams", None),
                ("/providers/0/outputPayloadToHeader", Some(json!("Authorization"))),
            ],
            "providers[0].fromHeaders",
            mend,
        ),
    ]);
}

#[test]
fn the_header_of_verified_requests_has_no_other_use() {
    let named = |name: &str| set("/verifiedHeader/name", json!(name));
    let path = "verifiedHeader.name";
    assert_refused(vec![
        (vec![("/verifiedHeader/name", None)], path, "is missing; name a header"),
        (named("X Mesh"), path, "is not a header name (RFC 9110 §5.1)"),
        (named("Connection"), path, "has a meaning of its own; choose another"),
        (named("x_user-id"), path, "is also the header of a claim or of the payload; choose"),
        (named("X-Jwt-Payload"), path, "of a claim or of the payload"),
        (named("X-TOKEN"), "providers[0].fromHeaders", "the header \"x-token\" is also an output"),
        (set("/verifiedHeader/value", json!("x")), "verifiedHeader.value", "are name, secret"),
    ]);
}

#[test]
fn the_secret_of_verified_requests_is_hard_to_guess_and_needs_no_escapes() {
    let secret = |secret: &str| set("/verifiedHeader/secret", json!(secret));
    let mend = "write 16 characters or more of printable ASCII, without quotes and backslashes";
    for text in [
        "a-good-long-\"secret\"",
        "a-good-long-\\secret",
        "a-good-long-secrét",
        "a-good-long-secret\n",
        "long-of-fifteen",
    ] {
        assert_refused(vec![(secret(text), "verifiedHeader.secret", mend)]);
        let error = refusal(&edited(secret(text))).unwrap().to_string();
        assert!(!error.contains("long"), "{error}");
    }
    assert_eq!(refusal(&edited(secret("sixteen of them!"))), None);
}

#[test]
fn a_place_that_can_hold_no_token_is_refused() {
    let prefix = |prefix: &str| set("/providers/0/fromHeaders/0/prefix", json!(prefix));
    let cookie = |name: &str| set("/providers/0/fromCookies", json!(["at", name]));
    let (in_header, in_cookie) =
        ("providers[0].fromHeaders[0].prefix", "providers[0].fromCookies[1]");
    for text in [" Bearer ", " ", "Token token=a,", "Bearer\t", "J\u{e9}ton "] {
        assert_refused(vec![(prefix(text), in_header, "write one such as \"Bearer \"")]);
    }
    for name in ["a b", "at=", "at;", "\u{e9}"] {
        assert_refused(vec![(cookie(name), in_cookie, "is not the name of a cookie")]);
    }
    for edits in [prefix("Bearer"), prefix("Token token="), cookie("__Host-at")] {
        assert_eq!(refusal(&edited(edits)), None);
    }
}

#[test]
fn rules_say_what_they_match() {
    let hosts = |host: &str| set("/rules/0/match/hosts", json!(["*", host]));
    let methods = |method: &str| set("/rules/0/match/methods", json!([method]));
    let paths = |path: &str| set("/rules/0/match/paths", json!([path]));
    let (host, method, path) =
        ("rules[0].match.hosts[1]", "rules[0].match.methods[0]", "rules[0].match.paths[0]");
    let ports = |port: Value| set("/rules/0/match/ports", json!([8080, port]));
    let port = "rules[0].match.ports[1]";
    let empty = "is empty; name at least one, or remove it to match any";
    assert_refused(vec![
        (set("/rules/0/match/hosts", json!([])), "rules[0].match.hosts", empty),
        (set("/rules/0/match/methods", json!([])), "rules[0].match.methods", empty),
        (set("/rules/0/match/paths", json!([])), "rules[0].match.paths", empty),
        (set("/rules/0/match/ports", json!([])), "rules[0].match.ports", empty),
        (
            set("/rules/0/match/ports", json!(8080)),
            "rules[0].match.ports",
            "expected an array of port numbers, found a number",
        ),
        (ports(json!(0)), port, "is not a port; write a number from 1 to 65535"),
        (ports(json!(65_536)), port, "is not a port; write a number from 1 to 65535"),
        (ports(json!(-1)), port, "is not a port; write a number from 1 to 65535"),
        (ports(json!(80.5)), port, "is not a port; write a number from 1 to 65535"),
        (ports(json!("9090")), port, "is not a port; write a number from 1 to 65535"),
        (ports(json!(null)), port, "is not a port; write a number from 1 to 65535"),
        (hosts("api.*.com"), host, "\"api.*.com\": is not a host; write one such as"),
        (hosts("*example.com"), host, "stands for whole labels; write \"*.example.com\""),
        (
            hosts("example.com:http"),
            host,
            "with \":8443\" or \":*\" after it if it comes with a port",
        ),
        (hosts("example.com."), host, "ends with a dot; remove it"),
        (hosts("https://example.com"), host, "is not a host; write one such as"),
        (
            methods("get"),
            method,
            "\"get\": methods are case-sensitive; write it in capitals: \"GET\"",
        ),
        (methods("HEAD"), "rules[0].match", "HEAD alone loosens nothing; name GET beside it"),
        (methods("GET "), method, "\"GET \": is not a method; write one such as \"GET\""),
        (methods("GET,POST"), method, "is not a method; write one such as \"GET\""),
        (paths("healthz"), path, "does not begin with a slash; write \"/healthz\""),
        (paths("/a*"), path, "\"*\" stands for one whole segment and \"/**\" for the rest"),
        (paths("/**/a"), path, "\"*\" stands for one whole segment and \"/**\" for the rest"),
        (paths("/a/../b"), path, "is not a normalised path, so no request would match it"),
        (paths("/a?b=c"), path, "write it without query"),
        (paths("/a%2Fb"), path, "is not a normalised path"),
        (
            [paths("/caf\u{e9}"), set("/caseInsensitivePaths", json!(true))].concat(),
            path,
            "holds a letter that is not ASCII, whose case `caseInsensitivePaths` does not ignore",
        ),
    ]);
    for host in ["example.com:8443", "*.example.com:*", "[::1]:80"] {
        assert_eq!(refusal(&edited(hosts(host))), None, "{host}");
    }
    for port in [1, 65_535] {
        assert_eq!(refusal(&edited(ports(json!(port)))), None, "{port}");
    }
}

#[test]
fn numbers_that_cannot_be_compared_exactly_are_refused() {
    let level = |number: &str| {
        let number: Value = serde_json::from_str(number).unwrap();
        set("/rules/1/claims", json!({"level": [1, number]}))
    };
    let mend = "is not a whole number of 64 bits, and no other can be compared exactly";
    assert_refused(vec![
        (level("18446744073709551616"), "rules[1].claims.level[1]", mend),
        (level("1.5"), "rules[1].claims.level[1]", mend),
        (level("1e3"), "rules[1].claims.level[1]", mend),
    ]);
    for number in ["18446744073709551615", "-9223372036854775808", "0"] {
        assert_eq!(refusal(&edited(level(number))), None, "{number}");
    }
}

#[test]
fn rules_say_what_they_ask_for() {
    assert_refused(vec![
        (
            set("/rules/1/providers", json!(["wealist", "weelist"])),
            "rules[1].providers[1]",
            "there is no provider \"weelist\"; the providers are wealist",
        ),
        (
            set("/rules/1/providers", json!([])),
            "rules[1].providers",
            "is empty; remove it to take any provider",
        ),
        (
            set("/rules/1/scopes", json!(["a", "admin:read admin:write"])),
            "rules[1].scopes[1]",
            "write each scope as an item of its own",
        ),
        (set("/rules/1/scopes", json!(["\"a\""])), "rules[1].scopes[0]", "no space, quote"),
        (
            set("/rules/1/claims/roles", json!("admin")),
            "rules[1].claims.roles",
            "expected an array of the accepted values, found a string",
        ),
        (
            set("/rules/1/claims/roles", json!([])),
            "rules[1].claims.roles",
            "is empty; name at least one accepted value",
        ),
        (
            set("/rules/1/claims/roles", json!(["a", null])),
            "rules[1].claims.roles[1]",
            "expected a string, number or boolean, found null",
        ),
        (
            set("/rules/0/scopes", json!(["a"])),
            "rules[0].access",
            "remove them, or make access \"required\" or \"optional\"",
        ),
        (
            set("/rules/0/providers", json!(["wealist"])),
            "rules[0].access",
            "public requests carry no token",
        ),
        (
            set("/rules/0/claims", json!({"roles": ["a"]})),
            "rules[0].access",
            "public requests carry no token",
        ),
        (
            set("/rules/1/requires/audiences", json!([])),
            "rules[1].requires.audiences",
            "is empty; name at least one, or remove requires to take any audience",
        ),
        (set("/rules/1/requires", json!({})), "rules[1].requires", "and so requires nothing"),
        (set("/rules/1/requires", json!(null)), "rules[1].requires", "expected an object"),
        // Beside `access: public`.
        (set("/rules/0/requires", json!({})), "rules[0].requires", "or remove it"),
        (
            set("/rules/0/requires", json!({"audiences": ["a"]})),
            "rules[0].access",
            "public requests carry no token that could meet providers, audiences, scopes or claims",
        ),
    ]);
}

#[test]
fn claims_for_logs_have_a_name_and_a_source_each() {
    assert_refused(vec![
        (
            set("/providers/0/outputClaimToFilterState/1/name", json!("a.b")),
            "providers[0].outputClaimToFilterState[1].name",
            "may hold small letters, digits and '_' only",
        ),
        (
            set("/providers/0/outputClaimToFilterState/1/name", json!("Tenant")),
            "providers[0].outputClaimToFilterState[1].name",
            "may hold small letters",
        ),
        (
            set("/providers/0/outputClaimToFilterState/1/name", json!("tenant")),
            "providers[0].outputClaimToFilterState[1].name",
            "is set twice; keep one of them",
        ),
        (
            vec![("/providers/0/outputClaimToFilterState/1/joseHeader", None)],
            "providers[0].outputClaimToFilterState[1].claim",
            "name either a claim, or joseHeader: \"kid\"",
        ),
        (
            set("/providers/0/outputClaimToFilterState/0/joseHeader", json!("kid")),
            "providers[0].outputClaimToFilterState[0].claim",
            "name either a claim, or joseHeader: \"kid\"",
        ),
        (
            set("/providers/0/outputClaimToFilterState/1/joseHeader", json!("typ")),
            "providers[0].outputClaimToFilterState[1].joseHeader",
            "\"typ\" is not one of \"kid\"",
        ),
        (
            set("/providers/0/outputClaimToFilterState/0/hash", json!("md5")),
            "providers[0].outputClaimToFilterState[0].hash",
            "\"md5\" is not one of \"sha256\"",
        ),
        (
            set("/providers/0/outputClaimToFilterState/0/default", json!("x")),
            "providers[0].outputClaimToFilterState[0].default",
            "the fields here are name, claim, joseHeader, hash",
        ),
    ]);
}

// === What is taken ===

fn first(config: &Config) -> &Provider {
    config.providers.values().next().unwrap()
}

#[test]
fn the_full_example_means_what_it_says() {
    let config = Config::parse(full().to_string().as_bytes()).unwrap();

    assert_eq!(config.mode, Mode::Report);
    assert_eq!(config.replies.realm.as_deref(), Some("api"));
    assert!(!config.bypass_cors_preflight);
    assert!(config.clear_route_cache);
    assert_eq!(config.jwks_wait_timeout, Duration::from_millis(1500));
    assert_eq!((config.max_paused_requests, config.max_token_bytes), (10, 4096));
    assert_eq!(config.providers.values().len(), 1);
    let provider = first(&config);
    assert_eq!((&*provider.name, &*provider.issuer), ("wealist", "https://auth.example.com"));
    assert_eq!(provider.audiences, ["wealist-api"]);
    let KeySource::Remote { jwks, initial: Some(KeySet { keys, .. }) } = &provider.keys else {
        panic!("{:?}", provider.keys)
    };
    assert_eq!(keys.len(), 1);
    assert_eq!(
        (&*jwks.target().cluster, &*jwks.target().to_string()),
        ("idp", "https://auth.example.com/.well-known/jwks.json")
    );
    assert_eq!(jwks.timeout, Duration::from_secs(2));
    assert_eq!(jwks.cache_duration, Duration::from_mins(5));
    assert_eq!(jwks.stale_duration, Duration::ZERO);
    assert_eq!(jwks.refetch_cooldown, Duration::from_secs(20));
    assert_eq!(jwks.endpoints, Some(5));
    assert_eq!(provider.clock_skew, Duration::from_mins(1));
    assert!(!provider.require_expiration);
    assert_eq!(provider.max_lifetime, Some(Duration::from_hours(24)));
    assert_eq!(provider.token_types, ["at+jwt", "x"]);
    assert_eq!(
        provider.locations,
        [
            header("x-token", "JWT "),
            Location::Cookie("access_token".into()),
            Location::Param("token".into())
        ]
    );
    assert_eq!(claim_names(provider), ["scope", "permission", "roles"]);
    assert!(provider.forward_original_token);
    assert_eq!(
        outputs(provider),
        [
            ("x-user-id", "sub", None, Encoding::Plain),
            ("x-scopes", "scope", None, Encoding::Plain),
            ("x-tenant", "tenant", Some("default"), Encoding::Plain),
            ("x-name", "name", None, Encoding::Base64Url),
        ]
    );
    assert_eq!(provider.payload_header.as_ref().unwrap().as_str(), "x-jwt-payload");
    assert_eq!(
        state_outputs(provider),
        [
            ("mesh_jwt.claims.tenant", Some("tenant"), false),
            ("mesh_jwt.claims.key", None, false),
            ("mesh_jwt.claims.user_2", Some("sub"), true),
        ]
    );
    assert_eq!(
        verified_mark(provider).as_deref(),
        Some("x-mesh-jwt: verified;provider=\"wealist\";secret=\"0123456789abcdef\"")
    );
    assert!(!format!("{config:?}").contains("0123456789abcdef"), "{config:?}");
    assert!(matches!(access(&config, "a.example.com", "/users/7/avatar"), Access::Public));
    let Access::Required(admin) = access(&config, "x", "/admin/users") else { panic!() };
    let (only, _) = config.providers.iter().next().unwrap();
    assert_eq!(
        (admin.providers.as_deref(), &*admin.scopes),
        (Some(&[only][..]), &["admin:write".to_owned()][..])
    );
    assert_eq!(admin.audiences, [["admin-api"]]);
    let (claim, values) = &admin.claims[0];
    assert_eq!((claim.as_str(), &**values), ("roles", &["admin".to_owned(), "7".into()][..]));
    assert!(matches!(access(&config, "x", "/any"), Access::Optional(_)));
    let Replies { cors: Some(cors), detail: Detail::None, resource_metadata: Some(url), .. } =
        &*config.replies
    else {
        panic!("{:?}", config.replies)
    };
    assert_eq!(url, "https://api.example.com/.well-known/oauth-protected-resource");
    let origins =
        ["https://app.example.com", "https://preview-1.example.org", "https://a-1.example.com"];
    for (origin, allowed) in origins.iter().zip(&cors.allow_origins) {
        assert!(allowed.matches(origin), "{origin}");
    }
    assert_eq!((cors.allow_origins.len(), cors.allow_credentials), (3, true));
    assert_eq!(cors.expose_headers, ["WWW-Authenticate", "X-Request-Id"]);
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = minimal(json!({}));

    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(config.replies.realm, None);
    assert!(config.replies.cors.is_none() && config.replies.detail == Detail::Full);
    assert_eq!(config.replies.resource_metadata, None);
    assert!(config.bypass_cors_preflight);
    assert!(!config.clear_route_cache);
    assert_eq!(config.jwks_wait_timeout, Duration::from_secs(3));
    assert_eq!((config.max_paused_requests, config.max_token_bytes), (1000, 8192));
    assert!(matches!(access(&config, "x", "/"), Access::Required(any) if
        *any == Requirement::default()));
    let provider = first(&config);
    assert_eq!(provider.name, "auth.example.com");
    assert_eq!(provider.audiences, [""; 0]);
    let KeySource::Remote { jwks, initial: None } = &provider.keys else {
        panic!("{:?}", provider.keys)
    };
    assert_eq!(jwks.target().cluster, "outbound|443||auth.example.com");
    assert_eq!(jwks.timeout, Duration::from_secs(5));
    assert_eq!(jwks.cache_duration, Duration::from_mins(10));
    assert_eq!(jwks.stale_duration, Duration::from_hours(1));
    assert_eq!(jwks.refetch_cooldown, Duration::from_secs(10));
    assert_eq!(jwks.endpoints, None);
    assert_eq!(provider.clock_skew, Duration::from_secs(120));
    assert!(provider.require_expiration);
    assert_eq!(provider.max_lifetime, None);
    assert_eq!(provider.token_types, ["jwt", "at+jwt"]);
    assert_eq!(provider.locations, [header("authorization", "Bearer ")]);
    assert_eq!(claim_names(provider), ["scope", "permission"]);
    assert!(!provider.forward_original_token);
    assert_eq!((provider.payload_header.is_some(), outputs(provider).len()), (false, 0));
    assert_eq!(state_outputs(provider), []);
    assert_eq!(verified_mark(provider), None);
}

#[test]
fn verified_requests_are_marked_with_their_provider() {
    let provider = |issuer: &str| json!({"issuer": issuer, "jwksUri": "https://i/"});
    let document = json!({
        "providers": [provider("https://auth.example.com"), provider("kubernetes/sa")],
        "verifiedHeader": {"name": "X-Mesh-Jwt"},
    });
    let config = Config::parse(document.to_string().as_bytes()).unwrap();

    let marks: Vec<_> = config.providers.values().filter_map(|of| verified_mark(of)).collect();

    let expected = ["auth.example.com", "kubernetes_sa"]
        .map(|name| format!("x-mesh-jwt: verified;provider=\"{name}\""));
    assert_eq!(marks, expected);
}

/// An entry of `spec.jwtRules` of a `RequestAuthentication`, in JSON.
const ISTIO_RULE: &str = r#"{
    "issuer": "testing@secure.istio.io",
    "audiences": ["bookstore", "bookstore-web"],
    "jwks_uri": "https://idp.example.com/istio/jwks.json",
    "fromHeaders": [
        {"name": "X-Jwt-Assertion"},
        {"name": "Authorization", "prefix": "Bearer "}
    ],
    "fromParams": ["access_token"],
    "fromCookies": ["session"],
    "outputPayloadToHeader": "X-Payload",
    "outputClaimToHeaders": [{"header": "X-Groups", "claim": "nested.groups"}],
    "forwardOriginalToken": true,
    "timeout": "8s",
    "spaceDelimitedClaims": ["roles"]
}"#;

#[test]
fn a_rule_of_istio_can_be_pasted_in() {
    let rule: Value = serde_json::from_str(ISTIO_RULE).unwrap();
    let document = json!({"providers": [rule]});

    let config = Config::parse(document.to_string().as_bytes()).unwrap();

    let provider = first(&config);
    assert_eq!(
        (&*provider.name, &*provider.issuer),
        ("testing_secure.istio.io", "testing@secure.istio.io")
    );
    assert_eq!(provider.audiences, ["bookstore", "bookstore-web"]);
    let jwks = provider.remote_jwks().unwrap();
    assert_eq!(jwks.target().to_string(), "https://idp.example.com/istio/jwks.json");
    assert_eq!(
        (&*jwks.target().cluster, jwks.timeout),
        ("outbound|443||idp.example.com", Duration::from_secs(8))
    );
    assert_eq!(
        provider.locations,
        [
            header("x-jwt-assertion", ""),
            header("authorization", "Bearer "),
            Location::Cookie("session".into()),
            Location::Param("access_token".into()),
        ]
    );
    assert_eq!(provider.payload_header.as_ref().unwrap().as_str(), "x-payload");
    assert_eq!(outputs(provider), [("x-groups", "nested.groups", None, Encoding::Plain)]);
    assert!(provider.forward_original_token);
    assert_eq!(claim_names(provider), ["scope", "permission", "roles"]);
}

/// Istio's fields are those of Protocol Buffers, where an empty string is an absent one.
#[test]
fn a_rule_of_istio_may_hold_empty_strings() {
    let mut rule: Value = serde_json::from_str(ISTIO_RULE).unwrap();
    rule["fromHeaders"] = json!([{"name": "x-jwt", "prefix": ""}]);
    rule["outputPayloadToHeader"] = json!("");
    let document = json!({"providers": [rule]});

    let config = Config::parse(document.to_string().as_bytes()).unwrap();

    let provider = first(&config);
    assert_eq!(provider.locations[0], header("x-jwt", ""));
    assert_eq!(provider.payload_header, None);
}

#[test]
fn inline_keys_are_taken_as_a_string_and_as_an_object() {
    let set = json!({"keys": [rsa_key(), {"kty": "EC"}]});
    for jwks in [json!(set.to_string()), set] {
        let document = json!({"providers": [{"issuer": "testing@secure.istio.io", "jwks": jwks}]});

        let config = Config::parse(document.to_string().as_bytes()).unwrap();

        let KeySource::Inline(set) = &first(&config).keys else { panic!("{config:?}") };
        assert_eq!((set.keys.len(), set.skipped.len()), (1, 1));
        assert_eq!(set.keys[0].kid(), Some("k1"));
    }
}

#[test]
fn clusters_are_named_as_istio_names_them() {
    for (uri, cluster) in [
        ("https://idp.example.com/keys", "outbound|443||idp.example.com"),
        ("https://IDP.example.com:8443/keys", "outbound|8443||idp.example.com"),
        ("http://auth/jwks", "outbound|80||auth"),
        (
            "http://auth-service.ns.svc.cluster.local:8080/jwks",
            "outbound|8080||auth-service.ns.svc.cluster.local",
        ),
    ] {
        let config = minimal(json!({"jwksUri": uri, "allowPlaintextJwks": true}));

        assert_eq!(first(&config).remote_jwks().unwrap().target().cluster, cluster);
    }
}

/// OpenID Connect Discovery 1.0 §4 and RFC 8414 §3.1.
#[test]
fn keys_without_a_place_are_discovered() {
    for (issuer, first, second) in [
        (
            "https://idp.example.com",
            "https://idp.example.com/.well-known/openid-configuration",
            "https://idp.example.com/.well-known/oauth-authorization-server",
        ),
        (
            "https://idp.example.com:8443/realms/a/",
            "https://idp.example.com:8443/realms/a/.well-known/openid-configuration",
            "https://idp.example.com:8443/.well-known/oauth-authorization-server/realms/a",
        ),
    ] {
        let document = json!({"providers": [{"issuer": issuer}]});
        let config = Config::parse(document.to_string().as_bytes()).unwrap();

        let Source::Discovery(discovery) = &first_remote(&config).source else { panic!() };
        assert_eq!(discovery.issuer, issuer);
        assert_eq!(discovery.places.each_ref().map(ToString::to_string), [first, second]);
    }
}

#[test]
fn a_discovered_place_is_on_the_issuers_host_or_a_listed_one() {
    let targets = |fields: Value, uris: &[&str]| {
        let mut provider = json!({"issuer": "https://idp.example.com"});
        provider.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let document = json!({"providers": [provider]});
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let Source::Discovery(discovery) = &first_remote(&config).source else { panic!() };
        let clusters = uris.iter().map(|uri| Some(discovery.jwks_target(uri).ok()?.cluster));
        clusters.collect::<Vec<_>>()
    };
    let istio = |port: u16, host: &str| Some(format!("outbound|{port}||{host}"));
    let uris = [
        "https://IDP.example.com:443/keys",
        "https://keys.example.com/keys",
        "https://keys.example.com:8443/keys",
        "https://idp.example.com:8443/keys",
        "https://idp.example.com.evil.example/keys",
        "https://idp.example.com@evil.example/keys",
        "http://idp.example.com/keys",
        "/keys",
    ];

    assert_eq!(
        targets(json!({}), &uris),
        [istio(443, "idp.example.com"), None, None, None, None, None, None, None]
    );
    assert_eq!(
        targets(json!({"jwksHosts": ["Keys.example.com", "idp.example.com:8443"]}), &uris),
        [
            istio(443, "idp.example.com"),
            istio(443, "keys.example.com"),
            None,
            istio(8443, "idp.example.com"),
            None,
            None,
            None,
            None
        ]
    );
    // The cluster of the configuration leads to the issuer, not to other hosts.
    assert_eq!(
        targets(json!({"jwksHosts": ["keys.example.com"], "jwksCluster": "idp"}), &uris[..2]),
        [Some("idp".to_owned()), istio(443, "keys.example.com")]
    );
    assert_eq!(
        targets(json!({"allowPlaintextJwks": true, "jwksHosts": ["idp.example.com"]}), &uris[6..]),
        [istio(80, "idp.example.com"), None]
    );
}

#[test]
fn a_template_stands_for_the_issuers_of_its_tenants() {
    let document = with_tenants(json!({"maxTenants": 7}));
    let config = Config::parse(document.to_string().as_bytes()).unwrap();

    let provider = first(&config);
    assert_eq!(provider.name, "login.example.com");
    assert_eq!(provider.tenants.as_ref().unwrap().most, 7);
    let (id, _) = config.providers.iter().next().unwrap();
    let tenant = |issuer: &'static str| config.provider_of(issuer);
    assert_eq!(tenant("https://login.example.com/acme/v2.0"), Some((id, Some("acme"))));
    assert_eq!(tenant("https://login.example.com/0123abcd/v2.0"), Some((id, Some("0123abcd"))));
    for other in [
        "https://login.example.com/{tenant}/v2.0",
        "https://login.example.com/ACME/v2.0",
        "https://login.example.com/acme/v2.0/",
        "https://login.example.com/acme/x/v2.0",
        "https://login.example.com//v2.0",
        "https://login.example.com/acme",
        "https://login.example.com/v2.0",
        "https://login.example.com/globex/v2.0",
        "https://login.example.com.evil.example/acme/v2.0",
    ] {
        assert_eq!(tenant(other), None, "{other}");
    }
}

#[test]
fn whatever_is_allowed_a_tenant_is_one_plain_segment() {
    let document = with_tenants(json!({"tenants": [{"regex": "(?s).*"}]}));
    let config = Config::parse(document.to_string().as_bytes()).unwrap();
    let is_one = |tenant: &str| {
        config.provider_of(&format!("https://login.example.com/{tenant}/v2.0")).is_some()
    };

    assert!(is_one("a") && is_one("A-z.0_~") && is_one("...") && is_one(&"a".repeat(128)));
    for other in
        ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a b", "a\nb", "\u{e9}", &"a".repeat(129)]
    {
        assert!(!is_one(other), "{other:?}");
    }
}

#[test]
fn each_tenant_has_its_own_place_for_keys() {
    let target = |jwks_uri: Option<&str>| {
        let mut document = with_tenants(json!({}));
        if let Some(uri) = jwks_uri {
            document["providers"][0]["jwksUri"] = json!(uri);
        }
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        let jwks = first_remote(&config).of_tenant("acme");
        if let Source::Discovery(discovery) = &jwks.source {
            assert_eq!(discovery.issuer, "https://login.example.com/acme/v2.0");
        }
        jwks.target().to_string()
    };

    assert_eq!(
        target(None),
        "https://login.example.com/acme/v2.0/.well-known/openid-configuration"
    );
    assert_eq!(
        target(Some("https://keys.example.com/{tenant}/keys?p=1")),
        "https://keys.example.com/acme/keys?p=1"
    );
}

#[test]
fn templates_that_could_mix_tenants_are_refused() {
    let with = |pointer: &str, value: Value| {
        let mut document = with_tenants(json!({}));
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Array(items) => items.push(value),
            object => object[name] = value,
        }
        document
    };
    let template = |text: &str| with("/providers/0/issuers/template", json!(text));
    let second = |template: &str| {
        with(
            "/providers/1",
            json!({"name": "b", "issuers": {"template": template, "tenants": [{"prefix": "b-"}]}}),
        )
    };
    let at_template = "providers[0].issuers.template";
    for (document, path, mend) in [
        (
            template("https://a.example/v2.0"),
            at_template,
            "needs {tenant} once, as a whole segment",
        ),
        (template("https://{tenant}.example/"), at_template, "has no host, or one that no server"),
        (template("https://a.example/x-{tenant}"), at_template, "as a whole segment of its path"),
        (template("https://a.example/{tenant}/{tenant}"), at_template, "needs {tenant} once"),
        (template("https://a.example/{tenant}/{id}"), at_template, "needs {tenant} once"),
        (template("https://a.example/?t={tenant}"), at_template, "as a whole segment of its path"),
        (
            with("/providers/0/issuers/tenants", json!([])),
            "providers[0].issuers.tenants",
            "say what {tenant} may be",
        ),
        (
            with("/providers/0/issuers/tenants", json!(vec![json!({"regex": "a"}); 65])),
            "providers[0].issuers.tenants",
            "has 65 items with regex, and at most 64",
        ),
        (
            with("/providers/0/issuers/tenants", json!([{"exact": ""}])),
            "providers[0].issuers.tenants[0].exact",
            "is empty",
        ),
        (
            with("/providers/0/issuers/tenants", json!([{"exact": "a/b"}])),
            "providers[0].issuers.tenants[0].exact",
            "\"a/b\" cannot be a tenant: those have up to 128 letters",
        ),
        (
            with("/providers/0/issuers/maxTenants", json!(1001)),
            "providers[0].issuers.maxTenants",
            "from 1 to 1000",
        ),
        (
            with("/providers/0/issuer", json!("https://a.example")),
            "providers[0].issuer",
            "is one issuer beside several; remove it, or issuers",
        ),
        (
            with("/providers/0/jwks", json!({"keys": [rsa_key()]})),
            "providers[0].jwks",
            "would be trusted with the tokens of every tenant",
        ),
        (
            with("/providers/0/jwksUri", json!("https://a.example/common/keys")),
            "providers[0].jwksUri",
            "needs {tenant} once",
        ),
        (
            second("https://login.example.com/{tenant}/v2.0"),
            "providers[1].issuer",
            "already; make them one",
        ),
        (
            second("https://login.example.com/{tenant}"),
            "providers[1].issuers.template",
            "an issuer can be of this form and of that of the provider \"login.example.com\"",
        ),
    ] {
        let error = refusal(&document).unwrap_or_else(|| panic!("accepted: {document}"));
        assert_eq!(error.path(), path, "{error}");
        assert!(error.to_string().contains(mend), "{error}");
    }
    assert_eq!(refusal(&second("https://login.example.com/{tenant}/v1.0")), None);
}

fn first_remote(config: &Config) -> &RemoteJwks {
    first(config).remote_jwks().unwrap()
}

#[test]
fn default_names_are_labels() {
    for (issuer, name) in [
        ("https://auth.example.com/realms/staff", "auth.example.com"),
        ("http://Auth-Service:9001", "auth-service"),
        ("testing@secure.istio.io", "testing_secure.istio.io"),
        ("kubernetes/serviceaccount", "kubernetes_serviceaccount"),
        ("https://[::1]:8443", "___1_"),
    ] {
        assert_eq!(first(&minimal(json!({"issuer": issuer}))).name, name, "{issuer}");
    }
}

#[test]
fn providers_may_set_the_same_headers() {
    let provider = |issuer: &str| json!({"issuer": issuer, "jwksUri": "https://i/", "outputPayloadToHeader": "X-Payload"});
    let document = json!({"providers": [provider("https://a"), provider("https://b")]});

    assert_eq!(refusal(&document), None);
}

#[test]
fn the_demo_configures_what_it_promises() {
    let config = Config::parse(demo_configuration().as_bytes()).unwrap();

    assert_eq!(config.mode, Mode::Enforce);
    assert_eq!(first(&config).name, "wealist");
    // Defined in the same file.
    assert_eq!(first(&config).remote_jwks().unwrap().target().cluster, "auth_service");
    for path in ["/api/login", "/healthz", "/public/hello"] {
        assert!(matches!(access(&config, "x", path), Access::Public), "{path}");
    }
    for (path, scopes) in [("/orders", 0), ("/admin/users", 1)] {
        assert!(
            matches!(access(&config, "x", path), Access::Required(r) if r.scopes.len() == scopes),
            "{path}"
        );
    }
}

/// The block scalar at `value:` in the demo's Envoy configuration.
fn demo_configuration() -> String {
    let yaml = include_str!("../../envoy/envoy.yaml");
    let mut lines = yaml.lines().skip_while(|line| line.trim() != "value: |");
    let indentation = |line: &str| line.find(|c| c != ' ');
    let parent = indentation(lines.next().expect("no `value: |`"));
    lines.take_while(|line| line.is_empty() || indentation(line) > parent).collect()
}

// === What is written about it ===

#[test]
fn the_readmes_example_means_what_it_says() {
    let (_, section) = README.split_once("\n## Configuration\n").unwrap();
    let (_, block) = section.split_once("```yaml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let document: Value = serde_saphyr::from_str(block).unwrap();

    let config = Config::parse(document.to_string().as_bytes()).unwrap();

    assert_eq!(config.mode, Mode::Report);
    assert_eq!(first(&config).audiences, ["orders-api"]);
    assert_eq!(outputs(first(&config)), [("x-user-id", "sub", None, Encoding::Plain)]);
    assert!(matches!(access(&config, "x", "/public/hello"), Access::Public));
    assert!(
        matches!(access(&config, "x", "/admin/users"), Access::Required(r) if r.scopes == ["admin:write"])
    );
}

/// The fields that the parser lists when it refuses an unknown one.
pub(super) fn known_fields(pointer: &str) -> Vec<String> {
    let mut document = if pointer.contains("issuers") { with_tenants(json!({})) } else { full() };
    document.pointer_mut(pointer).unwrap()["far from any"] = json!(1);
    let error = refusal(&document).unwrap().to_string();
    let (_, fields) = error.split_once("the fields here are ").unwrap();
    fields.split(", ").map(str::to_owned).collect()
}

// === What may be anything ===

#[test]
fn a_configuration_that_was_cut_off_is_refused() {
    let text = full().to_string();

    for end in 0..text.len() {
        assert!(Config::parse(&text.as_bytes()[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_configuration_with_any_byte_wrong_is_read_or_refused_in_one_line() {
    let text = full().to_string().into_bytes();

    for at in 0..text.len() {
        for byte in [0, b'\n', b'"', b'0', b'[', b'\\', b'}', 0xff, text[at] ^ 1, text[at] ^ 0x20] {
            let mut corrupt = text.clone();
            corrupt[at] = byte;
            if let Err(error) = Config::parse(&corrupt) {
                let line = error.to_string();
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

// === Configurations ===

/// A provider with tenants, and these fields of `issuers`.
pub(super) fn with_tenants(fields: Value) -> Value {
    let mut issuers = json!({
        "template": "https://login.example.com/{tenant}/v2.0",
        "tenants": [{"exact": "acme"}, {"regex": "[0-9a-f]{8}"}],
    });
    issuers.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"providers": [{"issuers": issuers}]})
}

/// Every field that does not exclude others, each with a value other than its default, but
/// `allowPlaintextJwks`.
pub(super) fn full() -> Value {
    json!({
        "mode": "report",
        "realm": "api",
        "providers": [{
            "name": "wealist",
            "issuer": "https://auth.example.com",
            "audiences": ["wealist-api"],
            "jwksUri": "https://auth.example.com/.well-known/jwks.json",
            "jwks": {"keys": [rsa_key()]},
            "jwksCluster": "idp",
            "allowPlaintextJwks": false,
            "timeout": "2s",
            "cacheDuration": "5m",
            "staleDuration": "0s",
            "refetchCooldown": "20s",
            "jwksEndpoints": 5,
            "clockSkew": "60s",
            "requireExpiration": false,
            "maxLifetime": "24h",
            "tokenTypes": ["at+jwt", "application/X"],
            "requireTokenType": true,
            "allowBoundTokens": true,
            "fromHeaders": [{"name": "X-Token", "prefix": "JWT "}],
            "fromCookies": ["access_token"],
            "fromParams": ["token"],
            "spaceDelimitedClaims": ["roles"],
            "forwardOriginalToken": true,
            "outputPayloadToHeader": "X-Jwt-Payload",
            "outputClaimToHeaders": [
                {"header": "X-User-Id", "claim": "sub"},
                {"header": "X-Scopes", "claim": "scope"},
                {"header": "X-Tenant", "claim": "tenant", "default": "default"},
                {"header": "X-Name", "claim": "name", "encoding": "base64url"},
            ],
            "outputClaimToFilterState": [
                {"name": "tenant", "claim": "tenant"},
                {"name": "key", "joseHeader": "kid"},
                {"name": "user_2", "claim": "sub", "hash": "sha256"},
            ],
        }],
        "rules": [
            {
                "match": {
                    "hosts": ["*.example.com"],
                    "methods": ["GET"],
                    "paths": ["/healthz", "/public/**", "/users/*/avatar"],
                    "ports": [8080],
                },
                "access": "public",
            },
            {
                "match": {"paths": ["/admin/**"]},
                "providers": ["wealist"],
                "requires": {"audiences": ["admin-api"]},
                "scopes": ["admin:write"],
                "claims": {"roles": ["admin", 7]},
            },
            {"access": "optional"},
        ],
        "replies": {
            "cors": {
                "allowOrigins": [
                    {"exact": "https://app.example.com"},
                    {"prefix": "https://preview-"},
                    {"regex": "https://[a-z0-9-]+\\.example\\.com"},
                ],
                "allowCredentials": true,
                "exposeHeaders": ["WWW-Authenticate", "X-Request-Id"],
            },
            "detail": "none",
            "resourceMetadata": "https://api.example.com/.well-known/oauth-protected-resource",
        },
        "bypassCorsPreflight": false,
        "jwksWaitTimeout": "1.5s",
        "maxPausedRequests": 10,
        "maxTokenBytes": 4096,
        "tokenCache": {"maxEntries": 5},
        "filterState": "code",
        "hostCrypto": "off",
        "clearRouteCache": true,
        "caseInsensitivePaths": true,
        "verifiedHeader": {"name": "X-Mesh-Jwt", "secret": "0123456789abcdef"},
    })
}

/// A minimal configuration, with the given fields in its provider.
fn minimal(fields: Value) -> Config {
    let mut provider =
        json!({"issuer": "https://auth.example.com", "jwksUri": "https://auth.example.com/jwks"});
    for (name, value) in fields.as_object().unwrap() {
        provider[name] = value.clone();
    }
    Config::parse(json!({"providers": [provider]}).to_string().as_bytes()).unwrap()
}

fn edited(edits: Vec<Edit>) -> Value {
    let mut document = full();
    for (pointer, value) in edits {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match (document.pointer_mut(parent).unwrap(), value) {
            (Value::Object(members), Some(value)) => _ = members.insert(name.to_owned(), value),
            (Value::Object(members), None) => _ = members.remove(name).expect(pointer),
            (Value::Array(items), Some(value)) => {
                let index: usize = name.parse().unwrap();
                match items.get_mut(index) {
                    Some(item) => *item = value,
                    None => items.push(value),
                }
            }
            (parent, _) => panic!("{pointer}: {parent}"),
        }
    }
    document
}

fn refusal(document: &Value) -> Option<ConfigError> {
    Config::parse(document.to_string().as_bytes()).err()
}

fn access(config: &Config, host: &str, path: &str) -> Access {
    let headers = [(":method", "GET"), (":authority", host), (":path", path)];
    let head = headers.into_iter().map(|(name, value)| (name, value.as_bytes()));
    let head: RequestHead<'_> = head.collect();
    config.rules.access(&head.with_destination_port(Some(8080)))
}

fn header(name: &str, prefix: &str) -> Location {
    Location::Header { name: name.into(), prefix: prefix.to_owned() }
}

fn claim_names(provider: &Provider) -> Vec<&str> {
    provider.space_delimited_claims.iter().map(|claim| claim.as_str()).collect()
}

fn outputs(provider: &Provider) -> Vec<(&str, &str, Option<&str>, Encoding)> {
    provider
        .claim_headers
        .iter()
        .map(|o| (o.header.as_str(), o.claim.as_str(), o.default.as_deref(), o.encoding))
        .collect()
}

fn state_outputs(provider: &Provider) -> Vec<(&str, Option<&str>, bool)> {
    fn claim(source: &StateSource) -> Option<&str> {
        match source {
            StateSource::Claim(name) => Some(name.as_str()),
            StateSource::KeyId => None,
        }
    }
    let outputs = provider.state_outputs.iter();
    outputs.map(|o| (&*o.property, claim(&o.source), o.is_hashed)).collect()
}

/// The header as it goes to the service.
fn verified_mark(provider: &Provider) -> Option<String> {
    let HeaderEdit::Set(name, value) = provider.verified_mark.as_ref()?.edit() else { panic!() };
    Some(format!("{name}: {}", str::from_utf8(&value).unwrap()))
}

/// A usable public key without a private half.
fn rsa_key() -> Value {
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "e": "AQAB",
        "n": URL_SAFE_NO_PAD.encode(odd(256))})
}

/// An odd number of exactly this many octets.
fn odd(octets: usize) -> Vec<u8> {
    let mut number = vec![0; octets];
    number[0] = 0x80;
    *number.last_mut().unwrap() = 1;
    number
}

const README: &str = include_str!("../../README.md");
pub(super) const STRINGS: &[(&str, &str)] = &[
    ("/realm", "realm"),
    ("/verifiedHeader/name", "verifiedHeader.name"),
    ("/verifiedHeader/secret", "verifiedHeader.secret"),
    ("/replies/resourceMetadata", "replies.resourceMetadata"),
    ("/replies/cors/allowOrigins/0/exact", "replies.cors.allowOrigins[0].exact"),
    ("/replies/cors/allowOrigins/1/prefix", "replies.cors.allowOrigins[1].prefix"),
    ("/replies/cors/allowOrigins/2/regex", "replies.cors.allowOrigins[2].regex"),
    ("/providers/0/name", "providers[0].name"),
    ("/providers/0/issuer", "providers[0].issuer"),
    ("/providers/0/jwksUri", "providers[0].jwksUri"),
    ("/providers/0/jwksCluster", "providers[0].jwksCluster"),
    ("/providers/0/outputClaimToHeaders/0/claim", "providers[0].outputClaimToHeaders[0].claim"),
    ("/providers/0/outputClaimToHeaders/2/default", "providers[0].outputClaimToHeaders[2].default"),
    (
        "/providers/0/outputClaimToFilterState/0/name",
        "providers[0].outputClaimToFilterState[0].name",
    ),
    (
        "/providers/0/outputClaimToFilterState/0/claim",
        "providers[0].outputClaimToFilterState[0].claim",
    ),
];
const STRINGS_OR_EMPTY: &[(&str, &str)] = &[
    ("/providers/0/outputPayloadToHeader", "providers[0].outputPayloadToHeader"),
    ("/providers/0/fromHeaders/0/prefix", "providers[0].fromHeaders[0].prefix"),
];
pub(super) const STRING_ARRAYS: &[(&str, &str)] = &[
    ("/replies/cors/exposeHeaders", "replies.cors.exposeHeaders"),
    ("/providers/0/audiences", "providers[0].audiences"),
    ("/providers/0/tokenTypes", "providers[0].tokenTypes"),
    ("/providers/0/fromCookies", "providers[0].fromCookies"),
    ("/providers/0/fromParams", "providers[0].fromParams"),
    ("/providers/0/spaceDelimitedClaims", "providers[0].spaceDelimitedClaims"),
    ("/rules/0/match/hosts", "rules[0].match.hosts"),
    ("/rules/0/match/methods", "rules[0].match.methods"),
    ("/rules/0/match/paths", "rules[0].match.paths"),
    ("/rules/1/providers", "rules[1].providers"),
    ("/rules/1/scopes", "rules[1].scopes"),
    ("/rules/1/requires/audiences", "rules[1].requires.audiences"),
];
pub(super) const OBJECT_ARRAYS: &[(&str, &str)] = &[
    ("/replies/cors/allowOrigins", "replies.cors.allowOrigins"),
    ("/providers", "providers"),
    ("/rules", "rules"),
    ("/providers/0/fromHeaders", "providers[0].fromHeaders"),
    ("/providers/0/outputClaimToHeaders", "providers[0].outputClaimToHeaders"),
    ("/providers/0/outputClaimToFilterState", "providers[0].outputClaimToFilterState"),
];
pub(super) const OBJECTS: &[(&str, &str)] = &[
    ("/replies", "replies"),
    ("/replies/cors", "replies.cors"),
    ("/tokenCache", "tokenCache"),
    ("/verifiedHeader", "verifiedHeader"),
    ("/rules/0/match", "rules[0].match"),
    ("/rules/1/claims", "rules[1].claims"),
    ("/rules/1/requires", "rules[1].requires"),
];
pub(super) const BOOLEANS: &[(&str, &str)] = &[
    ("/replies/cors/allowCredentials", "replies.cors.allowCredentials"),
    ("/clearRouteCache", "clearRouteCache"),
    ("/bypassCorsPreflight", "bypassCorsPreflight"),
    ("/providers/0/allowPlaintextJwks", "providers[0].allowPlaintextJwks"),
    ("/providers/0/requireExpiration", "providers[0].requireExpiration"),
    ("/providers/0/forwardOriginalToken", "providers[0].forwardOriginalToken"),
];
/// A value below the minimum, and the expected message.
type DurationBound = (&'static str, &'static str);
const DURATIONS: [(&str, &str, Option<DurationBound>); 7] = [
    ("/jwksWaitTimeout", "jwksWaitTimeout", Some(("0s", "must be at least 1 ms"))),
    ("/providers/0/timeout", "providers[0].timeout", Some(("0.5ms", "must be at least 1 ms"))),
    (
        "/providers/0/cacheDuration",
        "providers[0].cacheDuration",
        Some(("999ms", "at least 1000 ms")),
    ),
    ("/providers/0/staleDuration", "providers[0].staleDuration", None),
    (
        "/providers/0/refetchCooldown",
        "providers[0].refetchCooldown",
        Some(("0s", "at least 1000 ms")),
    ),
    ("/providers/0/clockSkew", "providers[0].clockSkew", None),
    ("/providers/0/maxLifetime", "providers[0].maxLifetime", Some(("0s", "at least 1000 ms"))),
];
