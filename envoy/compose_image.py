"""The image of Envoy: the official one, or, where no registry is reachable, one around the binary
that `make envoy` fetches. That one has the official name for as long as the containers run."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import install
import run

LABEL = "mesh-jwt.stand-in"
DOCKERFILE = f"""\
FROM scratch
COPY root /
ENV PATH=/usr/local/bin
LABEL {LABEL}=true
"""


def name():
    return f"envoyproxy/envoy:v{install.version()}"


def ensure():
    if docker("image", "inspect", name()).returncode == 0:
        return
    print(f"pulling {name()} ...", file=sys.stderr, flush=True)
    pull = docker("pull", "--quiet", name())
    if pull.returncode == 0:
        return
    binary = install.available()
    if binary is None:
        raise run.DemoError(
            f"{name()} cannot be pulled, and `make envoy` has not fetched what could stand in:\n"
            f"{pull.stderr}"
        )
    print(f"no registry is reachable: {binary} stands in", file=sys.stderr, flush=True)
    build_stand_in(binary)


def build_stand_in(binary):
    with tempfile.TemporaryDirectory() as context:
        root = Path(context, "root")
        copies = {binary: "/usr/local/bin/envoy", run.ca_certificates(): run.CA_CERTIFICATES}
        copies.update((library, library) for library in libraries(binary))
        for source, destination in copies.items():
            destination = root / destination.lstrip("/")
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, destination)
        Path(context, "Dockerfile").write_text(DOCKERFILE)
        build = docker("build", "--tag", name(), context)
        if build.returncode != 0:
            raise run.DemoError(f"the image {name()} could not be built:\n{build.stderr}")


def libraries(binary):
    """The shared libraries and the loader, at the paths where the loader looks for them."""
    listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return [word for word in listed.split() if word.startswith("/")]


def remove_stand_in():
    """Nobody is to take it for the official image later."""
    label = docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', name())
    if label.stdout.strip() == "true":
        docker("image", "rm", name())


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True)
