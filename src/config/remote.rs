//! Where a provider's keys are fetched from, and how long they are trusted.

use super::error::ConfigError;
use super::object::Object;
use super::tenants;
use super::uri::{HttpUri, port_number};
use crate::grammar::{is_host, split_port};
use std::time::Duration;

/// A JWK Set to fetch, and how long its keys are trusted.
#[derive(Clone, Debug)]
pub struct RemoteJwks {
    pub(crate) source: Source,
    /// How long one fetch may take.
    pub(crate) timeout: Duration,
    pub(crate) cache_duration: Duration,
    pub(crate) stale_duration: Duration,
    pub(crate) refetch_cooldown: Duration,
    /// The number of the issuer's endpoints, if the operator set it.
    pub(crate) endpoints: Option<u32>,
}

/// How to find the JWK Set.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The issuer's discovery document says where it is.
    Discovery(Discovery),
    /// It is known where it is.
    Known(Target),
}

/// What a dispatched call is sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The cluster.
    pub cluster: String,
    /// The `:scheme` of the call.
    pub scheme: &'static str,
    /// The `:authority` of the call.
    pub authority: String,
    /// The `:path` of the call.
    pub path: String,
}

/// What the discovery document of an issuer must say.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    /// The exact `issuer`.
    pub(crate) issuer: String,
    /// Where the document may be, in the order in which to look.
    pub(crate) places: [Target; 2],
    /// The issuer's own host and port.
    own: (String, u16),
    /// The cluster to call instead of the issuer's.
    cluster: Option<String>,
    allow_plaintext: bool,
    /// The other hosts that `jwks_uri` may lead to.
    hosts: Vec<ListedHost>,
}

/// An item of `jwksHosts`: a host, with a port unless it is the scheme's.
#[derive(Clone, Debug)]
struct ListedHost {
    host: String,
    port: Option<u16>,
}

impl RemoteJwks {
    /// Where a fetch begins.
    #[must_use]
    pub fn target(&self) -> &Target {
        match &self.source {
            Source::Known(target) => target,
            Source::Discovery(discovery) => {
                let [first, _] = &discovery.places;
                first
            }
        }
    }

    /// The same for one tenant of a template.
    pub(crate) fn of_tenant(&self, tenant: &str) -> Self {
        let of_target = |target: &Target| Target {
            path: tenants::for_tenant(&target.path, tenant),
            ..target.clone()
        };
        let source = match &self.source {
            Source::Known(target) => Source::Known(of_target(target)),
            Source::Discovery(discovery) => Source::Discovery(Discovery {
                issuer: tenants::for_tenant(&discovery.issuer, tenant),
                places: discovery.places.each_ref().map(of_target),
                ..discovery.clone()
            }),
        };
        Self { source, ..self.clone() }
    }

    /// A text that differs for sources whose keys may differ, however the rest is configured.
    pub(crate) fn identity(&self) -> String {
        let target = self.target();
        let place = format!("{} {target}", target.cluster);
        match &self.source {
            Source::Known(_) => place,
            Source::Discovery(Discovery { issuer, hosts, allow_plaintext, .. }) => {
                format!("{place} {issuer:?} {hosts:?} {allow_plaintext}")
            }
        }
    }
}

