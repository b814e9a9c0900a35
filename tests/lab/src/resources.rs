//! Parts of Envoy's configuration that every Envoy here is made of.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use serde_json::{Value, json};

/// What the names of Envoy's types begin with.
pub const TYPE: &str = "type.googleapis.com";

/// Which of a cluster's endpoints Envoy sends a request to.
#[derive(Clone, Copy)]
pub enum Balancer {
    /// Istio's default: the less busy one of two that are drawn.
    LeastRequest,
    Random,
    /// Envoy's default.
    RoundRobin,
}

impl Balancer {
    /// As Envoy's configuration calls it.
    pub fn policy(self) -> &'static str {
        match self {
            Self::LeastRequest => "LEAST_REQUEST",
            Self::Random => "RANDOM",
            Self::RoundRobin => "ROUND_ROBIN",
        }
    }
}

impl FromStr for Balancer {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::LeastRequest, Self::Random, Self::RoundRobin];
        all.into_iter().find(|known| known.policy().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// An Envoy that asks for a free port for its admin interface.
pub fn bootstrap(listeners: &[Value], clusters: &[Value]) -> Value {
    json!({
        "admin": { "address": address(any_port()) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

/// A listener on a free port. Its connection manager has these filters before the router, and what
/// `manager` holds besides: the routes, if nothing else.
pub fn listener(name: &str, filters: &[Value], manager: &Value) -> Value {
    let mut typed_config = json!({
        "@type": format!(
            "{TYPE}/envoy.extensions.filters.network.http_connection_manager.v3\
             .HttpConnectionManager"
        ),
        "stat_prefix": name,
    });
    for (key, value) in manager.as_object().expect("an object") {
        typed_config[key] = value.clone();
    }
    let mut filters = filters.to_vec();
    filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": format!("{TYPE}/envoy.extensions.filters.http.router.v3.Router"),
        },
    }));
    typed_config["http_filters"] = Value::Array(filters);
    json!({
        "name": name,
        "address": address(any_port()),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": typed_config,
        }] }],
    })
}

/// The table that has every request take the first of these routes that matches.
pub fn route_config(routes: &[Value]) -> Value {
    json!({ "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] })
}

/// Everything goes there.
pub fn route_to(cluster: &str) -> Value {
    json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster } })
}

/// A module with a plugin configuration, which need not even be JSON.
pub fn wasm_filter(name: &str, module: &Path, plugin_configuration: &str) -> Value {
    json!({
        "name": name,
        "typed_config": {
            "@type": format!("{TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm"),
            "config": {
                "name": name,
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": module } },
                },
                "configuration": {
                    "@type": format!("{TYPE}/google.protobuf.StringValue"),
                    "value": plugin_configuration,
                },
            },
        },
    })
}

/// A module as README.md recommends to run it, in VMs of its own.
pub fn recommended_filter(name: &str, module: &Path, plugin_configuration: &Value) -> Value {
    let mut filter = wasm_filter(name, module, &plugin_configuration.to_string());
    let config = &mut filter["typed_config"]["config"];
    config["failure_policy"] = json!("FAIL_RELOAD");
    config["vm_config"]["vm_id"] = json!(name);
    filter
}

/// A cluster of endpoints that do not change.
pub fn cluster(name: &str, addresses: &[SocketAddr], balancer: Balancer) -> Value {
    let endpoint = |of: &SocketAddr| json!({ "endpoint": { "address": address(*of) } });
    let endpoints: Vec<_> = addresses.iter().map(endpoint).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": balancer.policy(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": endpoints }],
        },
    })
}

pub fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}

/// A free one, which Envoy tells when it is ready.
pub fn any_port() -> SocketAddr {
    loopback(0)
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
