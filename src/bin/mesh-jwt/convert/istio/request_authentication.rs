//! `jwtRules[]`, which are the providers.

use mesh_jwt::config::document::{FromHeader, ProviderConfig};

use super::super::envoy::{DEFAULT_CLOCK_SKEW, take_default_locations};
use super::super::reader::{Fault, Field};
use super::super::rule::{claim_header, name_of};

/// The providers of a RequestAuthentication, and where each stands.
pub(super) fn providers<'s>(
    resource: &Field<'s>,
) -> Result<Vec<(ProviderConfig, Field<'s>)>, Fault> {
    let rules = resource.member("spec").map(|spec| spec.list("jwtRules")).transpose()?;
    let rules = rules.unwrap_or_default();
    rules.into_iter().map(|rule| Ok((provider(&rule)?, rule))).collect()
}

fn provider(rule: &Field<'_>) -> Result<ProviderConfig, Fault> {
    let text = |name: &str| rule.member(name).map(|field| field.text()).transpose();
    let Some(issuer) = text("issuer")?.filter(|issuer| !issuer.is_empty()) else {
        return Err(rule.fault("has no issuer; write the exact iss of its tokens"));
    };
    let uri = rule.member("jwksUri").or_else(|| rule.member("jwks_uri"));
    let mut provider = ProviderConfig {
        name: Some(name_of(&issuer)),
        issuer: Some(issuer.clone()),
        audiences: rule.texts("audiences")?,
        jwks_uri: uri.as_ref().map(Field::text).transpose()?,
        jwks: text("jwks")?.filter(|keys| !keys.is_empty()).map(Into::into),
        timeout: text("timeout")?,
        // What Istio leaves to Envoy.
        clock_skew: Some(format!("{DEFAULT_CLOCK_SKEW}s")),
        require_expiration: Some(false),
        from_cookies: rule.texts("fromCookies")?,
        from_params: rule.texts("fromParams")?,
        space_delimited_claims: rule.texts("spaceDelimitedClaims")?,
        forward_original_token: Some(rule.is_set("forwardOriginalToken")?),
        output_payload_to_header: text("outputPayloadToHeader")?.filter(|name| !name.is_empty()),
        ..ProviderConfig::default()
    };
    let is_plain = |uri: &String| uri.starts_with("http://");
    let discovered = provider.jwks_uri.is_none() && provider.jwks.is_none();
    if provider.jwks_uri.as_ref().is_some_and(is_plain) || (discovered && is_plain(&issuer)) {
        provider.allow_plaintext_jwks = Some(true);
        uri.as_ref().unwrap_or(rule).differ(
            "keys come over http://, which takes allowPlaintextJwks: the mesh must encrypt it",
        );
    }
    for header in rule.list("fromHeaders")? {
        let text = |name: &str| header.member(name).map(|field| field.text()).transpose();
        let name = text("name")?.unwrap_or_default();
        let prefix = text("prefix")?.filter(|prefix| !prefix.is_empty());
        provider.from_headers.push(FromHeader { name, prefix });
    }
    for output in rule.list("outputClaimToHeaders")? {
        let text = |name: &str| output.member(name).map(|field| field.text()).transpose();
        let header = text("header")?.unwrap_or_default();
        let claim = text("claim")?.unwrap_or_default();
        provider.output_claim_to_headers.push(claim_header(header, claim));
    }
    let is_anywhere = provider.from_headers.is_empty()
        && provider.from_cookies.is_empty()
        && provider.from_params.is_empty();
    if is_anywhere {
        take_default_locations(&mut provider);
    }
    Ok(provider)
}
