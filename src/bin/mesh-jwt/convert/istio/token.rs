//! What a rule of an AuthorizationPolicy asks of tokens.

use std::collections::BTreeMap;

use super::super::reader::{Fault, Field};
use super::super::rule::Requirement;

/// What a token must be like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// There may be none.
    Optional,
    /// It must be good, and like this.
    Required(Requirement),
    /// The filter cannot express it.
    Unknown,
}

/// The names of the providers by their issuers.
pub(super) type Issuers = BTreeMap<String, String>;

impl Token {
    pub(super) fn any() -> Self {
        Self::Required(Requirement::default())
    }

    /// What must be true besides.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Optional, token) | (token, Self::Optional) => token,
            (Self::Required(mut one), Self::Required(other)) => {
                let is_clear = (one.providers.is_empty() || other.providers.is_empty())
                    && (one.audiences.is_empty() || other.audiences.is_empty())
                    && other.claims.keys().all(|claim| !one.claims.contains_key(claim));
                if !is_clear {
                    return Self::Unknown;
                }
                one.providers.extend(other.providers);
                one.audiences.extend(other.audiences);
                one.claims.extend(other.claims);
                Self::Required(one)
            }
        }
    }

    /// What one of two negations names, where [`Token::Optional`] stands for no negation.
    pub(super) fn or_else(self, other: Self) -> Self {
        match (self, other) {
            (Self::Optional, token) | (token, Self::Optional) => token,
            (one, other) => one.or(&other).unwrap_or(Self::Unknown),
        }
    }

    /// One token for what either of them takes; `None` if there is no such.
    pub(super) fn or(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            _ if self == other => Some(self.clone()),
            (Self::Optional, _) | (_, Self::Optional) => Some(Self::Optional),
            (Self::Required(one), Self::Required(other)) => {
                if one.is_of_any_token() || other.is_of_any_token() {
                    return Some(Self::any());
                }
                let only_providers = |requirement: &Requirement| Requirement {
                    providers: Vec::new(),
                    ..requirement.clone()
                };
                let is_clear = only_providers(one) == only_providers(other)
                    && !one.providers.is_empty()
                    && !other.providers.is_empty();
                let mut all = one.clone();
                all.providers.extend(other.providers.clone());
                is_clear.then_some(Self::Required(all))
            }
            _ => None,
        }
    }
}

/// `requestPrincipals`, `notRequestPrincipals`, or the values of `request.auth.principal`.
pub(super) fn of_principals(principals: &[String], issuers: &Issuers) -> Token {
    let one = |principal: &String| match principal.as_str() {
        "*" => Token::any(),
        text => match text.strip_suffix("/*") {
            Some(issuer) => issuers.get(issuer).map_or(Token::Unknown, |provider| {
                Token::Required(Requirement {
                    providers: vec![provider.clone()],
                    ..Requirement::default()
                })
            }),
            None if text.contains('*') => Token::Unknown,
            None => subject(text, issuers),
        },
    };
    let mut all = principals.iter().map(one);
    let Some(first) = all.next() else { return Token::Optional };
    all.try_fold(first, |token, other| token.or(&other)).unwrap_or(Token::Unknown)
}

/// `<iss>/<sub>`, of which either may hold slashes.
fn subject(principal: &str, issuers: &Issuers) -> Token {
    let found = issuers.iter().find_map(|(issuer, provider)| {
        let subject = principal.strip_prefix(issuer.as_str())?.strip_prefix('/')?;
        Some((provider, subject))
    });
    found.map_or(Token::Unknown, |(provider, subject)| {
        Token::Required(Requirement {
            providers: vec![provider.clone()],
            claims: BTreeMap::from([("sub".to_owned(), vec![subject.to_owned()])]),
            ..Requirement::default()
        })
    })
}

