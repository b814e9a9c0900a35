use serde_json::{Value, json};

use super::super::conversion::Options;
use super::super::report::Effect;
use super::super::tests::{converted, lost, refused, try_convert};

/// A message with one provider, and these rules.
fn with_rules(rules: &str) -> String {
    format!(
        "providers:
  main:
    issuer: https://auth.example.com
    remote_jwks:
      http_uri: {{uri: https://auth.example.com/jwks, cluster: auth, timeout: 1s}}
rules: [{rules}]
"
    )
}

/// The plugin configuration in the filter.
pub(super) fn config(manifest: &Value) -> Value {
    let pointer = "/typed_config/config/configuration/value";
    serde_json::from_str(manifest.pointer(pointer).unwrap().as_str().unwrap()).unwrap()
}

fn rules_of(rules: &str, whole_segments: bool) -> Value {
    let (manifests, _) = try_convert(&with_rules(rules), Options { whole_segments }).unwrap();
    config(&manifests[0])["rules"].clone()
}

const NEEDS: &str = "requires: {provider_name: main}";

#[test]
fn what_matches_no_rule_is_public_as_there() {
    let public = json!({ "access": "public" });

    assert_eq!(rules_of("", false), json!([public]));
    let rules = rules_of(&format!("{{match: {{path: /a}}, {NEEDS}}}"), false);
    assert_eq!(rules, json!([{ "match": { "paths": ["/a"] } }, public]));
    let rules = rules_of(&format!("{{match: {{prefix: /}}, {NEEDS}}}"), false);
    assert_eq!(rules, Value::Null);
}

#[test]
fn neighbours_of_a_guarded_prefix_are_guarded_before_a_looser_rule_would_take_them() {
    let rules = format!(
        "{{match: {{prefix: /v1/api}}, {NEEDS}}}, {{match: {{path: /x}}}}, {{match: {{prefix: /v1}}}}"
    );

    assert_eq!(
        rules_of(&rules, false),
        json!([
            { "match": { "paths": ["/v1/api/**"] } },
            { "access": "public", "match": { "paths": ["/x"] } },
            { "match": { "paths": ["/v1/*/**"] } },
            { "access": "public", "match": { "paths": ["/v1/**"] } },
            { "access": "public" },
        ])
    );
    assert_eq!(
        rules_of(&rules, true),
        json!([
            { "match": { "paths": ["/v1/api/**"] } },
            { "access": "public", "match": { "paths": ["/x"] } },
            { "access": "public", "match": { "paths": ["/v1/**"] } },
            { "access": "public" },
        ])
    );
}

#[test]
fn a_rule_behind_one_for_all_of_its_paths_is_left_out() {
    let rules = format!("{{match: {{prefix: /api}}, {NEEDS}}}, {{match: {{prefix: /api/docs}}}}");
    let (manifests, report) =
        try_convert(&with_rules(&rules), Options { whole_segments: true }).unwrap();

    let rules = &config(&manifests[0])["rules"];
    assert_eq!(*rules, json!([{ "match": { "paths": ["/api/**"] } }, { "access": "public" }]));
    assert!(format!("{report:?}").contains("is never reached"));
}

#[test]
fn a_prefix_that_another_rule_shows_to_be_no_segment_is_not_taken_for_one() {
    for other in ["prefix: /api-docs", "path: /API2", "safe_regex: {regex: '/apix/.*'}"] {
        for order in [[true, false], [false, true]] {
            let rule = |guarded| match guarded {
                true => format!("{{match: {{prefix: /api}}, {NEEDS}}}"),
                false => format!("{{match: {{{other}}}}}"),
            };
            let text = with_rules(&order.map(rule).join(", "));

            let error = try_convert(&text, Options { whole_segments: true }).unwrap_err();
            assert!(error.to_string().contains("/api is no whole segment"), "{error}");
            assert!(try_convert(&text, Options::default()).is_ok());
        }
    }
}

/// What is listed as looser for these rules over the providers `a` and `b`.
fn looser(rules: &str) -> Vec<String> {
    let (_, report) = converted(&with_two_providers("", rules));
    let looser = report.not_carried_over.into_iter().filter(|it| it.effect == Effect::Looser);
    looser.map(|lost| lost.path).collect()
}

/// `a` has the members as well.
fn with_two_providers(members: &str, rules: &str) -> String {
    format!(
        "providers:
  a: {{issuer: https://a.example.com, {REMOTE}{members}}}
  b: {{issuer: https://b.example.com, {REMOTE}}}
rules: [{rules}]
"
    )
}

#[test]
fn a_rule_that_takes_requests_of_another_with_other_tokens_is_listed_as_looser() {
    let a = "requires: {provider_name: a}";
    let b = "requires: {provider_name: b}";
    let header = "headers: [{name: x-y, present_match: true}]";
    let template = "path_match_policy: {typed_config: {path_template: '/x/**'}}";
    let optional_a =
        "requires: {requires_any: {requirements: [{provider_name: a}, {allow_missing: {}}]}}";
    for (matched, requires, later) in [
        ("prefix: /v1/pub", a, format!("{{match: {{prefix: /v1/}}, {b}}}")),
        (
            "prefix: /v1/pub",
            a,
            format!("{{match: {{prefix: /v1}}}}, {{match: {{prefix: /}}, {b}}}"),
        ),
        (&format!("prefix: /x/, {header}"), a, format!("{{match: {{prefix: /}}, {b}}}")),
        (
            "safe_regex: {regex: '/x/[a-z]+'}",
            a,
            format!("{{match: {{path: /x/1}}, {b}}}, {{match: {{prefix: /x/}}, {b}}}"),
        ),
        ("prefix: /x/", a, format!("{{match: {{prefix: /}}, {b}}}")),
        ("path: /x", a, format!("{{match: {{path_separated_prefix: /x}}, {b}}}")),
        (template, a, format!("{{match: {{path: /x}}, {b}}}")),
        ("prefix: /x", optional_a, format!("{{match: {{prefix: /}}, {b}}}")),
    ] {
        let rules = format!("{{match: {{{matched}}}, {requires}}}, {later}");
        assert_eq!(looser(&rules), ["rules[0]"], "{rules}");
    }
}

#[test]
fn a_rule_that_takes_no_other_tokens_than_the_next_is_not_listed_as_looser() {
    let a = "requires: {provider_name: a}";
    let b = "requires: {provider_name: b}";
    let either =
        "requires: {requires_any: {requirements: [{provider_name: a}, {provider_name: b}]}}";
    for rules in [
        format!("{{match: {{prefix: /v1/pub}}, {a}}}, {{match: {{prefix: /}}, {a}}}"),
        format!("{{match: {{prefix: /v1/pub}}, {a}}}, {{match: {{prefix: /}}, {either}}}"),
        format!("{{match: {{prefix: /v1/pub}}, {a}}}, {{match: {{prefix: /}}}}"),
        format!("{{match: {{prefix: /v1/pub}}, {a}}}, {{match: {{prefix: /v2/}}, {b}}}"),
        format!("{{match: {{path: /x}}, {a}}}, {{match: {{prefix: /y}}, {b}}}"),
    ] {
        assert_eq!(looser(&rules), [""; 0], "{rules}");
    }
}

#[test]
fn tokens_of_any_provider_keep_what_the_providers_ask_for() {
    let missing = "{match: {prefix: /}, requires: {allow_missing: {}}}";
    let text = with_rules(missing).replace("main:", "main:\n    subjects: {exact: only}");
    let expected = json!([{ "access": "optional", "claims": { "sub": ["only"] } }]);
    assert_eq!(config(&converted(&text).0[0])["rules"], expected);

    let other = "{match: {prefix: /x/}, requires: {provider_and_audiences: {provider_name: a, \
                 audiences: [other]}}}";
    for (members, rules) in [
        (", subjects: {exact: only}", missing.to_owned()),
        (", audiences: [own]", format!("{other}, {missing}")),
    ] {
        let message = refused(&with_two_providers(members, &rules));
        assert!(message.contains("takes tokens of any provider"), "{message}");
        assert!(message.contains("requires"), "{message}");
    }
    assert!(
        try_convert(&with_two_providers(", audiences: [own]", missing), Options::default()).is_ok()
    );
}

#[test]
fn requirements_of_filter_states_are_looser_unless_they_take_any_token() {
    let one = "{provider_name: b}";
    let any = "{requires_any: {requirements: [{provider_name: a}, {provider_name: b}]}}";
    let rules = "{match: {prefix: /v1/pub}, requires: {provider_name: a}}";
    for (requirement, effect) in [(one, Effect::Looser), (any, Effect::Stricter)] {
        let states = format!("filter_state_rules: {{name: n, requires: {{k: {requirement}}}}}");
        let (manifests, report) = converted(&(with_two_providers("", rules) + &states));

        assert!(lost(&report).contains(&(effect, "filter_state_rules")), "{report:?}");
        let guarded = |path: &str| json!({ "match": { "paths": [path] }, "providers": ["a"] });
        assert_eq!(
            config(&manifests[0])["rules"],
            json!([guarded("/v1/pub/**"), guarded("/v1/*/**")])
        );
    }
}

#[test]
fn filter_states_that_require_nothing_make_no_rule_looser() {
    let rules = "{match: {path: /y}, requires: {provider_and_audiences: {provider_name: main, \
                 audiences: [other]}}}";
    let text = with_rules(rules).replace("main:\n", "main:\n    audiences: [own]\n");
    let states = |requires| format!("{text}filter_state_rules: {{name: n, requires: {requires}}}");

    let (_, report) = converted(&states("{}"));
    assert_eq!(lost(&report), [(Effect::Stricter, "filter_state_rules")]);

    let (_, report) = converted(&states("{k: {provider_name: main}}"));
    assert!(lost(&report).contains(&(Effect::Looser, "rules[0]")), "{report:?}");
}

#[test]
fn conditions_that_the_filter_does_not_know_tighten() {
    let rules = format!(
        "{{match: {{prefix: /a/, query_parameters: [{{name: x, present_match: true}}]}}, {NEEDS}}},
         {{match: {{prefix: /b/, headers: [{{name: x-y, present_match: true}}]}}}},
         {{match: {{safe_regex: {{regex: '/c/.*'}}}}}}"
    );
    let (manifests, report) = converted(&with_rules(&rules));

    assert_eq!(
        config(&manifests[0])["rules"],
        json!([{ "match": { "paths": ["/a/**"] } }, { "access": "public" }])
    );
    assert_eq!(
        lost(&report),
        [
            (Effect::Stricter, "rules[0].match.query_parameters[0]"),
            (Effect::Stricter, "rules[1].match.headers[0]"),
            (Effect::Stricter, "rules[2]"),
        ]
    );
}

#[test]
fn an_optional_rule_that_is_narrowed_leaves_nothing_public_in_its_place() {
    let optional =
        "requires: {requires_any: {requirements: [{provider_name: main}, {allow_missing: {}}]}}";
    let rules = rules_of(&format!("{{match: {{prefix: /a}}, {optional}}}"), false);

    let expected = json!([
        { "access": "optional", "match": { "paths": ["/a/**"] } },
        { "access": "optional" },
    ]);
    assert_eq!(rules, expected);
}

#[test]
fn audiences_of_a_rule_take_the_place_of_the_providers() {
    let text = "
providers:
  main:
    issuer: https://auth.example.com
    audiences: [own]
    REMOTE
rules:
- match: {path: /other}
  requires: {provider_and_audiences: {provider_name: main, audiences: [other]}}
- match: {prefix: /}
  requires: {provider_name: main}
";
    let (manifests, _) = converted(&text.replace("REMOTE", REMOTE));
    let config = config(&manifests[0]);

    assert_eq!(config["providers"][0]["audiences"], json!(["own", "other"]));
    assert_eq!(
        config["rules"],
        json!([
            { "match": { "paths": ["/other"] }, "requires": { "audiences": ["other"] } },
            { "requires": { "audiences": ["own"] } },
        ])
    );
}

#[test]
fn what_cannot_be_converted_names_its_place_and_the_mend() {
    for (text, expected) in [
        (
            "providers: {a: {remote_jwks: {}}}\nrules: []",
            "file:1:13: providers.a: has no issuer, and mesh-jwt takes tokens of issuers that it \
             knows only; write the exact iss of its tokens as issuer",
        ),
        (
            "providers:\n  a:\n    issuer: 5\n",
            "file:3:5: providers.a.issuer: is not a text; write one, in quotes if need be",
        ),
        (
            "providers:\n  a:\n    issuer: x\n",
            "file:2:3: providers.a: has no keys; write remote_jwks or local_jwks",
        ),
        (
            "providers:\n  a:\n    issuer: x\n    local_jwks: {filename: /none/such}\n",
            "file:4:18: providers.a.local_jwks.filename: /none/such cannot be read here (No such \
             file or directory (os error 2)); put what it holds into inline_string",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    let none = with_rules("{match: {prefix: /}, requires: {provider_name: none}}");
    assert!(refused(&none).ends_with("there is no provider \"none\"; write one of main"));
    let both = with_rules(
        "{match: {prefix: /}, requires: {requires_all: {requirements: [{provider_name: main}, \
         {provider_name: main}]}}}",
    );
    assert!(refused(&both).contains("asks for a second token"));
}

#[test]
fn a_configuration_that_the_filter_refuses_names_the_place_in_the_source() {
    let text = with_rules("").replace("https://auth.example.com/jwks", "ftp://x");

    let message = refused(&text);

    assert!(message.starts_with("file:2:3: providers.main: cannot be carried over as it is: "));
    assert!(message.contains("providers[0].jwksUri"), "{message}");
}

#[test]
fn typed_structs_and_settings_of_routes_are_found() {
    let text = format!(
        "
static_resources:
  filter:
    '@type': type.googleapis.com/xds.type.v3.TypedStruct
    type_url: type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    value: {{providers: {{main: {{issuer: https://auth.example.com, {REMOTE}}}}}}}
  route:
    '@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig
    disabled: true
"
    );
    let (manifests, report) = converted(&text);

    assert_eq!(manifests.len(), 1);
    assert_eq!(lost(&report), [(Effect::Unknown, "static_resources.route")]);
}

#[test]
fn a_filter_that_is_off_is_converted_and_said_to_be_off() {
    let text = format!(
        "
http_filters:
- name: jwt
  disabled: true
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
    providers: {{main: {{issuer: https://auth.example.com, {REMOTE}}}}}
"
    );
    let (manifests, report) = converted(&text);

    assert_eq!(manifests.len(), 1);
    assert_eq!(lost(&report), [(Effect::Unknown, "http_filters[0].disabled")]);

    let (_, report) = converted(&text.replace("true", "false"));
    assert_eq!(lost(&report), []);
}

#[test]
fn providers_whose_names_become_alike_keep_names_and_rules_of_their_own() {
    let text = format!(
        "
providers:
  a b: {{issuer: https://one.example.com, {REMOTE}}}
  a_b: {{issuer: https://two.example.com, {REMOTE}}}
rules:
- {{match: {{prefix: /}}, requires: {{provider_name: a_b}}}}
"
    );
    let config = config(&converted(&text).0[0]);

    let names: Vec<_> = (0..2).map(|index| config["providers"][index]["name"].clone()).collect();
    assert_eq!(names, ["a_b", "a_b-2"]);
    assert_eq!(config["rules"], json!([{ "providers": ["a_b-2"] }]));
}

#[test]
fn a_file_without_a_source_says_what_was_looked_for() {
    assert_eq!(
        refused("a: 1"),
        "file: holds no RequestAuthentication, no jwt_authn filter and no Spring Cloud Gateway \
         route with a JwtAuth filter; name a file that does"
    );
}

const REMOTE: &str = "remote_jwks: {http_uri: {uri: https://auth.example.com/jwks, cluster: auth}}";
