//! Envoy's bootstrap: one listener, one route to the upstream, the filters and clusters of a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkout;
use crate::inbound;
use crate::module::Functions;
use crate::resources::{self, Balancer, TYPE, address, any_port};

pub struct Bootstrap {
    filters: Vec<Value>,
    clusters: Vec<Value>,
    /// What the access log holds beside the usual: names and formats.
    logged: Vec<(&'static str, &'static str)>,
    /// The certificate of the listener, and its key, if it speaks TLS.
    certificate: Option<(PathBuf, PathBuf)>,
    /// Fields of the connection manager.
    manager: Vec<(&'static str, Value)>,
    /// Whether the listener comes from the file of [`Self::discovery`].
    is_replaceable: bool,
    /// If the listener has the shape that Istio gives it: the ports that Services name.
    service_ports: Option<Vec<u16>>,
    pub(crate) drain_seconds: Option<u32>,
    /// Of everything that has to do with the filters.
    pub log_level: &'static str,
}

/// What Envoy does with requests when a VM has trapped.
#[derive(Clone, Copy, Debug)]
pub enum FailurePolicy {
    /// It answers 503, until it is restarted.
    Closed,
    /// It lets them through, past the filter.
    Open,
    /// It starts another VM.
    Reload,
}

impl Bootstrap {
    pub fn new(upstream: SocketAddr) -> Self {
        Self {
            filters: Vec::new(),
            clusters: Vec::new(),
            logged: Vec::new(),
            certificate: None,
            manager: Vec::new(),
            is_replaceable: false,
            service_ports: None,
            drain_seconds: None,
            log_level: "debug",
        }
        .cluster(UPSTREAM, upstream)
    }

    /// Has Envoy watch a file for its listener, so that it can be replaced while it serves.
    pub fn replaceable(mut self) -> Self {
        self.is_replaceable = true;
        self
    }

    /// Has Envoy speak TLS with its clients.
    pub fn certificate(mut self, certificate: PathBuf, key: PathBuf) -> Self {
        self.certificate = Some((certificate, key));
        self
    }

    /// Has Envoy write this into the access log as well.
    pub fn log(mut self, name: &'static str, format: &'static str) -> Self {
        self.logged.push((name, format));
        self
    }

    /// Sets a field of the connection manager, which routes everything to the upstream otherwise.
    pub fn manager(mut self, field: &'static str, value: Value) -> Self {
        self.manager.push((field, value));
        self
    }

    /// Gives the listener the shape that it has in Istio's sidecars, with these ports of Services.
    /// There come no more filters.
    pub fn inbound(mut self, service_ports: &[u16]) -> Self {
        self.service_ports = Some(service_ports.to_vec());
        self.istio_filters()
    }

    /// Appends the filters that Istio puts before the router.
    pub fn istio_filters(mut self) -> Self {
        self.filters.extend(inbound::filters());
        self
    }

    /// Has clients of a listener that was replaced stay on average for half of this time, as Envoy
    /// does unless it is told otherwise.
    pub fn drain_gradually(mut self, seconds: u32) -> Self {
        self.drain_seconds = Some(seconds);
        self
    }

    /// Has Envoy run the filters so far in VMs of their own: VMs are shared by name, module and
    /// this configuration, which the filter does not look at.
    pub fn vm_configuration(mut self, value: &str) -> Self {
        for filter in &mut self.filters {
            filter["typed_config"]["config"]["vm_config"]["configuration"] =
                json!({ "@type": format!("{TYPE}/google.protobuf.StringValue"), "value": value });
        }
        self
    }

    /// Has Envoy offer the filters these functions of its own no more, and all others that they have
    /// use for.
    pub fn withhold(mut self, functions: &[&str]) -> Self {
        let Functions { mut imports, exports } = Functions::of_module();
        for function in functions {
            assert!(imports.remove(*function), "the module does not use {function}");
        }
        let allowed = imports.into_iter().chain(exports);
        let allowed: Value = allowed.map(|name| (name, json!({}))).collect();
        for filter in &mut self.filters {
            filter["typed_config"]["config"]["capability_restriction_config"] =
                json!({ "allowed_capabilities": allowed });
        }
        self
    }