impl Target {
    fn new(uri: HttpUri, cluster: Option<&str>) -> Self {
        let default = || format!("outbound|{}||{}", uri.port, uri.host);
        Self {
            cluster: cluster.map_or_else(default, str::to_owned),
            scheme: if uri.is_https { "https" } else { "http" },
            authority: uri.authority,
            path: uri.path,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

impl Discovery {
    /// The document's places are those of OpenID Connect Discovery 1.0 §4, which adds to the path of
    /// the issuer, and of RFC 8414 §3.1, which goes before it.
    fn new(
        issuer: &str,
        uri: HttpUri,
        cluster: Option<String>,
        allow_plaintext: bool,
        hosts: Vec<ListedHost>,
    ) -> Self {
        let own = (uri.host.clone(), uri.port);
        let path = uri.path.strip_suffix('/').unwrap_or(&uri.path).to_owned();
        let target = Target::new(uri, cluster.as_deref());
        let at = |path| Target { path, ..target.clone() };
        let places = [
            at(format!("{path}/.well-known/openid-configuration")),
            at(format!("/.well-known/oauth-authorization-server{path}")),
        ];
        Self { issuer: issuer.to_owned(), places, own, cluster, allow_plaintext, hosts }
    }

    /// What to call for this `jwks_uri`.
    ///
    /// # Errors
    ///
    /// Why nothing may be fetched from there, to follow on the URI.
    pub(crate) fn jwks_target(&self, jwks_uri: &str) -> Result<Target, &'static str> {
        if jwks_uri.len() > MAX_URI_BYTES {
            return Err("is too long");
        }
        let uri = HttpUri::parse(jwks_uri)?;
        if !uri.is_https && !self.allow_plaintext {
            return Err("is not an https:// URI, and allowPlaintextJwks is not set");
        }
        let is_own = (uri.host.as_str(), uri.port) == (self.own.0.as_str(), self.own.1);
        let default_port = default_port(uri.is_https);
        let is_listed = self.hosts.iter().any(|ListedHost { host, port }| {
            *host == uri.host && port.unwrap_or(default_port) == uri.port
        });
        if !is_own && !is_listed {
            return Err(
                "is on another host than the issuer; list that host in jwksHosts if it is \
                        trusted with the issuer's keys",
            );
        }
        let cluster = self.cluster.as_deref().filter(|_| is_own);
        Ok(Target::new(uri, cluster))
    }
}

/// Where the discovery document of an issuer may be, in the order in which the filter looks.
///
/// # Errors
///
/// Why nothing can be fetched from there, to follow on the issuer.
#[cfg(not(target_arch = "wasm32"))]
pub fn discovery_places(issuer: &str) -> Result<[Target; 2], &'static str> {
    let uri = HttpUri::parse(issuer)?;
    Ok(Discovery::new(issuer, uri, None, true, Vec::new()).places)
}

/// The fields that say where keys are fetched from, and how long they are trusted.
pub(super) struct Fields {
    /// The URI, and the name of its field.
    uri: Option<(&'static str, String)>,
    cluster: Option<String>,
    allow_plaintext: bool,
    hosts: Option<Vec<ListedHost>>,
    timeout: Duration,
    cache_duration: Duration,
    stale_duration: Duration,
    refetch_cooldown: Duration,
    endpoints: Option<u32>,
}

impl Fields {
    pub(super) fn read(object: &mut Object) -> Result<Self, ConfigError> {
        // Istio accepts both spellings.
        let uri = match (object.string("jwksUri")?, object.string("jwks_uri")?) {
            (Some(_), Some(_)) => {
                return Err(object.error("jwks_uri", "is a second jwksUri; remove it"));
            }
            (None, uri) => uri.map(|uri| ("jwks_uri", uri)),
            (uri, None) => uri.map(|uri| ("jwksUri", uri)),
        };
        let fields = Self {
            uri,
            cluster: object.string("jwksCluster")?,
            allow_plaintext: object.bool("allowPlaintextJwks", false)?,
            hosts: hosts(object)?,
            timeout: object.duration("timeout", DEFAULT_TIMEOUT, ONE_MILLISECOND)?,
            cache_duration: object.duration("cacheDuration", DEFAULT_CACHE_DURATION, ONE_SECOND)?,
            stale_duration: object.duration(
                "staleDuration",
                DEFAULT_STALE_DURATION,
                Duration::ZERO,
            )?,
            refetch_cooldown: object.duration(
                "refetchCooldown",
                DEFAULT_REFETCH_COOLDOWN,
                ONE_SECOND,
            )?,
            endpoints: object
                .optional_count("jwksEndpoints", 1..=MAX_JWKS_ENDPOINTS)?
                .and_then(|endpoints| u32::try_from(endpoints).ok()),
        };
        if fields.timeout > MAX_TIMEOUT {
            return Err(object.error("timeout", "must be at most 1h"));
        }
        Ok(fields)
    }

    /// Whether keys are to be fetched although there are some in the configuration.
    pub(super) fn name_a_uri(&self) -> bool {
        self.uri.is_some()
    }

    /// Refuses what says where keys are, since none are fetched.
    pub(super) fn refuse_place(&self, object: &Object) -> Result<(), ConfigError> {
        let places = [("jwksCluster", self.cluster.is_some()), ("jwksHosts", self.hosts.is_some())];
        match places.iter().find(|(_, is_there)| *is_there) {
            Some((field, _)) => Err(object.error(
                field,
                "has no use where all keys are in \"jwks\"; remove it, or add a jwksUri",
            )),
            None => Ok(()),
        }
    }

