"""What more rules, providers, keys and longer tokens cost: each point is mesh-jwt with one thing
enlarged, and compared with mesh-jwt as it is."""

from typing import NamedTuple

import systems
import tokens

# From the full mode; the short one takes the last of each.
RULES = (10, 100, 1000)
PROVIDERS = (10, 100)
KEYS = (10, 50)
TOKEN_BYTES = (2048, 8192)


class Point(NamedTuple):
    dimension: str
    size: int
    kinds: tuple
    system: systems.System
    path: str = tokens.PATH
    token_bytes: int = tokens.SMALL


def points(issuer, is_full):
    return [
        *(rules(issuer, count) for count in chosen(RULES, is_full)),
        *(providers(issuer, count) for count in chosen(PROVIDERS, is_full)),
        *(keys(issuer, count) for count in chosen(KEYS, is_full)),
        *(longer_token(issuer, size) for size in chosen(TOKEN_BYTES, is_full)),
    ]


def token_sizes(is_full):
    return chosen(TOKEN_BYTES, is_full)


def chosen(sizes, is_full):
    return sizes if is_full else sizes[-1:]


def rules(issuer, count):
    token_filter = systems.mesh_jwt([systems.provider(issuer)], count, {})
    path = f"/service-{count}/orders"
    return point("rules", count, ("hot",), token_filter)._replace(path=path)


def providers(issuer, count):
    """The token is of the last."""
    others = [
        {
            **systems.provider(issuer),
            "name": f"provider-{number}",
            "issuer": f"https://issuer-{number}.example.com",
        }
        for number in range(1, count)
    ]
    token_filter = systems.mesh_jwt([*others, systems.provider(issuer)], 1, {})
    return point("providers", count, ("hot",), token_filter)


def keys(issuer, count):
    token_filter = systems.mesh_jwt([systems.provider(issuer, keys=count)], 1, {})
    return point("keys", count, ("cold",), token_filter)


def longer_token(issuer, size):
    options = {"maxTokenBytes": 2 * size}
    token_filter = systems.mesh_jwt([systems.provider(issuer)], 1, options)
    return point("bytes a token", size, ("hot", "cold"), token_filter)._replace(token_bytes=size)


def point(dimension, size, kinds, token_filter):
    return Point(dimension, size, kinds, systems.System(f"{dimension} {size}", token_filter))


def runs(directory, points):
    """Pairs of a system's name and a load. No check at all comes first with every load, to be
    subtracted, and every baseline before what is compared with it."""
    for kind in ("hot", "cold"):
        small = tokens.good(directory, kind, tokens.SMALL, tokens.PATH)
        yield systems.PLAIN, small
        yield systems.MESH_JWT, small
        for point in (point for point in points if kind in point.kinds):
            load = tokens.good(directory, kind, point.token_bytes, point.path)
            if point.token_bytes != tokens.SMALL:
                yield systems.PLAIN, load
            yield point.system.name, load
