//! `rules`: the first that matches counts, and what matches none passes.

use std::fmt;

use mesh_jwt::config::RuleAccess;
use mesh_jwt::config::document::MatchConfig;

use super::super::conversion::Options;
use super::super::paths;
use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Requirement, Rule, loosen};
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
    /// Optional rules of which the filter cannot tell some requests, so that later ones take them.
    narrowed: Vec<Narrowed<'s>>,
    /// Strict rules that take requests which later ones are for.
    widened: Vec<Widened<'s>>,
    /// What the paths of all rules begin with.
    literals: Vec<String>,
}

struct Narrowed<'s> {
    field: Field<'s>,
    literal: String,
    requirement: Requirement,
    /// As one whose requests come to a rule that takes other tokens.
    is_listed: bool,
}

struct Widened<'s> {
    field: Field<'s>,
    taken: Taken,
    requirement: Requirement,
}

/// Which paths a widened rule takes from others.
enum Taken {
    One(String),
    Below(String),
}

/// Paths that a strict rule is for, although the filter cannot tell them from their neighbours.
struct Guard<'s> {
    field: Field<'s>,
    name: String,
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
        widened: Vec::new(),
        literals: Vec::new(),
    };
    let mut used = Vec::new();
    let mut case = Vec::new();
    let mut matchers = Vec::new();
    for source in &sources {
        let Some(matched) = source.member("match") else {
            return Err(source.fault("has no match; write one such as {prefix: \"/\"}"));
        };
        matchers.push((source, Matcher::read(&matched)?, matched));
    }
    rules.literals = matchers.iter().map(|(_, it, _)| it.paths.literal().to_owned()).collect();
    for (index, (source, matcher, matched)) in matchers.into_iter().enumerate() {
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
        rules.add(source, &format!("rules[{index}]"), matcher, need, options)?;
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
    rules.finish(filter, providers)?;
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
    fn add(
        &mut self,
        source: &Field<'s>,
        name: &str,
        matcher: Matcher<'s>,
        need: Need,
        options: &Options,
    ) -> Result<(), Fault> {
        let literal = matcher.paths.literal().to_owned();
        if self.covered.iter().any(|prefix| literal.starts_with(prefix.as_str())) {
            source.settle();
            source.differ("is never reached: an earlier rule is for all of these paths");
            return Ok(());
        }
        let need = match need.access {
            RuleAccess::Public => self.loose_need(&literal),
            _ => need,
        };
        let Need { access, requirement } = need;
        let rule = Rule { matched: matcher.others.clone(), access, requirement };
        self.place_guards(&literal, &rule);
        self.settle_overlaps(name, &literal, &literal, &rule);
        let covers = matcher.covers_prefix().map(str::to_owned);
        match rule.is_strict() {
            true => self.add_strict(source, name, matcher, rule, options)?,
            false => self.add_loose(source, matcher, rule),
        }
        self.covered.extend(covers);
        Ok(())
    }

    /// Lists the earlier rules that take requests of this one, or leave theirs to it. Its paths begin
    /// with `literal` in the source, and with `reach` in the result.
    fn settle_overlaps(&mut self, name: &str, literal: &str, reach: &str, rule: &Rule) {
        if rule.access == RuleAccess::Public {
            return;
        }
        self.widened.retain(|widened| {
            if !widened.taken.meets(literal) || widened.requirement.implies(&rule.requirement) {
                return true;
            }
            widened.field.lose_part(
                Effect::Looser,
                format!(
                    "counts for {} in the result, and so for requests of {name}, which takes other \
                     tokens than this one",
                    widened.taken
                ),
                widened.taken.mend(),
            );
            false
        });
        for narrowed in &mut self.narrowed {
            let is_told = narrowed.is_listed
                || !overlap(&narrowed.literal, reach)
                || rule.requirement.implies(&narrowed.requirement);
            if is_told {
                continue;
            }
            narrowed.is_listed = true;
            narrowed.field.lose_part(
                Effect::Looser,
                format!(
                    "is not for all of its requests in the result, so that some come to {name}, \
                     which takes other tokens than this one"
                ),
                "end the prefix with a slash, and leave out conditions other than hosts and methods",
            );
        }
    }

    /// For at least the requests of the source.
    fn add_strict(
        &mut self,
        source: &Field<'s>,
        name: &str,
        matcher: Matcher<'s>,
        rule: Rule,
        options: &Options,
    ) -> Result<(), Fault> {
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
                self.guard(source, name, literal, rule);
                return Ok(());
            }
            Paths::Prefix(prefix) if paths::has_neighbours(prefix) => {
                if options.whole_segments {
                    self.check_whole(source, prefix)?;
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
                    self.guard(source, name, prefix, rule.clone());
                }
            }
            _ => {}
        }
        self.widened.extend(Taken::by(&matcher).map(|taken| Widened {
            field: source.clone(),
            taken,
            requirement: rule.requirement.clone(),
        }));
        let paths = matcher.paths.on_segments().unwrap_or_default();
        self.push(source, Rule { matched: MatchConfig { paths, ..rule.matched }, ..rule });
        Ok(())
    }

    /// Refuses a source that itself has other paths that begin with this prefix.
    fn check_whole(&self, source: &Field<'_>, prefix: &str) -> Result<(), Fault> {
        let is_neighbour = |literal: &&String| {
            let rest = literal.get(prefix.len()..).unwrap_or_default();
            begins(literal, prefix) && !rest.is_empty() && !rest.starts_with('/')
        };
        match self.literals.iter().find(is_neighbour) {
            Some(literal) => Err(source.fault(format!(
                "{prefix} is no whole segment, as another rule is for {literal}, which begins with \
                 it too; convert without --whole-segments, or write {prefix}/ where that is meant"
            ))),
            None => Ok(()),
        }
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
        let has_others = match &matcher.paths {
            Paths::Prefix(prefix) => paths::has_neighbours(prefix),
            Paths::Some(_) => true,
            _ => false,
        };
        let is_narrowed = has_others || !matcher.unknown.is_empty();
        if is_narrowed && rule.access == RuleAccess::Optional {
            if !rule.requirement.is_of_any_token() {
                source.lose_part(
                    Effect::Stricter,
                    "is not for all of its requests in the result, so that later public rules take \
                     no tokens but those that this one takes",
                    "end the prefix with a slash, and leave out conditions other than hosts and \
                     methods",
                );
            }
            self.narrowed.push(Narrowed {
                field: source.clone(),
                literal: matcher.paths.literal().to_owned(),
                requirement: rule.requirement.clone(),
                is_listed: false,
            });
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
    fn loose_need(&self, literal: &str) -> Need {
        let mut narrowed =
            self.narrowed.iter().filter(|narrowed| overlap(&narrowed.literal, literal));
        narrowed.next().map_or_else(Need::public, |narrowed| Need {
            access: RuleAccess::Optional,
            requirement: narrowed.requirement.clone(),
        })
    }

    fn guard(&mut self, source: &Field<'s>, name: &str, literal: &str, mut rule: Rule) {
        rule.matched.paths = paths::at_least(literal);
        let (field, name, literal) = (source.clone(), name.to_owned(), literal.to_owned());
        self.guards.push(Guard { field, name, literal, rule });
    }

    /// Has the guards count before a rule that would take their requests.
    fn place_guards(&mut self, literal: &str, rule: &Rule) {
        let is_due = |guard: &Guard<'_>| {
            let is_same =
                (guard.rule.access, &guard.rule.requirement) == (rule.access, &rule.requirement);
            !is_same && overlap(&guard.literal, literal)
        };
        let (due, others) = std::mem::take(&mut self.guards).into_iter().partition(is_due);
        self.guards = others;
        self.push_guards(due);
    }

    fn push_guards(&mut self, guards: Vec<Guard<'s>>) {
        for Guard { field, name, literal, rule } in guards {
            let above = paths::above(&literal);
            self.settle_overlaps(&name, &literal, above, &rule);
            self.widened.push(Widened {
                field: field.clone(),
                taken: Taken::Below(above.to_owned()),
                requirement: rule.requirement.clone(),
            });
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
    fn finish(&mut self, filter: &Field<'s>, providers: &Providers<'s>) -> Result<(), Fault> {
        if self.covered.iter().any(String::is_empty) {
            return Ok(());
        }
        let guards = std::mem::take(&mut self.guards);
        self.push_guards(guards);
        if let Some(rules) = filter.member("filter_state_rules") {
            return self.add_filter_state(&rules, providers);
        }
        let place = filter.member("rules").unwrap_or_else(|| filter.clone());
        place.differ(
            "what matches no rule passes, by the last rule here; without it, it would need a token",
        );
        let Need { access, requirement } = self.loose_need("");
        let rule = Rule { access, requirement, ..Rule::default() };
        self.settle_overlaps("requests of no rule", "", "", &rule);
        self.push(&place, rule);
        Ok(())
    }

    /// Requests of no rule need a token of any provider, as nobody knows what they need.
    fn add_filter_state(
        &mut self,
        rules: &Field<'s>,
        providers: &Providers<'s>,
    ) -> Result<(), Fault> {
        let rule = Rule { requirement: providers.of_any(rules)?, ..Rule::default() };
        let requires = rules.member("requires").map(|requires| requires.fields());
        let (mut is_strict, mut is_looser) = (false, false);
        for (_, requirement) in requires.unwrap_or_default() {
            let need = Need::read(&requirement, providers)?;
            if need.access != RuleAccess::Public {
                is_strict = true;
                is_looser |= !rule.requirement.implies(&need.requirement);
            }
        }
        rules.lose(
            if is_looser { Effect::Looser } else { Effect::Stricter },
            "the filter cannot see what other filters say, so that requests of no rule need a \
             token of any provider",
            "write rules for the hosts, methods and paths of these requests",
        );
        if is_strict {
            self.settle_overlaps("filter_state_rules", "", "", &rule);
        }
        self.push(rules, rule);
        Ok(())
    }
}

impl Taken {
    /// What a strict rule is for beyond its source, apart from guards: one without `/**` counts with
    /// and without a slash at the end.
    fn by(matcher: &Matcher<'_>) -> Option<Self> {
        let below = || Some(Self::Below(matcher.paths.literal().to_owned()));
        match &matcher.paths {
            _ if !matcher.unknown.is_empty() => below(),
            Paths::Exact(path) => Some(Self::One(match path.strip_suffix('/') {
                Some(other) => other.to_owned(),
                None => format!("{path}/"),
            })),
            Paths::Prefix(prefix) => {
                prefix.strip_suffix('/').map(|path| Self::One(path.to_owned()))
            }
            Paths::Patterns { .. } => below(),
            Paths::Any | Paths::Segments(_) | Paths::Some(_) => None,
        }
    }

    /// Whether paths that begin with this text are among them.
    fn meets(&self, literal: &str) -> bool {
        match self {
            Self::One(path) => begins(path, literal),
            Self::Below(above) => overlap(above, literal),
        }
    }

    fn mend(&self) -> String {
        match self {
            Self::One(path) => format!(
                "have the two take the same tokens, or see that no service answers {path} otherwise \
                 than the paths of this one"
            ),
            Self::Below(_) => "tell the requests of the two apart by whole segments, hosts or \
                               methods, or have them take the same tokens"
                .to_owned(),
        }
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(path) => f.write_str(path),
            Self::Below(above) if above.is_empty() => f.write_str("every path"),
            Self::Below(above) => write!(f, "all that begins with {above}"),
        }
    }
}

/// Whether a path may begin with both, as case may not count.
fn overlap(one: &str, other: &str) -> bool {
    paths::overlap(&one.to_ascii_lowercase(), &other.to_ascii_lowercase())
}

fn begins(path: &str, with: &str) -> bool {
    path.to_ascii_lowercase().starts_with(&with.to_ascii_lowercase())
}

fn told(patterns: &[String]) -> String {
    if patterns.is_empty() { "every path".to_owned() } else { patterns.join(", ") }
}
