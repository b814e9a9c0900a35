#!/usr/bin/env python3
"""Replays the incident that mesh-jwt exists for, and prints what Envoy's own jwt_authn and mesh-jwt
make of it: they run in the same Envoy and get the same good requests at the same time.

Exits with 1 if mesh-jwt refuses one of them.
"""

import contextlib
import os
import signal
import sys
import time
from typing import Callable, NamedTuple

import install
import run
import table
from demo_envoy import FILTERS, MESH_JWT, Envoy
from demo_services import Pod, Service
from demo_traffic import Traffic

LOGS = run.ROOT / ".cache" / "demo"
# Minutes outside a demo. The same for all filters.
CACHE_SECONDS = 10
TOKENS_OF_EACH_POD = 10


def main():
    # A proxy cannot reach what is on loopback.
    os.environ["no_proxy"] = run.HOST
    try:
        results = [replay(number, scenario) for number, scenario in enumerate(SCENARIOS, 1)]
    except KeyboardInterrupt:
        return 1
    except (run.DemoError, install.InstallError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    print_table(results)
    return report_refusals(results)


# === Scenarios ===


class Scenario(NamedTuple):
    name: str
    pods: int
    shared_kid: bool
    play: Callable


def steady(stage):
    stage.run_for(8)


def rotation(stage):
    stage.run_for(2)
    stage.restart_pods()
    stage.count_from_now()
    # What a key that nobody publishes has signed is good for one cache duration more: until then
    # the tokens of both keys have to pass.
    stage.run_until(CACHE_SECONDS - 1)


def outage(stage):
    stage.run_for(1)
    stage.stop_pods()
    stage.run_for(CACHE_SECONDS + 1)
    stage.count_from_now()
    stage.run_for(5)


SCENARIOS = (
    Scenario("1 pod", 1, False, steady),
    Scenario("2 pods, keys with the same `kid`", 2, True, steady),
    Scenario("2 pods, a `kid` each", 2, False, steady),
    Scenario("5 pods, a `kid` each", 5, False, steady),
    Scenario("key rotation, from the new key on", 1, False, rotation),
    Scenario("outage, once the cache has expired", 1, False, outage),
)


class Result(NamedTuple):
    scenario: Scenario
    # By filter: the samples that count, all samples, and the number of fetches.
    counted: dict
    samples: dict
    fetches: dict


def replay(number, scenario):
    print(f"[{number}/{len(SCENARIOS)}] {scenario.name} ...", file=sys.stderr, flush=True)
    logs = LOGS / str(number)
    logs.mkdir(parents=True, exist_ok=True)
    # Here, because the end of a process leaves them ignored.
    for signal_number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, logs, scenario)
        scenario.play(stage)
        return stage.result()


# === The stage ===


class Stage:
    """Everything that one scenario runs on, with the traffic running all the time."""

    def __init__(self, stack, logs, scenario):
        self.scenario = scenario
        settings = {"JWT_KEY_ID": "main"} if scenario.shared_kid else {}
        auth_service, user_service = binary("auth-service"), binary("user-service")
        self.pods = [
            stack.enter_context(Pod(auth_service, logs / f"pod-{number}.log", settings))
            for number in range(1, scenario.pods + 1)
        ]
        upstream = stack.enter_context(Service(user_service, logs / "user-service.log"))
        self.tokens = self.login()
        ports = [pod.port for pod in self.pods]
        self.envoy = stack.enter_context(Envoy(logs, ports, upstream.port, CACHE_SECONDS))
        self.started_at = self.counted_from = time.monotonic()
        self.traffic = stack.enter_context(Traffic(self.envoy.listeners(), self.tokens))

    def login(self):
        """Tokens of every pod in turn."""
        return [pod.login() for _ in range(TOKENS_OF_EACH_POD) for pod in self.pods]

    def run_for(self, seconds):
        time.sleep(seconds)
        self.envoy.ensure_alive()

    def run_until(self, seconds):
        """Runs until so long after the start."""
        self.run_for(max(0, self.started_at + seconds - time.monotonic()))

    def count_from_now(self):
        self.counted_from = time.monotonic()

    def stop_pods(self):
        for pod in self.pods:
            pod.stop()

    def restart_pods(self):
        """Each gets a new key; half of the users log in again, the others keep their tokens."""
        self.stop_pods()
        for pod in self.pods:
            pod.start()
        both = zip(self.tokens, self.login())
        self.traffic.use([token for pair in both for token in pair])

    def result(self):
        samples = {name: list(self.traffic.samples[name]) for name in FILTERS}
        counted = {
            name: [sample for sample in samples[name] if sample.sent_at >= self.counted_from]
            for name in FILTERS
        }
        if not all(counted.values()):
            raise run.DemoError(f"{self.scenario.name}: this machine is too slow, nothing was sent")
        return Result(self.scenario, counted, samples, self.envoy.fetches())


def binary(name):
    release = run.ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
    return run.built(release / name, "make services")


# === Report ===


def print_table(results):
    failures = [f"failed: {name}" for name in FILTERS]
    rows = [("", "good requests", *failures, "fetches, as left", f"slowest: {MESH_JWT}")]
    for result in results:
        counted = result.counted[MESH_JWT]
        rows.append(
            (
                result.scenario.name,
                str(len(counted)),
                *(share_failed(result.counted[name]) for name in FILTERS),
                " / ".join(str(result.fetches[name]) for name in FILTERS),
                f"{max(sample.seconds for sample in counted) * 1000:.0f} ms",
            )
        )
    print(f"\n{table.markdown(rows)}")
    print(MEANING, flush=True)


def share_failed(samples):
    return f"{100 * len(failed(samples)) / len(samples):.1f} %"


def failed(samples):
    return [sample for sample in samples if sample.outcome != 200]


def report_refusals(results):
    """Those before the counted part are failures as well."""
    code = 0
    for result in results:
        if refused := failed(result.samples[MESH_JWT]):
            outcomes = ", ".join(sorted({str(sample.outcome) for sample in refused}))
            print(
                f"demo: {result.scenario.name}: mesh-jwt failed {len(refused)} good requests "
                f"({outcomes}); see {LOGS.relative_to(run.ROOT)}",
                file=sys.stderr,
            )
            code = 1
    return code


MEANING = f"""
jwt_authn trusts the one key set that it fetched last: other pods' keys, a new key, and (without \
async_fetch) an outage fail it.
mesh-jwt trusts every key for {CACHE_SECONDS} s from when a pod last published it, longer in an \
outage, and looks for a key that it does not know."""


if __name__ == "__main__":
    sys.exit(main())
