"""The Envoy of `demo.py`: listeners that differ in nothing but the filter that checks tokens.

Each filter has a cluster of its own for its key fetches, with the same pods behind it, so that
Envoy counts the fetches of each.
"""

import proxy

# Envoy's own filter: one fetches keys when a request needs them, as is the default, one ahead.
JWT_AUTHN = "jwt_authn"
JWT_AUTHN_ASYNC = "jwt_authn async_fetch"
MESH_JWT = "mesh-jwt"
FILTERS = (JWT_AUTHN, JWT_AUTHN_ASYNC, MESH_JWT)
ISSUER = "http://auth-service:9001"
JWKS_URI = f"{ISSUER}/actuator/jwks"
AUDIENCE = "wealist-api"
FETCH_TIMEOUT = "2s"
# Envoy's counters of requests that got a connection, and of those that got none.
FETCHED = ("upstream_rq_total", "upstream_rq_pending_failure_eject")


class Envoy(proxy.Envoy):
    """One process, from when it is ready to the end of the `with` block."""

    def __init__(self, logs, pods, upstream, cache_seconds):
        # Several workers, so that each filter has to supply more than one with keys.
        super().__init__(logs, bootstrap(pods, upstream, cache_seconds), workers=2)

    def fetches(self):
        """The number of fetches by filter, those that reached no pod included."""
        stats = self.ask("/stats", {"filter": f"\\.({'|'.join(FETCHED)})$"})["stats"]
        values = {stat["name"]: stat["value"] for stat in stats}
        return {
            name: sum(values[f"cluster.{issuer_cluster(name)}.{counter}"] for counter in FETCHED)
            for name in FILTERS
        }


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
        "admin": {"address": proxy.address(0)},
        "static_resources": {
            "listeners": [listener(name, filters[name]) for name in FILTERS],
            "clusters": [
                proxy.cluster("upstream", [upstream]),
                *(proxy.cluster(issuer_cluster(name), pods) for name in FILTERS),
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
        "@type": f"{proxy.EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication",
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
    return proxy.mesh_jwt(MESH_JWT, {"providers": [provider]})


def listener(name, token_filter):
    http_filters = [{"name": name, "typed_config": token_filter}]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    return {
        **proxy.listener(name, http_filters, [route]),
        # The few connections of the demo are to reach every worker.
        "connection_balance_config": {"exact_balance": {}},
    }
