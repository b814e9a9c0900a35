"""One Envoy process that is asked through its admin interface, and parts of its configuration.

Every port of an Envoy is free to choose, and asked for when it is ready.
"""

import json
import os
import urllib.parse
import urllib.request

import install
import run
from demo_services import wait_until

MODULE = run.ROOT / "dist" / "mesh-jwt.wasm"
TYPE = "type.googleapis.com"
EXTENSIONS = f"{TYPE}/envoy.extensions"


class Envoy(run.Supervised):
    """One process, from when it is ready to the end of the `with` block."""

    def __init__(self, logs, config, workers):
        self.logs = logs
        self.config = config
        self.workers = workers
        self.admin = None

    def start(self):
        binary = run.built(install.available(), "make envoy")
        run.built(MODULE, "make build")
        config = self.logs / "envoy.json"
        config.write_text(json.dumps(self.config, indent=2))
        admin = self.logs / "admin-address"
        admin.unlink(missing_ok=True)
        options = ["--config-path", config, "--concurrency", str(self.workers)]
        options += ["--disable-hot-restart", "--admin-address-path", admin]
        options += ["--log-level", "warning"]
        self.process = run.Process(self.logs / "envoy.log", [binary, *options], os.environ)
        self.admin = wait_until("Envoy tells its admin address", lambda: self.written(admin))
        wait_until("Envoy is ready", self.ready)

    def written(self, path):
        self.ensure_alive()
        return (path.read_text() or None) if path.exists() else None

    def ready(self):
        self.ensure_alive()
        return run.is_up(f"http://{self.admin}/ready") or None

    def ensure_alive(self):
        self.process.ensure_alive()

    def listeners(self):
        """The port of each listener."""
        statuses = self.ask("/listeners", {})["listener_statuses"]
        return {
            status["name"]: status["local_address"]["socket_address"]["port_value"]
            for status in statuses
        }

    def ask(self, path, query):
        query = urllib.parse.urlencode({"format": "json", **query})
        with urllib.request.urlopen(f"http://{self.admin}{path}?{query}", timeout=5) as answer:
            return json.load(answer)


def listener(name, http_filters, routes, **route_options):
    """The filters are those before the router; the options are those of the route table."""
    manager = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}
    return {
        "name": name,
        "address": address(0),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "http_connection_manager",
                        "typed_config": {
                            "@type": manager,
                            "stat_prefix": name,
                            "http_filters": [
                                *http_filters,
                                {"name": "router", "typed_config": router},
                            ],
                            "route_config": {
                                "virtual_hosts": [
                                    {"name": "all", "domains": ["*"], "routes": routes}
                                ],
                                **route_options,
                            },
                        },
                    }
                ]
            }
        ],
    }


def mesh_jwt(name, configuration):
    """The filter with this plugin configuration, in VMs of its own."""
    return {
        "@type": f"{EXTENSIONS}.filters.http.wasm.v3.Wasm",
        "config": {
            "name": name,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": name,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": str(MODULE)}},
            },
            "configuration": {
                "@type": f"{TYPE}/google.protobuf.StringValue",
                "value": json.dumps(configuration),
            },
        },
    }


def cluster(name, ports):
    endpoints = [{"endpoint": {"address": address(port)}} for port in ports]
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


def address(port):
    return {"socket_address": {"address": run.HOST, "port_value": port}}
