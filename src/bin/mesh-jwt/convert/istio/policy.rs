//! The rules of an AuthorizationPolicy, one by one.

use super::super::conversion::Options;
use super::super::reader::{Fault, Field};
use super::operation::Operation;
use super::token::{self, Issuers, Token};

/// A rule, which is for any of these sources and any of these operations.
pub(super) struct PolicyRule<'s> {
    pub(super) field: Field<'s>,
    pub(super) sources: Vec<Source<'s>>,
    pub(super) operations: Vec<Operation>,
    /// Whether it says anything of tokens.
    pub(super) is_of_tokens: bool,
}

/// A source, and all conditions.
pub(super) struct Source<'s> {
    /// What tokens have to be like for it to match.
    pub(super) wanted: Token,
    /// What tokens have to be like for it not to match, any of what its negations name.
    pub(super) unwanted: Token,
    /// What the filter does not know.
    pub(super) others: Vec<Field<'s>>,
}

impl<'s> PolicyRule<'s> {
    pub(super) fn read(
        field: &Field<'s>,
        issuers: &Issuers,
        options: &Options,
    ) -> Result<Self, Fault> {
        let is_of_tokens = token::is_mentioned(field)?;
        let mut conditions =
            Source { wanted: Token::Optional, unwanted: Token::Optional, others: Vec::new() };
        for condition in field.list("when")? {
            read_condition(&condition, issuers, &mut conditions)?;
        }
        let mut sources = Vec::new();
        for from in field.list("from")? {
            let mut source = Source { others: conditions.others.clone(), ..conditions.copy() };
            if let Some(member) = from.member("source") {
                read_source(&member, issuers, &mut source)?;
            }
            sources.push(source);
        }
        if sources.is_empty() {
            sources.push(conditions);
        }
        let mut operations = Vec::new();
        for to in field.list("to")? {
            operations.push(match to.member("operation") {
                Some(operation) => Operation::read(&operation, options)?,
                None => Operation::any(),
            });
        }
        if operations.is_empty() {
            operations.push(Operation::any());
        }
        if field.fields().is_empty() {
            field.settle();
        }
        Ok(Self { field: field.clone(), sources, operations, is_of_tokens })
    }

    /// Whether it says what tokens may not be like.
    pub(super) fn has_negation(&self) -> bool {
        self.sources.iter().any(|source| source.unwanted != Token::Optional)
    }
}

impl Source<'_> {
    fn copy(&self) -> Self {
        let (wanted, unwanted) = (self.wanted.clone(), self.unwanted.clone());
        Self { wanted, unwanted, others: Vec::new() }
    }
}

fn read_source<'s>(
    field: &Field<'s>,
    issuers: &Issuers,
    source: &mut Source<'s>,
) -> Result<(), Fault> {
    let principals = |name: &str| -> Result<Token, Fault> {
        Ok(token::of_principals(&field.texts(name)?, issuers))
    };
    source.wanted = source.wanted.clone().and(principals("requestPrincipals")?);
    source.unwanted = source.unwanted.clone().or_else(principals("notRequestPrincipals")?);
    for name in OTHERS {
        source.others.extend(field.member(name));
    }
    Ok(())
}

fn read_condition<'s>(
    field: &Field<'s>,
    issuers: &Issuers,
    source: &mut Source<'s>,
) -> Result<(), Fault> {
    let Some(key) = field.member("key") else {
        return Err(field.fault("has no key; write one such as request.auth.claims[groups]"));
    };
    let key = key.text()?;
    let (values, not_values) = (field.texts("values")?, field.texts("notValues")?);
    let of = |values: &[String]| match values {
        [] => Some(Token::Optional),
        values => token::of_condition(&key, values, issuers),
    };
    match (of(&values), of(&not_values)) {
        (Some(wanted), Some(unwanted)) => {
            source.wanted = source.wanted.clone().and(wanted);
            source.unwanted = source.unwanted.clone().or_else(unwanted);
        }
        _ => source.others.push(field.clone()),
    }
    Ok(())
}

/// The members of a source that are not about tokens.
const OTHERS: [&str; 12] = [
    "principals",
    "notPrincipals",
    "namespaces",
    "notNamespaces",
    "ipBlocks",
    "notIpBlocks",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];
