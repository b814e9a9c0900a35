//! The plugin configuration: JSON in, a checked [`Config`] or a [`ConfigError`] out.
//!
//! A provider takes every field of Istio's `RequestAuthentication` `jwtRules[]` under the same name
//! and with the same meaning, so existing rules can be pasted in.

#[cfg(not(target_arch = "wasm32"))]
pub mod document;
mod duration;
mod error;
mod object;
mod provider;
mod remote;
mod replies;
mod rule;
mod state_output;
mod string_match;
mod tenants;
mod uri;
mod verified_header;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub(crate) use object::Object;
pub(crate) use provider::{ClaimHeader, KeySource};
pub use provider::{Encoding, Provider};
#[cfg(not(target_arch = "wasm32"))]
pub use remote::discovery_places;
pub use remote::{DEFAULT_CACHE_DURATION, RemoteJwks, Target};
pub(crate) use remote::{Discovery, MAX_TIMEOUT, Source};
pub use rule::RuleAccess;
pub(crate) use state_output::{StateOutput, StateSource};
pub(crate) use verified_header::VerifiedMark;

use crate::grammar::is_visible_ascii;
use crate::header_name::OwnedHeaders;
use crate::jose::parse_json;
use crate::location::Location;
use crate::per_provider::{PerProvider, ProviderId};
use crate::reply::Replies;
use crate::rules::{Rule, Rules};
use crate::sorted_map::SortedMap;
use error::Path;
use std::rc::Rc;
use std::time::Duration;
use verified_header::VerifiedHeader;

/// A checked plugin configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether denials are carried out or only reported.
    pub mode: Mode,
    /// The providers, at least one.
    pub providers: PerProvider<Rc<Provider>>,
    /// The providers by their exact `iss`.
    issuers: SortedMap<String, ProviderId>,
    /// The headers that the filter sets.
    pub(crate) owned_headers: OwnedHeaders,
    /// The locations of all providers, each once.
    pub(crate) locations: Vec<Location>,
    pub(crate) rules: Rules,
    /// What local replies have in common.
    pub replies: Rc<Replies>,
    pub(crate) bypass_cors_preflight: bool,
    pub(crate) jwks_wait_timeout: Duration,
    pub(crate) max_paused_requests: usize,
    pub(crate) max_token_bytes: usize,
    /// The most verified tokens that a worker caches; 0 for none.
    pub(crate) token_cache_entries: usize,
    /// Whether the host may compute signature checks.
    pub host_crypto: HostCrypto,
    /// Whether the host is to choose the route of a request anew, by what the filter made of it.
    pub clear_route_cache: bool,
    /// What access logs are told of a decision.
    pub filter_state: FilterStateDetail,
}

/// What happens to a request that is denied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum Mode {
    /// it gets the filter's reply
    #[default]
    Enforce,
    /// the filter decides, counts and logs, but denies nothing
    Report,
}

/// What access logs are told of a decision. What providers tell them of their tokens
/// (`outputClaimToFilterState`) is told in any case. No other call costs the host as much.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum FilterStateDetail {
    /// its code and provider
    #[default]
    Full,
    /// its code
    Code,
    /// nothing, which is the fastest
    None,
}

/// Whether the host may compute signature checks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum HostCrypto {
    /// Envoy, if it offers to and gives known answers
    #[default]
    Auto,
    /// the module itself
    Off,
}

