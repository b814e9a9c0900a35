"""The Envoys that are compared: all do the same but for the filter that checks tokens."""

import json
from typing import NamedTuple, Optional

import cpus
import proxy
from tokens import REJECTED_PATH

PLAIN = "plain"
EMPTY_WASM = "empty wasm"
JWT_AUTHN = "jwt_authn"
JWT_AUTHN_CACHE = "jwt_authn + cache"
MESH_JWT = "mesh-jwt"
MESH_JWT_NO_CACHE = "mesh-jwt, no cache"
MESH_JWT_NO_HOST = "mesh-jwt, hostCrypto: off"
CACHED_TOKENS = 1000
# How many workers there are where it is asked what each of them takes, and of which systems.
CROWD = 4
CROWDED = (EMPTY_WASM, JWT_AUTHN_CACHE, MESH_JWT)
CLAIMS = {"X-User-Id": "sub", "X-Scopes": "scope", "X-Tenant": "tenant"}


class System(NamedTuple):
    name: str
    token_filter: Optional[dict]


class Target(proxy.Envoy):
    """One system, whose workers are under load."""

    def __init__(self, directory, system, upstream, workers=1):
        logs = directory / "logs" / system.name.replace(" ", "-").replace(":", "")
        logs.mkdir(parents=True, exist_ok=True)
        super().__init__(logs, bootstrap(system, upstream), workers)
        self.name = system.name
        self.port = None
        # How many tokens of each file it has seen, since the next run goes on from there.
        self.sent = {}

    @property
    def pid(self):
        return self.process.child.pid

    def start(self):
        with cpus.under_test():
            super().start()
        self.port = self.listeners()[PLAIN]


def compared(issuer):
    return (
        System(PLAIN, None),
        System(EMPTY_WASM, empty_wasm()),
        System(JWT_AUTHN, jwt_authn(issuer, {})),
        System(
            JWT_AUTHN_CACHE,
            jwt_authn(issuer, {"jwt_cache_config": {"jwt_cache_size": CACHED_TOKENS}}),
        ),
        System(MESH_JWT, mesh_jwt([provider(issuer)], 1, {})),
        System(
            MESH_JWT_NO_CACHE,
            mesh_jwt([provider(issuer)], 1, {"tokenCache": {"maxEntries": 0}}),
        ),
        System(MESH_JWT_NO_HOST, mesh_jwt([provider(issuer)], 1, {"hostCrypto": "off"})),
    )


def empty_wasm():
    """What any wasm filter costs: a module that is told of each request, and does nothing."""
    token_filter = mesh_jwt([], 1, {})
    token_filter["config"]["vm_config"]["code"] = {"local": {"inline_bytes": EMPTY_MODULE}}
    return token_filter


# (memory (export "memory") 1)
# (func (export "_initialize"))
# (func (export "proxy_abi_version_0_2_1"))
# (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 1024))
# (func (export "proxy_on_context_create") (param i32 i32))
# (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
EMPTY_MODULE = (
    "AGFzbQEAAAABFQRgAABgAX8Bf2ACf38AYAN/f38BfwMGBQAAAQIDBQMBAAEHggEGBm1lbW9yeQIAC19pbml0aWFs"
    "aXplAAAXcHJveHlfYWJpX3ZlcnNpb25fMF8yXzEAARhwcm94eV9vbl9tZW1vcnlfYWxsb2NhdGUAAhdwcm94eV9v"
    "bl9jb250ZXh0X2NyZWF0ZQADGHByb3h5X29uX3JlcXVlc3RfaGVhZGVycwAEChUFAgALAgALBQBBgAgLAgALBABB"
    "AAs="
)


# === Upstream ===


def start_upstream(stack, directory, keys):
    """The port of what answers every request, and publishes the keys."""
    logs = directory / "logs" / "upstream"
    logs.mkdir(parents=True, exist_ok=True)
    routes = [
        direct({"path": "/jwks"}, 200, json.dumps(keys)),
        direct({"prefix": "/"}, 200, "ok"),
    ]
    config = {
        "admin": {"address": proxy.address(0)},
        "static_resources": {"listeners": [proxy.listener("upstream", [], routes)]},
    }
    with cpus.beside():
        envoy = stack.enter_context(proxy.Envoy(logs, config, workers=1))
    return envoy.listeners()["upstream"]


def direct(match, status, body):
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
    }


# === Systems ===


def bootstrap(system, upstream):
    http_filters = []
    if system.token_filter:
        http_filters = [{"name": "token", "typed_config": system.token_filter}]
    routes = [
        direct({"path": REJECTED_PATH}, 401, "rejected"),
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
    ]
    return {
        "admin": {"address": proxy.address(0)},
        "static_resources": {
            "listeners": [proxy.listener(PLAIN, http_filters, routes)],
            "clusters": [proxy.cluster("upstream", [upstream])],
        },
    }


def jwt_authn(issuer, options):
    provider = {
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "remote_jwks": {
            "http_uri": {"uri": "http://upstream/jwks", "cluster": "upstream", "timeout": "5s"},
            "async_fetch": {},
        },
        "claim_to_headers": [
            {"header_name": header, "claim_name": claim} for header, claim in CLAIMS.items()
        ],
        "forward": False,
        **options,
    }
    requires = {"provider_name": "wealist"}
    return {
        "@type": f"{proxy.EXTENSIONS}.filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"wealist": provider},
        "rules": [{"match": {"prefix": "/service-1/"}, "requires": requires}],
    }


def mesh_jwt(providers, rules, options):
    """With rules for so many services, of which the last is asked for."""
    matches = [{"paths": [f"/service-{number}/**"]} for number in range(1, rules + 1)]
    configuration = {
        "providers": providers,
        "rules": [{"match": match} for match in matches],
        **options,
    }
    return proxy.mesh_jwt(MESH_JWT, configuration)


def provider(issuer, keys=1):
    """With the keys in the configuration: for a bad signature under a known `kid` it would else look
    for a new key, and let the request wait, which is not what a check costs."""
    return {
        "name": "wealist",
        "issuer": issuer.issuer,
        "audiences": [issuer.audience],
        "jwks": issuer.keys(keys),
        "outputClaimToHeaders": [
            {"header": header, "claim": claim} for header, claim in CLAIMS.items()
        ],
        "forwardOriginalToken": False,
    }
