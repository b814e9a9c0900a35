//! The rules of a plugin configuration in the making, and the check of the whole.

use std::collections::BTreeMap;

use mesh_jwt::config::document::{
    MatchConfig, OutputClaimToHeader, PluginConfig, ProviderConfig, RequiresConfig, RuleConfig,
};
use mesh_jwt::config::{Config, RuleAccess};
use serde_json::Value;

use super::reader::{Fault, Field};
use super::report::Effect;

/// A rule in the making. What is empty is any.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rule {
    pub(crate) matched: MatchConfig,
    pub(crate) access: RuleAccess,
    pub(crate) requirement: Requirement,
}

/// What a token must be like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) providers: Vec<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) claims: BTreeMap<String, Vec<String>>,
}

/// Rules as they are written, without those behind one for every request, and without a last one that
/// asks for what is asked where there is no rule.
pub(crate) fn written(mut rules: Vec<Rule>) -> Vec<RuleConfig> {
    if let Some(last) = rules.iter().position(|rule| rule.matched == MatchConfig::default()) {
        rules.truncate(last.saturating_add(1));
    }
    rules.pop_if(|rule| *rule == Rule::default());
    rules.into_iter().map(Rule::written).collect()
}

/// Has the filter itself look at a configuration. Errors are at the source of what they are about: one
/// of the `providers`, one of the `rules`, or the `whole`.
pub(crate) fn check(
    config: &PluginConfig,
    providers: &[Field<'_>],
    rules: &[Field<'_>],
    whole: &Field<'_>,
) -> Result<(), Fault> {
    let json = serde_json::to_vec(config)
        .map_err(|error| whole.fault(format!("cannot be written: {error}; report this")))?;
    Config::parse(&json).map(drop).map_err(|error| {
        let part = error.path().split_inclusive(']').next().unwrap_or_default();
        let place = index_of(part, "providers").and_then(|index| providers.get(index));
        let place = place.or_else(|| index_of(part, "rules").and_then(|index| rules.get(index)));
        place.unwrap_or(whole).fault(format!(
            "cannot be carried over as it is: {error}; change the source accordingly"
        ))
    })
}

/// The index in `providers[1]`, say.
fn index_of(part: &str, list: &str) -> Option<usize> {
    part.strip_prefix(list)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Why the filter would not take a match.
pub(crate) fn problem(matched: &MatchConfig) -> Option<String> {
    let provider = ProviderConfig {
        issuer: Some("probe".to_owned()),
        jwks_uri: Some("https://probe.example.com/".to_owned()),
        ..ProviderConfig::default()
    };
    let rule = Rule { matched: matched.clone(), ..Rule::default() };
    let probe = PluginConfig {
        providers: vec![provider],
        rules: vec![rule.written()],
        ..PluginConfig::default()
    };
    let json = serde_json::to_vec(&probe).unwrap_or_default();
    Config::parse(&json).err().map(|error| error.to_string())
}

/// A name for the provider of an issuer: the issuer without its scheme, as a label.
pub(crate) fn name_of(issuer: &str) -> String {
    let text = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    label(text.trim_end_matches('/'))
}

/// The name, or if it is taken, with the first number behind it that is not.
pub(crate) fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u64..).map(|number| format!("{name}-{number}"));
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    candidates.find(|name| !is_taken(name)).unwrap_or_default()
}

/// Fits a match for a rule that loosens access: a HEAD alone cannot be told from a GET. Returns whether
/// any request is left.
pub(crate) fn loosen(matched: &mut MatchConfig, source: &Field<'_>) -> bool {
    let methods = &mut matched.methods;
    if methods.iter().any(|method| method == "GET") || methods.iter().all(|method| method != "HEAD")
    {
        return true;
    }
    source.lose_part(
        Effect::Stricter,
        "a server runs for a HEAD what it runs for a GET, and no rule loosens one alone",
        "name GET beside HEAD",
    );
    methods.retain(|method| method != "HEAD");
    !methods.is_empty()
}

/// A header for a claim, as it is.
pub(crate) fn claim_header(header: String, claim: String) -> OutputClaimToHeader {
    OutputClaimToHeader { header, claim, default: None, encoding: None }
}

/// The text without what labels may not hold.
pub(crate) fn label(text: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.chars().map(|c| if is_good(c) { c } else { '_' }).collect()
}

impl Requirement {
    /// Whether all tokens that this takes are taken by the other one.
    pub(crate) fn implies(&self, other: &Self) -> bool {
        let is_within = |these: &[String], those: &[String]| {
            let is_some = !these.is_empty() && these.iter().all(|value| those.contains(value));
            those.is_empty() || is_some
        };
        is_within(&self.providers, &other.providers)
            && is_within(&self.audiences, &other.audiences)
            && other.claims.iter().all(|(name, values)| {
                self.claims.get(name).is_some_and(|these| is_within(these, values))
            })
    }

    pub(crate) fn is_of_any_token(&self) -> bool {
        *self == Self::default()
    }
}

impl Rule {
    pub(crate) fn is_strict(&self) -> bool {
        self.access == RuleAccess::Required
    }

    fn written(self) -> RuleConfig {
        let Self { matched, access, requirement } = self;
        let Requirement { providers, audiences, claims } = requirement;
        let texts = |values: Vec<String>| values.into_iter().map(Value::String).collect();
        RuleConfig {
            matched: (matched != MatchConfig::default()).then_some(matched),
            access: (access != RuleAccess::default()).then_some(access),
            providers,
            requires: (!audiences.is_empty()).then_some(RequiresConfig { audiences }),
            claims: claims.into_iter().map(|(name, values)| (name, texts(values))).collect(),
            ..RuleConfig::default()
        }
    }
}