impl Config {
    /// Reads a plugin configuration.
    ///
    /// # Errors
    ///
    /// The first problem, with its JSON path and what to write instead.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let root = Path::default();
        if json.trim_ascii().is_empty() {
            return Err(ConfigError::new(
                &root,
                "the plugin configuration is empty; it needs at least \"providers\"",
            ));
        }
        let document = parse_json(json).map_err(|error| {
            ConfigError::new(&root, format!("the plugin configuration is not valid JSON: {error}"))
        })?;
        Self::read(Object::new(document, root)?)
    }

    /// Whether any rule depends on the port of the connection:
    /// [`crate::request::RequestHead::with_destination_port`].
    #[must_use]
    pub fn names_ports(&self) -> bool {
        self.rules.name_ports()
    }

    fn read(mut object: Object) -> Result<Self, ConfigError> {
        let providers = object.objects("providers")?;
        if providers.is_empty() {
            return Err(object.error("providers", "is missing or empty; name at least one issuer"));
        }
        let verified_header = VerifiedHeader::read(&mut object)?;
        let verified_header = verified_header.as_ref();
        let providers = providers
            .into_iter()
            .map(|provider| Provider::read(provider, verified_header).map(Rc::new));
        let providers = PerProvider::new(providers.collect::<Result<_, _>>()?);
        check_distinct(&object, &providers)?;
        let output_headers = providers.values().flat_map(|provider| provider.output_headers());
        let mut owned_headers = OwnedHeaders::new(output_headers);
        if let Some(header) = verified_header {
            header.join(&mut owned_headers, object.path())?;
        }
        check_locations(&object, &providers, &owned_headers)?;
        let mut issuers = SortedMap::new();
        for (id, provider) in providers.iter() {
            if provider.tenants.is_none() {
                issuers.insert(provider.issuer.clone(), id);
            }
        }
        let ignore_path_case = object.bool("caseInsensitivePaths", false)?;
        let rules = read_rules(&mut object, &providers, ignore_path_case)?;
        let realm = object.string("realm")?;
        if realm.as_ref().is_some_and(|realm| !realm.bytes().all(is_visible_ascii)) {
            return Err(object.error("realm", "may hold printable ASCII characters only"));
        }
        let config = Self {
            mode: object.choice(
                "mode",
                &[("enforce", Mode::Enforce), ("report", Mode::Report)],
                Mode::default(),
            )?,
            locations: all_locations(&providers),
            providers,
            issuers,
            owned_headers,
            rules: Rules::new(rules, ignore_path_case),
            replies: Rc::new(replies::read(object.object("replies")?, realm.map(Rc::from))?),
            bypass_cors_preflight: object
                .bool("bypassCorsPreflight", DEFAULT_BYPASS_CORS_PREFLIGHT)?,
            jwks_wait_timeout: object.duration(
                "jwksWaitTimeout",
                DEFAULT_JWKS_WAIT_TIMEOUT,
                Duration::from_millis(1),
            )?,
            max_paused_requests: object.count(
                "maxPausedRequests",
                DEFAULT_MAX_PAUSED_REQUESTS,
                0..=MAX_COUNT,
            )?,
            max_token_bytes: object.count(
                "maxTokenBytes",
                DEFAULT_MAX_TOKEN_BYTES,
                1..=MAX_COUNT,
            )?,
            token_cache_entries: token_cache_entries(&mut object)?,
            host_crypto: object.choice(
                "hostCrypto",
                &[("auto", HostCrypto::Auto), ("off", HostCrypto::Off)],
                HostCrypto::default(),
            )?,
            clear_route_cache: object.bool("clearRouteCache", false)?,
            filter_state: object.choice(
                "filterState",
                &[
                    ("full", FilterStateDetail::Full),
                    ("code", FilterStateDetail::Code),
                    ("none", FilterStateDetail::None),
                ],
                FilterStateDetail::default(),
            )?,
        };
        object.finish()?;
        Ok(config)
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Config {
    /// The rules as they were written in the `document` that this was parsed from.
    pub(crate) fn written_rules(&self, document: &serde_json::Value) -> Vec<Rule> {
        let ignore_path_case = document.get("caseInsensitivePaths") == Some(&true.into());
        Object::new(document.clone(), Path::default())
            .and_then(|mut object| read_rules(&mut object, &self.providers, ignore_path_case))
            .unwrap_or_default()
    }
}

impl Config {
    /// The provider that takes tokens with this exact `iss`, and the tenant if it has several.
    pub(crate) fn provider_of<'i>(&self, issuer: &'i str) -> Option<(ProviderId, Option<&'i str>)> {
        if let Some(id) = self.issuers.get(issuer) {
            return Some((*id, None));
        }
        self.providers.iter().find_map(|(id, provider)| {
            let tenants = provider.tenants.as_ref()?;
            let tenant = tenants.tenant_of(issuer).filter(|tenant| tenants.allows(tenant))?;
            Some((id, Some(tenant)))
        })
    }
}

