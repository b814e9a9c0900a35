use serde_json::{Value, json};

use super::super::conversion::Options;
use super::super::report::{Effect, Report};
use super::super::tests::{converted, lost, output, refused, try_convert};

const AUTHENTICATION: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: shop, namespace: shop}
spec:
  selector: {matchLabels: {app: shop}}
  jwtRules:
  - {issuer: https://auth.example.com, jwksUri: https://auth.example.com/jwks}
";

/// An AuthorizationPolicy for the same workloads.
fn policy(action: &str, rules: &str) -> String {
    format!(
        "
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: policy, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: shop}}}}
  action: {action}
  rules: [{rules}]
"
    )
}

fn with(policies: &[String]) -> (Vec<Value>, Report) {
    converted(&(AUTHENTICATION.to_owned() + &policies.concat()))
}

/// The rules that are left of each policy.
fn left(policies: &[String]) -> Vec<Value> {
    let text = AUTHENTICATION.to_owned() + &policies.concat();
    let policies = output(&text, Options::default()).unwrap().policies;
    policies.iter().map(|policy| policy["spec"]["rules"].clone()).collect()
}

fn rules(manifests: &[Value]) -> Value {
    manifests[0]["spec"]["pluginConfig"]["rules"].clone()
}

const ANY: &str = "from: [{source: {requestPrincipals: ['*']}}]";
const NONE: &str = "from: [{source: {notRequestPrincipals: ['*']}}]";

#[test]
fn without_policies_a_token_is_optional() {
    let (manifests, report) = with(&[]);

    assert_eq!(rules(&manifests), json!([{ "access": "optional" }]));
    assert_eq!(lost(&report), []);
    assert_eq!(manifests[0]["metadata"], json!({ "name": "shop", "namespace": "shop" }));
    assert_eq!(manifests[0]["spec"]["selector"], json!({ "matchLabels": { "app": "shop" } }));
}

#[test]
fn a_policy_that_asks_for_a_token_leaves_nothing_to_istio() {
    for policy in [policy("ALLOW", &format!("{{{ANY}}}")), policy("DENY", &format!("{{{NONE}}}"))] {
        let policies = [policy];
        let (manifests, report) = with(&policies);

        assert_eq!(rules(&manifests), Value::Null, "what no rule is for needs a token");
        assert_eq!(left(&policies), [Value::Null; 0]);
        assert!(report.steps.contains(&"delete the AuthorizationPolicy shop/policy".to_owned()));
    }
}

