#!/usr/bin/env python3
"""Runs the demo on loopback until Ctrl-C: auth-service, user-service, and Envoy with the filter.

LISTEN_PORT, ADMIN_PORT, STATS_PORT, AUTH_PORT and USER_PORT choose other ports.
"""

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
# The values are those in envoy.yaml.
DEFAULT_PORTS = {
    "LISTEN_PORT": 10000,
    "ADMIN_PORT": 9901,
    "STATS_PORT": 9902,
    "AUTH_PORT": 9001,
    "USER_PORT": 9002,
}
# Where Debian and the image of Envoy have it; so does envoy.yaml.
CA_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
ANSWER_SECONDS = 30
READY_SECONDS = 30
STOP_SECONDS = 5


class DemoError(Exception):
    """Says what is wrong and what to do about it."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="make the requests that are otherwise printed, compare the answers, exit 0 or 1",
    )
    arguments = parser.parse_args()
    # SIGINT as well: a shell starts its background jobs with it ignored.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A proxy cannot reach what is on loopback.
    os.environ["no_proxy"] = HOST
    try:
        return run(arguments.check)
    except KeyboardInterrupt:
        return 1 if arguments.check else 0
    except (DemoError, install.InstallError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1


def run(check_only):
    ports = choose_ports()
    base = f"http://{HOST}:{ports['LISTEN_PORT']}"
    # Demos may run side by side, and one may still write when the next one on other ports begins.
    logs = ROOT / ".cache" / "run" / str(ports["LISTEN_PORT"])
    with contextlib.ExitStack() as stack:
        processes = start(stack, ports, logs)
        wait_until_ready(base, ports, processes)
        if check_only:
            return check(base)
        with open(processes[-1].log, errors="replace") as log:
            # Nothing is to be missed that comes as soon as somebody reads the introduction.
            log.seek(0, os.SEEK_END)
            print_introduction(base, ports, logs)
            follow(processes, log)


# === Start and stop ===


def choose_ports():
    ports = {}
    for name, default in DEFAULT_PORTS.items():
        value = os.environ.get(name) or str(default)
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise DemoError(f"{name}={value} is not a port number")
        if int(value) in ports.values():
            raise DemoError(f"{name}={value} is taken by another part of the demo; choose another")
        ports[name] = int(value)
    for name, port in ports.items():
        with socket.socket() as probe:
            # Connections that linger from an earlier run do not make a port busy.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as error:
                raise DemoError(
                    f"port {port}: {error.strerror}; choose another with {name}"
                ) from error
    return ports


def start(stack, ports, logs):
    services = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
    envoy = built(install.available(), "make envoy")
    auth_service = built(services / "auth-service", "make services")
    user_service = built(services / "user-service", "make services")
    built(ROOT / "dist" / "mesh-jwt.wasm", "make build")
    if not shutil.which("curl"):
        raise DemoError("curl is missing; install it with `apt-get install curl`")

    logs.mkdir(parents=True, exist_ok=True)
    config = logs / "envoy.yaml"
    config.write_text(render((ROOT / "envoy" / "envoy.yaml").read_text(), ports))
    options = ["--config-path", config, "--disable-hot-restart"]
    # Several workers, so that they have to share keys; the access log without its usual delay.
    options += ["--concurrency", "2", "--file-flush-interval-msec", "200"]
    return [
        stack.enter_context(Process(logs / f"{name}.log", command, environment))
        for name, command, environment in (
            ("auth-service", [auth_service], listen_on(ports["AUTH_PORT"])),
            ("user-service", [user_service], listen_on(ports["USER_PORT"])),
            ("envoy", [envoy, *options], os.environ),
        )
    ]


def built(path, target):
    if path is None or not path.exists():
        raise DemoError(f"{path or 'Envoy'} is not there yet; run `{target}` first")
    return path


def render(config, ports):
    """envoy.yaml with every address of the demo on loopback, on these ports."""
    chosen = {default: ports[name] for name, default in DEFAULT_PORTS.items()}
    missing = set(chosen)

    def on_loopback(address):
        default = int(address[1])
        missing.discard(default)
        return socket_address(HOST, chosen[default]) if default in chosen else address[0]

    config = re.sub(socket_address(r"[\w.-]+", r"(\d+)"), on_loopback, config)
    if missing or CA_CERTIFICATES not in config:
        raise DemoError(f"envoy.yaml lacks {missing or CA_CERTIFICATES}, which the demo changes")
    return config.replace(CA_CERTIFICATES, ca_certificates())


def socket_address(host, port):
    return f"{{address: {host}, port_value: {port}}}"


def ca_certificates():
    for path in (CA_CERTIFICATES, ssl.get_default_verify_paths().cafile, pip_certificates()):
        if path and Path(path).exists():
            return str(path)
    raise DemoError("there are no CA certificates; `apt-get install ca-certificates`")


def pip_certificates():
    """Those that pip brings along for its own downloads; Debian's pip does not."""
    pip = importlib.util.find_spec("pip")
    return pip and Path(pip.origin).parent / "_vendor" / "certifi" / "cacert.pem"


