//! A filter that is put on or taken off: Istio changes the listener, and Envoy drains the old one's
//! connections. Each keeps the filters that it began with.

use std::env;
use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::connection::Connection;
use lab::http::Request;
use lab::traffic::Traffic;
use lab::wait;

use super::plugin::{Discovery, Kind, resource};
use super::proxy::{IN_MESH, Proxy, with_filters};

/// The filter is taken off, put on, and joined by an AuthorizationPolicy. They drain for longer than
/// any machine takes for this test.
#[test]
fn connection_keeps_the_filters_that_it_began_with_while_they_drain() {
    let proxy = start(|bootstrap| bootstrap.drain_gradually(LONG_DRAIN_SECONDS));
    let with = || with_filters(proxy.bootstrap(), &proxy.discoveries);
    let replace = |bootstrap: Bootstrap| {
        proxy.envoy.replace_listener(&bootstrap.inbound(&[8080]).replaceable());
    };
    let good = proxy.token().compact();
    let connect = || Connection::new(proxy.envoy.address());
    let status = |connection: &mut Connection, token: Option<&str>| {
        let response = match token {
            Some(token) => connection.get("/", token),
            None => connection.get_without_token("/"),
        };
        response.expect("an answer").status
    };

    let mut first = connect();
    assert_eq!(status(&mut first, None), 401);
    replace(proxy.bootstrap());
    let mut second = connect();
    assert_eq!((status(&mut first, None), status(&mut second, None)), (401, 200));
    // Not the listener: only its chains have changed, one for the port and one for all others.
    assert_eq!((draining(&proxy, "listeners"), draining(&proxy, "filter_chains")), (0, 2));

    replace(with());
    let mut third = connect();
    assert_eq!((status(&mut second, None), status(&mut third, None)), (200, 401));

    replace(with().refuse_everything());
    assert_eq!((status(&mut third, Some(&good)), status(&mut connect(), Some(&good))), (200, 403));
}

/// What the README says to wait for.
#[test]
fn no_connection_has_the_old_filters_once_no_chain_drains() {
    let proxy = start(|bootstrap| bootstrap.drain_gradually(SHORT_DRAIN_SECONDS));
    let good = proxy.token().compact();
    let mut old = Connection::new(proxy.envoy.address());
    assert_eq!(old.get("/", &good).expect("an answer").status, 200);

    let with = with_filters(proxy.bootstrap(), &proxy.discoveries);
    let refusing = with.refuse_everything().inbound(&[8080]).replaceable();
    proxy.envoy.replace_listener(&refusing);
    wait::until("the old chains are gone", DRAIN_LIMIT, || {
        (draining(&proxy, "filter_chains") == 0).then_some(())
    });

    // Envoy has asked it to leave, or else hung up.
    assert_ne!(old.get("/", &good).map_or(403, |response| response.status), 200);
}

/// From a namespace to the root, and back: another filter of the same module takes the place of this
/// one, while its chains drain. `MOVES=500` tries it more often.
#[test]
fn plugin_that_moves_costs_no_request() {
    let moves = env::var("MOVES").map_or(4, |moves| moves.parse().expect("a number"));
    let proxy = start(|bootstrap| bootstrap);
    let root = Discovery::translated(&plugin("mesh-wide"));
    let traffic = Traffic::start(proxy.envoy.address(), &[proxy.token()]);
    for number in 0..moves {
        let to = if number % 2 == 0 { &root } else { &proxy.discoveries[0] };
        let moved = proxy.bootstrap().discovered_filter(&to.name, &to.file);
        proxy.envoy.replace_listener(&moved.inbound(&[8080]).replaceable());
        traffic.flow(REQUESTS);
    }
    traffic.assert_undisturbed(UNDISTURBED);
}

/// Envoy goes on with the new listener although there is nothing to run in it, and lets nobody pass.
#[test]
fn filter_whose_first_configuration_is_wrong() {
    let proxy = start(|bootstrap| bootstrap);
    let mut wrong = plugin("mesh-wide");
    wrong["spec"]["pluginConfig"]["mode"] = json!("enforced");
    let root = Discovery::translated(&wrong);

    let moved = proxy.bootstrap().discovered_filter(&root.name, &root.file);
    proxy.envoy.replace_listener(&moved.inbound(&[8080]).replaceable());

    let good = Request::get("/").bearer(&proxy.token().compact());
    let refusal = proxy.envoy.send(&good);
    assert_eq!((refusal.status, refusal.text()), (500, String::new()));
    assert!(proxy.envoy.log().contains("mode: \"enforced\" is not one of"));
    root.update(&plugin("mesh-wide"));
    wait::until("the filter works", DRAIN_LIMIT, || {
        (proxy.envoy.send(&good).status == 200).then_some(())
    });
}

fn draining(proxy: &Proxy, what: &str) -> u64 {
    proxy.envoy.stat(&format!("listener_manager.total_{what}_draining"))
}

fn start(adapt: fn(Bootstrap) -> Bootstrap) -> Proxy {
    let plugin = plugin("workload");
    let discovery = Discovery::translated(&plugin);
    Proxy::adapted(vec![discovery], &plugin, IN_MESH, |bootstrap| adapt(bootstrap.inbound(&[8080])))
}

fn plugin(overlay: &str) -> Value {
    resource(Kind::WasmPlugin, overlay, "in-mesh-issuer", 1)
}

const LONG_DRAIN_SECONDS: u32 = 3600;
const SHORT_DRAIN_SECONDS: u32 = 2;
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
const REQUESTS: usize = 20;
const UNDISTURBED: Duration = Duration::from_secs(1);
