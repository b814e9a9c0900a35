//! What a configuration may hold, but rarely should.

use crate::config::{Config, KeySource, Mode, Provider};
use crate::header_name::is_same_to_lax_servers;
use crate::location::Location;
use crate::per_provider::ProviderId;
use crate::rules::{Access, Rule};
use serde_json::Value;
use std::time::Duration;

/// A risk, and how to avoid it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advice {
    /// The JSON path of what is risky, such as `providers[0].staleDuration`.
    pub path: String,
    /// What can come of it, and what to write instead.
    pub text: String,
}

/// Tells the risks of a configuration, in the order of the `document` that it was parsed from.
#[must_use]
pub fn advise(config: &Config, document: &Value) -> Vec<Advice> {
    let mut all = Vec::new();
    if config.mode == Mode::Report {
        all.push(advice("mode", "denies nothing: leave it out once the metrics reported.* agree"));
    }
    if let Some(header) = document.get("verifiedHeader") {
        of_verified_header(header, &mut all);
    }
    let rules = config.written_rules(document);
    for (index, (id, provider)) in config.providers.iter().enumerate() {
        let path = format!("providers[{index}]");
        of_provider(provider, &path, are_audiences_named(&rules, id), &mut all);
    }
    for (index, rule) in rules.iter().enumerate() {
        of_rule(rule, index, &rules, &mut all);
    }
    all
}

fn advice(path: &str, text: impl Into<String>) -> Advice {
    Advice { path: path.to_owned(), text: text.into() }
}

fn of_verified_header(header: &Value, all: &mut Vec<Advice>) {
    let name = header.get("name").and_then(Value::as_str).unwrap_or_default();
    if WELL_KNOWN_HEADERS.iter().any(|known| is_same_to_lax_servers(known, name)) {
        all.push(advice(
            "verifiedHeader.name",
            "is a header that clients and proxies write too, and is taken off every request: choose \
             a name of your own, such as \"X-Mesh-Jwt\"",
        ));
    }
    if header.get("secret").is_none() {
        all.push(advice(
            "verifiedHeader.secret",
            "is not set: whoever reaches a pod that the filter does not guard can write the header \
             as well; set one, and have services compare it",
        ));
    }
}

fn of_provider(provider: &Provider, path: &str, narrowed: bool, all: &mut Vec<Advice>) {
    let mut add = |field: &str, text: &str| all.push(advice(&format!("{path}.{field}"), text));
    if provider.audiences.is_empty() && !narrowed {
        add(
            "audiences",
            "is not set: a token that the issuer made for any other service is taken here; name \
             this API",
        );
    }
    if !provider.require_expiration {
        add(
            "requireExpiration",
            "takes tokens that never end, of which only a new key gets rid; have the issuer set exp",
        );
    }
    if provider.allow_bound_tokens {
        add(
            "allowBoundTokens",
            "takes stolen tokens that were bound to a key so that nobody else could use them",
        );
    }
    if provider.locations.iter().any(|place| matches!(place, Location::Param(_))) {
        add(
            "fromParams",
            "takes tokens from URLs, which end up in logs, histories and Referer headers (RFC 6750 \
             §5.3); prefer a header",
        );
    }
    let KeySource::Remote { jwks, .. } = &provider.keys else { return };
    if jwks.target().scheme == "http" {
        add(
            "allowPlaintextJwks",
            "whoever can answer for the issuer decides which tokens are good: be sure that the mesh \
             encrypts the call (mutual TLS, STRICT), or use https://",
        );
    }
    if jwks.stale_duration > LONG_STALE {
        add(
            "staleDuration",
            "trusts withdrawn keys for that long while fetches fail, which somebody may see to; an \
             outage of the issuer rarely needs more than 12h",
        );
    }
    if jwks.cache_duration > LONG_CACHE {
        add(
            "cacheDuration",
            "a key that the issuer withdraws stays good for that long; 10m costs an issuer little",
        );
    }
}

