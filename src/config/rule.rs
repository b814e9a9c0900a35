//! One entry of `rules`.

use super::error::{ConfigError, Path};
use super::object::{Object, wrong_type};
use super::provider::Provider;
use crate::grammar::is_token;
use crate::jose::ClaimName;
use crate::per_provider::{PerProvider, ProviderId};
use crate::rules::{Access, HostPattern, Match, PathPattern, Requirement, Rule, scalar_text};
use serde_json::Value;
use std::rc::Rc;

/// Whether the requests of a rule need a token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum RuleAccess {
    /// no token is fine, a bad one is not
    Optional,
    /// the token is not looked at
    Public,
    /// they need a token
    #[default]
    Required,
}

/// Reads a rule, which may name any of `providers`.
pub(super) fn read(
    mut object: Object,
    providers: &PerProvider<Rc<Provider>>,
    ignore_path_case: bool,
) -> Result<Rule, ConfigError> {
    let matched = match object.object("match")? {
        Some(matched) => read_match(matched, ignore_path_case)?,
        None => Match::default(),
    };
    let word = object.choice(
        "access",
        &[
            ("public", RuleAccess::Public),
            ("optional", RuleAccess::Optional),
            ("required", RuleAccess::Required),
        ],
        RuleAccess::default(),
    )?;
    let requirement = Requirement {
        providers: named_providers(&mut object, providers)?,
        audiences: audiences(&mut object)?.into_iter().collect(),
        scopes: scopes(&mut object)?,
        claims: claims(&mut object)?,
    };
    let access = match word {
        RuleAccess::Optional => Access::Optional(Rc::new(requirement)),
        RuleAccess::Required => Access::Required(Rc::new(requirement)),
        RuleAccess::Public => {
            if requirement != Requirement::default() {
                return Err(object.error(
                    "access",
                    "public requests carry no token that could meet providers, audiences, scopes \
                     or claims; remove them, or make access \"required\" or \"optional\"",
                ));
            }
            Access::Public
        }
    };
    let names = |method: &str| matched.methods.iter().any(|named| named == method);
    if names("HEAD") && !names("GET") && !matches!(access, Access::Required(_)) {
        return Err(object.error(
            "match",
            "a server runs for a HEAD what it runs for a GET, so that HEAD alone loosens nothing; \
             name GET beside it",
        ));
    }
    object.finish()?;
    Ok(Rule { matched, access })
}

fn read_match(mut object: Object, ignore_path_case: bool) -> Result<Match, ConfigError> {
    let hosts = each(&mut object, "hosts", |host| HostPattern::parse(host).map_err(str::to_owned))?;
    let methods = each(&mut object, "methods", |method| match method.to_ascii_uppercase() {
        upper if !is_token(&upper) => Err("is not a method; write one such as \"GET\"".to_owned()),
        upper if upper == method => Ok(upper),
        upper => Err(format!("methods are case-sensitive; write it in capitals: {upper:?}")),
    })?;
    let parse_path = match ignore_path_case {
        true => PathPattern::parse_ignoring_case,
        false => PathPattern::parse,
    };
    let paths = each(&mut object, "paths", parse_path)?;
    let ports = ports(&mut object)?;
    object.finish()?;
    Ok(Match { hosts, methods, paths, ports })
}

fn ports(object: &mut Object) -> Result<Vec<u16>, ConfigError> {
    let Some(items) = object.items("ports", "an array of port numbers")? else {
        return Ok(Vec::new());
    };
    if items.is_empty() {
        return Err(object.error("ports", EMPTY));
    }
    let path = object.path().member("ports");
    let read = |(index, item): (usize, &Value)| {
        let port = item.as_u64().and_then(|number| u16::try_from(number).ok());
        port.filter(|port| *port != 0).ok_or_else(|| {
            ConfigError::new(&path.item(index), "is not a port; write a number from 1 to 65535")
        })
    };
    items.iter().enumerate().map(read).collect()
}

