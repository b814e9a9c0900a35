//! The shape that Istio gives the listener for all that a sidecar receives.
//!
//! Iptables redirects every connection there, and `original_dst` restores where it was going. Here
//! `proxy_protocol` does, from what the client says ([`crate::http::Request::going_to`]). Of Istio's
//! two chains for a port, the one for mutual TLS is left out.

use std::iter;

use serde_json::{Value, json};

use crate::resources::TYPE;

/// What Istio puts before the router.
pub fn filters() -> [Value; 3] {
    [
        ("grpc_stats", "grpc_stats.v3.FilterConfig"),
        ("fault", "fault.v3.HTTPFault"),
        ("cors", "cors.v3.Cors"),
    ]
    .map(|(name, of)| filter("http", name, of))
}

/// A filter of this kind, with nothing configured.
fn filter(kind: &str, name: &str, of: &str) -> Value {
    json!({
        "name": format!("envoy.filters.{kind}.{name}"),
        "typed_config": { "@type": format!("{TYPE}/envoy.extensions.filters.{kind}.{of}") },
    })
}

/// Gives a listener of one chain one for each port that a Service names, and one for all others.
pub fn give_shape(listener: &mut Value, service_ports: &[u16]) {
    let chain = |name: String, matched: Value| {
        let mut chain = listener["filter_chains"][0].clone();
        chain["name"] = name.into();
        chain["filter_chain_match"] = matched;
        chain
    };
    let of_port = |port: &u16| {
        let matched = json!({ "destination_port": port, "transport_protocol": "raw_buffer" });
        chain(format!("0.0.0.0_{port}"), matched)
    };
    let of_others = chain(
        "virtualInbound-catchall-http".to_owned(),
        json!({
            "transport_protocol": "raw_buffer",
            "application_protocols": ["http/1.1", "h2c"],
        }),
    );
    let chains = iter::once(of_others).chain(service_ports.iter().map(of_port)).collect();
    listener["filter_chains"] = chains;
    listener["traffic_direction"] = json!("INBOUND");
    listener["listener_filters"] = [
        ("proxy_protocol", "proxy_protocol.v3.ProxyProtocol"),
        ("tls_inspector", "tls_inspector.v3.TlsInspector"),
        ("http_inspector", "http_inspector.v3.HttpInspector"),
    ]
    .map(|(name, of)| filter("listener", name, of))
    .into();
    listener["listener_filters"][0]["typed_config"]["allow_requests_without_proxy_protocol"] =
        json!(true);
}
