//! A rule for each route, in their order.

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::{MatchConfig, ProviderConfig};

use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Requirement, Rule, loosen};
use super::predicate::{self, Taken};
use super::routes::Route;

/// A rule, and what of its route is not in it.
struct Made<'s> {
    rule: Option<Rule>,
    field: Field<'s>,
    dropped: Vec<(Field<'s>, String)>,
}

pub(super) fn of_routes<'s>(
    routes: &[Route<'s>],
    providers: &[(ProviderConfig, Field<'s>)],
) -> Result<Vec<(Rule, Field<'s>)>, Fault> {
    let made = routes.iter().map(|route| make(route, providers));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    let mut later = made.as_slice();
    while let Some((one, rest)) = later.split_first() {
        one.report(rest);
        later = rest;
    }
    let rules = made.into_iter();
    Ok(rules.filter_map(|made| made.rule.map(|rule| (rule, made.field))).collect())
}

fn make<'s>(
    route: &Route<'s>,
    providers: &[(ProviderConfig, Field<'s>)],
) -> Result<Made<'s>, Fault> {
    let (mut matched, mut dropped) = (MatchConfig::default(), Vec::new());
    let is_strict = route.auth.is_some();
    for field in route.field.list("predicates")? {
        let read = predicate::read(&field, is_strict, &mut matched)?;
        if read.taken != Taken::All {
            dropped.push((field, read.name));
        }
    }
    let rule = match &route.auth {
        // Without one of its predicates it would let more in.
        None => (loosen(&mut matched, &route.field) && dropped.is_empty()).then(|| Rule {
            matched,
            access: RuleAccess::Public,
            ..Rule::default()
        }),
        Some(auth) => {
            let provider = providers.iter().find(|(known, _)| known.issuer == auth.provider.issuer);
            let takes_more =
                provider.is_some_and(|(known, _)| known.audiences != auth.provider.audiences);
            let mut audiences = Vec::new();
            if takes_more {
                audiences.clone_from(&auth.provider.audiences);
            }
            let names = auth.provider.name.clone().into_iter().filter(|_| providers.len() > 1);
            let requirement =
                Requirement { providers: names.collect(), audiences, ..Requirement::default() };
            Some(Rule { matched, access: RuleAccess::Required, requirement })
        }
    };
    route.field.lose_rest();
    Ok(Made { rule, field: route.field.clone(), dropped })
}

impl Made<'_> {
    /// Tells what was dropped. A strict rule is then for requests that a later route may have asked
    /// another token of.
    fn report(&self, later: &[Self]) {
        let takes_from = |other: &&Rule| {
            self.rule.as_ref().is_some_and(|own| {
                other.is_strict()
                    && other.requirement != own.requirement
                    && may_overlap(&own.matched, &other.matched)
            })
        };
        let is_looser = later.iter().filter_map(|made| made.rule.as_ref()).any(|r| takes_from(&r));
        let (effect, what) = match &self.rule {
            Some(_) if is_looser => (
                Effect::Looser,
                "is for more requests: its tokens pass where a later route asks for others",
            ),
            Some(_) => (Effect::Stricter, "is for more requests"),
            None => (Effect::Stricter, "was left out"),
        };
        for (field, name) in &self.dropped {
            field.lose(
                effect,
                format!("the filter does not know {name} as it stands here, and the rule {what}"),
                "tell the requests apart by host, method or path",
            );
        }
    }
}

/// Whether a request may match both, by their paths; in doubt it may.
fn may_overlap(one: &MatchConfig, other: &MatchConfig) -> bool {
    let is_literal = |segment: &&str| !segment.contains('*');
    let literal = |path: &'_ str| -> Vec<String> {
        path.split('/').take_while(is_literal).map(str::to_owned).collect()
    };
    let paths_overlap = |one: &str, other: &str| {
        literal(one).iter().zip(literal(other)).all(|(one, other)| *one == other)
    };
    one.paths.is_empty()
        || other.paths.is_empty()
        || one.paths.iter().any(|one| other.paths.iter().any(|other| paths_overlap(one, other)))
}
