"""The traffic of `demo.py`: good requests only, each sent through both filters."""

import http.client
import itertools
import threading
import time
from typing import NamedTuple

import run

CLIENTS = 4
PAUSE_SECONDS = 0.03
# Longer than a request can wait for keys.
TIMEOUT_SECONDS = 10


class Sample(NamedTuple):
    """What became of one good request."""

    sent_at: float
    seconds: float
    # The status, or what went wrong instead.
    outcome: object


class Traffic:
    """Clients that send requests for as long as the `with` block runs.

    They take tokens in turn, and send each one to every target: the ports by filter.
    """

    def __init__(self, targets, tokens):
        self.targets = targets
        self.samples = {name: [] for name in targets}
        self.use(tokens)
        self.stopped = threading.Event()
        self.clients = [threading.Thread(target=self.send_requests) for _ in range(CLIENTS)]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for client in self.clients:
            client.join()

    def use(self, tokens):
        """From now on, these."""
        self.tokens = itertools.cycle(tokens)

    def send_requests(self):
        connections = {
            name: http.client.HTTPConnection(run.HOST, port, timeout=TIMEOUT_SECONDS)
            for name, port in self.targets.items()
        }
        while not self.stopped.wait(PAUSE_SECONDS):
            token = next(self.tokens)
            for name, connection in connections.items():
                sent_at = time.monotonic()
                outcome = send(connection, token)
                seconds = time.monotonic() - sent_at
                self.samples[name].append(Sample(sent_at, seconds, outcome))
        for connection in connections.values():
            connection.close()


def send(connection, token):
    try:
        connection.request("GET", "/orders", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException) as error:
        # The next request opens a new one.
        connection.close()
        return repr(error)
