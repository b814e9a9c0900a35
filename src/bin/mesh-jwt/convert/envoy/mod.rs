//! Envoy's `jwt_authn`: `envoy.extensions.filters.http.jwt_authn.v3`.

mod matcher;
mod provider;
mod requirement;
mod rules;

#[cfg(test)]
mod properties;
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
    /// What turns filters off.
    disabled: Vec<Field<'s>>,
}

impl<'s> Found<'s> {
    /// Looks for messages with their types, and for a document that is such a message.
    pub(crate) fn in_document(ledger: &'s Ledger, document: &'s Node) -> Self {
        let mut found = Self::default();
        document.walk("", &mut |path, node| found.look(ledger, node, path));
        let is_bare =
            document.get("kind").is_none() && document.get("providers").is_some_and(Node::is_map);
        if found.filters.is_empty() && is_bare {
            found.filters.push(Field::new(ledger, Naming::Protobuf, document, String::new()));
        }
        found
    }

    fn look(&mut self, ledger: &'s Ledger, node: &'s Node, path: &str) {
        let (url, message, path) = typed(node, path);
        let field = |node, path| Field::new(ledger, Naming::Protobuf, node, path);
        if url.ends_with(FILTER_TYPE) {
            self.filters.push(field(message, path));
        } else if url.ends_with(PER_ROUTE_TYPE) {
            self.per_route.push(field(message, path));
        } else if let Some(disabled) = node.get("disabled").filter(|it| it.to_json() == true)
            && let Some(inner) = node.get("typed_config").or_else(|| node.get("typedConfig"))
            && typed(inner, "").0.ends_with(FILTER_TYPE)
        {
            let dot = if path.is_empty() { "" } else { "." };
            self.disabled.push(field(disabled, format!("{path}{dot}disabled")));
        }
    }

    /// Reports what single routes ask for, and filters that are off unless a route turns them on.
    pub(crate) fn lose_per_route(&self) {
        for disabled in &self.disabled {
            disabled.lose(
                Effect::Unknown,
                "the filter is off but for routes that turn it on, and the result is for all requests",
                "write rules for the hosts, methods and paths of those routes, and make all else \
                 public; if there are none, drop the filter",
            );
        }
        for route in &self.per_route {
            route.lose(
                Effect::Unknown,
                "is for one route, of which the filter does not know",
                "write a rule for the hosts, methods and paths of that route",
            );
        }
    }
}

/// The type of a message, the message itself, and its path.
fn typed<'n>(node: &'n Node, path: &str) -> (String, &'n Node, String) {
    let text_of = |name| node.get(name).and_then(Node::text).unwrap_or_default();
    let url = text_of("@type");
    match node.get("value") {
        Some(value) if url.ends_with(".TypedStruct") => {
            let dot = if path.is_empty() { "" } else { "." };
            let url = text_of("type_url").to_owned() + text_of("typeUrl");
            (url, value, format!("{path}{dot}value"))
        }
        _ => (url.to_owned(), node, path.to_owned()),
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
