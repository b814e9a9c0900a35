#!/usr/bin/env python3
"""Writes the module as an OCI image: dist/image, an image layout that skopeo and others can push.

The image is what Istio's agent looks for: /plugin.wasm in one gzipped layer. The same module makes the
same bytes wherever and whenever it is packed, so that the digest says what is in it.

    istio/image.py dist/mesh-jwt.wasm dist/image
    skopeo copy oci:dist/image:0.1.0 docker://registry.example.com/mesh-jwt:0.1.0
"""

import hashlib
import io
import json
import re
import shutil
import struct
import sys
import tarfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# Nothing in the image may tell when it was packed.
CREATED = "1970-01-01T00:00:00Z"


def main():
    module, layout = map(Path, sys.argv[1:])
    version = package_version()
    digest = write_layout(module.read_bytes(), layout, version)
    print(f"{layout}: mesh-jwt {version}")
    print(f"sha256: {digest}")


def package_version():
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "([^"]+)"$', manifest, re.MULTILINE)[1]


def write_layout(module, layout, version):
    """Returns the manifest's digest, which is what a WasmPlugin's sha256 is compared with."""
    shutil.rmtree(layout, ignore_errors=True)
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def add(content, media_type):
        digest = sha256(content)
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    labels = {
        "org.opencontainers.image.title": "mesh-jwt",
        "org.opencontainers.image.description": "JWT authentication as a proxy-wasm filter",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": version,
        # Of /plugin.wasm itself, which is what file:// and https:// URLs are compared with.
        "mesh-jwt.module.sha256": sha256(module),
    }
    files = tar({"plugin.wasm": module})
    layer = add(gzip(files), LAYER)
    config = {
        "created": CREATED,
        "architecture": "wasm",
        "os": "wasip1",
        "config": {"Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(files)}"]},
        "history": [{"created": CREATED, "created_by": "istio/image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": add(encode(config), CONFIG),
        "layers": [layer],
        "annotations": labels,
    }
    descriptor = add(encode(manifest), MANIFEST)
    descriptor["annotations"] = {"org.opencontainers.image.ref.name": version}
    (layout / "index.json").write_bytes(encode({"schemaVersion": 2, "manifests": [descriptor]}))
    (layout / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    return descriptor["digest"].removeprefix("sha256:")


def tar(files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as writer:
        for name, content in files.items():
            # Owner, mode and time are tarfile's defaults: root, 0644, 1970.
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            writer.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def gzip(content):
    """RFC 1952 with stored blocks (RFC 1951 §3.2.4).

    Istio takes gzipped layers only, but what a compressor makes of them depends on its version.
    """
    blocks = [content[at : at + 0xFFFF] for at in range(0, len(content), 0xFFFF)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block
        for block in blocks
    )
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return header + stored + struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)


def encode(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
