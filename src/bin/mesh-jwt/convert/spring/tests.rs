use serde_json::json;

use super::super::report::Effect;
use super::super::tests::{converted, lost, refused};

/// Routes, each with its predicates and whether it has the filter.
fn routes(routes: &[(&str, bool)]) -> String {
    let mut text = String::new();
    for (predicates, has_filter) in routes {
        let args = "{jwk-set-uri: https://auth/jwks, expected-issuer: https://auth}";
        let filter = format!("{{name: JwtAuth, args: {args}}}");
        let filters = if *has_filter { filter.as_str() } else { "" };
        text += &format!("- {{predicates: [{predicates}], filters: [{filters}]}}\n");
    }
    text
}

#[test]
fn predicates_that_the_filter_does_not_know_tighten() {
    let text = routes(&[
        ("Path=/a, After=2020-01-01", true),
        ("Path=/b, 'Header=X, y'", false),
        ("Path=/c, Method=GET, Host=**.example.com", false),
    ]);

    let (manifests, report) = converted(&text);

    assert_eq!(
        manifests[0]["spec"]["pluginConfig"]["rules"],
        json!([
            { "match": { "paths": ["/a"] } },
            {
                "match": { "hosts": ["*.example.com"], "methods": ["GET"], "paths": ["/c"] },
                "access": "public",
            },
        ])
    );
    assert_eq!(
        lost(&report),
        [(Effect::Stricter, "[0].predicates[1]"), (Effect::Stricter, "[1].predicates[1]")]
    );
}

#[test]
fn durations_are_read_as_spring_reads_them() {
    let skew = |text: &str| {
        let args = format!("expected-issuer: https://auth, clock-skew: {text}");
        let text = routes(&[("Path=/a", true)]).replace("expected-issuer: https://auth", &args);
        let (manifests, _) = converted(&text);
        manifests[0]["spec"]["pluginConfig"]["providers"][0]["clockSkew"].clone()
    };

    for (text, expected) in [("30s", "30s"), ("PT1M", "1m"), ("500", "500ms"), ("2m", "2m")] {
        assert_eq!(skew(text), expected);
    }
}

#[test]
fn what_cannot_be_converted_names_its_place_and_the_mend() {
    let text = routes(&[("Path=/a", true)]);

    let placeholder = text.replace("https://auth/jwks", "'${JWKS}'");
    assert!(refused(&placeholder).starts_with("file:1:"));
    assert!(refused(&placeholder).contains("holds a placeholder; write what it stands for"));
    let none = text.replace(", expected-issuer: https://auth", "");
    assert!(refused(&none).contains("has no expected-issuer"));
    let other = routes(&[("Path=/a", true), ("Path=/b", true)]);
    let other = other.replacen("https://auth/jwks", "https://auth/others", 1);
    assert!(refused(&other).starts_with("file:2:"), "{}", refused(&other));
}

/// The filter for an audience.
fn filter(audience: &str) -> String {
    let args = "jwk-set-uri: https://auth/jwks, expected-issuer: https://auth, clock-skew: 30s";
    format!("{{name: JwtAuth, args: {{{args}, expected-audience: {audience}}}}}")
}

/// The configuration of a gateway with these members.
fn gateway(members: &str) -> String {
    format!("spring: {{cloud: {{gateway: {{{members}}}}}}}\n")
}

#[test]
fn a_rule_for_more_than_its_route_is_looser_if_a_later_route_asks_for_another_token() {
    let effect = |first: &str, later: &str, audience: &str| {
        let (users, other) = (filter("users"), filter(audience));
        let text = format!(
            "- {{predicates: [{first}], filters: [{users}]}}\n\
             - {{predicates: [Path=/elsewhere], filters: [{}]}}\n\
             - {{predicates: [{later}], filters: [{other}]}}\n",
            filter("elsewhere")
        );
        let (_, report) = converted(&text);
        let lost = report.not_carried_over.iter().map(|lost| (lost.effect, lost.path.clone()));
        lost.collect::<Vec<_>>()
    };
    let (looser, stricter) = (Effect::Looser, Effect::Stricter);

    for (first, later, audience, expected, path) in [
        ("'Path=/a/{id:[0-9]+}'", "Path=/a/admin", "admin", looser, "[0].predicates[0]"),
        ("'Path=/a/{id:[0-9]+}'", "Path=/a/admin", "users", stricter, "[0].predicates[0]"),
        ("'Path=/a/{id:[0-9]+}'", "Path=/b/admin", "admin", stricter, "[0].predicates[0]"),
        ("'Path=/a/{id:[0-9]+}'", "Method=GET", "admin", looser, "[0].predicates[0]"),
        ("'Path=/a/**/b'", "Path=/a/c", "admin", looser, "[0].predicates[0]"),
        ("Path=/a/**, 'Header=X-I, y'", "Path=/a/**", "admin", looser, "[0].predicates[1]"),
        ("Path=/a/**, Query=x", "Path=/**", "admin", looser, "[0].predicates[1]"),
        ("Path=/a/**, Path=/a/b", "Path=/a/c", "admin", looser, "[0].predicates[1]"),
        ("Path=/a, Host=*.example.com", "Path=/a", "admin", looser, "[0].predicates[1]"),
    ] {
        let lost = effect(first, later, audience);
        assert_eq!(lost, [(expected, path.to_owned())], "{first}, {later}");
    }
}