    /// Has Envoy log less of the filters, or more.
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    pub fn failure_policy(mut self, policy: FailurePolicy) -> Self {
        let policy = match policy {
            FailurePolicy::Closed => "FAIL_CLOSED",
            FailurePolicy::Open => "FAIL_OPEN",
            FailurePolicy::Reload => "FAIL_RELOAD",
        };
        for filter in &mut self.filters {
            filter["typed_config"]["config"]["failure_policy"] = json!(policy);
        }
        self
    }

    /// Has Envoy run the filters so far from another module.
    pub fn module(mut self, path: &Path) -> Self {
        for filter in &mut self.filters {
            filter["typed_config"]["config"]["vm_config"]["code"] =
                json!({ "local": { "filename": path } });
        }
        self
    }

    /// Appends a filter that refuses every request at once.
    pub fn refuse_everything(self) -> Self {
        let any = json!({ "any": true });
        self.refuse(&any, &any)
    }

    /// Appends the filter that refuses these requests (`permissions`) of these callers (`principals`).
    pub fn refuse(mut self, permission: &Value, principal: &Value) -> Self {
        self.filters.push(json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC"),
                "rules": { "action": "DENY", "policies": { "policy": {
                    "permissions": [permission],
                    "principals": [principal],
                } } },
            },
        }));
        self
    }

    /// Appends Envoy's own filter for CORS, as it stands in Istio's chains.
    pub fn cors_behind(mut self) -> Self {
        self.filters.push(cors_filter());
        self
    }

    /// Has Envoy's own filter for CORS come first.
    pub fn cors_before(mut self) -> Self {
        self.filters.insert(0, cors_filter());
        self
    }

    /// Has Envoy hand bodies over to the filters although they have stopped the head.
    pub fn bodies_despite_stopped_heads(mut self) -> Self {
        for filter in &mut self.filters {
            filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = json!(true);
        }
        self
    }

    pub fn cluster(self, name: &str, address: SocketAddr) -> Self {
        self.balanced_cluster(name, &[address], Balancer::RoundRobin)
    }

    /// A cluster as it stands.
    pub fn other_cluster(mut self, cluster: Value) -> Self {
        self.clusters.push(cluster);
        self
    }

    /// A cluster of several endpoints.
    pub fn balanced_cluster(
        mut self,
        name: &str,
        addresses: &[SocketAddr],
        balancer: Balancer,
    ) -> Self {
        let mut cluster = resources::cluster(name, addresses, balancer);
        // Few connections serve however many requests wait for one: fewer than the backlog of a
        // test's server holds.
        cluster["circuit_breakers"] = json!({ "thresholds": [{
            "max_connections": 100,
            "max_pending_requests": 1_000_000,
            "max_requests": 1_000_000,
        }] });
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": format!("{TYPE}/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
                "explicit_http_config": {
                    "http_protocol_options": { "enable_trailers": true },
                },
            },
        });
        self.clusters.push(cluster);
        self
    }

    /// Appends the filter with this plugin configuration, which need not even be JSON.
    pub fn filter(mut self, name: &str, plugin_configuration: &str) -> Self {
        let filter = resources::wasm_filter(name, &checkout::module(), plugin_configuration);
        self.filters.push(filter);
        self
    }

    /// Appends any other filter.
    pub fn other_filter(mut self, filter: Value) -> Self {
        self.filters.push(filter);
        self
    }

    /// Appends a filter whose configuration Envoy reads from a file of discovered resources, and
    /// without which it does not serve, as in Istio's sidecars.
    pub fn discovered_filter(mut self, name: &str, file: &Path) -> Self {
        self.filters.push(json!({
            "name": name,
            "config_discovery": {
                "config_source": {
                    "path_config_source": { "path": file },
                    "initial_fetch_timeout": "0s",
                    "resource_api_version": "V3",
                },
                "type_urls": [
                    format!("{TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm"),
                    // What Istio puts in its place when it cannot fetch the image.
                    format!("{TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC"),
                ],
            },
        }));
        self
    }

    pub fn render(&self, access_log: &Path, listeners: &Path) -> Value {
        let mut bootstrap = json!({
            "node": { "id": "e2e", "cluster": "e2e" },
            "admin": { "address": address(any_port()) },
            "static_resources": { "clusters": self.clusters },
        });
        if self.is_replaceable {
            let source = json!({ "path_config_source": { "path": listeners } });
            bootstrap["dynamic_resources"] = json!({ "lds_config": source });
        } else {
            bootstrap["static_resources"]["listeners"] = json!([self.listener(access_log)]);
        }
        bootstrap
    }

    /// The file that Envoy reads a replaceable listener from.
    pub fn discovery(&self, access_log: &Path) -> Value {
        let mut listener = self.listener(access_log);
        listener["@type"] = json!(format!("{TYPE}/envoy.config.listener.v3.Listener"));
        json!({ "resources": [listener] })
    }

    fn listener(&self, access_log: &Path) -> Value {
        let mut manager = connection_manager(access_log);
        let logged = &mut manager["access_log"][0]["typed_config"]["log_format"]["json_format"];
        for (name, format) in &self.logged {
            logged[name] = json!(format);
        }
        for (field, value) in &self.manager {
            manager[field] = value.clone();
        }
        let mut listener = resources::listener("listener", &self.filters, &manager);
        if let Some(service_ports) = &self.service_ports {
            inbound::give_shape(&mut listener, service_ports);
        }
        if let Some((certificate, key)) = &self.certificate {
            let tls = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
            listener["filter_chains"][0]["transport_socket"] = json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": format!("{TYPE}/{tls}"),
                    "common_tls_context": { "tls_certificates": [{
                        "certificate_chain": { "filename": certificate },
                        "private_key": { "filename": key },
                    }] },
                },
            });
        }
        listener
    }
}

