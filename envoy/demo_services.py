"""The services of `demo.py`: pods of auth-service, and user-service behind the filters."""

import http.client
import json
import os
import re
import time
import urllib.request

import run

READY_SECONDS = 20
# What would make the pods share a key or trust another issuer than the demo says.
PRIVATE_SETTINGS = ("ISSUER", "JWT_KEY_ID", "JWT_RSA_PRIVATE_KEY")


class Service(run.Supervised):
    """One process on a port that it keeps over restarts."""

    def __init__(self, binary, log, settings=None):
        self.binary = binary
        self.log = log
        self.settings = settings or {}
        self.port = 0

    def start(self):
        inherited = {k: v for k, v in os.environ.items() if k not in PRIVATE_SETTINGS}
        environment = {**inherited, **self.settings, "HOST": run.HOST, "PORT": str(self.port)}
        self.process = run.Process(self.log, [self.binary], environment)
        self.port = wait_until(f"{self.log.stem} listens", self.announced_port)

    def stop(self):
        self.process.stop()

    def announced_port(self):
        self.process.ensure_alive()
        line = re.search(r" listens on \S+:(\d+)\n", self.log.read_text())
        return int(line[1]) if line else None


class Pod(Service):
    """One replica of auth-service. Like each of them it makes a key of its own when it starts."""

    def login(self):
        request = urllib.request.Request(
            f"http://{run.HOST}:{self.port}/api/login",
            json.dumps({"username": "alice"}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=READY_SECONDS) as answer:
                return json.load(answer)["access_token"]
        except (OSError, http.client.HTTPException) as error:
            raise run.DemoError(f"{self.log.stem} refuses a login: {error}") from error


def wait_until(what, probe):
    """Asks `probe` until it answers with anything but None."""
    deadline = time.monotonic() + READY_SECONDS
    while (answer := probe()) is None:
        if time.monotonic() > deadline:
            raise run.DemoError(f"waited {READY_SECONDS} s in vain until {what}")
        time.sleep(0.02)
    return answer
