//! AuthorizationPolicies: what they ask of tokens becomes rules, and the rest stays with Istio.
//!
//! Of an ALLOW policy, which refuses all that it does not name, there stays a policy without what it
//! asks of tokens: that is the filter's now. A request passes both only if a rule of the policy lets it
//! in: the filter's rules are for no more requests than the policy's, and what none of them is for
//! needs a token, which is all that the remaining rules ask for. What cannot be told so exactly stays
//! as it is, and lets nothing in any more, since there is no request.auth. Only a negation would be
//! true of that: rules with one are taken out.
//!
//! Of a DENY policy, a source for requests without a token becomes a rule that needs one, for no less
//! requests. The other sources stay.

use serde_json::Value;

use super::super::conversion::Options;
use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Requirement, Rule};
use super::filter_rules::{Rules, is_plain, is_told};
use super::operation::Operation;
use super::policy::{PolicyRule, Source};
use super::resource::{DRY_RUN, Resource, name};
use super::token::{self, Issuers, Token};

/// What becomes of the policies for some workloads.
#[derive(Default)]
pub(super) struct Authorization<'s> {
    /// The rules, and where each comes from.
    pub(super) rules: Vec<(Rule, Field<'s>)>,
    /// Whether requests that no rule is for need no token.
    pub(super) leaves_tokens_optional: bool,
    /// The policies that take the places of their namesakes.
    pub(super) policies: Vec<Value>,
    pub(super) steps: Vec<String>,
}

/// A policy with its rules, and what becomes of each.
struct Policy<'s, 'r> {
    resource: &'r Resource<'s>,
    rules: Vec<(PolicyRule<'s>, Fate)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Fate {
    /// The filter does all that it asks for.
    Moves,
    /// What it asks of tokens is the filter's, the rest stays.
    LosesTokens,
    /// The filter does what these of its sources ask for.
    LosesSources(Vec<usize>),
    /// Without a request.auth it would let in what it is to refuse.
    IsTakenOut,
    /// It stays as it is.
    Stays,
}

pub(super) fn convert<'s>(
    resources: &[Resource<'s>],
    issuers: &Issuers,
    options: &Options,
) -> Result<Authorization<'s>, Fault> {
    let (mut allowing, mut denying) = (Vec::new(), Vec::new());
    for resource in resources {
        let action = resource.field.descend(&["spec", "action"]);
        let action = action.map_or_else(|| Ok("ALLOW".to_owned()), |action| action.text())?;
        let is_dry = is_dry_run(&resource.field)?;
        match action.as_str() {
            _ if is_dry => keep(&resource.field, "is a dry run, and decides nothing"),
            "ALLOW" => allowing.push(Policy::read(resource, issuers, options)?),
            "DENY" => denying.push(Policy::read(resource, issuers, options)?),
            "AUDIT" => keep(&resource.field, "decides nothing"),
            _ => lose(&resource.field, &action)?,
        }
    }
    let asks = |policies: &[Policy<'_, '_>]| {
        policies.iter().flat_map(|policy| &policy.rules).any(|(rule, _)| rule.is_of_tokens)
    };
    let (allow_tokens, deny_tokens) = (asks(&allowing), asks(&denying));
    let mut rules = Rules::default();
    if deny_tokens {
        for policy in &mut denying {
            policy.deny(&mut rules);
        }
        rules.put_denied_in_order()?;
    }
    if allow_tokens {
        if let Some((_, place)) = rules.all_denied().find(|(rule, _)| !is_plain(rule)) {
            return Err(place.fault(
                "asks for more than a token, beside ALLOW policies that ask for tokens too; write \
                 what it asks for into the rules of those",
            ));
        }
        for policy in &mut allowing {
            policy.allow(&mut rules);
        }
        rules.report_order();
    }
    let mut authorization = Authorization {
        rules: rules.in_order(allow_tokens),
        leaves_tokens_optional: !allow_tokens,
        ..Authorization::default()
    };
    let lets_all_in = allow_tokens && allowing.iter().any(Policy::is_for_everything);
    for policy in &allowing {
        policy.settle(lets_all_in, &mut authorization)?;
    }
    for policy in &denying {
        policy.settle(false, &mut authorization)?;
    }
    Ok(authorization)
}

/// Reports a policy for workloads of which no RequestAuthentication is known.
pub(super) fn lose_of_others(policy: &Field<'_>) -> Result<(), Fault> {
    let mut is_of_tokens = false;
    for rule in rules_of(policy)? {
        is_of_tokens |= token::is_mentioned(&rule)?;
    }
    if is_of_tokens {
        policy.lose(
            Effect::Unknown,
            "is not for the same workloads (namespace, selector, targetRefs) as a \
             RequestAuthentication here, and what it asks of tokens finds nothing once that is gone",
            "give both the same selector, or write rules for it into the manifest by hand",
        );
    } else {
        keep(policy, "asks nothing of tokens");
    }
    Ok(())
}

