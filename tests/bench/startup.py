"""How long Envoy takes from its start until it is ready, and until it has verified a token."""

import time

import load
import tokens
from demo_services import wait_until
from systems import JWT_AUTHN, MESH_JWT, PLAIN, Target


def measure(directory, compared, upstream, count):
    """The seconds of every start, by system."""
    hot = tokens.good(directory, "hot", tokens.SMALL, tokens.PATH)
    chosen = [system for system in compared if system.name in (PLAIN, JWT_AUTHN, MESH_JWT)]
    starts = {system.name: [] for system in chosen}
    for _ in range(count):
        for system in chosen:
            starts[system.name].append(start(Target(directory, system, upstream), hot))
    return starts


def start(target, hot):
    started_at = time.monotonic()
    with target:
        ready = time.monotonic() - started_at
        wait_until("a token is verified", lambda: verified(target, hot))
        return {"ready": ready, "verified": time.monotonic() - started_at}


def verified(target, hot):
    return load.ask(target.port, hot) == hot.status or None
