//! `providers`: each a `JwtProvider`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mesh_jwt::config::document::{
    FromHeader, OutputClaimToHeader, ProviderConfig, TokenCacheConfig,
};
use serde_json::Value;

use super::super::reader::{Fault, Field};
use super::super::report::Effect;
use super::super::rule::{Requirement, claim_header, label, unique};

/// The providers by their names in the source.
pub(super) struct Providers<'s> {
    all: BTreeMap<String, Known<'s>>,
    token_cache: Option<TokenCacheConfig>,
    clear_route_cache: bool,
}

struct Known<'s> {
    field: Field<'s>,
    provider: ProviderConfig,
    /// The only subject that it takes.
    subject: Option<String>,
    /// The audiences that rules take in place of its own, if that is more than those.
    widened: Option<Vec<String>>,
}

/// What a token of one provider must be like beside.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Extra {
    /// One of these, if there are any.
    pub(super) audiences: Vec<String>,
    pub(super) subject: Option<String>,
}

/// What becomes of them all.
pub(super) struct Finished {
    pub(super) providers: Vec<ProviderConfig>,
    pub(super) token_cache: Option<TokenCacheConfig>,
    pub(super) clear_route_cache: bool,
}

impl<'s> Providers<'s> {
    pub(super) fn read(filter: &Field<'s>) -> Result<Self, Fault> {
        let fields = filter.member("providers").map(|providers| providers.fields());
        let mut providers =
            Self { all: BTreeMap::new(), token_cache: None, clear_route_cache: false };
        for (name, field) in fields.unwrap_or_default() {
            let known = providers.read_one(&name, field)?;
            providers.all.insert(name, known);
        }
        if providers.all.is_empty() {
            let mend = "has no providers, and mesh-jwt needs one; add one, or drop the filter";
            return Err(filter.fault(mend));
        }
        Ok(providers)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// The provider of this name as the result calls it, and what it requires by itself.
    pub(super) fn named(&self, name: &Field<'_>) -> Result<(String, Extra), Fault> {
        let text = name.text()?;
        let known = self.known(name, &text)?;
        Ok((known.name(), known.own_extra()))
    }

    /// The same with other audiences than its own.
    pub(super) fn with_audiences(
        &self,
        name: &Field<'_>,
        audiences: Vec<String>,
    ) -> Result<(String, Extra), Fault> {
        let text = name.text()?;
        let known = self.known(name, &text)?;
        Ok((known.name(), known.extra(audiences)))
    }

    /// A good token of any provider.
    pub(super) fn of_any(&self, place: &Field<'_>) -> Result<Requirement, Fault> {
        let mut extras = self.all.values().map(Known::own_extra);
        let first = extras.next().unwrap_or_default();
        if extras.any(|extra| extra != first) {
            return Err(place.fault(
                "takes tokens of any provider, of which some have subjects, or audiences that \
                 another rule adds to, and a rule has one list of each; give all providers the \
                 same ones, or name one provider here",
            ));
        }
        Ok(first.required_of(Vec::new()))
    }

    /// Lets rules take tokens of a provider for these audiences. All of them have to be known before
    /// requirements are asked for.
    pub(super) fn widen(&mut self, name: &str, audiences: &[String]) {
        let Some(known) = self.all.get_mut(name) else { return };
        let own = &known.provider.audiences;
        if own.is_empty() || audiences.iter().all(|audience| own.contains(audience)) {
            return;
        }
        let all = known.widened.get_or_insert_with(|| own.clone());
        all.extend(audiences.iter().filter(|audience| !own.contains(audience)).cloned());
        all.dedup();
    }

    /// Where each comes from, and what becomes of it.
    pub(super) fn finish(self) -> (Vec<Field<'s>>, Finished) {
        let (mut places, mut providers) = (Vec::new(), Vec::new());
        for known in self.all.into_values() {
            let audiences = known.widened.unwrap_or(known.provider.audiences);
            providers.push(ProviderConfig { audiences, ..known.provider });
            places.push(known.field);
        }
        let (token_cache, clear_route_cache) = (self.token_cache, self.clear_route_cache);
        (places, Finished { providers, token_cache, clear_route_cache })
    }

    fn known(&self, name: &Field<'_>, text: &str) -> Result<&Known<'s>, Fault> {
        self.all.get(text).ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            name.fault(format!("there is no provider {text:?}; write one of {}", names.join(", ")))
        })
    }