fn of_rule(rule: &Rule, index: usize, rules: &[Rule], all: &mut Vec<Advice>) {
    let path = format!("rules[{index}]");
    if rule.is_loose() && !rule.matched.hosts.is_empty() {
        all.push(advice(
            &format!("{path}.match.hosts"),
            "the caller chooses the Host header: a request for a guarded service gets through by the \
             name of this one, unless Envoy routes by the host as well; match ports or paths instead",
        ));
    }
    let mut earlier = rules.iter().take(index);
    let turns_off = matches!(rule.access, Access::Public)
        && rule.matches_all()
        && earlier.clone().all(|earlier| matches!(earlier.access, Access::Public));
    let Some(by) = earlier.position(|earlier| earlier.covers(rule)) else {
        if turns_off {
            all.push(advice(
                &path,
                "turns the filter off: it matches every request, asks for no token, and no rule \
                 before it does; name the paths that are public",
            ));
        }
        return;
    };
    let is_opened = !rule.is_loose() && rules.get(by).is_some_and(Rule::is_loose);
    let text = match is_opened {
        true => format!(
            "never applies: rules[{by}], which asks for no token, comes first and matches all of it; \
             move this rule before that one"
        ),
        false => format!(
            "can never match: rules[{by}] comes first and matches all of it; move this rule before \
             that one, or remove it"
        ),
    };
    all.push(Advice { path, text });
}

/// Whether rules take tokens of this provider for audiences that they name only.
fn are_audiences_named(rules: &[Rule], provider: ProviderId) -> bool {
    // What no strict rule matches needs a token of any audience, and loose rules never match a path
    // that servers read differently.
    let is_strict_for_all = |rule: &Rule| rule.matches_all() && !rule.is_loose();
    rules.iter().any(is_strict_for_all)
        && rules.iter().enumerate().all(|(index, rule)| {
            let mut earlier = rules.iter().take(index);
            let is_hidden = |by: &Rule| by.covers(rule) && (rule.is_loose() || !by.is_loose());
            names_audiences(rule, provider) || earlier.any(is_hidden)
        })
}

/// Whether a rule takes no tokens of this provider, or only for audiences that it names.
fn names_audiences(rule: &Rule, provider: ProviderId) -> bool {
    match &rule.access {
        Access::Public => true,
        Access::Optional(requirement) | Access::Required(requirement) => {
            let providers = requirement.providers.as_ref();
            !requirement.audiences.is_empty()
                || providers.is_some_and(|providers| !providers.contains(&provider))
        }
    }
}

const LONG_STALE: Duration = Duration::from_hours(12);
const LONG_CACHE: Duration = Duration::from_hours(1);

