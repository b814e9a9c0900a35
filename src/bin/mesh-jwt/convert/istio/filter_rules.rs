//! The rules that policies become, and their order: of Istio's, all count, and of the filter's the first.

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::MatchConfig;

use super::super::paths;
use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Requirement, Rule, loosen};
use super::operation::Operation;
use super::token::Token;

/// The rules of the filter in the order in which they have to come.
#[derive(Default)]
pub(super) struct Rules<'s> {
    any_token: Vec<(Rule, Field<'s>)>,
    /// Rules for any token and for requests that the filter cannot tell.
    untold: Vec<Field<'s>>,
    special: Vec<(Rule, Field<'s>)>,
    no_token: Vec<(Rule, Field<'s>)>,
    denied: Vec<(Rule, Field<'s>)>,
    exempt: Vec<(Rule, Field<'s>)>,
    denied_otherwise: Vec<(Rule, Field<'s>)>,
}

impl<'s> Rules<'s> {
    pub(super) fn allow(&mut self, field: &Field<'s>, operation: &Operation, token: &Token) {
        if *token == Token::Optional && !is_told(operation) {
            field.lose_part(
                Effect::Stricter,
                "names requests that the filter cannot tell from others, and these need a token",
                "write whole segments (/a and /a/*) and no not…, and convert again",
            );
        }
        if *token == Token::any() && !is_told(operation) {
            self.untold.push(field.clone());
        }
        let Some(mut matched) = operation.at_most.clone() else { return };
        match token {
            Token::Unknown => {}
            Token::Optional => {
                if !loosen(&mut matched, field) {
                    return;
                }
                let rule = Rule { matched, access: RuleAccess::Optional, ..Rule::default() };
                push(&mut self.no_token, rule, field);
            }
            Token::Required(requirement) => {
                let list = match requirement.is_of_any_token() {
                    true => &mut self.any_token,
                    false => &mut self.special,
                };
                // At most the same, and at least what the policy lets in.
                if operation.at_least != MatchConfig::default() && !requirement.is_of_any_token() {
                    matched = operation.at_least.clone();
                }
                push(list, rule(matched, requirement), field);
            }
        }
    }

    pub(super) fn deny(
        &mut self,
        field: &Field<'s>,
        operation: &Operation,
        requirement: &Requirement,
    ) {
        let strict = rule(operation.at_least.clone(), requirement);
        if !operation.has_exemptions {
            if !is_told(operation) {
                let told = serde_json::to_string(&operation.at_least).unwrap_or_default();
                field.lose_part(
                    Effect::Stricter,
                    format!(
                        "the filter cannot tell its requests from others, and asks for a token for \
                         {told}"
                    ),
                    "write whole segments (/a and /a/*), or convert with --whole-segments if no \
                     path begins with /a but itself and those below it",
                );
            }
            push(&mut self.denied, strict, field);
            return;
        }
        if !operation.exempts_all {
            field.lose_part(
                Effect::Stricter,
                "the filter cannot tell all that it is not for from other requests, and asks for a \
                 token for those too",
                "write whole segments (/a and /a/*)",
            );
        }
        // What one exempts, another need not.
        if self.denied_otherwise.is_empty() {
            for matched in &operation.exempt {
                let mut matched = matched.clone();
                if !loosen(&mut matched, field) {
                    continue;
                }
                let rule = Rule { matched, access: RuleAccess::Optional, ..Rule::default() };
                push(&mut self.exempt, rule, field);
            }
        } else {
            field.lose_part(
                Effect::Stricter,
                "is the second rule that says what it is not for, and counts for that too",
                "write one rule, with all that needs no token",
            );
            push(&mut self.denied, strict, field);
            return;
        }
        push(&mut self.denied_otherwise, strict, field);
    }

    pub(super) fn all_denied(&self) -> impl Iterator<Item = &(Rule, Field<'s>)> {
        self.denied.iter().chain(&self.denied_otherwise)
    }

    /// All of the rules that refuse requests count for Istio, and the first for the filter: it has to
    /// ask for all that others do.
    pub(super) fn put_denied_in_order(&mut self) -> Result<(), Fault> {
        self.denied.sort_by_key(|(rule, _)| is_plain(rule));
        let all: Vec<_> = self.all_denied().collect();
        for (index, (rule, field)) in all.iter().enumerate().filter(|(_, (r, _))| !is_plain(r)) {
            let is_before = all.iter().take(index).any(|(earlier, _)| {
                earlier.requirement != rule.requirement
                    && may_overlap(&earlier.matched, &rule.matched)
            });
            if is_before {
                return Err(field.fault(
                    "asks for something else than another DENY rule that may be for the same \
                     requests, and the filter goes by one of them; write what both ask for into one",
                ));
            }
        }
        Ok(())
    }

    /// Of rules that let requests in, one is enough for Istio, and the first counts for the filter.
    pub(super) fn report_order(&self) {
        for field in self.untold.iter().filter(|_| !self.special.is_empty()) {
            field.lose_part(
                Effect::Stricter,
                "names requests that the filter cannot tell from others, and those of them that \
                 another rule is for as well are held to that one",
                "write whole segments (/a and /a/*) and no not…, and convert again",
            );
        }
        for (index, (rule, field)) in self.special.iter().enumerate() {
            let earlier = self.special.iter().take(index);
            if let Some((other, _)) = earlier.clone().find(|(other, _)| {
                other.requirement != rule.requirement && may_overlap(&other.matched, &rule.matched)
            }) {
                let told = serde_json::to_string(&other.matched).unwrap_or_default();
                field.lose_part(
                    Effect::Stricter,
                    format!("requests that an earlier rule is for ({told}) are held to that alone"),
                    "write rules that are for different hosts, methods or paths",
                );
            }
        }
    }

    pub(super) fn in_order(self, allow_tokens: bool) -> Vec<(Rule, Field<'s>)> {
        let Self { any_token, special, no_token, denied, exempt, denied_otherwise, untold: _ } =
            self;
        if !allow_tokens {
            return [denied, exempt, denied_otherwise].into_iter().flatten().collect();
        }
        if denied.is_empty() && denied_otherwise.is_empty() {
            return [no_token, any_token, special].into_iter().flatten().collect();
        }
        // What a policy refuses without a token, no other may let in.
        let exempt: Vec<_> = match denied.is_empty() {
            true => exempt.iter().filter_map(|(rule, _)| only_paths(rule)).flatten().collect(),
            false => Vec::new(),
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (rule, field) in no_token {
            let paths = rule.matched.paths.iter().cloned();
            let (exempt_too, others): (Vec<_>, Vec<_>) =
                paths.partition(|path| exempt.contains(&path));
            for (list, paths) in [(&mut before, exempt_too), (&mut after, others)] {
                if !paths.is_empty() {
                    let matched = MatchConfig { paths, ..rule.matched.clone() };
                    list.push((Rule { matched, ..rule.clone() }, field.clone()));
                }
            }
        }
        [before, any_token, special, denied, denied_otherwise, after]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Whether a strict rule asks for no more than a token.
pub(super) fn is_plain(rule: &Rule) -> bool {
    !rule.is_strict() || rule.requirement.is_of_any_token()
}

/// Whether the filter's rules for an operation are for just the same requests, up to a slash at the
/// end.
pub(super) fn is_told(operation: &Operation) -> bool {
    let has_all = |most: &MatchConfig| {
        let least = &operation.at_least;
        (&most.hosts, &most.methods, &most.ports) == (&least.hosts, &least.methods, &least.ports)
            && (most.paths == least.paths
                || least.paths.iter().all(|path| {
                    most.paths.contains(path)
                        || path
                            .strip_suffix("**")
                            .is_some_and(|above| most.paths.contains(&format!("{above}*/**")))
                }))
    };
    operation.at_most.as_ref().is_some_and(has_all)
}

/// The paths of a rule that is for nothing else.
fn only_paths(rule: &Rule) -> Option<&Vec<String>> {
    let MatchConfig { hosts, methods, paths, ports } = &rule.matched;
    (hosts.is_empty() && methods.is_empty() && ports.is_empty()).then_some(paths)
}

fn push<'s>(list: &mut Vec<(Rule, Field<'s>)>, rule: Rule, field: &Field<'s>) {
    if list.iter().all(|(other, _)| *other != rule) {
        list.push((rule, field.clone()));
    }
}

fn rule(matched: MatchConfig, requirement: &Requirement) -> Rule {
    Rule { matched, access: RuleAccess::Required, requirement: requirement.clone() }
}

/// Whether nothing tells the requests apart for sure.
fn may_overlap(one: &MatchConfig, other: &MatchConfig) -> bool {
    let lists_may = |one: &[String], other: &[String]| {
        let is_pattern = |text: &String| text.contains('*');
        one.is_empty()
            || other.is_empty()
            || one.iter().chain(other).any(is_pattern)
            || one.iter().any(|text| other.contains(text))
    };
    let paths_may = one.paths.is_empty()
        || other.paths.is_empty()
        || one.paths.iter().any(|path| {
            let stem = |path: &str| path.split('*').next().unwrap_or_default().to_owned();
            other.paths.iter().any(|other| paths::overlap(&stem(path), &stem(other)))
        });
    paths_may
        && lists_may(&one.methods, &other.methods)
        && lists_may(&one.hosts, &other.hosts)
        && (one.ports.is_empty()
            || other.ports.is_empty()
            || one.ports.iter().any(|port| other.ports.contains(port)))
}
