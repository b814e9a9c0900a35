//! Routes of a Spring Cloud Gateway with a filter `JwtAuth`.
//!
//! Its arguments are `jwk-set-uri`, `expected-issuer`, `expected-audience`, `clock-skew` and
//! `inject-headers` (the header, and the claim that it gets). A route without the filter is public.

mod jwt_auth;
mod predicate;

#[cfg(test)]
mod tests;

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::{MatchConfig, PluginConfig, ProviderConfig};

use super::conversion::{Converted, Input, Options};
use super::manifest::{Kind, Target};
use super::reader::{Fault, Field, Naming};
use super::report::{Difference, Effect, Report};
use super::rule::{Requirement, Rule, check, loosen, written};
use crate::tree::Node;
use jwt_auth::{Auth, ROUTING, filters_of};

/// A route in the order in which they are tried.
struct Route<'s> {
    order: i64,
    field: Field<'s>,
    auth: Option<Auth<'s>>,
}

pub(super) fn convert(
    input: &Input,
    _options: &Options,
    report: &mut Report,
) -> Result<Vec<Converted>, Fault> {
    let (mut routes, mut defaults) = (Vec::new(), None);
    for document in &input.documents {
        let (found, default) = routes_of(input, document)?;
        routes.extend(found);
        defaults = defaults.or(default);
    }
    for route in &mut routes {
        route.auth = route.auth.take().or_else(|| defaults.clone());
    }
    if routes.iter().all(|route| route.auth.is_none()) {
        return Ok(Vec::new());
    }
    routes.sort_by_key(|route| route.order);
    let config = plugin_config(&routes)?;
    report.add_differences(differences());
    report.add_step(Some(
        "put the manifest into the namespace of the gateway or the services, with their selector, \
         and remove JwtAuth from the routes"
            .into(),
    ));
    Ok(vec![Converted {
        kind: Kind::WasmPlugin,
        target: Target::default(),
        plugin_config: config,
        beside: Vec::new(),
    }])
}

/// The routes of a document, and the filter that all of them have.
fn routes_of<'s>(
    input: &'s Input,
    document: &'s Node,
) -> Result<(Vec<Route<'s>>, Option<Auth<'s>>), Fault> {
    let root = Field::new(&input.ledger, Naming::Relaxed, document, String::new());
    let is_route = |node: &Node| node.get("predicates").is_some() || node.get("filters").is_some();
    if document.is_list() && document.items().iter().any(is_route) {
        let routes = root.items()?.into_iter().map(route).collect::<Result<_, _>>()?;
        return Ok((routes, None));
    }
    let places: [&[&str]; 3] = [
        &["spring", "cloud", "gateway"],
        &["spring", "cloud", "gateway", "server", "webflux"],
        &["spring", "cloud", "gateway", "server", "webmvc"],
    ];
    let (mut routes, mut default) = (Vec::new(), None);
    for gateway in places.into_iter().filter_map(|place| root.descend(place)) {
        let found = gateway.list("routes")?.into_iter().map(route);
        routes.extend(found.collect::<Result<Vec<_>, _>>()?);
        if let Some(filters) = gateway.member("default-filters") {
            default = filters_of(filters.items()?)?;
        }
    }
    Ok((routes, default))
}