#[test]
fn a_public_route_with_a_predicate_that_the_filter_does_not_know_loosens_nothing() {
    for predicate in ["'Header=X, y'", "Query=x", "Cookie=a", "RemoteAddr=10.0.0.0/8", "Weight=g"] {
        let public = format!("Path=/a/**, {predicate}");

        let (manifests, report) = converted(&routes(&[(&public, false), ("Path=/b", true)]));

        let rules = &manifests[0]["spec"]["pluginConfig"]["rules"];
        assert_eq!(*rules, json!([{ "match": { "paths": ["/b"] } }]), "{predicate}");
        assert_eq!(lost(&report), [(Effect::Stricter, "[0].predicates[1]")], "{predicate}");
    }
}

#[test]
fn a_route_with_nothing_but_the_filter_is_carried_over_whole() {
    let text = format!(
        "- {{id: a, uri: 'http://s', predicates: [Host=**.example.com], filters: [{}]}}",
        filter("a")
    );

    let (manifests, report) = converted(&text);

    let config = &manifests[0]["spec"]["pluginConfig"];
    let hosts = json!(["example.com", "*.example.com"]);
    assert_eq!(config["rules"], json!([{ "match": { "hosts": hosts } }]));
    assert_eq!(config.get("bypassCorsPreflight"), None);
    assert_eq!(lost(&report), []);
}

#[test]
fn filters_that_change_paths_leave_open_which_the_rules_are_for() {
    for name in ["StripPrefix=1", "PrefixPath=/x", "'RewritePath=/a, /b'", "SetPath=/x"] {
        let filters = format!("{}, {name}", filter("a"));
        let text = format!("- {{predicates: [Path=/a], filters: [{filters}]}}");

        let (_, report) = converted(&text);

        assert_eq!(lost(&report), [(Effect::Unknown, "[0].filters[1]")], "{name}");
    }
}

#[test]
fn preflights_pass_where_the_gateway_answers_them() {
    let routes = format!("routes: [{{predicates: [Path=/a], filters: [{}]}}]", filter("a"));
    let bypass = |text: &str| {
        let (manifests, report) = converted(text);
        let differences = serde_json::to_string(&report.differences).unwrap();
        assert!(differences.contains("preflights"), "{differences}");
        manifests[0]["spec"]["pluginConfig"].get("bypassCorsPreflight").cloned()
    };

    assert_eq!(bypass(&gateway(&routes)), None);
    let with_cors = gateway(&format!("globalcors: {{cors-configurations: {{}}}}, {routes}"));
    assert_eq!(bypass(&with_cors), Some(json!(true)));
}

#[test]
fn a_default_filter_is_for_every_route() {
    let routes = "routes: [{predicates: [Path=/a]}]";
    let text = gateway(&format!("default-filters: [{}], {routes}", filter("a")));

    let (manifests, report) = converted(&text);

    let config = &manifests[0]["spec"]["pluginConfig"];
    assert_eq!(config["rules"], json!([{ "match": { "paths": ["/a"] } }]));
    assert_eq!(lost(&report), []);
}

#[test]
fn what_spring_reads_together_in_ways_of_its_own_is_refused() {
    let default = format!("default-filters: [{}]", filter("a"));
    let own = format!("routes: [{{predicates: [Path=/a], filters: [{}]}}]", filter("b"));
    let (both, one, other) =
        (gateway(&format!("{default}, {own}")), gateway(&default), gateway(&own));
    let server = gateway(&format!(
        "{default}, server: {{webflux: {{default-filters: [AddRequestHeader=x], {own}}}}}"
    ));
    let public = |more: &str| format!("{other}---\n- {{predicates: [Path=/b]{more}}}\n");

    for (text, problem) in [
        (both, "is a JwtAuth beside that of default-filters"),
        (format!("{one}---\n{one}"), "is a second place"),
        (format!("{one}---\n{other}"), "is a second place"),
        (public(""), "is a second place"),
        (server, "is a second place"),
        (format!("spring.cloud.gateway.default-filters: []\n{other}"), "name of several parts"),
        (other.replace("routes:", "'routes[0]':"), "name of several parts"),
        (
            other.replace("routes:", "defaultFilters: [], default-filters: [], routes:"),
            "second spelling",
        ),
        (other.replace("predicates: [Path=/a]", "predicate: [Path=/a]"), "has no predicates"),
        (other.replace("Path=/a", "'Path=/${A}/b'"), "holds a placeholder"),
        (other.replace("predicates", "enabled: false, predicates"), "may switch the route off"),
    ] {
        assert!(refused(&text).contains(problem), "{text}: {}", refused(&text));
    }
    let name = format!("spring.application.name: x\n{other}");
    assert_eq!(lost(&converted(&name).1), []);
}