fn read_rules(
    object: &mut Object,
    providers: &PerProvider<Rc<Provider>>,
    ignore_path_case: bool,
) -> Result<Vec<Rule>, ConfigError> {
    let rules = object.objects("rules")?.into_iter();
    rules.map(|rule| rule::read(rule, providers, ignore_path_case)).collect()
}

fn token_cache_entries(object: &mut Object) -> Result<usize, ConfigError> {
    let Some(mut cache) = object.object("tokenCache")? else {
        return Ok(DEFAULT_TOKEN_CACHE_ENTRIES);
    };
    let entries = cache.count("maxEntries", DEFAULT_TOKEN_CACHE_ENTRIES, 0..=MAX_COUNT)?;
    cache.finish()?;
    Ok(entries)
}

fn check_distinct(
    object: &Object,
    providers: &PerProvider<Rc<Provider>>,
) -> Result<(), ConfigError> {
    for (index, provider) in providers.values().enumerate() {
        let path = object.path().member("providers").item(index);
        for earlier in providers.values().take(index) {
            if earlier.issuer == provider.issuer {
                return Err(ConfigError::new(
                    &path.member("issuer"),
                    format!(
                        "the provider {:?} has the issuer {:?} already; make them one, which may \
                         have several audiences",
                        earlier.name, earlier.issuer
                    ),
                ));
            }
            let templates = provider.tenants.as_ref().zip(earlier.tenants.as_ref());
            if templates.is_some_and(|(ours, theirs)| ours.overlap(theirs)) {
                return Err(ConfigError::new(
                    &path.member("issuers").member("template"),
                    format!(
                        "an issuer can be of this form and of that of the provider {:?}; make them \
                         one provider, or name single issuers",
                        earlier.name
                    ),
                ));
            }
            if earlier.name == provider.name {
                return Err(ConfigError::new(
                    &path.member("name"),
                    format!("{:?} names two providers; give each a name of its own", provider.name),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses owned headers as locations: they are stripped from every request.
fn check_locations(
    object: &Object,
    providers: &PerProvider<Rc<Provider>>,
    owned_headers: &OwnedHeaders,
) -> Result<(), ConfigError> {
    for (index, provider) in providers.values().enumerate() {
        for location in &provider.locations {
            let Location::Header { name, .. } = location else { continue };
            if owned_headers.resemble(name) {
                return Err(ConfigError::new(
                    &object.path().member("providers").item(index).member("fromHeaders"),
                    format!(
                        "the header {name:?} is also an output, and those are removed from every \
                         request; take the token from another header"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The locations of all providers, each once.
fn all_locations(providers: &PerProvider<Rc<Provider>>) -> Vec<Location> {
    let mut all = Vec::new();
    for location in providers.values().flat_map(|provider| &provider.locations) {
        if !all.contains(location) {
            all.push(location.clone());
        }
    }
    all
}

const DEFAULT_BYPASS_CORS_PREFLIGHT: bool = true;
const DEFAULT_JWKS_WAIT_TIMEOUT: Duration = Duration::from_secs(3);
const DEFAULT_MAX_PAUSED_REQUESTS: usize = 1000;
const DEFAULT_MAX_TOKEN_BYTES: usize = 8192;
const DEFAULT_TOKEN_CACHE_ENTRIES: usize = 1000;
const MAX_COUNT: usize = 1_000_000;