/// Everything that Envoy could tidy up on the filter's behalf is off, and its own limits are wide:
/// what is tested is the filter alone.
fn connection_manager(access_log: &Path) -> Value {
    json!({
        "stat_prefix": "e2e",
        "normalize_path": false,
        "merge_slashes": false,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "max_request_headers_kb": 96,
        "common_http_protocol_options": {
            "headers_with_underscores_action": "ALLOW",
            "max_headers_count": 200,
        },
        "http_protocol_options": { "enable_trailers": true },
        "http2_protocol_options": {
            "max_concurrent_streams": 1_000_000,
            "allow_connect": true,
        },
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        // As in Istio's sidecars: nothing but the filter ends a paused request.
        "stream_idle_timeout": "0s",
        // Ties a response to its line in the access log.
        "always_set_request_id_in_response": true,
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": format!("{TYPE}/envoy.extensions.access_loggers.file.v3.FileAccessLog"),
                "path": access_log,
                "log_format": { "json_format": {
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "code": "%FILTER_STATE(wasm.mesh_jwt.code:PLAIN)%",
                    "provider": "%FILTER_STATE(wasm.mesh_jwt.provider:PLAIN)%",
                } },
            },
        }],
        "route_config": resources::route_config(&[route()]),
    })
}

fn cors_filter() -> Value {
    json!({
        "name": CORS,
        "typed_config": { "@type": format!("{TYPE}/envoy.extensions.filters.http.cors.v3.Cors") },
    })
}

/// The policy counts where there is a filter for it.
fn route() -> Value {
    let mut route = resources::route_to(UPSTREAM);
    route["typed_per_filter_config"] = json!({ CORS: {
        "@type": format!("{TYPE}/envoy.extensions.filters.http.cors.v3.CorsPolicy"),
        "allow_origin_string_match": [
            { "exact": PAGE_ORIGIN },
            { "safe_regex": { "regex": r"http://127\.0\.0\.1:[0-9]+" } },
        ],
        "allow_methods": "GET",
        "allow_headers": "authorization",
        "allow_credentials": true,
        "expose_headers": EXPOSED_BY_ROUTE,
    } });
    route
}

/// A page that the route's policy for CORS allows, besides those of 127.0.0.1.
pub const PAGE_ORIGIN: &str = "https://app.example.com";
/// The header that it may read.
pub const EXPOSED_BY_ROUTE: &str = "x-of-the-route";
const CORS: &str = "envoy.filters.http.cors";

const UPSTREAM: &str = "upstream";
