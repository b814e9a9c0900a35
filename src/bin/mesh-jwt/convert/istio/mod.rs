//! Istio's RequestAuthentication, with the AuthorizationPolicy for the same workloads.

mod authorization;
mod filter_rules;
mod operation;
mod policy;
mod request_authentication;
mod resource;
mod token;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::{MatchConfig, PluginConfig, ProviderConfig};

use super::conversion::{Converted, Input, Options};
use super::manifest::{Kind, Placement, ROOT_NAMESPACE, Target};
use super::reader::{Fault, Field, Naming};
use super::report::{Difference, Effect, Report};
use super::rule::{Rule, check, unique, written};
use crate::tree::Node;
use resource::{Resource, is_same, name, target};

pub(super) fn convert(
    inputs: &[Input],
    placement: &Placement,
    options: &Options,
    report: &mut Report,
) -> Result<Vec<Converted>, Fault> {
    let (mut authentications, mut policies) = (Vec::new(), Vec::new());
    for input in inputs {
        for document in &input.documents {
            let field = Field::new(&input.ledger, Naming::Exact, document, String::new());
            sort(field, document, &mut authentications, &mut policies)?;
        }
    }
    let mut groups: Vec<(Target, Vec<Resource<'_>>)> = Vec::new();
    for authentication in authentications {
        let same = groups.iter_mut().find(|(target, _)| is_same(target, &authentication.target));
        match same {
            Some((_, group)) => group.push(authentication),
            None => groups.push((authentication.target.clone(), vec![authentication])),
        }
    }
    lose_overlaps(&groups);
    let mut all = Vec::new();
    for (target, group) in groups {
        let (ours, others) = policies
            .into_iter()
            .partition(|policy: &Resource<'_>| is_same(&target, &policy.target));
        policies = others;
        if placement.is_guessed(Kind::WasmPlugin, &target) {
            group.iter().for_each(|Resource { field, .. }| ask_for_workload(field));
        }
        all.push(convert_group(target, &group, ours, options, report)?);
    }
    if all.is_empty() {
        return Ok(all);
    }
    for policy in &policies {
        authorization::lose_of_others(&policy.field)?;
    }
    report.add_differences(differences());
    Ok(all)
}

/// Finds the resources in a document, which may be a list of them.
fn sort<'s>(
    field: Field<'s>,
    node: &'s Node,
    authentications: &mut Vec<Resource<'s>>,
    policies: &mut Vec<Resource<'s>>,
) -> Result<(), Fault> {
    let text = |name: &str| node.get(name).and_then(Node::text).unwrap_or_default();
    let is_of_istio = text("apiVersion").starts_with("security.istio.io/");
    let list = match text("kind") {
        "List" | "RequestAuthenticationList" | "AuthorizationPolicyList" => {
            for (item, node) in field.list("items")?.into_iter().zip(node.items_of("items")) {
                if item.member("kind").is_none() {
                    return Err(item.fault("has no kind; write one, and apiVersion"));
                }
                sort(item, node, authentications, policies)?;
            }
            return Ok(());
        }
        "RequestAuthentication" if is_of_istio => authentications,
        "AuthorizationPolicy" if is_of_istio => policies,
        kind @ ("RequestAuthentication" | "AuthorizationPolicy")
            if text("apiVersion").is_empty() =>
        {
            return Err(field.fault(format!(
                "is of the kind {kind} without apiVersion; write apiVersion: security.istio.io/v1"
            )));
        }
        // It may hold a filter of Envoy.
        "" | "EnvoyFilter" => return Ok(()),
        kind => {
            field.differ(format!("a {kind} is nothing to convert, and was left alone"));
            return Ok(());
        }
    };
    let target = target(&field)?;
    list.push(Resource { field, target });
    Ok(())
}

/// Of the listeners of a proxy, the filter runs in those of `match.mode` only.
fn ask_for_workload(authentication: &Field<'_>) {
    authentication.lose_part(
        Effect::Unknown,
        "is this for a gateway? There the manifest does nothing: its match.mode is that of sidecars",
        "convert with --workload gateway or --workload sidecar, and once for each if it is for both",
    );
}

/// Istio has all resources for a workload count together; of filters each counts for itself.
fn lose_overlaps(groups: &[(Target, Vec<Resource<'_>>)]) {
    for (target, resources) in groups {
        let mut others = groups.iter().filter(|(other, _)| !is_same(target, other));
        let overlaps = others.any(|(other, _)| may_overlap(target, other));
        for Resource { field, .. } in resources.iter().filter(|_| overlaps) {
            field.lose_part(
                Effect::Stricter,
                "another RequestAuthentication may be for the same pods, and of two filters each \
                 refuses the tokens of the other's issuers",
                "put all issuers of a workload into one manifest, and exclude it from the others",
            );
        }
    }
}

/// Whether a pod may be meant by both.
fn may_overlap(one: &Target, other: &Target) -> bool {
    let is_of_root = |target: &Target| target.metadata.namespace.as_deref() == Some(ROOT_NAMESPACE);
    let labels = |target: &Target| {
        let selector = target.selector.as_ref()?;
        selector["matchLabels"].as_object().cloned()
    };
    let differ = labels(one).zip(labels(other)).is_some_and(|(one, other)| {
        one.iter().any(|(name, value)| other.get(name).is_some_and(|other| other != value))
    });
    let refer_elsewhere = !one.target_refs.is_empty() && !other.target_refs.is_empty();
    let is_same_namespace = one.metadata.namespace == other.metadata.namespace;
    (is_same_namespace || is_of_root(one) || is_of_root(other)) && !differ && !refer_elsewhere
}

fn convert_group(
    target: Target,
    authentications: &[Resource<'_>],
    policies: Vec<Resource<'_>>,
    options: &Options,
    report: &mut Report,
) -> Result<Converted, Fault> {
    let (mut providers, mut places) = (Vec::new(), Vec::new());
    for Resource { field, .. } in authentications {
        for (mut provider, place) in request_authentication::providers(field)? {
            let is_taken = |name: &str| {
                providers.iter().any(|p: &ProviderConfig| p.name.as_deref() == Some(name))
            };
            provider.name = provider.name.map(|name| unique(&name, is_taken));
            providers.push(provider);
            places.push(place);
        }
        report.add_step(Some(format!("delete the RequestAuthentication {}", name(&target))));
    }
    let Some(Resource { field: whole, .. }) = authentications.first() else {
        return Err(Fault::bug("a group without resources"));
    };
    if providers.is_empty() {
        return Err(whole.fault("has no jwtRules, and mesh-jwt needs an issuer; write one"));
    }
    let issuers: BTreeMap<_, _> = providers
        .iter()
        .filter_map(|provider| provider.issuer.clone().zip(provider.name.clone()))
        .collect();
    let authorization = authorization::convert(&policies, &issuers, options)?;
    for step in authorization.steps {
        report.add_step(Some(step));
    }
    let mut rules = authorization.rules;
    let are_all_matched = rules.iter().any(|(rule, _)| rule.matched == MatchConfig::default());
    if authorization.leaves_tokens_optional && !are_all_matched {
        rules.push((Rule { access: RuleAccess::Optional, ..Rule::default() }, whole.clone()));
    }
    // Istio lets preflights pass its check of tokens, but no policy that asks for one.
    let asks_for_tokens =
        !authorization.leaves_tokens_optional || rules.iter().any(|(rule, _)| rule.is_strict());
    if asks_for_tokens {
        report.add_differences(vec![Difference::always(
            "CORS preflights are refused where a policy asks for a token, as before: if browsers are \
             to call, set bypassCorsPreflight, and have the policies that stay let OPTIONS in",
        )]);
    }
    let (rules, rule_places): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
    let plugin_config = PluginConfig {
        providers,
        rules: written(rules),
        bypass_cors_preflight: Some(!asks_for_tokens),
        ..PluginConfig::default()
    };
    for Resource { field, .. } in authentications.iter().chain(&policies) {
        field.lose_rest();
    }
    check(&plugin_config, &places, &rule_places, whole)?;
    let beside = authorization.policies;
    Ok(Converted { kind: Kind::WasmPlugin, target, plugin_config, beside })
}

fn differences() -> Vec<Difference> {
    [
        "the proxy fetches keys itself, where istiod did: their host needs a ServiceEntry, or to be \
         in the mesh (istio/README.md, components/…-issuer)",
        "request.auth.* and x-jwt-claim routes find nothing any more: use headers of \
         outputClaimToHeaders",
        "mesh-jwt takes RS256 only, a typ of JWT or at+jwt or none, and no tokens bound to a key \
         (cnf)",
        "one token of a request counts, that of the first place; two in one place are refused",
        "requestPrincipals: [\"*\"] asks for iss and sub; the filter takes a token without sub too",
        "a token for another audience is 401, not 403; what an AuthorizationPolicy refused for want \
         of a token is 401, not 403; and 503 is the answer where no keys could be had",
        "the token is removed from cookies, too, unless forwardOriginalToken",
        "a path that servers read differently (%2F, \\, ;, //, ..) passes no optional rule",
    ]
    .map(Difference::always)
    .into()
}