/// The condition of `when` on a token that these values meet; `None` for other conditions.
pub(super) fn of_condition(key: &str, values: &[String], issuers: &Issuers) -> Option<Token> {
    let rest = key.strip_prefix("request.auth.")?;
    let is_exact = !values.is_empty() && values.iter().all(|value| !value.contains('*'));
    let of_claim = |name: String| match is_exact {
        true => Token::Required(Requirement {
            claims: BTreeMap::from([(name, values.to_vec())]),
            ..Requirement::default()
        }),
        false => Token::Unknown,
    };
    Some(match rest {
        "principal" => of_principals(values, issuers),
        "audiences" if is_exact => {
            Token::Required(Requirement { audiences: values.to_vec(), ..Requirement::default() })
        }
        "presenter" => of_claim("azp".to_owned()),
        _ => claim_name(rest).map_or(Token::Unknown, of_claim),
    })
}

/// `claims[a]` or `claims[a][b]`.
fn claim_name(text: &str) -> Option<String> {
    let inner = text.strip_prefix("claims[")?.strip_suffix(']')?;
    let steps: Vec<_> = inner.split("][").collect();
    match steps.as_slice() {
        [name] if !name.contains('.') && !name.starts_with('/') => Some((*name).to_owned()),
        steps => Some(
            steps
                .iter()
                .map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")))
                .collect(),
        ),
    }
}

/// Whether any part of a rule asks for something of tokens.
pub(super) fn is_mentioned(rule: &Field<'_>) -> Result<bool, Fault> {
    for from in rule.list("from")? {
        let Some(source) = from.member("source") else { continue };
        let names = ["requestPrincipals", "notRequestPrincipals"];
        if names.iter().any(|name| source.member(name).is_some()) {
            return Ok(true);
        }
    }
    for condition in rule.list("when")? {
        if let Some(key) = condition.member("key")
            && key.text()?.starts_with("request.auth.")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers() -> Issuers {
        Issuers::from([
            ("https://a.example".to_owned(), "a".to_owned()),
            ("https://b.example".to_owned(), "b".to_owned()),
        ])
    }

    fn of(principals: &[&str]) -> Token {
        let principals: Vec<_> = principals.iter().map(|text| (*text).to_owned()).collect();
        of_principals(&principals, &issuers())
    }

    fn required(providers: &[&str], claims: &[(&str, &str)]) -> Token {
        Token::Required(Requirement {
            providers: providers.iter().map(|name| (*name).to_owned()).collect(),
            claims: claims
                .iter()
                .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
                .collect(),
            ..Requirement::default()
        })
    }

    #[test]
    fn principals_are_providers_and_subjects() {
        assert_eq!(of(&[]), Token::Optional);
        assert_eq!(of(&["*"]), Token::any());
        assert_eq!(of(&["https://a.example/*"]), required(&["a"], &[]));
        assert_eq!(of(&["https://a.example/*", "https://b.example/*"]), required(&["a", "b"], &[]));
        assert_eq!(of(&["https://a.example/x/y"]), required(&["a"], &[("sub", "x/y")]));
        assert_eq!(of(&["https://a.example/x", "*"]), Token::any());
        for unknown in ["https://c.example/*", "https://a.example*", "*/x"] {
            assert_eq!(of(&[unknown]), Token::Unknown, "{unknown}");
        }
        assert_eq!(of(&["https://a.example/x", "https://b.example/*"]), Token::Unknown);
    }

    #[test]
    fn conditions_are_claims() {
        let of = |key, value: &str| of_condition(key, &[value.to_owned()], &issuers());

        assert_eq!(of("source.ip", "1.2.3.4"), None);
        assert_eq!(of("request.auth.claims[a]", "x"), Some(required(&[], &[("a", "x")])));
        assert_eq!(of("request.auth.claims[a][b.c]", "x"), Some(required(&[], &[("/a/b.c", "x")])));
        assert_eq!(of("request.auth.claims[a.b]", "x"), Some(required(&[], &[("/a.b", "x")])));
        assert_eq!(of("request.auth.presenter", "x"), Some(required(&[], &[("azp", "x")])));
        assert_eq!(of("request.auth.claims[a]", "x*"), Some(Token::Unknown));
        assert_eq!(of("request.auth.other", "x"), Some(Token::Unknown));
    }
}