    fn read_one(&mut self, name: &str, field: Field<'s>) -> Result<Known<'s>, Fault> {
        let text = |member: &str| field.member(member).map(|member| member.text()).transpose();
        let Some(issuer) = text("issuer")?.filter(|issuer| !issuer.is_empty()) else {
            return Err(field.fault(
                "has no issuer, and mesh-jwt takes tokens of issuers that it knows only; write the \
                 exact iss of its tokens as issuer",
            ));
        };
        let is_taken =
            |own: &str| self.all.values().any(|known| known.provider.name.as_deref() == Some(own));
        let own_name = unique(&label(name), is_taken);
        if own_name != name {
            field.differ(format!("is called {own_name:?} in metrics, logs and rules"));
        }
        let max_lifetime = text("max_lifetime")?;
        if let Some(lifetime) = field.member("max_lifetime") {
            lifetime.differ("counts from iat where the token has one, and from now otherwise");
        }
        let require_expiration = field.is_set("require_expiration")? || max_lifetime.is_some();
        let mut provider = ProviderConfig {
            name: Some(own_name),
            issuer: Some(issuer),
            audiences: field.texts("audiences")?,
            clock_skew: Some(format!("{}s", clock_skew(&field)?)),
            require_expiration: Some(require_expiration),
            max_lifetime,
            forward_original_token: Some(field.is_set("forward")?),
            output_payload_to_header: text("forward_payload_header")?.filter(|h| !h.is_empty()),
            output_claim_to_headers: claim_headers(&field)?,
            ..ProviderConfig::default()
        };
        locations(&field, &mut provider)?;
        keys(&field, &mut provider)?;
        self.read_caches(&field)?;
        let subject = subject(&field)?;
        metadata(&field, &mut provider)?;
        Ok(Known { field, provider, subject, widened: None })
    }

    fn read_caches(&mut self, field: &Field<'_>) -> Result<(), Fault> {
        self.clear_route_cache |= field.is_set("clear_route_cache")?;
        let Some(cache) = field.member("jwt_cache_config") else { return Ok(()) };
        let size = cache.member("jwt_cache_size").map_or(Ok(0), |size| size.number())?;
        let size = if size == 0 { DEFAULT_CACHE_SIZE } else { size };
        let known = self.token_cache.as_ref().and_then(|cache| cache.max_entries);
        // Each provider has a cache of its own there.
        let all = known.unwrap_or(0).saturating_add(u32::try_from(size).unwrap_or(u32::MAX));
        self.token_cache = Some(TokenCacheConfig { max_entries: Some(all) });
        if let Some(longest) = cache.member("jwt_max_token_size") {
            longest.lose(
                Effect::None,
                "the filter remembers verified tokens of any length that it takes",
                "nothing has to be done",
            );
        }
        Ok(())
    }
}

impl Known<'_> {
    fn name(&self) -> String {
        self.provider.name.clone().unwrap_or_default()
    }

    /// What the provider asks for by itself, beyond what its part of the result does.
    fn own_extra(&self) -> Extra {
        let own = self.widened.as_ref().map(|_| self.provider.audiences.clone());
        self.extra(own.unwrap_or_default())
    }

    fn extra(&self, audiences: Vec<String>) -> Extra {
        Extra { audiences, subject: self.subject.clone() }
    }
}

impl Extra {
    pub(super) fn required_of(self, providers: Vec<String>) -> Requirement {
        let claims = self.subject.map(|subject| ("sub".to_owned(), vec![subject]));
        Requirement { providers, audiences: self.audiences, claims: claims.into_iter().collect() }
    }
}

fn clock_skew(field: &Field<'_>) -> Result<u64, Fault> {
    let skew = field.member("clock_skew_seconds").map_or(Ok(0), |skew| skew.number())?;
    Ok(if skew == 0 { DEFAULT_CLOCK_SKEW } else { skew })
}

fn claim_headers(field: &Field<'_>) -> Result<Vec<OutputClaimToHeader>, Fault> {
    let read = |output: &Field<'_>| {
        let text = |name: &str| match output.member(name) {
            Some(text) => text.text(),
            None => Err(output.fault(format!("has no {name}; write one"))),
        };
        let claim = text("claim_name")?;
        // A slash at the beginning makes a JSON Pointer here.
        let claim = match claim.strip_prefix('/') {
            Some(rest) => format!("/~1{}", rest.replace('~', "~0").replace('/', "~1")),
            None => claim,
        };
        Ok(claim_header(text("header_name")?, claim))
    };
    field.list("claim_to_headers")?.iter().map(read).collect()
}

fn locations(field: &Field<'_>, provider: &mut ProviderConfig) -> Result<(), Fault> {
    for header in field.list("from_headers")? {
        let text = |name: &str| header.member(name).map(|text| text.text()).transpose();
        let prefix = text("value_prefix")?.unwrap_or_default();
        provider.from_headers.push(FromHeader {
            name: text("name")?.unwrap_or_default(),
            prefix: Some(prefix).filter(|prefix| !prefix.is_empty()),
        });
    }
    provider.from_cookies = field.texts("from_cookies")?;
    provider.from_params = field.texts("from_params")?;
    let is_anywhere = provider.from_headers.is_empty()
        && provider.from_cookies.is_empty()
        && provider.from_params.is_empty();
    if is_anywhere {
        take_default_locations(provider);
    }
    if provider.forward_original_token != Some(true) && !provider.from_cookies.is_empty() {
        field.differ("the token is removed from cookies, too; jwt_authn leaves it there");
    }
    Ok(())
}

/// Where `jwt_authn` looks for tokens unless it is told otherwise.
pub(in super::super) fn take_default_locations(provider: &mut ProviderConfig) {
    let (name, prefix) = ("Authorization".to_owned(), Some("Bearer ".to_owned()));
    provider.from_headers = vec![FromHeader { name, prefix }];
    provider.from_params = vec!["access_token".to_owned()];
}