fn route(field: Field<'_>) -> Result<Route<'_>, Fault> {
    let order = field.member("order").map(|order| order.scalar()).transpose()?;
    let order = order.map_or(Some(0), |order| order.parse().ok());
    let Some(order) = order else {
        return Err(field.fault("has an order that is not a whole number; write one"));
    };
    if let Some(id) = field.member("id") {
        id.settle();
    }
    if let Some(uri) = field.member("uri") {
        uri.lose(Effect::None, "the filter routes nothing", ROUTING);
    }
    if let Some(metadata) = field.member("metadata") {
        metadata.lose(Effect::None, "the filter routes nothing", ROUTING);
    }
    let auth = filters_of(field.list("filters")?)?;
    Ok(Route { order, field, auth })
}

fn plugin_config(routes: &[Route<'_>]) -> Result<PluginConfig, Fault> {
    let mut providers: Vec<(ProviderConfig, Field<'_>)> = Vec::new();
    for auth in routes.iter().filter_map(|route| route.auth.as_ref()) {
        let Auth { provider, field } = auth;
        field.lose_rest();
        let known = providers.iter_mut().find(|(known, _)| known.issuer == provider.issuer);
        let Some((known, _)) = known else {
            providers.push((provider.clone(), field.clone()));
            continue;
        };
        let without_audiences = |provider: &ProviderConfig| ProviderConfig {
            audiences: Vec::new(),
            ..provider.clone()
        };
        if without_audiences(known) != without_audiences(provider) {
            return Err(field.fault(format!(
                "differs in more than its audience from another JwtAuth of {}; give both the same \
                 jwk-set-uri, clock-skew and inject-headers",
                provider.issuer.as_deref().unwrap_or_default()
            )));
        }
        let is_any = known.audiences.is_empty() || provider.audiences.is_empty();
        known.audiences.extend(provider.audiences.clone());
        known.audiences.sort();
        known.audiences.dedup();
        if is_any {
            known.audiences.clear();
        }
    }
    let mut rules: Vec<(Rule, Field<'_>)> = Vec::new();
    for route in routes {
        let rule = rule(route, &providers)?;
        route.field.lose_rest();
        rules.extend(rule.map(|rule| (rule, route.field.clone())));
    }
    let (rules, rule_places): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
    let (providers, places): (Vec<_>, Vec<_>) = providers.into_iter().unzip();
    let config = PluginConfig {
        providers,
        rules: written(rules),
        bypass_cors_preflight: Some(true),
        ..PluginConfig::default()
    };
    if let Some(whole) = places.first() {
        check(&config, &places, &rule_places, whole)?;
    }
    Ok(config)
}

fn rule(
    route: &Route<'_>,
    providers: &[(ProviderConfig, Field<'_>)],
) -> Result<Option<Rule>, Fault> {
    let mut matched = MatchConfig::default();
    let mut is_narrow = true;
    let is_strict = route.auth.is_some();
    for predicate in route.field.list("predicates")? {
        if let Err(name) = predicate::read(&predicate, is_strict, &mut matched)? {
            let what = if is_strict { "counts without it" } else { "was left out" };
            predicate.lose(
                Effect::Stricter,
                format!("the filter does not know {name} as it stands here, and the rule {what}"),
                "tell the requests apart by host, method or path",
            );
            is_narrow = false;
        }
    }
    let Some(auth) = &route.auth else {
        is_narrow &= loosen(&mut matched, &route.field);
        return Ok(is_narrow.then(|| Rule {
            matched,
            access: RuleAccess::Public,
            ..Rule::default()
        }));
    };
    let provider = providers.iter().find(|(known, _)| known.issuer == auth.provider.issuer);
    let widened = provider.is_some_and(|(known, _)| known.audiences != auth.provider.audiences);
    let mut audiences = Vec::new();
    if widened {
        audiences.clone_from(&auth.provider.audiences);
    }
    let names = auth.provider.name.clone().into_iter().filter(|_| providers.len() > 1);
    let requirement =
        Requirement { providers: names.collect(), audiences, ..Requirement::default() };
    Ok(Some(Rule { matched, access: RuleAccess::Required, requirement }))
}

fn differences() -> Vec<Difference> {
    [
        "what no route is for needs a token here (401), and was not found before (404)",
        "mesh-jwt takes RS256 only, a typ of JWT or at+jwt or none, no tokens without exp, and none \
         bound to a key (cnf)",
        "headers that the filter sets are removed from every request, with or without a token",
        "the token stays in the request, as a gateway leaves it there; forwardOriginalToken: false \
         removes it",
        "replies are application/problem+json, with a code; 503 is the answer where no keys could be \
         had",
        "a path that servers read differently (%2F, \\, ;, //, ..) passes no public rule",
    ]
    .map(Difference::always)
    .into()
}
