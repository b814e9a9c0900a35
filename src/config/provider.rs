//! One entry of `providers`: an issuer, its keys, and the handling of its tokens.

use super::error::{ConfigError, Path};
use super::object::{Object, wrong_type};
use super::remote::{self, RemoteJwks};
use super::state_output::{self, StateOutput};
use super::tenants::Tenants;
use super::uri::HttpUri;
use super::verified_header::{VerifiedHeader, VerifiedMark};
use crate::grammar::{is_header_value, is_token, is_visible_ascii};
use crate::header_name::HeaderName;
use crate::jose::{ClaimName, KeySet};
use crate::location::{BEARER, Location};
use serde_json::Value;
use std::time::Duration;

/// An issuer whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The label in metrics and logs.
    pub name: String,
    /// The exact `iss`, or with `tenants` its template.
    pub issuer: String,
    pub(crate) tenants: Option<Tenants>,
    pub(crate) audiences: Vec<String>,
    pub(crate) keys: KeySource,
    pub(crate) clock_skew: Duration,
    pub(crate) require_expiration: bool,
    pub(crate) max_lifetime: Option<Duration>,
    /// Whether to accept tokens that require proof of possession of a key.
    pub(crate) allow_bound_tokens: bool,
    /// In lower case, without `application/`.
    pub(crate) token_types: Vec<String>,
    pub(crate) require_token_type: bool,
    pub(crate) locations: Vec<Location>,
    pub(crate) space_delimited_claims: Vec<ClaimName>,
    pub(crate) forward_original_token: bool,
    pub(crate) payload_header: Option<HeaderName>,
    pub(crate) claim_headers: Vec<ClaimHeader>,
    pub(crate) state_outputs: Vec<StateOutput>,
    /// What tells services that a request has a verified token of this provider.
    pub(crate) verified_mark: Option<VerifiedMark>,
}

/// Where a provider's keys come from.
#[derive(Clone, Debug)]
pub(crate) enum KeySource {
    /// All keys are in the configuration.
    Inline(KeySet),
    /// Fetched; `initial` serves until the first fetch succeeds.
    Remote { jwks: Box<RemoteJwks>, initial: Option<KeySet> },
}

/// A claim that the upstream gets in a header.
#[derive(Clone, Debug)]
pub(crate) struct ClaimHeader {
    pub(crate) header: HeaderName,
    pub(crate) claim: ClaimName,
    pub(crate) default: Option<String>,
    pub(crate) encoding: Encoding,
}

/// How a claim is written into a header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum Encoding {
    /// in base64url, for text that is not ASCII
    Base64Url,
    /// as it is
    #[default]
    Plain,
}

impl KeySource {
    /// The set to fetch; `None` if all keys are in the configuration.
    pub(crate) fn remote(&self) -> Option<&RemoteJwks> {
        match self {
            Self::Inline(_) => None,
            Self::Remote { jwks, .. } => Some(jwks),
        }
    }

    /// The same for one tenant of a template. Configured keys are of no tenant.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Self {
        match self {
            Self::Inline(keys) => Self::Inline(keys.clone()),
            Self::Remote { jwks, .. } => {
                Self::Remote { jwks: Box::new(jwks.of_tenant(tenant)), initial: None }
            }
        }
    }
}

