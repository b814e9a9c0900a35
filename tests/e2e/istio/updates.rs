//! A changed configuration, by extension config discovery: no proxy restarts, and no listener drains.

use std::time::Duration;

use serde_json::{Value, json};

use lab::connection::Connection;
use lab::http::Request;
use lab::traffic::Traffic;
use lab::wait;

use super::plugin::{Kind, resource};
use super::proxy::Proxy;

/// One that is wrong leaves the last good one in force.
#[test]
fn changed_manifest_takes_hold_and_a_wrong_one_does_not() {
    let proxy = Proxy::start("workload", "in-mesh-issuer", 0);
    let traffic = Traffic::start(proxy.envoy.address(), &[proxy.token()]);
    let bare = Request::get("/orders");
    assert_eq!(proxy.decide(&bare), "200 token_missing");

    proxy.discoveries[0].update(&plugin(1));
    wait::until("the filter enforces", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "401 token_missing").then_some(())
    });
    traffic.flow(REQUESTS);

    let mut wrong = plugin(0);
    wrong["spec"]["pluginConfig"]["providers"][0]["jwksURI"] = json!("https://a.example.com");
    proxy.discoveries[0].update(&wrong);
    wait::until("the filter complains", UPDATE_LIMIT, || {
        proxy.envoy.log().contains("providers[0].jwksURI").then_some(())
    });
    assert_eq!(proxy.decide(&bare), "401 token_missing");
    traffic.flow(REQUESTS);

    proxy.discoveries[0].update(&plugin(0));
    wait::until("the filter only reports again", UPDATE_LIMIT, || {
        (proxy.decide(&bare) == "200 token_missing").then_some(())
    });
    traffic.flow(REQUESTS);
    traffic.assert_undisturbed(UNDISTURBED);
}

#[test]
fn connection_that_is_open_meets_the_change() {
    let proxy = Proxy::start("workload", "in-mesh-issuer", 0);
    let mut connection = Connection::new(proxy.envoy.address());
    let mut status = || {
        let response = connection.get_without_token("/").expect("an answer");
        assert!(connection.is_open(), "{response:?}");
        response.status
    };
    assert_eq!(status(), 200);

    proxy.discoveries[0].update(&plugin(1));

    wait::until("the filter enforces", UPDATE_LIMIT, || (status() == 401).then_some(()));
    assert_eq!(proxy.envoy.stat("listener_manager.listener_modified"), 0);
}

fn plugin(stage: usize) -> Value {
    resource(Kind::WasmPlugin, "workload", "in-mesh-issuer", stage)
}

const UPDATE_LIMIT: Duration = Duration::from_secs(10);
const REQUESTS: usize = 50;
const UNDISTURBED: Duration = Duration::from_secs(1);