    /// The set to fetch for an issuer, or for the template of several.
    pub(super) fn jwks(
        self,
        object: &Object,
        issuer: &str,
        has_tenants: bool,
    ) -> Result<RemoteJwks, ConfigError> {
        let Self { timeout, cache_duration, stale_duration, refetch_cooldown, endpoints, .. } =
            self;
        let source = self.source(object, issuer, has_tenants)?;
        Ok(RemoteJwks {
            source,
            timeout,
            cache_duration,
            stale_duration,
            refetch_cooldown,
            endpoints,
        })
    }

    fn source(
        self,
        object: &Object,
        issuer: &str,
        has_tenants: bool,
    ) -> Result<Source, ConfigError> {
        let Self { uri, cluster, allow_plaintext, hosts, .. } = self;
        let secure = |uri: &HttpUri, field, what| match uri.is_https || allow_plaintext {
            true => Ok(()),
            false => Err(object.error(
                field,
                format!(
                    "{what} over http:// can be replaced on the way; use https://, or set \
                     allowPlaintextJwks: true where the mesh encrypts the call (mutual TLS)"
                ),
            )),
        };
        if let Some((field, uri)) = uri {
            if hosts.is_some() {
                return Err(object.error(
                    "jwksHosts",
                    "is for the jwks_uri that discovery finds; remove it, or jwksUri",
                ));
            }
            let parsed = HttpUri::parse(&uri)
                .map_err(|problem| object.error(field, format!("{uri:?} {problem}")))?;
            secure(&parsed, field, "keys fetched")?;
            if has_tenants {
                tenants::check_template(object.path(), field, &uri)?;
            }
            return Ok(Source::Known(Target::new(parsed, cluster.as_deref())));
        }
        let parsed = HttpUri::parse(issuer).map_err(|problem| {
            object.error(
                "jwksUri",
                format!(
                    "is missing, and cannot be discovered: the issuer {problem}; write the \
                     jwks_uri of the issuer, or put the keys into \"jwks\""
                ),
            )
        })?;
        if parsed.path.contains('?') {
            return Err(object.error(
                "jwksUri",
                "is missing, and cannot be discovered: the issuer holds a query; write the \
                 jwks_uri of the issuer, or put the keys into \"jwks\"",
            ));
        }
        let field = if has_tenants { "issuers" } else { "issuer" };
        secure(&parsed, field, "a discovery document fetched")?;
        let hosts = hosts.unwrap_or_default();
        let discovery = Discovery::new(issuer, parsed, cluster, allow_plaintext, hosts);
        Ok(Source::Discovery(discovery))
    }
}

/// Reads `jwksHosts`: hosts, with a port unless it is the scheme's.
fn hosts(object: &mut Object) -> Result<Option<Vec<ListedHost>>, ConfigError> {
    let Some(texts) = object.optional_strings("jwksHosts")? else { return Ok(None) };
    let path = object.path().member("jwksHosts");
    let read = |(index, text): (usize, &String)| {
        let (host, port) = split_port(text);
        let number = port.map(port_number);
        match number {
            Some(None) => None,
            number => is_host(host)
                .then(|| ListedHost { host: host.to_ascii_lowercase(), port: number.flatten() }),
        }
        .ok_or_else(|| {
            ConfigError::new(
                &path.item(index),
                format!(
                    "{text:?} is not a host; write one such as \"keys.example.com\", with a port \
                     if it is not that of the scheme"
                ),
            )
        })
    };
    texts.iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// `cacheDuration` unless it is configured.
pub const DEFAULT_CACHE_DURATION: Duration = Duration::from_mins(10);
pub(super) const DEFAULT_REFETCH_COOLDOWN: Duration = Duration::from_secs(10);
pub(super) const DEFAULT_STALE_DURATION: Duration = Duration::from_hours(1);
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The host takes milliseconds as 32 bits. A longer time, truncated, may become zero: no timeout.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// More would need more answers than fit into the wait.
pub(super) const MAX_JWKS_ENDPOINTS: usize = 16;
const MAX_URI_BYTES: usize = 2048;
const ONE_MILLISECOND: Duration = Duration::from_millis(1);
const ONE_SECOND: Duration = Duration::from_secs(1);
