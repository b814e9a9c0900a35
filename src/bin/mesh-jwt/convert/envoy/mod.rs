//! Envoy's `jwt_authn`: `envoy.extensions.filters.http.jwt_authn.v3`.

mod matcher;
mod provider;
mod requirement;
mod rules;

#[cfg(test)]
mod tests;

use mesh_jwt::config::document::{PluginConfig, RepliesConfig};
use mesh_jwt::reply::Detail;

use super::conversion::Options;
use super::reader::{Fault, Field, Ledger, Naming};
use super::report::{Difference, Effect};
use super::rule::{check, written};
use crate::tree::Node;
use provider::Providers;

pub(super) use provider::{DEFAULT_CLOCK_SKEW, take_default_locations};

/// The filters and their settings for single routes, wherever they stand in a document.
#[derive(Default)]
pub(crate) struct Found<'s> {
    pub(crate) filters: Vec<Field<'s>>,
    per_route: Vec<Field<'s>>,
}

impl<'s> Found<'s> {
    /// Looks for messages with their types, and for a document that is such a message.
    pub(crate) fn in_document(ledger: &'s Ledger, document: &'s Node) -> Self {
        let mut found = Self::default();
        found.look(ledger, document, String::new());
        let is_bare =
            document.get("kind").is_none() && document.get("providers").is_some_and(Node::is_map);
        if found.filters.is_empty() && is_bare {
            found.filters.push(Field::new(ledger, Naming::Protobuf, document, String::new()));
        }
        found
    }

    fn look(&mut self, ledger: &'s Ledger, node: &'s Node, path: String) {
        let text_of = |name| node.get(name).and_then(Node::text).unwrap_or_default();
        let typed = text_of("@type");
        let (url, message, path) = match node.get("value") {
            Some(value) if typed.ends_with(".TypedStruct") => {
                let path = format!("{path}.value");
                (text_of("type_url").to_owned() + text_of("typeUrl"), value, path)
            }
            _ => (typed.to_owned(), node, path),
        };
        let field = || Field::new(ledger, Naming::Protobuf, message, path.clone());
        if url.ends_with(FILTER_TYPE) {
            self.filters.push(field());
        } else if url.ends_with(PER_ROUTE_TYPE) {
            self.per_route.push(field());
        } else {
            for (name, _, member) in node.members() {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                self.look(ledger, member, path);
            }
            for (index, item) in node.items().iter().enumerate() {
                self.look(ledger, item, format!("{path}[{index}]"));
            }
        }
    }

    /// Reports what single routes ask for.
    pub(crate) fn lose_per_route(&self) {
        for route in &self.per_route {
            route.lose(
                Effect::Unknown,
                "is for one route, of which the filter does not know",
                "write a rule for the hosts, methods and paths of that route",
            );
        }
    }
}

/// Converts a filter.
pub(crate) fn convert(filter: &Field<'_>, options: &Options) -> Result<PluginConfig, Fault> {
    if let Some(typed) = filter.member("@type") {
        typed.settle();
    }
    let mut providers = Providers::read(filter)?;
    let rules = rules::read(filter, &mut providers, options)?;
    let (places, providers) = providers.finish();
    let config = PluginConfig {
        case_insensitive_paths: set(rules.ignore_case),
        rules: written(rules.rules),
        replies: filter
            .is_set("strip_failure_response")?
            .then_some(RepliesConfig { detail: Some(Detail::None), ..RepliesConfig::default() }),
        bypass_cors_preflight: Some(filter.is_set("bypass_cors_preflight")?),
        token_cache: providers.token_cache,
        clear_route_cache: set(providers.clear_route_cache),
        providers: providers.providers,
        ..PluginConfig::default()
    };
    if let Some(prefix) = filter.member("stat_prefix") {
        prefix.lose(
            Effect::None,
            "the filter's metrics have names of their own",
            "use wasmcustom.mesh_jwt.*",
        );
    }
    filter.lose_rest();
    check(&config, &places, &rules.places, filter)?;
    Ok(config)
}

/// A flag that is off unless it is set.
fn set(flag: bool) -> Option<bool> {
    flag.then_some(true)
}

/// What is always different.
pub(crate) fn differences() -> Vec<Difference> {
    [
        "mesh-jwt takes RS256 only; jwt_authn takes ES256, PS256 and others too",
        "a token needs a kid that is known, or none, and a typ of JWT or at+jwt, or none; tokens \
         bound to a key (cnf) are refused; see tokenTypes and allowBoundTokens",
        "one token of a request counts, that of the first place; jwt_authn looks at all of them. \
         Two in one place are refused (400 multiple_tokens)",
        "a token for another audience is 401, not 403; one of a provider that the rule does not \
         name is 403, not 401; and 503 is the answer where no keys could be had",
        "headers that the filter sets are removed from requests of public rules, too, and however they \
         are spelt (x_user_id); claims that are lists come joined with spaces",
        "a path that servers read differently (%2F, \\, ;, //, ..) passes no public or optional rule",
        "replies are application/problem+json, with a code",
    ]
    .map(Difference::always)
    .into()
}

const FILTER_TYPE: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE_TYPE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";
