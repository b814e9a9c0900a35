//! `rules`: the first that matches counts, and what matches none passes.

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::MatchConfig;

use super::super::conversion::Options;
use super::super::paths;
use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Rule, loosen};
use super::matcher::{Matcher, Paths};
use super::provider::Providers;
use super::requirement::Need;

/// What becomes of the rules.
pub(super) struct Rules<'s> {
    pub(super) rules: Vec<Rule>,
    /// Where each comes from.
    pub(super) places: Vec<Field<'s>>,
    pub(super) ignore_case: bool,
    /// Prefixes of which no path is left to later rules.
    covered: Vec<String>,
    guards: Vec<Guard<'s>>,
    /// What the paths of optional rules begin with that the filter cannot tell.
    narrowed: Vec<String>,
}

/// Paths that a strict rule is for, although the filter cannot tell them from their neighbours.
struct Guard<'s> {
    field: Field<'s>,
    literal: String,
    rule: Rule,
}

pub(super) fn read<'s>(
    filter: &Field<'s>,
    providers: &mut Providers<'s>,
    options: &Options,
) -> Result<Rules<'s>, Fault> {
    let map = filter.member("requirement_map");
    let mut named = map.map(|map| map.fields()).unwrap_or_default();
    let sources = filter.list("rules")?;
    let of_rules = sources.iter().filter_map(|rule| rule.member("requires"));
    for requirement in of_rules.chain(named.iter().map(|(_, field)| field.clone())) {
        widen(&requirement, providers)?;
    }
    let mut rules = Rules {
        rules: Vec::new(),
        places: Vec::new(),
        ignore_case: false,
        covered: Vec::new(),
        guards: Vec::new(),
        narrowed: Vec::new(),
    };
    let mut used = Vec::new();
    let mut case = Vec::new();
    for source in &sources {
        let Some(matched) = source.member("match") else {
            return Err(source.fault("has no match; write one such as {prefix: \"/\"}"));
        };
        let matcher = Matcher::read(&matched)?;
        let need = match (source.member("requires"), source.member("requirement_name")) {
            (Some(requires), None) => Need::read(&requires, providers)?,
            (None, Some(name)) => {
                let text = name.text()?;
                let Some((_, requirement)) = named.iter().find(|(known, _)| *known == text) else {
                    let mend = "is not in requirement_map; add it there";
                    return Err(name.fault(mend));
                };
                used.push(text);
                Need::read(requirement, providers)?
            }
            (None, None) => Need::public(),
            (Some(_), Some(name)) => {
                return Err(name.fault("stands beside requires; remove one of them"));
            }
        };
        case.push((matcher.is_case_sensitive, matched));
        rules.add(source, matcher, need, options);
    }
    rules.settle_case(&case);
    named.retain(|(name, _)| !used.contains(name));
    for (_, requirement) in named {
        requirement.lose(
            Effect::None,
            "no rule names it, and the filter knows no routes",
            "write rules for the routes that name it in typed_per_filter_config",
        );
    }
    rules.finish(filter)?;
    Ok(rules)
}

/// Tells the providers which audiences rules take in place of theirs.
fn widen(requirement: &Field<'_>, providers: &mut Providers<'_>) -> Result<(), Fault> {
    if let Some(both) = requirement.member("provider_and_audiences")
        && let Some(name) = both.member("provider_name")
    {
        providers.widen(&name.text()?, &both.texts("audiences")?);
    }
    for list in ["requires_any", "requires_all"] {
        let Some(list) = requirement.member(list) else { continue };
        for part in list.list("requirements")? {
            widen(&part, providers)?;
        }
    }
    Ok(())
}

impl<'s> Rules<'s> {
    fn add(&mut self, source: &Field<'s>, matcher: Matcher<'s>, need: Need, options: &Options) {
        let literal = matcher.paths.literal().to_owned();
        if self.covered.iter().any(|prefix| literal.starts_with(prefix.as_str())) {
            source.settle();
            source.differ("is never reached: an earlier rule is for all of these paths");
            return;
        }
        let access = match need.access {
            RuleAccess::Public => self.loose_access(&literal),
            access => access,
        };
        let rule = Rule { matched: matcher.others.clone(), access, requirement: need.requirement };
        self.place_guards(&literal, &rule);
        let covers = matcher.covers_prefix().map(str::to_owned);
        match rule.is_strict() {
            true => self.add_strict(source, matcher, rule, options),
            false => self.add_loose(source, matcher, rule),
        }
        self.covered.extend(covers);
    }

