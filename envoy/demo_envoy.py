"""The Envoy of `demo.py`: listeners that differ in nothing but the filter that checks tokens.

Each filter has a cluster of its own for its key fetches, with the same pods behind it, so that
Envoy counts the fetches of each.
"""

import json
import os
import urllib.parse
import urllib.request

import install
import run
from demo_services import wait_until

# Envoy's own filter: one fetches keys when a request needs them, as is the default, one ahead.
JWT_AUTHN = "jwt_authn"
JWT_AUTHN_ASYNC = "jwt_authn async_fetch"
MESH_JWT = "mesh-jwt"
FILTERS = (JWT_AUTHN, JWT_AUTHN_ASYNC, MESH_JWT)
MODULE = run.ROOT / "dist" / "mesh-jwt.wasm"
TYPE = "type.googleapis.com"
EXTENSIONS = f"{TYPE}/envoy.extensions"
ISSUER = "http://auth-service:9001"
JWKS_URI = f"{ISSUER}/actuator/jwks"
AUDIENCE = "wealist-api"
FETCH_TIMEOUT = "2s"
# Envoy's counters of requests that got a connection, and of those that got none.
FETCHED = ("upstream_rq_total", "upstream_rq_pending_failure_eject")


class Envoy(run.Supervised):
    """One process, from when it is ready to the end of the `with` block."""

    def __init__(self, logs, pods, upstream, cache_seconds):
        self.logs = logs
        self.config = bootstrap(pods, upstream, cache_seconds)
        self.admin = None

    def start(self):
        binary = run.built(install.available(), "make envoy")
        run.built(MODULE, "make build")
        config = self.logs / "envoy.json"
        config.write_text(json.dumps(self.config, indent=2))
        admin = self.logs / "admin-address"
        admin.unlink(missing_ok=True)
        # Several workers, so that each filter has to supply more than one with keys.
        options = ["--config-path", config, "--concurrency", "2", "--disable-hot-restart"]
        options += ["--admin-address-path", admin, "--log-level", "warning"]
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
        """The port of each filter."""
        statuses = self.ask("/listeners", {})["listener_statuses"]
        return {
            status["name"]: status["local_address"]["socket_address"]["port_value"]
            for status in statuses
        }

    def fetches(self):
        """The number of fetches by filter, those that reached no pod included."""
        stats = self.ask("/stats", {"filter": f"\\.({'|'.join(FETCHED)})$"})["stats"]
        values = {stat["name"]: stat["value"] for stat in stats}
        return {
            name: sum(values[f"cluster.{issuer_cluster(name)}.{counter}"] for counter in FETCHED)
            for name in FILTERS
        }

    def ask(self, path, query):
        query = urllib.parse.urlencode({"format": "json", **query})
        with urllib.request.urlopen(f"http://{self.admin}{path}?{query}", timeout=5) as answer:
            return json.load(answer)


def issuer_cluster(name):
    return f"issuer of {name}"


def bootstrap(pods, upstream, cache_seconds):
    """`pods` and `upstream` are ports; every port of Envoy itself is free to choose."""
    filters = {
        JWT_AUTHN: jwt_authn(JWT_AUTHN, cache_seconds),
        JWT_AUTHN_ASYNC: jwt_authn(JWT_AUTHN_ASYNC, cache_seconds, {"async_fetch": {}}),
        MESH_JWT: mesh_jwt(cache_seconds),
    }
    return {
        "admin": {"address": address(0)},
        "static_resources": {
            "listeners": [listener(name, filters[name]) for name in FILTERS],
            "clusters": [
                cluster("upstream", [upstream]),
                *(cluster(issuer_cluster(name), pods) for name in FILTERS),
            ],
        },
    }


def jwt_authn(name, cache_seconds, options=()):
    jwks = {
        "http_uri": {
            "uri": JWKS_URI,
            "cluster": issuer_cluster(name),
            "timeout": FETCH_TIMEOUT,
        },
        "cache_duration": f"{cache_seconds}s",
        **dict(options),
    }
    return {
        "@type": f"{EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {
            "wealist": {"issuer": ISSUER, "audiences": [AUDIENCE], "remote_jwks": jwks}
        },
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "wealist"}}],
    }


def mesh_jwt(cache_seconds):
    provider = {
        "name": "wealist",
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "jwksUri": JWKS_URI,
        "jwksCluster": issuer_cluster(MESH_JWT),
        "allowPlaintextJwks": True,
        "timeout": FETCH_TIMEOUT,
        "cacheDuration": f"{cache_seconds}s",
        # The default, written out because the outage is about it.
        "staleDuration": "1h",
    }
    return {
        "@type": f"{EXTENSIONS}.filters.http.wasm.v3.Wasm",
        "config": {
            "name": MESH_JWT,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": MESH_JWT,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": str(MODULE)}},
            },
            "configuration": {
                "@type": f"{TYPE}/google.protobuf.StringValue",
                "value": json.dumps({"providers": [provider]}),
            },
        },
    }


def listener(name, token_filter):
    manager = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    return {
        "name": name,
        "address": address(0),
        # The few connections of the demo are to reach every worker.
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "http_connection_manager",
                        "typed_config": {
                            "@type": manager,
                            "stat_prefix": name,
                            "http_filters": [
                                {"name": name, "typed_config": token_filter},
                                {"name": "router", "typed_config": router},
                            ],
                            "route_config": {
                                "virtual_hosts": [
                                    {"name": "all", "domains": ["*"], "routes": [route]}
                                ]
                            },
                        },
                    }
                ]
            }
        ],
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
