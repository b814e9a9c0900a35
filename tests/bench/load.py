"""Sends requests with wrk, and tells what they have cost the Envoy that got them."""

import concurrent.futures
import http.client
import json
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import cpus
import measure
import run as services

SCRIPT = Path(__file__).with_name("load.lua")
CONNECTIONS = 32
# Under a paced load: with the connections and the mean pause, some 500 requests a second.
PACED_CONNECTIONS = 20
LONGEST_PAUSE_MS = 80
WARM_UP_REQUESTS = 2000
WARM_UP_SECONDS = 0.25
# More than it takes mesh-jwt to give up looking for a new key.
ANSWER_SECONDS = 10
# What wrk has for the answers that it still waits for.
STOP_SECONDS = 10


class Load(NamedTuple):
    name: str
    tokens: Path
    path: str
    status: int


class Sample(NamedTuple):
    requests: int
    requests_per_second: float
    cpu_us: float
    # Of the one CPU that Envoy may have: what it used, and what others took of it.
    busy: float
    others: float
    p50_ms: float
    p99_ms: float


def prime(targets, load):
    """Waits until all have answered once: mesh-jwt lets the first bad signature in a while wait
    for some seconds, in case that there is a new key."""
    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        answers = pool.map(lambda target: ask(target.port, load), targets)
        for target, status in zip(targets, answers):
            if status != load.status:
                raise services.DemoError(f"{where(target, load)} was {status}, not {load.status}")


def ask(port, load):
    """The status of one answer, or what went wrong instead."""
    with open(load.tokens) as tokens:
        token = tokens.readline().strip()
    connection = http.client.HTTPConnection(services.HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", load.path, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()


def warm_up(target, load):
    """V8 compiles again what has run often."""
    prime([target], load)
    requests = 0
    while requests < WARM_UP_REQUESTS:
        requests += run(target, load, WARM_UP_SECONDS, 0).requests


def run(target, load, seconds, longest_pause_ms):
    first = target.sent.get(load.tokens, 0)
    before = accounts(target)
    result = wrk(target.port, load, seconds, first, longest_pause_ms)
    target.ensure_alive()
    wall, own, everybody = (now - then for now, then in zip(accounts(target), before))
    ensure_expected(target, load, result)
    requests = result["requests"]
    target.sent[load.tokens] = first + requests
    return Sample(
        requests=requests,
        requests_per_second=requests / result["seconds"],
        cpu_us=own / 1e3 / requests,
        busy=own / 1e9 / result["seconds"],
        others=max(0, everybody - own) / wall,
        p50_ms=result["p50"] / 1e3,
        p99_ms=result["p99"] / 1e3,
    )


def accounts(target):
    """In ns: the time, and what Envoy and all together have used of its CPU."""
    return time.monotonic_ns(), measure.cpu_ns(target.pid), measure.busy_ns(cpus.UNDER_TEST)


def wrk(port, load, seconds, first, longest_pause_ms):
    connections = PACED_CONNECTIONS if longest_pause_ms else CONNECTIONS
    options = ["--threads", "1", "--connections", str(connections), "--script", SCRIPT]
    # Until it is interrupted, since it only knows whole seconds; longer only if nobody does that.
    options += ["--duration", str(int(seconds) + STOP_SECONDS)]
    arguments = [load.tokens, load.path, str(load.status), str(first), str(longest_pause_ms)]
    with cpus.beside():
        process = subprocess.Popen(
            ["wrk", *options, f"http://{services.HOST}:{port}", "--", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C in a terminal is for this script.
            start_new_session=True,
        )
    try:
        # The tokens are read by then.
        output = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        output += process.communicate(timeout=STOP_SECONDS)[0]
    finally:
        process.kill()
        process.wait()
    lines = output.splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise services.DemoError(f"wrk has no result: {output.strip() or 'no output'}")
    return json.loads(lines[-1])


def ensure_expected(target, load, result):
    if result["wrong_status"]:
        raise services.DemoError(
            f"{where(target, load)} was {result['wrong_status']}, not {load.status}"
        )
    if result["errors"] or not result["requests"]:
        raise services.DemoError(
            f"{where(target, load)} came {result['requests']} times, and {result['errors']} "
            "requests failed"
        )


def where(target, load):
    return f"{target.name}, {load.name} (see {target.logs}): the answer"
