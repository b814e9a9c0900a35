//! What becomes of requests after the filter has crashed, by `failStrategy`: why `istio/` has
//! `FAIL_RELOAD`. The filter in these tests has a fault; the real one is not known to crash.

use std::time::{Duration, Instant};

use lab::bootstrap::{Bootstrap, FailurePolicy};
use lab::checkout;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::crash;
use lab::envoy::Envoy;
use lab::http::Request;
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};
use lab::upstream::{Upstream, received};
use lab::wait;

#[test]
fn reload_checks_what_comes_after_the_crash() {
    let proxy = Proxy::start(FailurePolicy::Reload);

    assert_eq!(proxy.envoy.send(&proxy.crash()).status, 503);

    // A VM that has just begun is not reloaded at once, lest a crash loop eat the CPU.
    wait::until("a fresh VM checks", RELOAD_LIMIT, || {
        let status = proxy.envoy.send(&proxy.bare()).status;
        assert!([401, 503].contains(&status), "{status}");
        (status == 401).then_some(())
    });
    assert_eq!(proxy.identity(&proxy.good()).as_deref(), Some("user-4711"));
}

#[test]
fn close_refuses_everything_after_the_crash() {
    let proxy = Proxy::start(FailurePolicy::Closed);

    assert_eq!(proxy.envoy.send(&proxy.crash()).status, 503);

    let crashed = Instant::now();
    while crashed.elapsed() < RELOAD_TIME {
        assert_eq!(proxy.envoy.send(&proxy.bare()).status, 503);
        assert_eq!(proxy.envoy.send(&proxy.good()).status, 503);
    }
}

#[test]
fn open_believes_callers_after_the_crash() {
    let proxy = Proxy::start(FailurePolicy::Open);

    assert_eq!(proxy.envoy.send(&proxy.crash()).status, 503);

    assert_eq!(proxy.identity(&proxy.bare()).as_deref(), Some("root"));
}

struct Proxy {
    envoy: Envoy,
    _issuer: Issuer,
    _upstream: Upstream,
    _module: tempfile::NamedTempFile,
}

impl Proxy {
    fn start(policy: FailurePolicy) -> Self {
        let module = tempfile::NamedTempFile::new_in(checkout::scratch()).expect("a file");
        crash::write(module.path());
        let (issuer, upstream) =
            (Issuer::start(Answer::Keys(vec![Key::alpha().jwk()])), Upstream::start());
        let bootstrap = Bootstrap::new(upstream.address())
            .cluster(ISSUER_CLUSTER, issuer.address())
            .filter("mesh-jwt", &Config::new().render())
            .failure_policy(policy)
            .module(module.path());
        let proxy = Self {
            envoy: Envoy::start(&bootstrap, 1),
            _issuer: issuer,
            _upstream: upstream,
            _module: module,
        };
        assert_eq!(proxy.envoy.send(&proxy.bare()).status, 401);
        assert_eq!(proxy.identity(&proxy.good()).as_deref(), Some("user-4711"));
        proxy
    }

    /// Without a token, and with an identity that the caller made up.
    fn bare(&self) -> Request {
        Request::get("/").header("X-User-Id", "root")
    }

    fn good(&self) -> Request {
        self.bare().bearer(&Token::good().compact())
    }

    fn crash(&self) -> Request {
        (0..crash::HEADERS).fold(self.bare(), |request, _| request.header("X-Many", "a"))
    }

    fn identity(&self, request: &Request) -> Option<String> {
        received(&self.envoy.send(request)).header("x-user-id").map(str::to_owned)
    }
}

/// In which a VM would be reloaded: Envoy lets one second pass between two of them.
const RELOAD_TIME: Duration = Duration::from_secs(2);
const RELOAD_LIMIT: Duration = Duration::from_secs(10);