#[test]
fn what_is_left_of_an_allow_policy_asks_nothing_of_tokens() {
    let policies = [policy(
        "ALLOW",
        &format!(
            "{{to: [{{operation: {{paths: [/healthz]}}}}]}},
             {{{ANY}, to: [{{operation: {{paths: [/a/*]}}}}],
              when: [{{key: 'request.auth.claims[roles]', values: [admin]}}]}}"
        ),
    )];
    let (manifests, report) = with(&policies);

    assert_eq!(
        rules(&manifests),
        json!([
            { "match": { "paths": ["/healthz"] }, "access": "optional" },
            { "match": { "paths": ["/a/**"] }, "claims": { "roles": ["admin"] } },
        ])
    );
    assert_eq!(
        left(&policies),
        [json!([
            { "to": [{ "operation": { "paths": ["/healthz"] } }] },
            { "to": [{ "operation": { "paths": ["/a/*"] } }] },
        ])]
    );
    assert_eq!(lost(&report), []);
}

#[test]
fn rules_that_ask_for_less_come_first_since_one_is_enough_for_istio() {
    let (manifests, _) = with(&[policy(
        "ALLOW",
        &format!(
            "{{to: [{{operation: {{paths: [/a]}}}}],
              when: [{{key: 'request.auth.claims[roles]', values: [admin]}}]}},
             {{{ANY}, to: [{{operation: {{methods: [GET]}}}}]}}"
        ),
    )]);

    assert_eq!(
        rules(&manifests),
        json!([
            { "match": { "methods": ["GET"] } },
            { "match": { "paths": ["/a"] }, "claims": { "roles": ["admin"] } },
        ])
    );
}

#[test]
fn what_a_deny_policy_refuses_no_allow_policy_makes_optional() {
    let (manifests, _) = with(&[
        policy("ALLOW", &format!("{{to: [{{operation: {{paths: [/a, /b]}}}}]}}, {{{ANY}}}")),
        policy("DENY", &format!("{{{NONE}, to: [{{operation: {{notPaths: [/a]}}}}]}}")),
    ]);

    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/a"] }, "access": "optional" }]),
        "what no rule is for needs a token"
    );
}

#[test]
fn of_rules_that_refuse_the_one_that_asks_for_most_comes_first() {
    let admin = "to: [{operation: {paths: [/admin]}}],
         when: [{key: 'request.auth.claims[roles]', notValues: [admin]}]";

    let (manifests, _) = with(&[policy("DENY", &format!("{{{NONE}}}, {{{admin}}}"))]);
    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/admin"] }, "claims": { "roles": ["admin"] } }])
    );

    let owner = admin.replace("notValues: [admin]", "notValues: [owner]");
    let text = AUTHENTICATION.to_owned() + &policy("DENY", &format!("{{{admin}}}, {{{owner}}}"));
    assert!(
        refused(&text).contains("spec.rules[1]: asks for something else than another DENY rule")
    );
}

#[test]
fn exemptions_that_the_filter_cannot_tell_are_listed() {
    let (manifests, report) = with(&[policy(
        "DENY",
        &format!("{{{NONE}, to: [{{operation: {{notPaths: [/a, '*/b', '/c*']}}}}]}}"),
    )]);

    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/a", "/c/**"] }, "access": "optional" }])
    );
    assert_eq!(lost(&report), [(Effect::Stricter, "spec.rules[0]")]);
}

#[test]
fn neighbours_of_a_denied_prefix_need_a_token_too() {
    let text = AUTHENTICATION.to_owned()
        + &policy("DENY", &format!("{{{NONE}, to: [{{operation: {{paths: ['/v1/a*']}}}}]}}"));

    let (manifests, report) = converted(&text);
    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/v1/*/**"] } }, { "access": "optional" }])
    );
    assert_eq!(lost(&report), [(Effect::Stricter, "spec.rules[0]")]);

    let (manifests, report) = try_convert(&text, Options { whole_segments: true }).unwrap();
    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/v1/a/**"] } }, { "access": "optional" }])
    );
    assert_eq!(lost(&report), []);
}

#[test]
fn policies_that_ask_nothing_of_tokens_stay_and_are_listed() {
    let policies =
        [policy("DENY", "{from: [{source: {namespaces: [dev]}}]}"), policy("AUDIT", "{}")];
    let (manifests, report) = with(&policies);

    assert_eq!(rules(&manifests), json!([{ "access": "optional" }]));
    assert_eq!(left(&policies), [Value::Null; 0]);
    assert_eq!(lost(&report), [(Effect::None, ""), (Effect::None, "")]);
}

#[test]
fn a_policy_for_other_workloads_is_listed_as_a_whole() {
    let other = policy("ALLOW", &format!("{{{ANY}}}")).replace("app: shop", "app: other");

    let (manifests, report) = with(&[other]);

    assert_eq!(rules(&manifests), json!([{ "access": "optional" }]));
    assert_eq!(lost(&report), [(Effect::Unknown, "")]);
}

#[test]
fn resources_for_the_same_workloads_become_one_manifest_and_others_several() {
    let second = format!("---{AUTHENTICATION}").replace("auth.example.com", "b.example.com");
    let (same, report) = converted(&(AUTHENTICATION.to_owned() + &second));
    assert_eq!(same.len(), 1);
    assert_eq!(same[0]["spec"]["pluginConfig"]["providers"].as_array().unwrap().len(), 2);
    assert_eq!(lost(&report), []);

    let other = second.replace("app: shop", "app: other");
    let (several, report) = converted(&(AUTHENTICATION.to_owned() + &other));
    assert_eq!(several.len(), 2);
    assert_eq!(lost(&report), []);

    let other = second.replace("app: shop", "tier: backend");
    let (several, report) = converted(&(AUTHENTICATION.to_owned() + &other));
    assert_eq!(several.len(), 2);
    assert_eq!(lost(&report), [(Effect::Stricter, ""), (Effect::Stricter, "")]);
}

#[test]
fn other_resources_are_left_alone_and_mentioned() {
    let service = "---\nkind: Service\nmetadata: {name: shop}\n";

    let (manifests, report) = converted(&(AUTHENTICATION.to_owned() + service));

    assert_eq!(manifests.len(), 1);
    assert_eq!(lost(&report), []);
    let told = format!("{:?}", report.differences);
    assert!(
        told.contains("file:10:1") && told.contains("a Service is nothing to convert"),
        "{told}"
    );
}

#[test]
fn fields_that_nobody_knows_and_annotations_are_listed() {
    let text = AUTHENTICATION
        .replace("namespace: shop}", "namespace: shop, uid: x, annotations: {a: b}}")
        .replace("{issuer:", "{fromTheFuture: 1, issuer:");

    let (_, report) = converted(&text);

    assert_eq!(
        lost(&report),
        [
            (Effect::None, "metadata.annotations.a"),
            (Effect::Unknown, "spec.jwtRules[0].fromTheFuture"),
        ]
    );
}

#[test]
fn two_providers_of_one_issuer_are_refused_at_the_second() {
    let text = AUTHENTICATION.to_owned()
        + "  - {issuer: https://auth.example.com, jwksUri: https://auth.example.com/jwks}\n";

    assert!(refused(&text).starts_with("file:9:5: spec.jwtRules[1]: cannot be carried over"));
}

#[test]
fn issuers_that_differ_by_a_slash_get_names_of_their_own() {
    let text = AUTHENTICATION.to_owned()
        + "  - {issuer: https://auth.example.com/, jwksUri: https://auth.example.com/jwks}\n"
        + &policy(
            "ALLOW",
            "{from: [{source: {requestPrincipals: ['https://auth.example.com//*']}}]}",
        );

    let (manifests, report) = converted(&text);

    let config = &manifests[0]["spec"]["pluginConfig"];
    assert_eq!(config["providers"][0]["name"], "auth.example.com");
    assert_eq!(config["providers"][1]["name"], "auth.example.com-2");
    assert_eq!(rules(&manifests), json!([{ "providers": ["auth.example.com-2"] }]));
    assert_eq!(lost(&report), []);
}

#[test]
fn lists_of_one_kind_are_taken_and_resources_without_kind_or_version_refused() {
    let indented = |text: &str| text.trim().replace('\n', "\n  ");
    let policy = policy("ALLOW", &format!("{{{ANY}}}")).replace("---", "");
    let list = |policy: &str| {
        format!(
            "{AUTHENTICATION}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicyList
items:
- {}
",
            indented(policy)
        )
    };

    let (manifests, report) = converted(&list(&policy));
    assert_eq!(rules(&manifests), Value::Null, "what no rule is for needs a token");
    assert_eq!(lost(&report), []);

    let nameless = list(&policy.replace("kind: AuthorizationPolicy\n", ""));
    assert_eq!(refused(&nameless), "file:13:3: items[0]: has no kind; write one, and apiVersion");

    let bare = policy.replace("apiVersion: security.istio.io/v1\n", "");
    let message = refused(&format!("{AUTHENTICATION}---{bare}"));
    assert!(message.contains("is of the kind AuthorizationPolicy without apiVersion"), "{message}");
}

#[test]
fn of_the_sources_of_a_deny_rule_only_those_about_tokens_move() {
    let policies = [policy(
        "DENY",
        "{from: [{source: {notRequestPrincipals: ['*']}}, {source: {namespaces: [dev]}}]}",
    )];
    let (manifests, report) = with(&policies);

    assert_eq!(rules(&manifests), Value::Null, "what no rule is for needs a token");
    assert_eq!(left(&policies), [json!([{ "from": [{ "source": { "namespaces": ["dev"] } }] }])]);
    assert_eq!(lost(&report), []);
}

#[test]
fn tokens_to_refuse_beside_a_source_without_any_are_listed_as_looser() {
    let (manifests, report) = with(&[policy(
        "DENY",
        "{from: [{source: {requestPrincipals: ['https://auth.example.com/blocked']}},
                 {source: {notRequestPrincipals: ['*']}}]}",
    )]);

    assert_eq!(rules(&manifests), Value::Null, "what no rule is for needs a token");
    assert_eq!(lost(&report), [(Effect::Looser, "spec.rules[0]")]);
}

#[test]
fn negations_in_an_allow_policy_are_taken_out_and_let_nothing_in() {
    let path = "to: [{operation: {paths: [/x]}}]";
    for negation in [
        "from: [{source: {notRequestPrincipals: ['https://b.example/*']}}]",
        "from: [{source: {namespaces: [mon], notRequestPrincipals: ['*']}}]",
        "when: [{key: 'request.auth.claims[role]', notValues: [guest]}]",
    ] {
        let policies = [policy("ALLOW", &format!("{{{negation}, {path}}}"))];
        let (manifests, report) = with(&policies);

        assert_eq!(rules(&manifests), Value::Null, "what no rule is for needs a token");
        assert_eq!(left(&policies), [json!([])], "an ALLOW policy for nothing");
        assert_eq!(report.not_carried_over[0].effect, Effect::Stricter, "{negation}");
        assert!(!report.steps.iter().any(|step| step.starts_with("delete the AuthorizationP")));
    }
}

#[test]
fn of_two_negations_in_a_deny_rule_a_token_has_to_be_what_one_of_them_names() {
    let deny = |negation: &str| {
        let rule = format!(
            "{{from: [{{source: {{notRequestPrincipals: ['{negation}']}}}}],
              when: [{{key: 'request.auth.claims[role]', notValues: [admin]}}],
              to: [{{operation: {{paths: [/x]}}}}]}}"
        );
        policy("DENY", &rule)
    };

    let (manifests, report) = with(&[deny("*")]);
    assert_eq!(
        rules(&manifests),
        json!([{ "match": { "paths": ["/x"] } }, { "access": "optional" }]),
        "any token is one of those"
    );
    assert_eq!(lost(&report), []);

    let policies = [deny("https://auth.example.com/*")];
    let (manifests, report) = with(&policies);
    assert_eq!(rules(&manifests), json!([{ "access": "optional" }]));
    assert_eq!(left(&policies), [Value::Null; 0], "the policy stays, and refuses all for /x");
    assert_eq!(lost(&report), [(Effect::Stricter, "spec.rules[0]")]);
}

#[test]
fn what_an_untold_rule_lets_in_and_another_holds_to_more_is_listed() {
    let (_, report) = with(&[policy(
        "ALLOW",
        &format!(
            "{{{ANY}, to: [{{operation: {{notPaths: [/admin/*]}}}}]}},
             {{from: [{{source: {{requestPrincipals: ['https://auth.example.com/*']}}}}],
               to: [{{operation: {{paths: [/x/*]}}}}]}}"
        ),
    )]);

    assert_eq!(lost(&report), [(Effect::Stricter, "spec.rules[0]")]);
}

#[test]
fn preflights_pass_without_a_token_only_where_no_policy_asks_for_one() {
    let bypasses = |manifests: &[Value]| {
        manifests[0]["spec"]["pluginConfig"]["bypassCorsPreflight"].as_bool().unwrap()
    };
    let told = |report: &Report| format!("{:?}", report.differences).contains("preflights are");

    let (manifests, report) = with(&[policy("ALLOW", "{to: [{operation: {paths: [/a]}}]}")]);
    assert!(bypasses(&manifests) && !told(&report));

    for policy in [policy("ALLOW", &format!("{{{ANY}}}")), policy("DENY", &format!("{{{NONE}}}"))] {
        let (manifests, report) = with(&[policy]);
        assert!(!bypasses(&manifests) && told(&report));
    }
}

#[test]
fn a_resource_without_a_selector_may_be_for_gateways_and_asks() {
    let text = AUTHENTICATION.replace("  selector: {matchLabels: {app: shop}}\n", "");

    let (manifests, report) = converted(&text);

    assert_eq!(manifests[0]["spec"]["match"], json!([{ "mode": "SERVER" }]));
    assert_eq!(lost(&report), [(Effect::Unknown, "")]);
}