impl Provider {
    /// Every header that this provider sets by what its tokens hold.
    pub(crate) fn output_headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.payload_header.iter().chain(self.claim_headers.iter().map(|output| &output.header))
    }

    /// Whether tokens of this `typ` are taken; it is a media type (RFC 7515 §4.1.9).
    pub(crate) fn takes_token_type(&self, typ: &str) -> bool {
        let typ = without_tree(typ);
        self.token_types.iter().any(|other| other.eq_ignore_ascii_case(typ))
    }

    /// The set to fetch; `None` if all keys are in the configuration.
    pub(crate) fn remote_jwks(&self) -> Option<&RemoteJwks> {
        self.keys.remote()
    }

    /// The keys in the configuration, if it holds any.
    pub(crate) fn configured_keys(&self) -> Option<&KeySet> {
        match &self.keys {
            KeySource::Inline(keys) => Some(keys),
            KeySource::Remote { initial, .. } => initial.as_ref(),
        }
    }

    pub(super) fn read(
        mut object: Object,
        verified_header: Option<&VerifiedHeader>,
    ) -> Result<Self, ConfigError> {
        let (issuer, tenants) = issuer(&mut object)?;
        let name = match object.string("name")? {
            Some(name) if is_label(&name) => name,
            Some(_) => {
                return Err(object.error("name", "may hold letters, digits, '.', '_' and '-' only"));
            }
            None => default_name(&issuer),
        };
        let (locations, payload_header, claim_headers) =
            (locations(&mut object)?, payload_header(&mut object)?, claim_headers(&mut object)?);
        let keys = key_source(&mut object, &issuer, tenants.is_some())?;
        let provider = Self {
            verified_mark: verified_header.map(|header| header.mark(&name)),
            name,
            issuer,
            tenants,
            audiences: object.strings("audiences")?,
            keys,
            clock_skew: object.duration("clockSkew", DEFAULT_CLOCK_SKEW, Duration::ZERO)?,
            require_expiration: object.bool("requireExpiration", DEFAULT_REQUIRE_EXPIRATION)?,
            max_lifetime: object.optional_duration("maxLifetime", ONE_SECOND)?,
            allow_bound_tokens: object.bool("allowBoundTokens", false)?,
            token_types: token_types(&mut object)?,
            require_token_type: object.bool("requireTokenType", false)?,
            locations,
            space_delimited_claims: space_delimited_claims(&mut object)?,
            forward_original_token: object.bool("forwardOriginalToken", false)?,
            payload_header,
            claim_headers,
            state_outputs: state_output::read(&mut object)?,
        };
        provider.check_outputs(object.path())?;
        object.finish()?;
        Ok(provider)
    }

    /// Refuses two values for one header: the upstream would choose between them.
    fn check_outputs(&self, path: &Path) -> Result<(), ConfigError> {
        let headers: Vec<_> = self.output_headers().collect();
        for (index, header) in headers.iter().enumerate() {
            if headers.iter().take(index).any(|earlier| earlier == header) {
                return Err(ConfigError::new(
                    &path.member("outputClaimToHeaders"),
                    format!("the header {:?} is set twice; keep one of them", header.as_str()),
                ));
            }
        }
        Ok(())
    }
}

/// Reads the exact issuer, or the template of several.
fn issuer(object: &mut Object) -> Result<(String, Option<Tenants>), ConfigError> {
    let Some(issuers) = object.object("issuers")? else {
        let issuer = object.required_string("issuer", "write the exact \"iss\" of its tokens")?;
        return Ok((issuer, None));
    };
    if object.string("issuer")?.is_some() {
        return Err(object.error("issuer", "is one issuer beside several; remove it, or issuers"));
    }
    let (template, tenants) = Tenants::read(issuers)?;
    Ok((template, Some(tenants)))
}

fn key_source(
    object: &mut Object,
    issuer: &str,
    has_tenants: bool,
) -> Result<KeySource, ConfigError> {
    let inline = inline_keys(object)?;
    if has_tenants && inline.is_some() {
        return Err(object.error(
            "jwks",
            "would be trusted with the tokens of every tenant; remove it, and have each tenant's \
             keys fetched",
        ));
    }
    let fields = remote::Fields::read(object)?;
    match inline {
        Some(keys) if !fields.name_a_uri() => {
            fields.refuse_place(object)?;
            Ok(KeySource::Inline(keys))
        }
        initial => {
            let jwks = Box::new(fields.jwks(object, issuer, has_tenants)?);
            Ok(KeySource::Remote { jwks, initial })
        }
    }
}

fn inline_keys(object: &mut Object) -> Result<Option<KeySet>, ConfigError> {
    let keys = match object.take("jwks") {
        None => return Ok(None),
        Some(Value::String(text)) => KeySet::parse(text.as_bytes()),
        Some(document @ Value::Object(_)) => KeySet::from_json(&document),
        Some(other) => {
            return Err(wrong_type(
                &object.path().member("jwks"),
                "a JWK Set as an object or as a string",
                &other,
            ));
        }
    };
    keys.map(Some).map_err(|error| {
        object.error("jwks", format!("{error}; write a JWK Set with an RSA signing key"))
    })
}

fn token_types(object: &mut Object) -> Result<Vec<String>, ConfigError> {
    let types = object.optional_strings("tokenTypes")?;
    let types = types.unwrap_or_else(|| DEFAULT_TOKEN_TYPES.map(str::to_owned).into());
    Ok(types.iter().map(|typ| without_tree(typ).to_ascii_lowercase()).collect())
}

