//! What the command line of `probe` says, taken apart.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ureq::http::uri::Scheme;
use ureq::http::{HeaderName, HeaderValue, Uri};

/// Fetch a JWK Set again and again, from every address, and tell whether pods disagree
///
/// Asks every address that the host resolves to, in turns, each time over a new connection; prints which
/// keys came from where, and what the filter makes of them; and says whether all answers agree. Several
/// URLs are taken as endpoints of one issuer, so probe different issuers one at a time.
///
/// A URL may also be that of a discovery document: its jwks_uri is probed then. As the filter does, it
/// follows no redirects and reads at most 1 MiB. Proxies that the environment names (HTTP_PROXY) are not
/// used, for they would choose the address themselves.
#[derive(clap::Args)]
#[command(after_help = "Exit codes:
  0  all answers agree, or they changed once and for all, as in a rotation
  1  pods disagree, or no key can be used
  2  the command line is wrong
  3  a fetch failed, and what came agrees; or nothing could be fetched

Examples:
  mesh-jwt probe http://auth-service:8080/actuator/jwks
  mesh-jwt probe --times 20 http://auth-service-headless:8080/actuator/jwks
  mesh-jwt probe --issuer https://login.example.com --json
  mesh-jwt probe --cacert ca.pem --resolve auth:443:10.0.0.7,10.0.0.8 https://auth/jwks")]
pub(crate) struct Args {
    /// Where the JWK Set is, or a discovery document that tells
    #[arg(value_name = "URL", value_parser = url, required_unless_present = "issuer")]
    pub(super) urls: Vec<Uri>,

    /// Find the keys of this issuer by its discovery document, where the filter looks for it
    #[arg(long, value_name = "URL", value_parser = issuer)]
    pub(super) issuer: Vec<String>,

    /// How often to ask each address
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) times: u32,

    /// How long to wait between two fetches, such as 200ms
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) interval: Duration,

    /// How long one fetch may take
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = timeout)]
    pub(super) timeout: Duration,

    /// Trust the certificate authorities in this PEM file, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,

    /// Send this header to the hosts that are named here, and not to another one that a discovery document
    /// leads to; may be given several times
    // Taken apart later: clap would repeat a value that it refuses, which may be a secret.
    #[arg(long, value_name = "NAME: VALUE")]
    pub(super) header: Vec<String>,

    /// Take these addresses for a host and port, without a look at DNS; may be given several times
    #[arg(long, value_name = "HOST:PORT:ADDRESS[,ADDRESS]")]
    pub(super) resolve: Vec<Resolve>,
}

/// A header to send.
pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) =
            text.split_once(':').ok_or("there is no colon; write it such as 'X-Tenant: acme'")?;
        Ok(Self {
            name: name.trim().parse().map_err(|_| format!("{name:?} is no name of a header"))?,
            value: value
                .trim()
                .parse()
                .map_err(|_| "its value holds characters that no header may hold")?,
        })
    }
}

/// The addresses of a host, as curl's option of that name gives them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Resolve {
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

impl Resolve {
    /// The addresses, if they are of this host and port.
    pub(super) fn of(&self, host: &str, port: u16) -> Option<Vec<SocketAddr>> {
        let is_it = self.port == port && self.host.eq_ignore_ascii_case(host);
        is_it.then(|| self.addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write HOST:PORT:ADDRESS, such as auth:8080:10.0.0.7".to_owned();
        let mut parts = text.splitn(3, ':');
        let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(form());
        };
        let address = |text: &str| {
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let problem = || format!("{text:?} is no IP address; {}", form());
            bare.unwrap_or(text).parse().map_err(|_| problem())
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.parse().map_err(|_| format!("{port:?} is no port; {}", form()))?,
            addresses: addresses.split(',').map(address).collect::<Result<_, _>>()?,
        })
    }
}

/// A URL from which something can be fetched.
pub(super) fn url(text: &str) -> Result<Uri, String> {
    let form = "write it such as http://auth:8080/jwks";
    let uri: Uri = text.parse().map_err(|error| format!("it is no URL ({error}); {form}"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
        return Err(format!("the scheme is missing; {form}"));
    };
    if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
        return Err(format!("the scheme is {scheme}, not http or https"));
    }
    if authority.as_str().contains('@') {
        return Err(
            "it holds a user name, which would be printed; send it with --header".to_owned()
        );
    }
    Ok(uri)
}

/// The very text: that of the discovery document must be the same.
fn issuer(text: &str) -> Result<String, String> {
    url(text).map(|_| text.to_owned())
}

/// Zero would be no limit.
fn timeout(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("it must be longer than nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_as_to_curl() {
        let resolve: Resolve = "Auth:8080:10.0.0.7,[::1],::2".parse().unwrap();

        let expected: Vec<SocketAddr> =
            ["10.0.0.7:8080", "[::1]:8080", "[::2]:8080"].map(|text| text.parse().unwrap()).into();
        assert_eq!(resolve.of("auth", 8080), Some(expected));
        assert_eq!(resolve.of("auth", 8081), None);
        assert_eq!(resolve.of("other", 8080), None);
    }

    #[test]
    fn addresses_in_another_form_are_refused_with_the_form() {
        for text in ["auth", "auth:8080", "auth:http:10.0.0.7", "auth:8080:", "auth:8080:pod-1"] {
            let error = text.parse::<Resolve>().unwrap_err();
            assert!(error.contains("HOST:PORT:ADDRESS"), "{text}: {error}");
        }
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let header: Header = "X-Tenant:  a:b ".parse().unwrap();

        assert_eq!((header.name.as_str(), header.value.to_str().unwrap()), ("x-tenant", "a:b"));
        for text in ["X-Tenant", "X Tenant: a", ": a"] {
            assert!(text.parse::<Header>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_error_of_a_header_does_not_hold_its_value() {
        let error = "Authorization: Bearer s3cret\n".replace("s3", "s\u{1}3");

        let error = error.parse::<Header>().err().unwrap();

        assert!(!error.contains("cret"), "{error}");
    }

    #[test]
    fn what_cannot_be_fetched_from_is_no_url() {
        assert!(url("https://auth.example.com/jwks?x=y").is_ok());
        assert!(url("http://[::1]:8080/jwks").is_ok());
        for text in ["/jwks", "auth:8080", "ftp://auth/jwks", "http://u:p@auth/jwks", "http://a b"]
        {
            assert!(url(text).is_err(), "{text}");
        }
    }
}
