//! The Envoys that are compared: all do the same but for the filter that checks tokens.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::checkout;
use lab::proxy::{self, Proxy};
use lab::resources::{self, Balancer, TYPE};
use lab::token::{AUDIENCE, ISSUER};
use serde_json::{Value, json};

use super::cpus::Cpus;
use super::load::Load;
use super::measure::{self, Memory};
use super::tokens::{self, REJECTED_PATH};

/// An Envoy with this filter, or none, before its router.
pub(super) struct System {
    pub(super) name: String,
    filter: Option<Value>,
}

impl System {
    pub(super) fn new(name: impl Into<String>, filter: impl Into<Option<Value>>) -> Self {
        let (name, mut filter) = (name.into(), filter.into());
        // None shares its VM with another.
        if let Some(id) = filter.as_mut().and_then(|filter| filter.pointer_mut(VM_ID)) {
            *id = json!(name);
        }
        Self { name, filter }
    }

    fn listener(&self) -> Value {
        let routes = [
            direct(&json!({ "path": REJECTED_PATH }), 401, "rejected"),
            resources::route_to(UPSTREAM),
        ];
        let manager = json!({ "route_config": resources::route_config(&routes) });
        resources::listener(&self.name, self.filter.as_slice(), &manager)
    }
}

/// An Envoy under load, with a listener for each of its systems.
pub(super) struct Target {
    envoy: Proxy,
    directory: PathBuf,
    addresses: BTreeMap<String, SocketAddr>,
    /// How many tokens of each file each system has seen, since the next run goes on from there.
    pub(super) sent: BTreeMap<(String, PathBuf), u64>,
}

impl Target {
    pub(super) fn start<'s>(
        logs: &Path,
        systems: impl IntoIterator<Item = &'s System>,
        upstream: SocketAddr,
        workers: u32,
        cpus: &Cpus,
    ) -> Result<Self> {
        let systems: Vec<_> = systems.into_iter().collect();
        let directory = match *systems {
            [alone] => logs.join(alone.name.replace(' ', "-").replace(':', "")),
            _ => logs.join("together"),
        };
        let listeners: Vec<_> = systems.iter().map(|system| system.listener()).collect();
        let cluster = resources::cluster(UPSTREAM, &[upstream], Balancer::RoundRobin);
        let bootstrap = resources::bootstrap(&listeners, &[cluster]);
        let envoy = cpus.start_under_test(|| start(&directory, &bootstrap, workers))?;
        let addresses = envoy.listeners()?.into_iter().collect();
        Ok(Self { envoy, directory, addresses, sent: BTreeMap::new() })
    }

    pub(super) fn systems(&self) -> impl Iterator<Item = &str> {
        self.addresses.keys().map(String::as_str)
    }

    pub(super) fn address(&self, system: &str) -> Result<SocketAddr> {
        self.addresses.get(system).copied().with_context(|| format!("{system} does not run"))
    }

    pub(super) fn ensure_runs(&mut self) -> Result<()> {
        self.envoy.ensure_runs()
    }

    pub(super) fn cpu_time(&self) -> Result<Duration> {
        measure::cpu_time(self.envoy.id())
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        Memory::of(&self.envoy)
    }

    /// How an error about an answer begins.
    pub(super) fn told(&self, system: &str, load: &Load) -> String {
        let log = proxy::log(&self.directory);
        format!("{system}, {} (see {}): the answer", load.name, log.display())
    }
}

/// What answers every request, and publishes the keys.
pub(super) struct Upstream {
    _envoy: Proxy,
    address: SocketAddr,
}

impl Upstream {
    pub(super) fn start(logs: &Path, cpus: &Cpus) -> Result<Self> {
        let keys = tokens::keys(1).to_string();
        let routes = [
            direct(&json!({ "path": "/jwks" }), 200, &keys),
            direct(&json!({ "prefix": "/" }), 200, "ok"),
        ];
        let manager = json!({ "route_config": resources::route_config(&routes) });
        let listener = resources::listener(LISTENER, &[], &manager);
        let bootstrap = resources::bootstrap(&[listener], &[]);
        let directory = logs.join(UPSTREAM);
        let envoy = cpus.start_beside(|| start(&directory, &bootstrap, 1))?;
        let address = envoy.listeners()?.get(LISTENER).copied();
        Ok(Self { address: address.context("Envoy has no listener")?, _envoy: envoy })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn start(directory: &Path, bootstrap: &Value, workers: u32) -> Result<Proxy> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    Proxy::start(directory, bootstrap, &["--concurrency", &workers.to_string()])
}

fn direct(matched: &Value, status: u16, body: &str) -> Value {
    json!({
        "match": matched,
        "direct_response": { "status": status, "body": { "inline_string": body } },
    })
}

/// Those of the tables.
pub(super) fn compared() -> Result<Vec<System>> {
    let cache = json!({ "jwt_cache_config": { "jwt_cache_size": CACHED_TOKENS } });
    Ok(vec![
        System::new(PLAIN, None),
        System::new(EMPTY_WASM, empty_wasm()?),
        System::new(JWT_AUTHN, jwt_authn(&json!({}))),
        System::new(JWT_AUTHN_CACHE, jwt_authn(&cache)),
        System::new(MESH_JWT, mesh_jwt(&[provider(1)], 1, json!({}))?),
        System::new(
            MESH_JWT_UNTOLD,
            mesh_jwt(&[provider(1)], 1, json!({ "filterState": "none" }))?,
        ),
        System::new(
            MESH_JWT_NO_CACHE,
            mesh_jwt(&[provider(1)], 1, json!({ "tokenCache": { "maxEntries": 0 } }))?,
        ),
        System::new(MESH_JWT_NO_HOST, mesh_jwt(&[provider(1)], 1, json!({ "hostCrypto": "off" }))?),
    ])
}

/// What any wasm filter costs: a module that is told of each request, and does nothing.
pub(super) fn empty_wasm() -> Result<Value> {
    let mut filter = mesh_jwt(&[], 1, json!({}))?;
    let code = filter.pointer_mut("/typed_config/config/vm_config/code");
    *code.context("a filter has code")? = json!({ "local": { "inline_bytes": EMPTY_MODULE } });
    Ok(filter)
}

pub(super) fn jwt_authn(options: &Value) -> Value {
    let headers =
        CLAIMS.map(|(header, claim)| json!({ "header_name": header, "claim_name": claim }));
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "remote_jwks": {
            "http_uri": { "uri": "http://upstream/jwks", "cluster": UPSTREAM, "timeout": "5s" },
            "async_fetch": {},
        },
        "claim_to_headers": headers,
        "forward": false,
    });
    extend(&mut provider, options);
    json!({
        "name": "token",
        "typed_config": {
            "@type": format!("{TYPE}/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
            "providers": { "wealist": provider },
            "rules": [{
                "match": { "prefix": "/service-1/" },
                "requires": { "provider_name": "wealist" },
            }],
        },
    })
}