/// The media type without `application/`, which is optional.
fn without_tree(typ: &str) -> &str {
    match typ.split_at_checked(APPLICATION.len()) {
        Some((tree, subtype)) if tree.eq_ignore_ascii_case(APPLICATION) => subtype,
        _ => typ,
    }
}

/// The configured claims, and the two that are always lists, as in Istio.
fn space_delimited_claims(object: &mut Object) -> Result<Vec<ClaimName>, ConfigError> {
    let configured = object.strings("spaceDelimitedClaims")?;
    let all = ALWAYS_SPACE_DELIMITED.into_iter().chain(configured.iter().map(String::as_str));
    Ok(all.map(ClaimName::new).collect())
}

fn locations(object: &mut Object) -> Result<Vec<Location>, ConfigError> {
    let mut locations = Vec::new();
    for mut header in object.objects("fromHeaders")? {
        let name = header.header_name("name")?;
        // A prefix may end with the space that separates it from the token.
        let prefix = header.string_or_empty("prefix")?;
        // Header values are split at commas and trimmed before the prefix is looked for.
        if prefix.starts_with(' ') || !prefix.bytes().all(|b| is_visible_ascii(b) && b != b',') {
            return Err(header.error(
                "prefix",
                "holds a comma, a leading space or what is not printable ASCII, so no token would \
                 follow it; write one such as \"Bearer \"",
            ));
        }
        header.finish()?;
        locations.push(Location::Header { name: name.shared(), prefix });
    }
    let cookies = object.strings("fromCookies")?;
    if let Some(index) = cookies.iter().position(|name| !is_token(name)) {
        return Err(ConfigError::new(
            &object.path().member("fromCookies").item(index),
            "is not the name of a cookie (RFC 6265 §4.1.1)",
        ));
    }
    locations.extend(cookies.into_iter().map(Location::Cookie));
    locations.extend(object.strings("fromParams")?.into_iter().map(Location::Param));
    if locations.is_empty() {
        locations
            .push(Location::Header { name: "authorization".into(), prefix: BEARER.to_owned() });
    }
    Ok(locations)
}

fn payload_header(object: &mut Object) -> Result<Option<HeaderName>, ConfigError> {
    let name = object.string_or_empty("outputPayloadToHeader")?;
    if name.is_empty() {
        return Ok(None);
    }
    HeaderName::parse(&name)
        .map(Some)
        .map_err(|problem| object.error("outputPayloadToHeader", problem))
}

fn claim_headers(object: &mut Object) -> Result<Vec<ClaimHeader>, ConfigError> {
    let mut outputs = Vec::new();
    for mut output in object.objects("outputClaimToHeaders")? {
        let header = output.header_name("header")?;
        let claim = output.required_string("claim", "name the claim to put into the header")?;
        let default = output.string("default")?;
        if default.as_ref().is_some_and(|text| !is_header_value(text)) {
            return Err(output.error(
                "default",
                "may hold printable ASCII characters only, and no space at its ends",
            ));
        }
        let encoding = output.choice(
            "encoding",
            &[("plain", Encoding::Plain), ("base64url", Encoding::Base64Url)],
            Encoding::default(),
        )?;
        output.finish()?;
        outputs.push(ClaimHeader { header, claim: ClaimName::new(&claim), default, encoding });
    }
    Ok(outputs)
}

/// The issuer's host if it is a URI, else the issuer, with `_` for characters that labels may not
/// hold.
fn default_name(issuer: &str) -> String {
    let host = HttpUri::parse(issuer).map(|uri| uri.host);
    let text = host.as_deref().unwrap_or(issuer);
    text.chars().map(|c| if is_label_char(c) { c } else { '_' }).collect()
}

fn is_label(text: &str) -> bool {
    text.chars().all(is_label_char)
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

const ALWAYS_SPACE_DELIMITED: [&str; 2] = ["scope", "permission"];
pub(super) const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(120);
const APPLICATION: &str = "application/";
pub(super) const DEFAULT_REQUIRE_EXPIRATION: bool = true;
pub(super) const DEFAULT_TOKEN_TYPES: [&str; 2] = ["JWT", "at+jwt"];
const ONE_SECOND: Duration = Duration::from_secs(1);
