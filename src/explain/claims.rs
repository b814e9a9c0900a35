//! What a rule wants of claims, and what a token has of it.

use super::Mask;
use crate::config::Provider;
use crate::jose::Claims;
use crate::rules::{Requirement, scalar_text};
use serde_json::Value;

/// The scopes that are wanted and missing.
pub(super) fn scopes(requirement: &Requirement, claims: &Claims) -> (String, String) {
    let missing: Vec<_> =
        requirement.scopes.iter().filter(|scope| !claims.grants(scope)).cloned().collect();
    let has_any = ["scope", "scp"].iter().any(|name| claims.member(name).is_some());
    let saw = match missing.as_slice() {
        [] => "all of them".to_owned(),
        _ if !has_any => "neither scope nor scp".to_owned(),
        missing => format!("all but: {}", missing.join(" ")),
    };
    (saw, format!("scope or scp with all of: {}", requirement.scopes.join(" ")))
}

/// The first claim that does not hold, or all of them.
pub(super) fn values(
    requirement: &Requirement,
    claims: &Claims,
    provider: &Provider,
    mask: Mask,
) -> (String, String) {
    let lists = &provider.space_delimited_claims;
    let failing = requirement.claims.iter().find(|claim| {
        let alone = Requirement { claims: vec![(*claim).clone()], ..Requirement::default() };
        alone.authorize(claims, lists).is_err()
    });
    let shown = failing.map_or(requirement.claims.as_slice(), std::slice::from_ref);
    let saw = shown.iter().map(|(name, _)| {
        let value = claims.find(name);
        let hint = match value {
            Some(Value::String(text)) if text.contains(' ') && !lists.contains(name) => {
                ", with spaces: a list only if spaceDelimitedClaims names the claim"
            }
            Some(Value::Object(_)) => ", which equals no value: name a claim inside it",
            Some(value @ Value::Number(_)) if scalar_text(value).is_none() => {
                ", which is no whole number of 64 bits and equals no value"
            }
            _ => "",
        };
        format!("{} is {}{hint}", name.as_str(), mask.value(value))
    });
    let wanted = shown
        .iter()
        .map(|(name, values)| format!("{} with one of: {}", name.as_str(), values.join(", ")));
    (saw.collect::<Vec<_>>().join("; "), wanted.collect::<Vec<_>>().join("; "))
}
