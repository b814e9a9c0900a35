//! The filter `JwtAuth`, which becomes a provider.

use mesh_jwt::config::document::{FromHeader, ProviderConfig};

use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{claim_header, name_of};
use super::predicate::PLACEHOLDER;

#[derive(Clone)]
pub(super) struct Auth<'s> {
    pub(super) field: Field<'s>,
    pub(super) provider: ProviderConfig,
}

/// Finds `JwtAuth` among filters, and reports the others.
pub(super) fn filters_of(filters: Vec<Field<'_>>) -> Result<Option<Auth<'_>>, Fault> {
    let mut found = None;
    for filter in filters {
        let name = match filter.is_map() {
            true => filter.member("name").map(|name| name.text()).transpose()?,
            false => Some(filter.text()?),
        }
        .unwrap_or_default();
        let (name, short) =
            name.split_once('=').map_or((name.as_str(), None), |(n, s)| (n, Some(s)));
        if CHANGE_PATHS.contains(&name) {
            filter.lose(
                Effect::Unknown,
                format!("{name} changes the path, and the rules are for the path before it"),
                "put the manifest to the gateway, or write the rules for the paths behind it",
            );
        } else if name != "JwtAuth" {
            filter.lose(Effect::None, format!("{name} has nothing to do with tokens"), ROUTING);
        } else if found.is_some() {
            return Err(filter.fault("is a second JwtAuth; remove one of them"));
        } else if short.is_some() || !filter.is_map() {
            return Err(filter.fault(
                "has no named arguments; write {name: JwtAuth, args: {jwk-set-uri: …, …}}",
            ));
        } else {
            let Some(args) = filter.member("args") else {
                return Err(filter.fault("has no args; write at least jwk-set-uri"));
            };
            found = Some(Auth { provider: provider(&args)?, field: filter });
        }
    }
    Ok(found)
}

fn provider(args: &Field<'_>) -> Result<ProviderConfig, Fault> {
    let text = |name: &str| args.member(name).map(|field| value(&field)).transpose();
    let Some(issuer) = text("expected-issuer")? else {
        return Err(args.fault(
            "has no expected-issuer, and mesh-jwt takes tokens of issuers that it knows only; write \
             the exact iss of its tokens",
        ));
    };
    let Some(uri) = args.member("jwk-set-uri") else {
        return Err(args.fault("has no jwk-set-uri; write where the keys are"));
    };
    let jwks_uri = value(&uri)?;
    let allow_plaintext_jwks = jwks_uri.starts_with("http://");
    if allow_plaintext_jwks {
        uri.differ(
            "keys come over http://, which takes allowPlaintextJwks: the mesh must encrypt it",
        );
    }
    let audiences = match args.member("expected-audience") {
        None => Vec::new(),
        Some(list) if list.is_list() => {
            list.items()?.iter().map(value).collect::<Result<_, _>>()?
        }
        Some(text) => value(&text)?.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    let clock_skew = match args.member("clock-skew") {
        Some(skew) => duration(&skew)?,
        None => {
            args.differ("has no clock-skew, and gets that of Spring Security, 60s");
            "60s".to_owned()
        }
    };
    let headers = args.member("inject-headers").map(|headers| headers.fields());
    let headers = headers
        .unwrap_or_default()
        .into_iter()
        .map(|(header, claim)| Ok(claim_header(header, value(&claim)?)));
    Ok(ProviderConfig {
        name: Some(name_of(&issuer)),
        issuer: Some(issuer),
        audiences,
        jwks_uri: Some(jwks_uri),
        allow_plaintext_jwks: allow_plaintext_jwks.then_some(true),
        clock_skew: Some(clock_skew),
        from_headers: vec![FromHeader {
            name: "Authorization".into(),
            prefix: Some("Bearer ".into()),
        }],
        // A gateway passes the token on unless it is told not to.
        forward_original_token: Some(true),
        output_claim_to_headers: headers.collect::<Result<_, Fault>>()?,
        ..ProviderConfig::default()
    })
}

/// A single value that is not to be found out when the gateway starts.
fn value(field: &Field<'_>) -> Result<String, Fault> {
    let text = field.scalar()?;
    if text.contains("${") {
        return Err(field.fault(PLACEHOLDER));
    }
    Ok(text)
}

/// `30s`, `PT30S`, or milliseconds, as Spring Boot reads durations.
fn duration(field: &Field<'_>) -> Result<String, Fault> {
    let text = value(field)?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        field.differ("a number without a unit is in milliseconds, as in Spring Boot");
        return Ok(format!("{text}ms"));
    }
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_prefix("pt").unwrap_or(&lower);
    let is_known = lower.bytes().all(|byte| byte.is_ascii_digit() || b"msh.".contains(&byte));
    if lower.is_empty() || !is_known {
        return Err(field.fault("is not a time; write one such as 30s"));
    }
    Ok(lower.to_owned())
}

/// What to do about the rest of a route.
pub(super) const ROUTING: &str = "leave it to the gateway, or write it into a VirtualService";

/// The filters after which services see another path than clients sent.
const CHANGE_PATHS: [&str; 5] =
    ["PrefixPath", "RewritePath", "SetPath", "StripPrefix", "StripContextPath"];