fn rules_of<'s>(policy: &Field<'s>) -> Result<Vec<Field<'s>>, Fault> {
    policy.member("spec").map_or_else(|| Ok(Vec::new()), |spec| spec.list("rules"))
}

fn is_dry_run(policy: &Field<'_>) -> Result<bool, Fault> {
    let annotation = policy.descend(&["metadata", "annotations", DRY_RUN]);
    Ok(annotation.map_or_else(|| Ok(String::new()), |value| value.text())? == "true")
}

/// Reports a policy that stays as it is.
fn keep(policy: &Field<'_>, why: &str) {
    let mend = "keep this AuthorizationPolicy";
    policy.lose(Effect::None, format!("{why}, and stays with Istio"), mend);
}

/// Reports a policy of an action that is not converted.
fn lose(policy: &Field<'_>, action: &str) -> Result<(), Fault> {
    let mut is_of_tokens = false;
    for rule in rules_of(policy)? {
        is_of_tokens |= token::is_mentioned(&rule)?;
    }
    if is_of_tokens {
        policy.lose(
            Effect::Looser,
            format!("a policy of the action {action} stays with Istio, and finds no tokens"),
            "have its rules go by a header of outputClaimToHeaders, as request.headers[…]",
        );
    } else {
        keep(policy, &format!("is of the action {action}"));
    }
    Ok(())
}

