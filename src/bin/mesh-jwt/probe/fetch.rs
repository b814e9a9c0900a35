//! One fetch: a new connection to one address, whatever else the host resolves to.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use mesh_jwt::jose::MAX_JWKS_BYTES;
use mesh_jwt::jwks::{FetchError, JwksResponse};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::{ACCEPT, CACHE_CONTROL, CONNECTION};
use ureq::http::uri::{Authority, Scheme};
use ureq::tls::{PemItem, RootCerts, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

use super::arguments::{Args, Header, Resolve};
use crate::http::{self, MAX_BODY_BYTES};

/// Fetches as the filter does: without redirects, and no more than it would read.
pub(super) struct Client {
    config: Config,
    /// By address; each reads the system's certificates when it is new.
    agents: BTreeMap<SocketAddr, Agent>,
    headers: Vec<Header>,
    /// Who is sent those: the origins that the command line names, since they may be credentials.
    named: Vec<Origin>,
    resolve: Vec<Resolve>,
}

/// Scheme and authority.
type Origin = (Option<Scheme>, Option<Authority>);

/// What one fetch brought.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) cache_control: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn new(args: &Args) -> Result<Self> {
        let roots = match &args.cacert {
            Some(file) => RootCerts::Specific(Arc::new(certificates(file)?)),
            None => RootCerts::PlatformVerifier,
        };
        let config = http::config(roots, args.timeout);
        let header =
            |text: &String| text.parse().map_err(|problem: String| anyhow!("--header: {problem}"));
        let headers = args.header.iter().map(header).collect::<Result<_>>()?;
        let issuers = args.issuer.iter().filter_map(|issuer| issuer.parse().ok());
        let named = args.urls.iter().cloned().chain(issuers).map(|url| origin(&url)).collect();
        let resolve = args.resolve.clone();
        Ok(Self { config, agents: BTreeMap::new(), headers, named, resolve })
    }

    /// Every address that the host of a URL resolves to, each once, or why there is none.
    pub(super) fn addresses(&self, url: &Uri) -> Result<Vec<SocketAddr>, String> {
        let host = url.host().unwrap_or_default();
        let is_https = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let mut given = self.resolve.iter().filter_map(|resolve| resolve.of(host, port)).peekable();
        let found: Vec<SocketAddr> = if given.peek().is_some() {
            given.flatten().collect()
        } else {
            let resolved = format!("{host}:{port}").to_socket_addrs();
            resolved
                .map_err(|error| format!("the host {host} does not resolve: {error}"))?
                .collect()
        };
        let mut addresses = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(format!("the host {host} resolves to no address"));
        }
        Ok(addresses)
    }

    /// Fetches once from this address; also how long it took, the connection included.
    pub(super) fn get(
        &mut self,
        url: &Uri,
        from: SocketAddr,
    ) -> (Duration, Result<Response, String>) {
        let begin = Instant::now();
        let response = self.try_get(url, from).map_err(|error| problem(&error));
        (begin.elapsed(), response)
    }

    fn try_get(&mut self, url: &Uri, from: SocketAddr) -> Result<Response, Error> {
        let agent = self.agents.entry(from).or_insert_with(|| {
            Agent::with_parts(self.config.clone(), DefaultConnector::default(), Pinned(from))
        });
        let mut request = agent
            .get(url)
            .header(ACCEPT, "application/jwk-set+json, application/json")
            .header(CONNECTION, "close");
        if let Some(headers) = request.headers_mut()
            && self.named.contains(&origin(url))
        {
            for Header { name, value } in &self.headers {
                headers.insert(name, value.clone());
            }
        }
        let mut response = request.call()?;
        let cache_control = response.headers().get(CACHE_CONTROL);
        Ok(Response {
            status: response.status().as_u16(),
            cache_control: cache_control.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec()?,
        })
    }
}

impl Response {
    /// As the filter's core takes it.
    pub(super) fn for_core(&self) -> JwksResponse<'_> {
        let Self { status, cache_control, body } = self;
        JwksResponse { status: *status, body, cache_control: cache_control.as_deref() }
    }
}

/// A resolver that knows one address. Host and SNI are those of the URL.
#[derive(Debug)]
struct Pinned(SocketAddr);

impl Resolver for Pinned {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

fn origin(url: &Uri) -> Origin {
    (url.scheme().cloned(), url.authority().cloned())
}

fn certificates(file: &Path) -> Result<Vec<ureq::tls::Certificate<'static>>> {
    let name = file.display();
    let pem = fs::read(file).with_context(|| format!("--cacert {name} cannot be read"))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        match item.with_context(|| format!("--cacert {name} is no PEM file"))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            _ => bail!("--cacert {name} holds something other than certificates; take it out"),
        }
    }
    if certificates.is_empty() {
        bail!(
            "--cacert {name} holds no certificate; it must begin with -----BEGIN CERTIFICATE-----"
        );
    }
    Ok(certificates)
}

/// Why nothing came, in the words of the filter's log where it has some.
fn problem(error: &Error) -> String {
    match error {
        Error::Timeout(_) => FetchError::Timeout.to_string(),
        Error::BodyExceedsLimit(_) => {
            format!("the document has more than {MAX_JWKS_BYTES} bytes, at most that many are read")
        }
        Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "the connection is refused".to_owned(),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof => FetchError::Reset.to_string(),
            _ => with_hint(error.to_string()),
        },
        error => with_hint(error.to_string()),
    }
}

fn with_hint(problem: String) -> String {
    if problem.contains("No CA certificates") {
        "this system has no certificate authorities; name a PEM file of them with --cacert"
            .to_owned()
    } else if problem.contains("certificate") {
        format!("{problem}; if it is of an authority of your own, name that with --cacert")
    } else if problem.contains("InvalidContentType") {
        "the answer is not TLS; write http:// if this port speaks plain HTTP".to_owned()
    } else {
        problem
    }
}