    /// For at least the requests of the source.
    fn add_strict(
        &mut self,
        source: &Field<'s>,
        matcher: Matcher<'s>,
        rule: Rule,
        options: &Options,
    ) {
        for condition in &matcher.unknown {
            condition.lose(
                Effect::Stricter,
                "the filter does not know this condition, and has the rule count without it",
                "tell the requests apart by host, method or path",
            );
        }
        match &matcher.paths {
            Paths::Some(literal) => {
                source.lose_part(
                    Effect::Stricter,
                    format!(
                        "the filter knows no such pattern, and has the rule count for {}, unless \
                         another names the path",
                        told(&paths::at_least(literal))
                    ),
                    "write patterns of whole segments for these paths, and remove that rule",
                );
                self.guard(source, literal, rule);
                return;
            }
            Paths::Prefix(prefix) if paths::has_neighbours(prefix) => {
                if options.whole_segments {
                    source.differ(format!("{prefix} is a whole segment: {prefix}x is not guarded"));
                } else {
                    source.lose_part(
                        Effect::Stricter,
                        format!(
                            "{prefix}x begins with {prefix} too, which the filter cannot tell from \
                             its neighbours: the rule counts for {}, unless another names the path",
                            told(&paths::at_least(prefix))
                        ),
                        "if no path begins so but those below it, convert with --whole-segments",
                    );
                    self.guard(source, prefix, rule.clone());
                }
            }
            _ => {}
        }
        let paths = matcher.paths.on_segments().unwrap_or_default();
        self.push(source, Rule { matched: MatchConfig { paths, ..rule.matched }, ..rule });
    }

    /// For no more than the requests of the source.
    fn add_loose(&mut self, source: &Field<'s>, matcher: Matcher<'s>, mut rule: Rule) {
        for condition in &matcher.unknown {
            condition.lose(
                Effect::Stricter,
                "the filter does not know this condition, and the rule was left out",
                "tell the requests apart by host, method or path",
            );
        }
        let is_narrowed = match &matcher.paths {
            Paths::Prefix(prefix) => paths::has_neighbours(prefix),
            Paths::Some(_) => true,
            _ => !matcher.unknown.is_empty(),
        };
        if is_narrowed && rule.access == RuleAccess::Optional {
            self.narrowed.push(matcher.paths.literal().to_owned());
        }
        let Some(paths) = matcher.paths.at_most().filter(|_| matcher.unknown.is_empty()) else {
            if matcher.unknown.is_empty() {
                source.lose_part(
                    Effect::Stricter,
                    "the filter knows no such pattern, and the rule was left out",
                    "write patterns of whole segments for these paths",
                );
            }
            return;
        };
        if let Paths::Prefix(prefix) = &matcher.paths
            && paths::has_neighbours(prefix)
        {
            source.differ(format!("{prefix} is a whole segment: {prefix}x is not let through"));
        }
        if !loosen(&mut rule.matched, source) {
            return;
        }
        self.push(source, Rule { matched: MatchConfig { paths, ..rule.matched }, ..rule });
    }

    /// Public, unless an optional rule should have come first, which refuses bad tokens.
    fn loose_access(&self, literal: &str) -> RuleAccess {
        match self.narrowed.iter().any(|narrowed| paths::overlap(narrowed, literal)) {
            true => RuleAccess::Optional,
            false => RuleAccess::Public,
        }
    }

    fn guard(&mut self, source: &Field<'s>, literal: &str, mut rule: Rule) {
        rule.matched.paths = paths::at_least(literal);
        self.guards.push(Guard { field: source.clone(), literal: literal.to_owned(), rule });
    }

    /// Has the guards count before a rule that would take their requests.
    fn place_guards(&mut self, literal: &str, rule: &Rule) {
        let is_due = |guard: &Guard<'_>| {
            let is_same =
                (guard.rule.access, &guard.rule.requirement) == (rule.access, &rule.requirement);
            !is_same && paths::overlap(&guard.literal, literal)
        };
        let (due, others) = std::mem::take(&mut self.guards).into_iter().partition(is_due);
        self.guards = others;
        self.push_guards(due);
    }

    fn push_guards(&mut self, guards: Vec<Guard<'s>>) {
        for Guard { field, rule, .. } in guards {
            if !self.rules.contains(&rule) {
                self.push(&field, rule);
            }
        }
    }

    fn push(&mut self, source: &Field<'s>, rule: Rule) {
        self.rules.push(rule);
        self.places.push(source.clone());
    }

    /// Case counts for all rules or for none.
    fn settle_case(&mut self, rules: &[(bool, Field<'s>)]) {
        self.ignore_case = rules.iter().any(|(is_sensitive, _)| !is_sensitive);
        for (_, matched) in
            rules.iter().filter(|(is_sensitive, _)| *is_sensitive && self.ignore_case)
        {
            matched.lose_part(
                Effect::Unknown,
                "caseInsensitivePaths counts for all rules, and another one ignores case",
                "set case_sensitive alike in all rules, or write the paths in both cases",
            );
        }
    }

    /// What matches no rule passes in `jwt_authn`, and needs a token in the filter.
    fn finish(&mut self, filter: &Field<'s>) -> Result<(), Fault> {
        if let Some(rules) = filter.member("filter_state_rules") {
            rules.lose(
                Effect::Stricter,
                "the filter cannot see what other filters say, so that requests of no rule need a \
                 token of any provider",
                "write rules for the hosts, methods and paths of these requests",
            );
            return Ok(());
        }
        if self.covered.iter().any(String::is_empty) {
            return Ok(());
        }
        let guards = std::mem::take(&mut self.guards);
        self.push_guards(guards);
        let place = filter.member("rules").unwrap_or_else(|| filter.clone());
        place.differ(
            "what matches no rule passes, by the last rule here; without it, it would need a token",
        );
        let access = self.loose_access("");
        self.push(&place, Rule { access, ..Rule::default() });
        Ok(())
    }
}

fn told(patterns: &[String]) -> String {
    if patterns.is_empty() { "every path".to_owned() } else { patterns.join(", ") }
}
