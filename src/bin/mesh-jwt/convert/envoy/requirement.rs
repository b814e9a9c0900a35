//! `JwtRequirement`.

use mesh_jwt::config::RuleAccess;

use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::Requirement;
use super::provider::{Extra, Providers};

/// What a request needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Need {
    pub(super) access: RuleAccess,
    pub(super) requirement: Requirement,
}

/// The tokens that will do, and whether none will as well.
#[derive(Debug, Default)]
struct Alternatives {
    tokens: Vec<(String, Extra)>,
    /// Even if there are no tokens that would do.
    none_will_do: bool,
}

impl Need {
    pub(super) fn public() -> Self {
        Self { access: RuleAccess::Public, requirement: Requirement::default() }
    }

    pub(super) fn read(field: &Field<'_>, providers: &Providers<'_>) -> Result<Self, Fault> {
        if field.fields().is_empty() {
            field.settle();
            return Ok(Self::public());
        }
        let Alternatives { tokens, none_will_do } = Alternatives::read(field, providers)?;
        let access = if none_will_do { RuleAccess::Optional } else { RuleAccess::Required };
        let Some((_, extra)) = tokens.first().cloned() else {
            return Ok(Self { access, requirement: providers.of_any(field)? });
        };
        let (kept, others): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|(_, other)| *other == extra);
        if !others.is_empty() {
            let names: Vec<_> = others.iter().map(|(name, _)| name.as_str()).collect();
            field.lose_part(
                Effect::Stricter,
                format!(
                    "a rule has one list of audiences and subjects, so that tokens of {} are not \
                     taken here",
                    names.join(", ")
                ),
                "give providers the same audiences, or split the rule by host, method or path",
            );
        }
        let mut names: Vec<_> = kept.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        // All of them are any of them.
        if names.len() == providers.names().count() {
            names.clear();
        }
        Ok(Self { access, requirement: extra.required_of(names) })
    }
}

impl Alternatives {
    fn read(field: &Field<'_>, providers: &Providers<'_>) -> Result<Self, Fault> {
        let one = |token| Self { tokens: vec![token], none_will_do: false };
        if let Some(name) = field.member("provider_name") {
            return providers.named(&name).map(one);
        }
        if let Some(both) = field.member("provider_and_audiences") {
            let Some(name) = both.member("provider_name") else {
                return Err(both.fault("has no provider_name; write one"));
            };
            let audiences = both.texts("audiences")?;
            return match audiences.is_empty() {
                true => providers.named(&name),
                false => providers.with_audiences(&name, audiences),
            }
            .map(one);
        }
        if let Some(any) = field.member("requires_any") {
            return Self::any(&any, providers);
        }
        if let Some(all) = field.member("requires_all") {
            return Self::all(&all, providers);
        }
        if let Some(failed) = field.member("allow_missing_or_failed") {
            failed.lose(
                Effect::Stricter,
                "a bad token is refused, even where none is needed",
                "have clients leave it away, or make the rule public, which looks at no token",
            );
            return Ok(Self { tokens: Vec::new(), none_will_do: true });
        }
        if let Some(missing) = field.member("allow_missing") {
            missing.settle();
            return Ok(Self { tokens: Vec::new(), none_will_do: true });
        }
        if field.fields().is_empty() {
            field.settle();
            field.differ("a token that comes all the same must be good");
            return Ok(Self { tokens: Vec::new(), none_will_do: true });
        }
        Err(field.fault("requires nothing that is known here; write a provider_name, say"))
    }

    fn any(field: &Field<'_>, providers: &Providers<'_>) -> Result<Self, Fault> {
        let mut any = Self::default();
        for requirement in field.list("requirements")? {
            let Self { tokens, none_will_do } = Self::read(&requirement, providers)?;
            any.tokens.extend(tokens);
            any.none_will_do |= none_will_do;
        }
        Ok(any)
    }

    /// One token of a request counts, so that only one can be required.
    fn all(field: &Field<'_>, providers: &Providers<'_>) -> Result<Self, Fault> {
        let mut required: Option<Self> = None;
        let mut optional = Self { tokens: Vec::new(), none_will_do: true };
        for requirement in field.list("requirements")? {
            let part = Self::read(&requirement, providers)?;
            if part.none_will_do {
                optional.tokens.extend(part.tokens);
            } else if required.is_none() {
                required = Some(part);
            } else {
                return Err(requirement.fault(
                    "asks for a second token, and mesh-jwt looks at one for each request; require \
                     one of them here, and check the other elsewhere",
                ));
            }
        }
        if required.is_some() && !optional.tokens.is_empty() {
            field.differ("of several tokens only the required one is looked at");
        }
        Ok(required.unwrap_or(optional))
    }
}
