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
