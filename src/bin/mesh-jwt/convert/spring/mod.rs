//! Routes of a Spring Cloud Gateway with a filter `JwtAuth`.
//!
//! Its arguments are `jwk-set-uri`, `expected-issuer`, `expected-audience`, `clock-skew` and
//! `inject-headers` (the header, and the claim that it gets). A route without the filter is public.

mod jwt_auth;
mod predicate;
mod routes;
mod rules;

#[cfg(test)]
mod tests;

use mesh_jwt::config::document::{PluginConfig, ProviderConfig};

use super::conversion::{Converted, Input};
use super::manifest::{Kind, Target};
use super::reader::{Fault, Field};
use super::report::{Difference, Report};
use super::rule::{check, written};
use jwt_auth::Auth;
use routes::Routes;

pub(super) fn convert(input: &Input, report: &mut Report) -> Result<Vec<Converted>, Fault> {
    let routes = routes::of_input(input)?;
    if routes.routes.iter().all(|route| route.auth.is_none()) {
        return Ok(Vec::new());
    }
    let config = plugin_config(&routes)?;
    report.add_differences(differences());
    if !routes.has_cors {
        report.add_differences(vec![Difference::always(
            "CORS preflights need a token, as no globalcors is in the source; if the gateway answers \
             them, set bypassCorsPreflight: true",
        )]);
    }
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

fn plugin_config(Routes { routes, has_cors }: &Routes<'_>) -> Result<PluginConfig, Fault> {
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
    let (rules, rule_places): (Vec<_>, Vec<_>) =
        rules::of_routes(routes, &providers)?.into_iter().unzip();
    let (providers, places): (Vec<_>, Vec<_>) = providers.into_iter().unzip();
    let config = PluginConfig {
        providers,
        rules: written(rules),
        bypass_cors_preflight: has_cors.then_some(true),
        ..PluginConfig::default()
    };
    if let Some(whole) = places.first() {
        check(&config, &places, &rule_places, whole)?;
    }
    Ok(config)
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
