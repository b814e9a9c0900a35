#!/usr/bin/env python3
"""Runs docker-compose.yaml for real and holds it to its promise: two pods of auth-service publish
different keys, and no good request fails, not even when one pod stops, or both.

Prints why it is skipped where there is no Docker engine. Leaves no container and no image.
"""

import http.client
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections import Counter

import compose
import run

REQUESTS = 200
# Longer than Envoy takes to learn from DNS that a pod has gone.
OUTAGE_SECONDS = 8
# A request may wait for keys for 3 s.
TIMEOUT_SECONDS = 10
DASHBOARD = run.ROOT / "envoy" / "dashboards" / "mesh-jwt.json"


def main():
    engine = compose.tool()
    if engine is None:
        print("skipped: no Docker engine")
        return 0
    # So that the containers are removed as well when this is told to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["no_proxy"] = run.HOST
    listen, stats = free_ports()
    ports = {"LISTEN_PORT": str(listen), "STATS_PORT": str(stats), "COMPOSE_PROFILES": ""}
    environment = {**os.environ, **ports}
    return compose.exit_code(lambda: check_project(engine, environment, stats))


def check_project(engine, environment, stats):
    compose.checked(["make", "-C", str(run.ROOT), "static"])
    with compose.Project(engine, f"mesh-jwt-check-{os.getpid()}", environment) as project:
        check(project, f"http://{run.HOST}:{stats}/stats/prometheus")


def check(project, metrics):
    kids = re.findall(r"signs as \S+ with key (\S+)", project.logs("auth-service"))
    expect(len(kids) == len(set(kids)) == 2, f"two pods publish keys of their own: {kids}")

    tokens = []
    outcomes = Counter(login_and_request(project.base, tokens) for _ in range(REQUESTS))
    expect(outcomes == {200: REQUESTS}, f"logins and requests: {dict(outcomes)}")
    signed = Counter(re.sub(r"\..*", "", token) for token in tokens)
    expect(len(signed) == 2, f"tokens by pod: {sorted(signed.values())}")

    for number, pod in enumerate(project.pods(), 1):
        compose.checked(["docker", "stop", "--time", "5", pod])
        outcomes = spread(project.base, tokens)
        expect(outcomes == {200: REQUESTS}, f"{number} of 2 pods stopped: {dict(outcomes)}")

    series = get(metrics).decode()
    asked = set(re.findall(r"\b(?:mesh_jwt|envoy_http)_\w+", DASHBOARD.read_text()))
    absent = {name for name in asked if not re.search(rf"^{name}\b", series, re.MULTILINE)}
    expect(not absent, f"Prometheus finds what the dashboard shows; absent: {sorted(absent)}")
    expect('"code":"allowed"' in project.logs("envoy"), "the access log tells the decision")


def login_and_request(base, tokens):
    body = json.dumps({"username": "alice"}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        token = json.loads(get(f"{base}/api/login", body, headers))["access_token"]
    except (OSError, http.client.HTTPException) as error:
        return f"login: {error!r}"
    tokens.append(token)
    return request(base, token)


def spread(base, tokens):
    """The outcomes of requests with these tokens, over the whole outage."""
    outcomes = Counter()
    for token in tokens:
        outcomes[request(base, token)] += 1
        time.sleep(OUTAGE_SECONDS / len(tokens))
    return outcomes


def request(base, token):
    try:
        get(f"{base}/orders", headers={"Authorization": f"Bearer {token}"})
        return 200
    except urllib.error.HTTPError as refusal:
        return refusal.code
    except (OSError, http.client.HTTPException) as error:
        return repr(error)


def get(url, body=None, headers=()):
    message = urllib.request.Request(url, body, dict(headers))
    with urllib.request.urlopen(message, timeout=TIMEOUT_SECONDS) as answer:
        return answer.read()


def expect(holds, what):
    print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
    if not holds:
        raise run.DemoError(f"this does not hold: {what}")


def free_ports():
    """Held together, so that they differ."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind((run.HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