/// With rules for so many services, of which the last is asked for.
pub(super) fn mesh_jwt(providers: &[Value], rules: usize, options: Value) -> Result<Value> {
    Ok(mesh_jwt_of(&checkout::find_module()?, providers, rules, &options))
}

/// The same with another module.
pub(super) fn mesh_jwt_of(
    module: &Path,
    providers: &[Value],
    rules: usize,
    options: &Value,
) -> Value {
    let rule = |number| json!({ "match": { "paths": [format!("/service-{number}/**")] } });
    let rules: Vec<_> = (1..=rules).map(rule).collect();
    let mut configuration = json!({ "providers": providers, "rules": rules });
    extend(&mut configuration, options);
    resources::recommended_filter(MESH_JWT, module, &configuration)
}

/// The issuer of the tokens, with so many keys.
pub(super) fn provider(keys: usize) -> Value {
    provider_named("wealist", ISSUER, keys)
}

/// With its keys in the configuration: for a bad signature under a known `kid` it would else look for a
/// new key, and let the request wait, which is not what a check costs.
pub(super) fn provider_named(name: &str, issuer: &str, keys: usize) -> Value {
    let headers = CLAIMS.map(|(header, claim)| json!({ "header": header, "claim": claim }));
    json!({
        "name": name,
        "issuer": issuer,
        "audiences": [AUDIENCE],
        "jwks": tokens::keys(keys),
        "outputClaimToHeaders": headers,
        "forwardOriginalToken": false,
    })
}

fn extend(object: &mut Value, options: &Value) {
    for (name, value) in options.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
}

pub(super) const PLAIN: &str = "plain";
pub(super) const EMPTY_WASM: &str = "empty wasm";
pub(super) const JWT_AUTHN: &str = "jwt_authn";
pub(super) const JWT_AUTHN_CACHE: &str = "jwt_authn + cache";
pub(super) const MESH_JWT: &str = "mesh-jwt";
pub(super) const MESH_JWT_UNTOLD: &str = "mesh-jwt, filterState: none";
pub(super) const MESH_JWT_NO_CACHE: &str = "mesh-jwt, no cache";
const MESH_JWT_NO_HOST: &str = "mesh-jwt, hostCrypto: off";
const CACHED_TOKENS: u32 = 1000;
/// How many workers there are where it is asked what each of them takes, and of which systems.
pub(super) const CROWD: u32 = 4;
pub(super) const CROWDED: [&str; 3] = [EMPTY_WASM, JWT_AUTHN_CACHE, MESH_JWT];
pub(super) const CLAIMS: [(&str, &str); 3] =
    [("X-User-Id", "sub"), ("X-Scopes", "scope"), ("X-Tenant", "tenant")];
const UPSTREAM: &str = "upstream";
/// Where a wasm filter has it.
const VM_ID: &str = "/typed_config/config/vm_config/vm_id";
const LISTENER: &str = "listener";
/// ```wat
/// (memory (export "memory") 1)
/// (func (export "_initialize"))
/// (func (export "proxy_abi_version_0_2_1"))
/// (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
/// (func (export "proxy_on_context_create") (param i32 i32))
/// (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
/// ```
const EMPTY_MODULE: &str = "\
    AGFzbQEAAAABFQRgAABgAX8Bf2ACf38AYAN/f38BfwMGBQAAAQIDBQMBAAEHggEGBm1lbW9yeQIAC19pbml0aWFs\
    aXplAAAXcHJveHlfYWJpX3ZlcnNpb25fMF8yXzEAARhwcm94eV9vbl9tZW1vcnlfYWxsb2NhdGUAAhdwcm94eV9v\
    bl9jb250ZXh0X2NyZWF0ZQADGHByb3h5X29uX3JlcXVlc3RfaGVhZGVycwAEChUFAgALAgALBQBBgAgLAgALBABB\
    AAs=";