/// Those of requests that services are likely to need.
const WELL_KNOWN_HEADERS: [&str; 16] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "content-encoding",
    "content-type",
    "forwarded",
    "if-none-match",
    "origin",
    "referer",
    "traceparent",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(document: &Value) -> Vec<String> {
        let config = Config::parse(document.to_string().as_bytes()).unwrap();
        advise(&config, document).into_iter().map(|advice| advice.path).collect()
    }

    fn with_provider(fields: Value) -> Value {
        let mut provider = json!({
            "issuer": "https://a.example", "jwksUri": "https://a.example/jwks", "audiences": ["api"],
        });
        provider.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "providers": [provider] })
    }

    fn with_rules(rules: Value) -> Value {
        let mut document = with_provider(json!({}));
        document["rules"] = rules;
        document
    }

    #[test]
    fn a_plain_configuration_has_no_risks() {
        assert_eq!(paths(&with_provider(json!({}))), [""; 0]);
    }

    #[test]
    fn risks_of_providers_are_told_where_they_are() {
        for (fields, path) in [
            (json!({"audiences": []}), "audiences"),
            (json!({"requireExpiration": false}), "requireExpiration"),
            (json!({"allowBoundTokens": true}), "allowBoundTokens"),
            (json!({"fromParams": ["access_token"]}), "fromParams"),
            (json!({"staleDuration": "12h1s"}), "staleDuration"),
            (json!({"cacheDuration": "61m"}), "cacheDuration"),
            (
                json!({"jwksUri": "http://a.example/jwks", "allowPlaintextJwks": true}),
                "allowPlaintextJwks",
            ),
        ] {
            assert_eq!(paths(&with_provider(fields)), [format!("providers[0].{path}")]);
        }
    }

    #[test]
    fn audiences_of_every_rule_stand_in_for_the_providers() {
        let mut document = with_provider(json!({"audiences": []}));
        let rule = json!({"requires": {"audiences": ["api"]}});
        document["rules"] = json!([rule]);
        assert_eq!(paths(&document), [""; 0]);

        let mut narrow = rule;
        narrow["match"] = json!({"paths": ["/a"]});
        document["rules"] = json!([narrow]);
        assert_eq!(paths(&document), ["providers[0].audiences"]);
    }

    #[test]
    fn audiences_are_missed_where_a_token_without_them_gets_through() {
        let document = |rules: &Value| {
            json!({
                "providers": [
                    {"name": "a", "issuer": "https://a.example", "jwksUri": "https://a.example/jwks"},
                    {"name": "b", "issuer": "https://b.example", "jwksUri": "https://b.example/jwks",
                     "audiences": ["api"]},
                ],
                "rules": rules,
            })
        };
        let narrow = json!({"match": {"paths": ["/**"]}, "requires": {"audiences": ["api"]}});
        for rules in [
            json!([narrow]),
            json!([{"match": {"paths": ["/health"]}, "access": "public"}, narrow]),
            json!([{"match": {"paths": ["/b"]}, "providers": ["b"]}, narrow]),
            json!([{"providers": ["b"]}]),
            json!([{"match": {"paths": ["/a"]}, "requires": {"audiences": ["a"]}, "access": "optional"}, narrow]),
        ] {
            assert_eq!(paths(&document(&rules)), [""; 0], "{rules}");
        }
        for rules in [
            json!([]),
            json!([{"match": {"paths": ["/a/**"]}, "requires": {"audiences": ["api"]}}]),
            // A token of any audience is no error here, and what it says reaches the service.
            json!([{"match": {"paths": ["/a"]}, "access": "optional"}, narrow]),
            // The default decides on "/a;b".
            json!([{"requires": {"audiences": ["api"]}, "access": "optional"}]),
            json!([{"match": {"paths": ["/a"]}, "providers": ["a"]}, narrow]),
            json!([{"match": {"methods": ["GET"]}, "requires": {"audiences": ["api"]}}, {"providers": ["a", "b"]}]),
        ] {
            assert_eq!(paths(&document(&rules)), ["providers[0].audiences"], "{rules}");
        }
        let hidden = json!([narrow, {"match": {"paths": ["/a"]}}]);
        assert_eq!(paths(&document(&hidden)), ["rules[1]"]);
    }

    #[test]
    fn a_rule_that_turns_the_filter_off_is_told() {
        let (off, strict) = (json!({"access": "public"}), json!({"match": {"paths": ["/a"]}}));
        let health = json!({"match": {"paths": ["/health"]}, "access": "public"});
        let everywhere = json!({"match": {"paths": ["/**"]}, "access": "public"});
        for (rules, expected) in [
            (json!([off]), vec!["rules[0]"]),
            (json!([everywhere]), vec!["rules[0]"]),
            (json!([health, off]), vec!["rules[1]"]),
            (json!([strict, off]), vec![]),
        ] {
            assert_eq!(paths(&with_rules(rules.clone())), expected, "{rules}");
        }
    }

    #[test]
    fn risks_of_the_verified_header_are_told() {
        let secret = "0123456789abcdef";
        for (header, expected) in [
            (json!({"name": "X-Mesh-Jwt", "secret": secret}), vec![]),
            (json!({"name": "X-Mesh-Jwt"}), vec!["verifiedHeader.secret"]),
            (json!({"name": "X_Forwarded-For", "secret": secret}), vec!["verifiedHeader.name"]),
        ] {
            let mut document = with_provider(json!({}));
            document["verifiedHeader"] = header.clone();
            assert_eq!(paths(&document), expected, "{header}");
        }
    }

    #[test]
    fn rules_that_never_apply_are_told() {
        for (rules, expected) in [
            (
                json!([{"match": {"paths": ["/a/**"]}, "access": "public"},
                    {"match": {"paths": ["/a/b"]}, "scopes": ["x"]}]),
                "rules[1]",
            ),
            (json!([{"scopes": ["x"]}, {"match": {"methods": ["GET"]}}]), "rules[1]"),
            (
                json!([{"match": {"methods": ["GET", "POST"], "hosts": ["*.b.example"]}},
                    {"match": {"methods": ["POST"], "hosts": ["a.b.example"]}}]),
                "rules[1]",
            ),
            (
                json!([{"match": {"hosts": ["a.example"]}, "access": "public"}]),
                "rules[0].match.hosts",
            ),
        ] {
            assert_eq!(paths(&with_rules(rules.clone())), [expected], "{rules}");
        }
        for rules in [
            json!([{"match": {"paths": ["/a"]}, "access": "public"},
                   {"match": {"paths": ["/a"]}, "scopes": ["x"]}]),
            json!([{"match": {"paths": ["/a/*"]}}, {"match": {"paths": ["/a/**"]}}]),
            json!([{"match": {"methods": ["GET"]}}, {"match": {"paths": ["/a"]}}]),
            json!([{"match": {"ports": [8080]}}, {"match": {"paths": ["/a"]}}]),
        ] {
            assert_eq!(paths(&with_rules(rules.clone())), [""; 0], "{rules}");
        }
    }
}
