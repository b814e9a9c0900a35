//! Where to ask: from what the command line names to addresses.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use mesh_jwt::config::discovery_places;
use serde_json::Value;
use ureq::http::Uri;

use super::arguments::url;
use super::fetch::{Client, Response};

/// A JWK Set's URL and the addresses of its host.
pub(super) struct Target {
    pub(super) url: Uri,
    /// The discovery document that named it.
    pub(super) discovered_by: Option<Uri>,
    pub(super) addresses: Vec<SocketAddr>,
    /// What the first addresses answered already, when it was not known yet what is there.
    pub(super) answered: Vec<Fetched>,
    /// What else there is to say.
    pub(super) notes: Vec<String>,
}

/// A fetch that is done: how long it took, and what it brought.
pub(super) type Fetched = (Duration, Result<Response, String>);

/// Nothing can be asked there.
pub(super) struct Unknown {
    pub(super) url: String,
    pub(super) problem: String,
}

impl Target {
    /// The target of a URL, which is that of a JWK Set or of a discovery document.
    pub(super) fn of_url(client: &mut Client, from: &Uri) -> Result<Self, Unknown> {
        let (addresses, answered) = ask_first(client, from)?;
        let document = document(&answered).filter(|document| document.get("keys").is_none());
        match document.as_ref().and_then(jwks_uri) {
            Some(named) => Self::discovered(client, from, named),
            None => Ok(Self::known(from.clone(), addresses, answered)),
        }
    }

    /// The target that an issuer's discovery document names, in the first place that has one.
    pub(super) fn of_issuer(client: &mut Client, issuer: &str) -> Result<Self, Unknown> {
        let unknown = |problem| Unknown { url: issuer.to_owned(), problem };
        let places = discovery_places(issuer).map_err(|problem| {
            unknown(format!("the issuer {problem}, so nothing is discovered"))
        })?;
        let mut problems = Vec::new();
        for place in places {
            let place = url(&place.to_string()).map_err(unknown)?;
            let (_, answered) = ask_first(client, &place)?;
            let document = document(&answered);
            let named =
                document.as_ref().and_then(|document| Some((document, jwks_uri(document)?)));
            let Some((document, named)) = named else {
                problems.push(format!("{place}: {}", why_no_document(&answered)));
                continue;
            };
            let mut target = Self::discovered(client, &place, named)?;
            let said = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
            if said != issuer {
                target.notes.push(format!(
                    "the discovery document is of the issuer {said:?}, and the filter takes it only \
                     if issuer is written exactly so"
                ));
            } else if target.url.authority() != place.authority() {
                target.notes.push(format!(
                    "the keys are on another host than the issuer; the filter fetches them from \
                     there only if jwksHosts lists {}",
                    target.url.authority().map_or("", |authority| authority.as_str())
                ));
            }
            return Ok(target);
        }
        Err(unknown(format!("no discovery document names a jwks_uri ({})", problems.join("; "))))
    }

    fn known(url: Uri, addresses: Addresses, answered: Vec<Fetched>) -> Self {
        let Addresses { reachable: addresses, notes } = addresses;
        Self { url, discovered_by: None, addresses, answered, notes }
    }

    fn discovered(client: &mut Client, by: &Uri, named: &str) -> Result<Self, Unknown> {
        let unknown = |problem| Unknown { url: by.to_string(), problem };
        let url = url(named).map_err(|problem| {
            unknown(format!("its jwks_uri {named:?} is of no use: {problem}"))
        })?;
        let addresses = Addresses::of(client, &url)
            .map_err(|problem| unknown(format!("its jwks_uri is {url}, and {problem}")))?;
        let target = Self::known(url, addresses, Vec::new());
        Ok(Self { discovered_by: Some(by.clone()), ..target })
    }
}

/// The addresses of a host to which there is a way from here. Many hosts have IPv6 addresses, and many
/// pods no IPv6: that is no failure of the issuer's.
struct Addresses {
    reachable: Vec<SocketAddr>,
    /// Which ones were left out.
    notes: Vec<String>,
}

impl Addresses {
    fn of(client: &Client, url: &Uri) -> Result<Self, String> {
        let all = client.addresses(url)?;
        let (reachable, rest): (Vec<_>, Vec<_>) =
            all.iter().copied().partition(|address| find_route(*address).is_ok());
        if reachable.is_empty() {
            return Ok(Self { reachable: all, notes: Vec::new() });
        }
        let note = |address| format!("{address} is left out: there is no route to it from here");
        Ok(Self { reachable, notes: rest.iter().map(note).collect() })
    }
}

/// Has the kernel look for a route; nothing is sent.
fn find_route(to: SocketAddr) -> io::Result<()> {
    let any_port = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any_port)?.connect(to)
}

/// Asks the addresses of a URL until one answers.
fn ask_first(client: &mut Client, url: &Uri) -> Result<(Addresses, Vec<Fetched>), Unknown> {
    let addresses = Addresses::of(client, url);
    let addresses = addresses.map_err(|problem| Unknown { url: url.to_string(), problem })?;
    let mut answered = Vec::new();
    for address in &addresses.reachable {
        answered.push(client.get(url, *address));
        if answered.last().is_some_and(|(_, result)| result.is_ok()) {
            break;
        }
    }
    Ok((addresses, answered))
}

/// The JSON object of the last answer.
fn document(answered: &[Fetched]) -> Option<Value> {
    let (_, result) = answered.last()?;
    let response = result.as_ref().ok().filter(|response| response.status == 200)?;
    serde_json::from_slice(&response.body).ok().filter(Value::is_object)
}

fn jwks_uri(document: &Value) -> Option<&str> {
    document.get("jwks_uri").and_then(Value::as_str)
}

fn why_no_document(answered: &[Fetched]) -> String {
    match answered.last() {
        Some((_, Ok(response))) if response.status != 200 => {
            format!("the answer has status {}", response.status)
        }
        Some((_, Err(problem))) => problem.clone(),
        _ => "the answer is no discovery document".to_owned(),
    }
}
