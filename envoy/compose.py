#!/usr/bin/env python3
"""Starts the containers of docker-compose.yaml and waits until they serve, or stops them.

LISTEN_PORT and STATS_PORT choose other ports, COMPOSE_PROFILES=metrics adds Prometheus and
Grafana, and SERVICES_FROM=source has the services compiled in an image of Rust.
"""

import os
import shutil
import subprocess
import sys
import time

import compose_image
import install
import run

FILE = run.ROOT / "envoy" / "docker-compose.yaml"
PROJECT = "mesh-jwt"
READY_SECONDS = 60


def main():
    if sys.argv[1:] not in (["up"], ["down"]):
        sys.exit("usage: compose.py up|down")
    os.environ["no_proxy"] = run.HOST
    return exit_code(lambda: carry_out(sys.argv[1]))


def carry_out(word):
    engine = tool()
    if engine is None:
        raise run.DemoError(
            "no Docker engine answers; `apt-get install docker.io docker-compose`, and start it"
        )
    project = Project(engine, PROJECT, os.environ)
    if word == "down":
        project.down()
    else:
        up(project)


def exit_code(action):
    """What a script ends with that does this."""
    try:
        action()
    except (run.DemoError, install.InstallError) as error:
        print(f"compose: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def up(project):
    project.up()
    print(f"mesh-jwt guards {project.base}, in front of two pods of auth-service with a key each")
    print(f"Log in as alice:\n\n  {run.login_command(project.base)}\n\nand try:\n")
    for status, why, command in run.requests(project.base):
        print(f"  {command}\n    # {status}: {why}")
    print("\n`make compose-down` stops everything.")


def tool():
    """The command for compose files, if an engine answers: that of the engine, or Python's."""
    if not shutil.which("docker") or not succeeds("docker", "version"):
        return None
    if succeeds("docker", "compose", "version"):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def succeeds(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


class Project:
    """The containers of the compose file under one name; `with` stops them at the end."""

    def __init__(self, engine, name, environment):
        self.environment = {"SERVICES_FROM": "binaries", **environment}
        self.environment["ENVOY_VERSION"] = install.version()
        self.command = [*engine, "--project-name", name, "--file", str(FILE)]
        port = environment.get("LISTEN_PORT") or run.DEFAULT_PORTS["LISTEN_PORT"]
        self.base = f"http://{run.HOST}:{port}"

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        run.built(run.ROOT / "dist" / "mesh-jwt.wasm", "make build")
        if self.environment["SERVICES_FROM"] == "binaries":
            run.built(run.ROOT / "dist" / "static" / "auth-service", "make static")
        compose_image.ensure()
        self.compose("up", "--detach", "--build")
        deadline = time.monotonic() + READY_SECONDS
        while not run.has_keys(self.base):
            if time.monotonic() > deadline:
                raise run.DemoError(f"not ready after {READY_SECONDS} s:\n{self.logs('envoy')}")
            time.sleep(0.2)

    def down(self):
        # With the profile, or what it started would stay.
        everything = ["--profile", "metrics", "down", "--volumes", "--rmi", "local"]
        self.compose(*everything, "--remove-orphans", "--timeout", "5")
        compose_image.remove_stand_in()

    def pods(self):
        """The containers of auth-service."""
        return self.compose("ps", "--quiet", "auth-service").split()

    def logs(self, service):
        return self.compose("logs", "--no-color", service)

    def compose(self, *arguments):
        return checked([*self.command, *arguments], self.environment)


def checked(command, environment=None):
    """What it prints; what it says when it fails becomes the error."""
    result = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if result.returncode != 0:
        raise run.DemoError(f"`{' '.join(command)}` failed:\n{result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
