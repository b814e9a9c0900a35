#!/usr/bin/env python3
"""Measures mesh-jwt beside Envoy's own jwt_authn and beside no check at all; `make bench` calls it.

All systems run at the same time, each in an Envoy of its own, and take turns under load, so that
what else happens on the machine happens to all of them. Linux only, for its accounting of CPU time.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
from typing import NamedTuple

import install
import load
import measure
import report
import run
import scaling
import startup
import systems
import tokens

DIRECTORY = run.ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "bench"


class Plan(NamedTuple):
    rounds: int
    # Of one run, of which there is one for each system and load in each round.
    saturated_seconds: float
    paced_seconds: float
    # Of Envoy, to see how long it takes.
    starts: int
    is_full: bool


# The short one is over within a minute.
PLANS = {"short": Plan(3, 0.2, 0.15, 1, False), "full": Plan(7, 2.0, 2.0, 3, True)}


def main():
    arguments = parse_arguments()
    # A proxy cannot reach what is on loopback.
    os.environ["no_proxy"] = run.HOST
    try:
        heed_signals()
        bench(arguments.mode, chosen_plan(arguments))
    except KeyboardInterrupt:
        return 1
    except (run.DemoError, install.InstallError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", nargs="?", choices=PLANS, default="short")
    parser.add_argument("--rounds", type=int, help="instead of the mode's")
    parser.add_argument("--seconds", type=float, help="of every run, instead of the mode's")
    return parser.parse_args()


def chosen_plan(arguments):
    plan = PLANS[arguments.mode]
    if arguments.rounds is not None:
        plan = plan._replace(rounds=arguments.rounds)
    if arguments.seconds is not None:
        seconds = arguments.seconds
        plan = plan._replace(saturated_seconds=seconds, paced_seconds=seconds)
    return plan


def heed_signals():
    """The end of a process leaves them ignored."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def bench(mode, plan):
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    say("signing tokens")
    issuer = tokens.sign(DIRECTORY, [tokens.SMALL, *scaling.token_sizes(plan.is_full)])
    compared = systems.compared(issuer)
    points = scaling.points(issuer, plan.is_full)
    with contextlib.ExitStack() as stack:
        upstream = systems.start_upstream(stack, DIRECTORY, issuer.keys(1))
        say("starting Envoy")
        starts = startup.measure(DIRECTORY, compared, upstream, plan.starts)
        heed_signals()
        targets = {
            system.name: stack.enter_context(systems.Target(DIRECTORY, system, upstream))
            for system in (*compared, *(point.system for point in points))
        }
        records = take_turns(plan, targets, compared, points)
        memory = {system.name: measure.memory(targets[system.name].pid) for system in compared}
        say("starting Envoy with more workers")
        crowds = {
            system.name: crowd(system, upstream)
            for system in compared
            if system.name in systems.CROWDED
        }
    results = report.summarise(
        report.about(mode, plan, records), records, points, (memory, crowds), starts
    )
    text = report.markdown(results)
    (DIRECTORY / "report.md").write_text(text)
    (DIRECTORY / "report.json").write_text(json.dumps(results, indent=2))
    print(f"\n{text}", flush=True)
    say(f"the same is in report.md and report.json in {os.path.relpath(DIRECTORY)}")


def crowd(system, upstream):
    """The memory of a process with several workers, all of which have been under load."""
    cold = tokens.loads(DIRECTORY)[0]
    with systems.Target(DIRECTORY, system, upstream, workers=systems.CROWD) as target:
        load.prime([target], cold)
        load.run(target, cold, CROWD_SECONDS, 0)
        return measure.memory(target.pid)


# Enough for each worker to have seen more tokens than it remembers.
CROWD_SECONDS = 1


def take_turns(plan, targets, compared, points):
    """One record for each run, with the runs of all systems interleaved."""
    matrix = [(targets[system.name], one) for one in tokens.loads(DIRECTORY) for system in compared]
    scaled = [(targets[name], one) for name, one in scaling.runs(DIRECTORY, points)]
    warm_up([*matrix, *scaled])
    phases = (
        Phase("saturated", matrix, plan.saturated_seconds, 0),
        Phase("paced", matrix, plan.paced_seconds, load.LONGEST_PAUSE_MS),
        Phase("scaling", scaled, plan.saturated_seconds, 0),
    )
    records = []
    for number in range(1, plan.rounds + 1):
        say(f"round {number} of {plan.rounds}")
        for phase in phases:
            records += [{"round": number, **record} for record in play(phase)]
    return records


class Phase(NamedTuple):
    name: str
    # Pairs of a target and a load.
    runs: list
    seconds: float
    longest_pause_ms: int


def play(phase):
    for one, group in itertools.groupby(phase.runs, key=lambda run: run[1]):
        turns = [target for target, _ in group]
        load.prime(turns, one)
        for target in turns:
            sample = load.run(target, one, phase.seconds, phase.longest_pause_ms)
            names = {"phase": phase.name, "load": one.name, "system": target.name}
            yield {**names, **sample._asdict()}


def warm_up(runs):
    """Each system and load once."""
    say("warming up")
    for target, one in {(target.name, one.name): (target, one) for target, one in runs}.values():
        load.warm_up(target, one)


def say(what):
    print(f"bench: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