impl<'s, 'r> Policy<'s, 'r> {
    fn read(
        resource: &'r Resource<'s>,
        issuers: &Issuers,
        options: &Options,
    ) -> Result<Self, Fault> {
        let rules = rules_of(&resource.field)?;
        let read = |rule: &Field<'s>| Ok((PolicyRule::read(rule, issuers, options)?, Fate::Stays));
        Ok(Self { resource, rules: rules.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Makes rules of what it lets in, beside policies that ask for tokens.
    fn allow(&mut self, rules: &mut Rules<'s>) {
        for (rule, fate) in &mut self.rules {
            let Some(token) = token_of_allowed(rule) else {
                if rule.has_negation() {
                    *fate = Fate::IsTakenOut;
                }
                continue;
            };
            let is_special = matches!(&token, Token::Required(r) if !r.is_of_any_token());
            if is_special && rule.operations.iter().any(|operation| !is_told(operation)) {
                rule.field.lose_part(
                    Effect::Stricter,
                    "its hosts, methods or paths cannot be told exactly, so that it stays as it is, \
                     and lets nothing in without a request.auth",
                    "write whole segments (/a and /a/*) and no not…, and convert again",
                );
                continue;
            }
            *fate = if rule.is_of_tokens { Fate::LosesTokens } else { Fate::Stays };
            for operation in &rule.operations {
                rules.allow(&rule.field, operation, &token);
            }
        }
    }

    /// Makes rules of what it refuses for want of a token.
    fn deny(&mut self, rules: &mut Rules<'s>) {
        for (rule, fate) in &mut self.rules {
            if !rule.is_of_tokens {
                continue;
            }
            let Some((requirement, sources)) = requirement_of_denied(rule) else { continue };
            *fate = match sources.len() == rule.sources.len() {
                true => Fate::Moves,
                false => {
                    let stays = |(index, _): &(usize, _)| !sources.contains(index);
                    let staying = rule.sources.iter().enumerate().filter(stays);
                    staying.flat_map(|(_, source)| &source.others).for_each(Field::settle);
                    Fate::LosesSources(sources)
                }
            };
            for operation in &rule.operations {
                rules.deny(&rule.field, operation, &requirement);
            }
        }
    }

    /// Whether one of its rules is for every request, as far as Istio is to know.
    fn is_for_everything(&self) -> bool {
        self.rules.iter().any(|(rule, fate)| {
            let has_others = rule.sources.iter().all(|source| !source.others.is_empty());
            let lets_nothing_in = rule.is_of_tokens && *fate != Fate::LosesTokens;
            !lets_nothing_in && !has_others && rule.operations.iter().any(Operation::is_any)
        })
    }

    /// Writes what stays of it, or tells to delete it.
    fn settle(
        &self,
        lets_all_in: bool,
        authorization: &mut Authorization<'s>,
    ) -> Result<(), Fault> {
        let Resource { field, target } = self.resource;
        // What stays as it is needs no more attention.
        for (rule, _) in self.rules.iter().filter(|(_, fate)| *fate == Fate::Stays) {
            rule.field.settle();
        }
        let changes = self.rules.iter().any(|(_, fate)| *fate != Fate::Stays);
        let is_left = self.rules.iter().any(|(_, fate)| *fate != Fate::Moves);
        if lets_all_in || (changes && !is_left) {
            authorization.steps.push(format!("delete the AuthorizationPolicy {}", name(target)));
            return Ok(());
        }
        if !changes {
            if self.rules.iter().all(|(rule, _)| !rule.is_of_tokens) {
                keep(field, "asks nothing of tokens");
            }
            return Ok(());
        }
        let mut policy = field.copy();
        strip_server_fields(&mut policy);
        let rules = self.rules.iter().filter_map(|(rule, fate)| match fate {
            Fate::Moves | Fate::IsTakenOut => None,
            Fate::LosesTokens => Some(without_tokens(rule.field.copy())),
            Fate::LosesSources(sources) => Some(without_sources(rule.field.copy(), sources)),
            Fate::Stays => Some(rule.field.copy()),
        });
        if let Some(list) = policy.pointer_mut("/spec/rules") {
            *list = Value::Array(rules.collect());
        }
        authorization.policies.push(policy);
        authorization.steps.push(format!(
            "apply the AuthorizationPolicy {} that convert --policies prints, and not before: it no \
             longer asks for tokens",
            name(target)
        ));
        Ok(())
    }
}

/// What a rule that lets requests in asks of tokens; `None` if that cannot be said.
fn token_of_allowed(rule: &PolicyRule<'_>) -> Option<Token> {
    if rule.has_negation() {
        rule.field.lose(
            Effect::Stricter,
            "says what tokens may not be like, which the filter cannot express, and which is true of \
             every request without a request.auth: it is taken out, and lets nothing in any more",
            "write what tokens must be like, as exact values, and convert again",
        );
        return None;
    }
    let mut all: Option<Token> = None;
    for source in &rule.sources {
        if !source.others.is_empty() {
            let (why, mend) = match rule.is_of_tokens {
                true => (
                    "is not about tokens, and the rule asks for a token as well: it stays as it is, \
                     and lets nothing in without a request.auth",
                    "split the rule: tokens into the rules of the filter, the rest into an \
                     AuthorizationPolicy",
                ),
                false => (
                    "is not about tokens and stays with Istio; what it lets in needs a token now",
                    "write an optional rule for its hosts, methods and paths, if they are its alone",
                ),
            };
            source.others.iter().for_each(|other| other.lose(Effect::Stricter, why, mend));
            return None;
        }
        let token = &source.wanted;
        all = match all {
            None => Some(token.clone()),
            Some(one) => Some(one.or(token).unwrap_or(Token::Unknown)),
        };
    }
    all.filter(|token| {
        let is_known = *token != Token::Unknown;
        if !is_known {
            rule.field.lose_part(
                Effect::Stricter,
                "asks of tokens what the filter cannot express (patterns, or one of several \
                 claims): it stays as it is, and lets nothing in without a request.auth",
                "write exact values, one rule for each choice, and convert again",
            );
        }
        is_known
    })
}

/// What a token needs for a rule not to refuse the request, for the sake of those of its sources that
/// are told by their index; `None` if there are none that can be converted.
fn requirement_of_denied(rule: &PolicyRule<'_>) -> Option<(Requirement, Vec<usize>)> {
    if rule.sources.iter().any(|source| source.wanted != Token::Optional) {
        rule.field.lose_part(
            Effect::Looser,
            "names tokens to refuse, which the filter cannot: Istio finds none without a \
             request.auth, and refuses none of them any more",
            "have it go by a header of outputClaimToHeaders, as request.headers[…]",
        );
    }
    let asks = |source: &Source<'_>| {
        source.wanted == Token::Optional && source.unwanted != Token::Optional
    };
    let asking: Vec<_> = rule.sources.iter().enumerate().filter(|(_, s)| asks(s)).collect();
    let all = asking.iter().fold(Token::Optional, |all, (_, s)| all.and(s.unwanted.clone()));
    match all {
        Token::Required(requirement) => {
            for other in asking.iter().flat_map(|(_, source)| &source.others) {
                other.lose(
                    Effect::Stricter,
                    "is not about tokens, and the filter asks for a token without regard to it",
                    "write an optional rule for its hosts, methods and paths, if they are its alone",
                );
            }
            Some((requirement, asking.into_iter().map(|(index, _)| index).collect()))
        }
        Token::Unknown => {
            rule.field.lose_part(
                Effect::Stricter,
                "asks of tokens what the filter cannot express: it stays as it is, and refuses \
                 every request of its operations without a request.auth",
                "write exact values, and convert again",
            );
            None
        }
        Token::Optional => None,
    }
}

/// A rule of a policy without what it asks of tokens, all of which is the filter's now.
fn without_tokens(mut rule: Value) -> Value {
    if let Some(rule) = rule.as_object_mut() {
        // A rule with sources that ask for more was not converted.
        rule.remove("from");
        rule.remove("when");
    }
    rule
}

/// A rule of a policy without the sources of these indices.
fn without_sources(mut rule: Value, indices: &[usize]) -> Value {
    if let Some(from) = rule.get_mut("from").and_then(Value::as_array_mut) {
        let mut index = 0..;
        from.retain(|_| index.next().is_some_and(|index| !indices.contains(&index)));
    }
    rule
}

fn strip_server_fields(policy: &mut Value) {
    if let Some(policy) = policy.as_object_mut() {
        policy.remove("status");
    }
    if let Some(metadata) = policy.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| matches!(name.as_str(), "name" | "namespace" | "labels"));
    }
}
