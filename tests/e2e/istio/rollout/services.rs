//! user-service as it runs, in pods of both modes; its Service sends requests to some of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use lab::checkout;
use lab::resources::{Balancer, TYPE, address};
use lab::services::{Environment, Service, behind_filter};

/// Removed with this.
pub(super) struct Services {
    /// `ISTIO_JWT_MODE=false`.
    verifying: [Service; 2],
    /// `ISTIO_JWT_MODE=true`.
    trusting: [Service; 2],
    directory: PathBuf,
}

/// Which pods are endpoints of the Service.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pods {
    Verifying,
    /// One of each: a rolling update is half way.
    Mixed,
    Trusting,
}

impl Services {
    /// Pods that verify tokens with the keys of this issuer, and pods that trust this filter.
    pub(super) fn start(issuer: SocketAddr, config: &Value) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let directory = checkout::scratch().join(format!("pods-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a writable target directory");

        let provider = &config["providers"][0];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let verifying = vec![
            ("ISSUER", text(&provider["issuer"])),
            ("AUDIENCE", text(&provider["audiences"][0])),
            ("JWKS_URI", format!("http://{issuer}/actuator/jwks")),
        ];
        let trusting = behind_filter(text(&config["verifiedHeader"]["secret"]));
        let pods = |name: &str, environment: &Environment| {
            [1, 2].map(|number| {
                let log = directory.join(format!("{name}-{number}.log"));
                Service::start("user-service", log, environment.clone()).expect("a pod starts")
            })
        };
        Self {
            verifying: pods("verifying", &verifying),
            trusting: pods("trusting", &trusting),
            directory,
        }
    }

    /// What the pods that trust the filter have logged.
    pub(super) fn complaints(&self) -> String {
        self.trusting.iter().map(Service::output).collect()
    }

    /// Has the Service send requests to these pods alone. The others go on with what they have begun.
    pub(super) fn send_to(&self, pods: Pods) {
        let endpoints = match pods {
            Pods::Verifying => [&self.verifying[0], &self.verifying[1]],
            Pods::Mixed => [&self.trusting[0], &self.verifying[1]],
            Pods::Trusting => [&self.trusting[0], &self.trusting[1]],
        };
        let endpoints =
            endpoints.map(|pod| json!({ "endpoint": { "address": address(pod.address()) } }));
        let resource = json!({
            "@type": format!("{TYPE}/envoy.config.endpoint.v3.ClusterLoadAssignment"),
            "cluster_name": CLUSTER,
            "endpoints": [{ "lb_endpoints": endpoints }],
        });
        let whole = self.directory.join("endpoints.new");
        fs::write(&whole, json!({ "resources": [resource] }).to_string())
            .expect("a writable target directory");
        // Envoy acts on a file that is moved to its place, so it never sees half of one.
        fs::rename(&whole, endpoints_file(&self.directory)).expect("a writable target directory");
    }

    /// The Service, as Istio makes a cluster of it.
    pub(super) fn cluster(&self, balancer: Balancer) -> Value {
        json!({
            "name": CLUSTER,
            "type": "EDS",
            "connect_timeout": "1s",
            "lb_policy": balancer.policy(),
            "eds_cluster_config": { "eds_config": {
                "path_config_source": { "path": endpoints_file(&self.directory) },
                "resource_api_version": "V3",
            } },
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // What cannot be removed stays under target/, where `cargo clean` finds it.
        drop(fs::remove_dir_all(&self.directory));
    }
}

fn endpoints_file(directory: &Path) -> PathBuf {
    directory.join("endpoints.json")
}

pub(super) const CLUSTER: &str = "user-service";