/// Reads an array of strings; if present, it must not be empty, or no request would match.
fn each<T>(
    object: &mut Object,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let Some(texts) = object.optional_strings(name)? else { return Ok(Vec::new()) };
    if texts.is_empty() {
        return Err(object.error(name, EMPTY));
    }
    let path = object.path().member(name);
    texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            parse(text).map_err(|problem| {
                ConfigError::new(&path.item(index), format!("{text:?}: {problem}"))
            })
        })
        .collect()
}

fn named_providers(
    object: &mut Object,
    providers: &PerProvider<Rc<Provider>>,
) -> Result<Option<Vec<ProviderId>>, ConfigError> {
    let Some(names) = object.optional_strings("providers")? else { return Ok(None) };
    if names.is_empty() {
        return Err(object.error("providers", "is empty; remove it to take any provider"));
    }
    let path = object.path().member("providers");
    let find = |(index, name): (usize, &String)| {
        let mut all = providers.iter();
        let found = all.find(|(_, provider)| provider.name == *name);
        found.map(|(id, _)| id).ok_or_else(|| {
            let known: Vec<_> = providers.values().map(|provider| provider.name.as_str()).collect();
            ConfigError::new(
                &path.item(index),
                format!("there is no provider {name:?}; the providers are {}", known.join(", ")),
            )
        })
    };
    let named = names.iter().enumerate().map(find).collect::<Result<Vec<_>, _>>()?;
    let all = providers.iter().map(|(id, _)| id);
    Ok(Some(all.filter(|id| named.contains(id)).collect()))
}

/// The audiences in `requires`, of which a token must be for one.
fn audiences(object: &mut Object) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(mut requires) = object.object("requires")? else { return Ok(None) };
    let audiences = requires.optional_strings("audiences")?;
    if audiences.as_ref().is_some_and(Vec::is_empty) {
        return Err(requires.error(
            "audiences",
            "is empty; name at least one, or remove requires to take any audience",
        ));
    }
    requires.finish()?;
    if audiences.is_none() {
        let mend = "is empty and so requires nothing; name audiences in it, or remove it";
        return Err(object.error("requires", mend));
    }
    Ok(audiences)
}

fn scopes(object: &mut Object) -> Result<Vec<String>, ConfigError> {
    let scopes = object.strings("scopes")?;
    // RFC 6749 §3.3; so a scope needs no escapes in a WWW-Authenticate header.
    let is_scope_char = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    let path = object.path().member("scopes");
    match scopes.iter().position(|scope| !scope.bytes().all(is_scope_char)) {
        None => Ok(scopes),
        Some(index) => Err(ConfigError::new(
            &path.item(index),
            "a scope holds no space, quote or backslash; write each scope as an item of its own",
        )),
    }
}

fn claims(object: &mut Object) -> Result<Vec<(ClaimName, Vec<String>)>, ConfigError> {
    let Some(claims) = object.object("claims")? else { return Ok(Vec::new()) };
    let (path, members) = claims.into_members();
    members
        .into_iter()
        .map(|(name, values)| {
            let values = claim_values(values, &path.member(&name))?;
            Ok((ClaimName::new(&name), values))
        })
        .collect()
}

fn claim_values(values: Value, path: &Path) -> Result<Vec<String>, ConfigError> {
    let Value::Array(items) = values else {
        return Err(wrong_type(path, "an array of the accepted values", &values));
    };
    if items.is_empty() {
        return Err(ConfigError::new(path, "is empty; name at least one accepted value"));
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let path = path.item(index);
            scalar_text(item).ok_or_else(|| match item {
                Value::Number(_) => ConfigError::new(
                    &path,
                    "is not a whole number of 64 bits, and no other can be compared exactly; have \
                     the issuer send a string, and write that",
                ),
                _ => wrong_type(&path, "a string, number or boolean", item),
            })
        })
        .collect()
}

const EMPTY: &str = "is empty; name at least one, or remove it to match any";
