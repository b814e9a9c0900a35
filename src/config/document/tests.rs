//! Holds the types, the schemas and the reference against the parser.

use super::*;
use crate::config::tests::{
    BOOLEANS, OBJECT_ARRAYS, OBJECTS, STRING_ARRAYS, STRINGS, full, known_fields, with_tenants,
};
use crate::config::{Config, Encoding, FilterStateDetail, HostCrypto, Mode, RuleAccess};
use crate::reply::Detail;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn problem(schema: &schemars::Schema, document: &Value) -> Option<String> {
    let validator = jsonschema::validator_for(schema.as_value()).unwrap();
    validator.validate(document).err().map(|error| error.to_string())
}

fn parsed(document: &Value) -> Result<String, String> {
    match Config::parse(document.to_string().as_bytes()) {
        Ok(config) => Ok(format!("{config:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// A field, the path of its level, and a configuration in which it has a value other than its
/// default, with where that is.
struct Case {
    path: String,
    field: Field,
    document: Value,
    at: String,
}

/// Every field of which any configuration tells what it means.
fn cases() -> Vec<Case> {
    let levels = levels();
    let fields = levels.iter().flat_map(|level| {
        level.paths.iter().flat_map(|path| level.fields.iter().map(move |field| (path, field)))
    });
    let cases = fields.map(|(path, field)| {
        let document = document_with(path, &field.name);
        let at = pointers(&document, path)
            .into_iter()
            .map(|pointer| format!("{pointer}/{}", field.name))
            .find(|pointer| document.pointer(pointer).is_some())
            .unwrap_or_else(|| panic!("no configuration has {path}.{}", field.name));
        Case { path: path.clone(), field: field.clone(), document, at }
    });
    cases.collect()
}

/// [`full`], or where the field excludes others, or counts without others only, another one.
fn document_with(path: &str, field: &str) -> Value {
    let mut document = full();
    let provider = document["providers"][0].as_object_mut().unwrap();
    match (path, field) {
        ("providers[]", "fromHeaders") => {
            provider.remove("fromCookies");
            provider.remove("fromParams");
        }
        ("providers[]", "allowPlaintextJwks") => {
            // Where https:// is written, it makes no difference.
            provider.remove("jwks");
            provider.remove("jwksUri");
            provider.insert("allowPlaintextJwks".to_owned(), json!(true));
        }
        ("providers[]", "jwksHosts") => {
            provider.remove("jwks");
            provider.remove("jwksUri");
            provider.insert("jwksHosts".to_owned(), json!(["keys.example.com"]));
        }
        // A rule names it.
        ("providers[]", "name") => document["rules"] = json!([]),
        ("providers[]", "jwksUri") => _ = provider.remove("jwks"),
        ("providers[]", "jwks_uri") => {
            provider.remove("jwks");
            let uri = provider.remove("jwksUri").unwrap();
            provider.insert("jwks_uri".to_owned(), uri);
        }
        _ if path.starts_with("providers[].issuers") || field == "issuers" => {
            let tenants = json!([{"exact": "acme"}, {"prefix": "eu-"}, {"regex": "[0-9a-f]{8}"}]);
            document = with_tenants(json!({"maxTenants": 7, "tenants": tenants}));
        }
        _ => {}
    }
    document
}

/// Where a document has objects of this level.
fn pointers(document: &Value, path: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let (name, is_list) = match step.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (step, false),
        };
        let members = found.iter().map(|pointer| format!("{pointer}/{name}"));
        found = members
            .flat_map(|pointer| match document.pointer(&pointer) {
                Some(Value::Array(items)) if is_list => {
                    (0..items.len()).map(|index| format!("{pointer}/{index}")).collect()
                }
                Some(Value::Object(_)) if !is_list => vec![pointer],
                _ => Vec::new(),
            })
            .collect();
    }
    found
}

fn put(document: &Value, at: &str, value: Option<Value>) -> Value {
    let mut document = document.clone();
    let (parent, name) = at.rsplit_once('/').unwrap();
    match (document.pointer_mut(parent).unwrap(), value) {
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
        (parent, Some(value)) => parent[name] = value,
        (parent, None) => _ = parent.as_object_mut().unwrap().remove(name),
    }
    document
}

#[test]
fn the_types_have_the_fields_that_the_parser_knows() {
    for level in levels() {
        for path in &level.paths {
            let document = document_with(path, "");
            let at = pointers(&document, path).into_iter().next().expect(path);
            let fields: BTreeSet<_> = level.fields.iter().map(|field| field.name.clone()).collect();

            assert_eq!(fields, known_fields(&at).into_iter().collect(), "{path}");
        }
    }
}

#[test]
fn every_level_field_and_word_is_described() {
    for level in levels() {
        assert!(!level.description.is_empty(), "{:?}", level.paths);
        for field in level.fields {
            assert!(field.description.ends_with('.'), "{:?}: {field:?}", level.paths);
            assert!(field.words.iter().all(|word| !word.description.is_empty()), "{field:?}");
        }
    }
}

#[test]
fn a_default_spelt_out_changes_nothing_and_another_value_does() {
    let mut count = 0;
    for Case { path, field, document, at } in cases() {
        let IfAbsent::Default(default) = &field.if_absent else { continue };

        let absent = parsed(&put(&document, &at, None)).expect(&at);

        assert_eq!(parsed(&put(&document, &at, Some(default.clone()))), Ok(absent.clone()), "{at}");
        assert_ne!(parsed(&document), Ok(absent), "{path}.{} does not show", field.name);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn what_is_required_is_not_left_out() {
    for Case { field, document, at, .. } in cases() {
        let is_required = matches!(field.if_absent, IfAbsent::Required | IfAbsent::OneOf(_));
        let without = put(&document, &at, None);

        assert_eq!(parsed(&without).is_err(), is_required, "{at}");
        assert_eq!(problem(&plugin_config_schema(), &without).is_some(), is_required, "{at}");
    }
}

#[test]
fn the_words_are_those_that_the_parser_takes() {
    let mut count = 0;
    for Case { field, document, at, .. } in cases() {
        if field.words.is_empty() {
            continue;
        }
        let error = parsed(&put(&document, &at, Some(json!("far from any")))).unwrap_err();
        let (_, taken) = error.split_once(" is not one of ").expect(&error);
        let taken: BTreeSet<_> = taken.split(", ").map(|word| word.trim_matches('"')).collect();

        assert_eq!(field.words.iter().map(|word| &*word.word).collect::<BTreeSet<_>>(), taken);
        count += 1;
    }
    assert!(count > 5, "{count}");
}

#[test]
fn what_the_parser_takes_is_valid() {
    for Case { document, at, .. } in cases() {
        assert_eq!(parsed(&document).err(), None, "{at}");
        assert_eq!(problem(&plugin_config_schema(), &document), None, "{at}");
    }
    let long = put(&full(), "/jwksWaitTimeout", Some(json!("1m30.5s")));
    assert_eq!((parsed(&long).err(), problem(&plugin_config_schema(), &long)), (None, None));
}

#[test]
fn wrong_types_and_unknown_fields_are_invalid() {
    let wrong = |fields: &[(&'static str, &str)], value: Value| {
        let with_value = |(pointer, _): &(&'static str, &str)| (*pointer, value.clone());
        fields.iter().map(with_value).collect::<Vec<_>>()
    };
    let changes = [
        wrong(STRINGS, json!(7)),
        wrong(STRINGS, json!("")),
        wrong(STRINGS, json!(null)),
        wrong(STRING_ARRAYS, json!("a")),
        wrong(STRING_ARRAYS, json!([7])),
        wrong(OBJECT_ARRAYS, json!({})),
        wrong(OBJECT_ARRAYS, json!(["a"])),
        wrong(OBJECTS, json!("a")),
        wrong(OBJECTS, json!(null)),
        wrong(BOOLEANS, json!("true")),
        vec![
            ("/unknown", json!(1)),
            ("/providers/0/unknown", json!(1)),
            ("/providers/0/jwks_uri", json!("https://auth.example.com/jwks")),
            ("/providers/0/jwksEndpoints", json!(17)),
            ("/rules/0/match/unknown", json!(1)),
            ("/rules/0/match/ports", json!([65_536])),
            ("/rules/1/claims/roles", json!([])),
            ("/rules/1/claims/roles", json!([1.5])),
            ("/replies/cors/allowOrigins/0", json!({})),
            ("/replies/cors/allowOrigins/0", json!({"exact": "a", "prefix": "b"})),
            ("/mode", json!("dry-run")),
            ("/mode", json!(null)),
            ("/maxTokenBytes", json!(0)),
            ("/maxTokenBytes", json!(1_000_001)),
            ("/jwksWaitTimeout", json!("3")),
            ("/verifiedHeader/secret", json!("fifteen of them")),
            ("/verifiedHeader/secret", json!("sixteen \"of\" them")),
            ("/providers/0/issuers", json!({})),
            ("/providers", json!([])),
        ],
    ];
    for (pointer, value) in changes.into_iter().flatten() {
        let document = put(&full(), pointer, Some(value.clone()));

        assert!(parsed(&document).is_err(), "{pointer}: {value}");
        assert!(problem(&plugin_config_schema(), &document).is_some(), "{pointer}: {value}");
    }
}

#[test]
fn a_manifest_holds_a_whole_configuration_and_a_patch_a_part() {
    let plugin = |spec: Value| json!({"kind": "WasmPlugin", "spec": spec});
    let wasm = |spec: Value| plugin(json!({"wasm": spec, "phase": "AUTHN"}));
    let whole = json!({"url": "oci://a", "pluginConfig": full()});
    let part = json!({"pluginConfig": {"rules": full()["rules"]}});
    let part_of_whole = json!({"url": "oci://a", "pluginConfig": {"rules": full()["rules"]}});
    let wrong_part = json!({"pluginConfig": {"rule": []}});
    for (spec, is_valid) in
        [(whole, true), (part, true), (part_of_whole, false), (wrong_part, false)]
    {
        for manifest in [plugin(spec.clone()), wasm(spec)] {
            let problem = problem(&manifest_schema(), &manifest);

            assert_eq!(problem.is_none(), is_valid, "{manifest}: {problem:?}");
        }
    }
}

#[test]
fn what_is_built_of_the_types_is_what_the_parser_takes() {
    let texts = |items: &[&str]| items.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
    let text = |text: &str| Some(text.to_owned());
    let header = |header: &str, claim: &str| OutputClaimToHeader {
        header: header.to_owned(),
        claim: claim.to_owned(),
        default: None,
        encoding: None,
    };
    let told =
        |name: &str| OutputClaimToFilterState { name: name.to_owned(), ..Default::default() };
    let provider = ProviderConfig {
        name: text("wealist"),
        issuer: text("https://auth.example.com"),
        audiences: texts(&["wealist-api"]),
        jwks_uri: text("https://auth.example.com/.well-known/jwks.json"),
        jwks: Some(full()["providers"][0]["jwks"].clone()),
        jwks_cluster: text("idp"),
        allow_plaintext_jwks: Some(false),
        timeout: text("2s"),
        cache_duration: text("5m"),
        stale_duration: text("0s"),
        refetch_cooldown: text("20s"),
        jwks_endpoints: Some(5),
        clock_skew: text("60s"),
        require_expiration: Some(false),
        max_lifetime: text("24h"),
        token_types: Some(texts(&["at+jwt", "application/X"])),
        require_token_type: Some(true),
        allow_bound_tokens: Some(true),
        from_headers: vec![FromHeader { name: "X-Token".to_owned(), prefix: text("JWT ") }],
        from_cookies: texts(&["access_token"]),
        from_params: texts(&["token"]),
        space_delimited_claims: texts(&["roles"]),
        forward_original_token: Some(true),
        output_payload_to_header: text("X-Jwt-Payload"),
        output_claim_to_headers: vec![
            header("X-User-Id", "sub"),
            header("X-Scopes", "scope"),
            OutputClaimToHeader { default: text("default"), ..header("X-Tenant", "tenant") },
            OutputClaimToHeader { encoding: Some(Encoding::Base64Url), ..header("X-Name", "name") },
        ],
        output_claim_to_filter_state: vec![
            OutputClaimToFilterState { claim: text("tenant"), ..told("tenant") },
            OutputClaimToFilterState { jose_header: Some(JoseHeader::Kid), ..told("key") },
            OutputClaimToFilterState {
                claim: text("sub"),
                hash: Some(Hash::Sha256),
                ..told("user_2")
            },
        ],
        issuers: None,
        jwks_hosts: Vec::new(),
    };
    let rules = vec![
        RuleConfig {
            matched: Some(MatchConfig {
                hosts: texts(&["*.example.com"]),
                methods: texts(&["GET"]),
                paths: texts(&["/healthz", "/public/**", "/users/*/avatar"]),
                ports: vec![8080],
            }),
            access: Some(RuleAccess::Public),
            ..Default::default()
        },
        RuleConfig {
            matched: Some(MatchConfig { paths: texts(&["/admin/**"]), ..Default::default() }),
            providers: texts(&["wealist"]),
            requires: Some(RequiresConfig { audiences: texts(&["admin-api"]) }),
            scopes: texts(&["admin:write"]),
            claims: [("roles".to_owned(), vec![json!("admin"), json!(7)])].into(),
            ..Default::default()
        },
        RuleConfig { access: Some(RuleAccess::Optional), ..Default::default() },
    ];
    let cors = CorsConfig {
        allow_origins: vec![
            StringMatchConfig::Exact("https://app.example.com".to_owned()),
            StringMatchConfig::Prefix("https://preview-".to_owned()),
            StringMatchConfig::Regex(r"https://[a-z0-9-]+\.example\.com".to_owned()),
        ],
        allow_credentials: Some(true),
        expose_headers: Some(texts(&["WWW-Authenticate", "X-Request-Id"])),
    };
    let config = PluginConfig {
        mode: Some(Mode::Report),
        realm: text("api"),
        providers: vec![provider],
        rules,
        case_insensitive_paths: Some(true),
        replies: Some(RepliesConfig {
            cors: Some(cors),
            detail: Some(Detail::None),
            resource_metadata: text("https://api.example.com/.well-known/oauth-protected-resource"),
        }),
        bypass_cors_preflight: Some(false),
        jwks_wait_timeout: text("1.5s"),
        max_paused_requests: Some(10),
        max_token_bytes: Some(4096),
        token_cache: Some(TokenCacheConfig { max_entries: Some(5) }),
        filter_state: Some(FilterStateDetail::Code),
        clear_route_cache: Some(true),
        verified_header: Some(VerifiedHeaderConfig {
            name: "X-Mesh-Jwt".to_owned(),
            secret: text("0123456789abcdef"),
        }),
        host_crypto: Some(HostCrypto::Off),
    };
    assert_eq!(serde_json::to_value(config).unwrap(), full());

    let tenants = IssuersConfig {
        template: "https://login.example.com/{tenant}/v2.0".to_owned(),
        tenants: vec![
            StringMatchConfig::Exact("acme".to_owned()),
            StringMatchConfig::Regex("[0-9a-f]{8}".to_owned()),
        ],
        max_tenants: Some(7),
    };
    let provider = ProviderConfig { issuers: Some(tenants), ..Default::default() };
    let config = PluginConfig { providers: vec![provider], ..Default::default() };
    assert_eq!(serde_json::to_value(config).unwrap(), with_tenants(json!({"maxTenants": 7})));
}