def listen_on(port):
    # ISSUER stays at its default, which envoy.yaml trusts.
    inherited = {name: value for name, value in os.environ.items() if name != "ISSUER"}
    return {**inherited, "HOST": HOST, "PORT": str(port)}


class Process:
    """A program that runs for as long as its `with` block, with its output in a file."""

    def __init__(self, log, command, environment):
        self.log = log
        log.unlink(missing_ok=True)
        # Whoever opens /dev/stdout anew has an offset of its own there: unless all append, each
        # overwrites what the others wrote.
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal is for this script, which then stops the rest in order.
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A second Ctrl-C would leave the others running.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self.stop()

    def stop(self):
        self.child.terminate()
        try:
            self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def ensure_alive(self):
        code = self.child.poll()
        if code is not None:
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            raise DemoError(f"{self.log.stem} ended with status {code}; {self.log} says:\n{end}")


class Supervised:
    """What keeps one process, which `start` makes, until the end of its `with` block."""

    process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.__exit__()


# === Readiness ===


def wait_until_ready(base, ports, processes):
    deadline = time.monotonic() + READY_SECONDS
    for what, is_ready in (
        ("auth-service", lambda: is_up(f"http://{HOST}:{ports['AUTH_PORT']}/actuator/health")),
        ("user-service", lambda: is_up(f"http://{HOST}:{ports['USER_PORT']}/healthz")),
        ("Envoy", lambda: is_up(f"http://{HOST}:{ports['ADMIN_PORT']}/ready")),
        ("the key set in the filter", lambda: has_keys(base)),
    ):
        while not is_ready():
            for process in processes:
                process.ensure_alive()
            if time.monotonic() > deadline:
                logs = ", ".join(str(process.log) for process in processes)
                raise DemoError(f"{what} is not ready after {READY_SECONDS} s; see {logs}")
            time.sleep(0.1)


def is_up(url):
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, http.client.HTTPException):
        return False


def has_keys(base):
    """Whether a token is judged at all: any verdict but 503 needs keys."""
    body = json.dumps({"username": "alice"}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        login = urllib.request.Request(f"{base}/api/login", body, headers)
        with urllib.request.urlopen(login, timeout=5) as answer:
            token = json.load(answer)["access_token"]
        request = urllib.request.Request(base, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=5):
            return True
    except urllib.error.HTTPError as refusal:
        return refusal.code != 503
    except (OSError, http.client.HTTPException):
        return False


# === Requests to try ===


def login_command(base):
    return (
        f"TOKEN=$(curl -s {base}/api/login -H 'Content-Type: application/json'"
        """ -d '{"username":"alice"}' | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')"""
    )


def requests(base):
    bearer = '-H "Authorization: Bearer $TOKEN"'
    tampered = '-H "Authorization: Bearer ${TOKEN%????}AAAA"'
    return (
        (200, "her token", f"curl -si {base}/orders {bearer}"),
        (401, "no token", f"curl -si {base}/orders"),
        (401, "a token with another signature", f"curl -si {base}/orders {tampered}"),
        (403, "alice lacks the scope admin:write", f"curl -si {base}/admin/users {bearer}"),
        (200, "public, no token", f"curl -si {base}/public/hello"),
    )


def print_introduction(base, ports, logs):
    print(f"mesh-jwt guards {base} (Envoy's admin: http://{HOST}:{ports['ADMIN_PORT']})")
    print(f"Metrics: http://{HOST}:{ports['STATS_PORT']}/stats/prometheus")
    print(f"Logs: {logs.relative_to(ROOT)}/*.log\n")
    print(f"Log in as alice:\n\n  {login_command(base)}\n\nand try:\n")
    for status, why, command in requests(base):
        print(f"  {command}\n    # {status}: {why}")
    print("\nCtrl-C stops everything. From here on, what Envoy logs:\n", flush=True)


def check(base):
    failed = False
    for status, why, command in requests(base):
        answer = shell(f"{login_command(base)}\n{command}")
        as_said = answer.startswith(f"HTTP/1.1 {status} ")
        failed |= not as_said
        print(f"{'ok  ' if as_said else 'FAIL'} {status} ({why}): {command}")
        if not as_said:
            print(f"     answered: {answer}")
    return 1 if failed else 0


def shell(script):
    try:
        return subprocess.run(
            ["sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            timeout=ANSWER_SECONDS,
        ).stdout
    except subprocess.TimeoutExpired:
        return f"nothing within {ANSWER_SECONDS} s"


def follow(processes, log):
    while True:
        print(log.read(), end="", flush=True)
        for process in processes:
            process.ensure_alive()
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