fn keys(field: &Field<'_>, provider: &mut ProviderConfig) -> Result<(), Fault> {
    match (field.member("remote_jwks"), field.member("local_jwks")) {
        (Some(remote), None) => remote_keys(&remote, provider),
        (None, Some(local)) => {
            provider.jwks = Some(Value::String(local_keys(&local)?));
            Ok(())
        }
        (None, None) => Err(field.fault("has no keys; write remote_jwks or local_jwks")),
        (Some(_), Some(local)) => {
            Err(local.fault("is a second source of keys; remove it, or remote_jwks"))
        }
    }
}

fn remote_keys(remote: &Field<'_>, provider: &mut ProviderConfig) -> Result<(), Fault> {
    let uri = remote.member("http_uri");
    let Some((http, uri)) = uri.and_then(|http| http.member("uri").map(|uri| (http, uri))) else {
        return Err(remote.fault("has no http_uri.uri; write where the keys are"));
    };
    let text = uri.text()?;
    if text.starts_with("http://") {
        provider.allow_plaintext_jwks = Some(true);
        uri.differ(
            "keys come over http://, which takes allowPlaintextJwks: the mesh must encrypt it",
        );
    }
    provider.jwks_uri = Some(text);
    provider.jwks_cluster = http.member("cluster").map(|cluster| cluster.text()).transpose()?;
    provider.timeout = http.member("timeout").map(|timeout| duration(&timeout)).transpose()?;
    provider.cache_duration =
        remote.member("cache_duration").map(|time| duration(&time)).transpose()?;
    if let Some(fetch) = remote.member("async_fetch") {
        fetch.settle();
        fetch.differ(
            "keys are always fetched ahead, once for all workers; the listener does not wait for \
             them, requests do for jwksWaitTimeout",
        );
    }
    if let Some(retry) = remote.member("retry_policy") {
        retry.settle();
        retry.differ("fetches that fail are always tried again, ever less often");
    }
    Ok(())
}

fn local_keys(local: &Field<'_>) -> Result<String, Fault> {
    if let Some(text) = local.member("inline_string") {
        return text.text();
    }
    if let Some(bytes) = local.member("inline_bytes") {
        let decoded = STANDARD.decode(bytes.text()?).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        return text.ok_or_else(|| bytes.fault("is not base64 of a text; use inline_string"));
    }
    if let Some(name) = local.member("filename") {
        let path = name.text()?;
        name.differ("the keys are in the configuration now: a changed file changes nothing");
        return std::fs::read_to_string(Path::new(&path)).map_err(|error| {
            name.fault(format!(
                "{path} cannot be read here ({error}); put what it holds into inline_string"
            ))
        });
    }
    Err(local.fault("holds no keys that can be read here; put them into inline_string"))
}

/// `5s`, or its seconds and nanoseconds.
fn duration(field: &Field<'_>) -> Result<String, Fault> {
    if !field.is_map() {
        return field.text();
    }
    let part = |name: &str| field.member(name).map_or(Ok(0), |part| part.number());
    let (seconds, nanos) = (part("seconds")?, part("nanos")?);
    Ok(if nanos == 0 { format!("{seconds}s") } else { format!("{seconds}.{nanos:09}s") })
}

fn subject(field: &Field<'_>) -> Result<Option<String>, Fault> {
    let Some(subjects) = field.member("subjects") else { return Ok(None) };
    let is_exact = !subjects.is_set("ignore_case")?;
    if let Some(exact) = subjects.member("exact").filter(|_| is_exact) {
        return exact.text().map(Some);
    }
    subjects.lose(
        Effect::Looser,
        "claims are compared as a whole, so that every subject of this issuer is taken",
        "have rules name the subjects, as claims: {sub: [...]}, or the service look at them",
    );
    Ok(None)
}

fn metadata(field: &Field<'_>, provider: &mut ProviderConfig) -> Result<(), Fault> {
    for name in ["payload_in_metadata", "header_in_metadata", "failed_status_in_metadata"] {
        if let Some(metadata) = field.member(name) {
            metadata.lose(
                Effect::Unknown,
                "a wasm filter writes no dynamic metadata, and whoever reads it finds nothing",
                "hand claims on with outputClaimToHeaders or outputClaimToFilterState, and have its \
                 readers (rbac, rate limits, logs, routes) read those",
            );
        }
    }
    if let Some(normal) = field.member("normalize_payload_in_metadata") {
        provider.space_delimited_claims = normal.texts("space_delimited_claims")?;
    }
    if field.is_set("pad_forward_payload_header")?
        && let Some(padded) = field.member("pad_forward_payload_header")
    {
        padded.lose(
            Effect::None,
            "the payload comes in base64url without padding",
            "have the service decode it so",
        );
    }
    Ok(())
}

/// Those of Envoy.
pub(in super::super) const DEFAULT_CLOCK_SKEW: u64 = 60;
const DEFAULT_CACHE_SIZE: u64 = 100;
