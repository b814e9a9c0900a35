#!/usr/bin/env python3
"""Runs `cargo test` and ends with how many tests of each kind ran; `make test` calls it."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KINDS = ["unit", "scenario", "property", "module", "image", "istio", "e2e", "demo"]


def main():
    cargo = subprocess.Popen(
        ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        # One stream, so that each result follows the name of its binary.
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    summary = Summary(demo_targets())
    for line in cargo.stdout:
        print(line, end="", flush=True)
        summary.read(line)
    cargo.wait()
    summary.close()
    print(f"\n{summary}", flush=True)
    return 0 if cargo.returncode == 0 and summary.is_success() else 1


def demo_targets():
    """The names that the demo's binaries have in cargo's output."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return {
        target["name"].replace("-", "_")
        for package in json.loads(metadata)["packages"]
        if package["name"] == "mesh-jwt-demo"
        for target in package["targets"]
    }


class Summary:
    """Counts by kind, from the lines that cargo and the test binaries print."""

    BINARY = re.compile(r"\s+Running (?:unittests )?(\S+) \((\S+)-[0-9a-f]+\)$")
    DOC_TESTS = re.compile(r"\s+Doc-tests (\S+)$")
    RESULT = re.compile(r"test result: .* (\d+) passed; (\d+) failed; (\d+) ignored;")
    # Printed by a test that has nothing to run with; the harness may have begun the line.
    SKIPPED = re.compile(r"\bskipped: (.+)$")

    def __init__(self, demo):
        self.demo = demo
        self.passed = Counter()
        self.failed = Counter()
        self.ignored = Counter()
        self.skipped = []
        self.awaited = None

    def read(self, line):
        if binary := self.BINARY.match(line):
            self.open(self.kind_of(Path(binary[1]), Path(binary[2]).name))
        elif doc_tests := self.DOC_TESTS.match(line):
            self.open(self.kind_of(Path("src"), doc_tests[1]))
        elif (result := self.RESULT.match(line)) and self.awaited:
            for counter, count in zip((self.passed, self.failed, self.ignored), result.groups()):
                counter[self.awaited] += int(count)
            self.awaited = None
        elif (skipped := self.SKIPPED.search(line)) and self.awaited:
            self.skipped.append(skipped[1])

    def open(self, kind):
        self.close()
        self.awaited = kind

    def close(self):
        """A binary that crashed comes to no result: that is a failure."""
        if self.awaited:
            self.failed[self.awaited] += 1
            self.awaited = None

    def is_success(self):
        # That not one test ran is a failure as well.
        return any(self.passed.values()) and not any(self.failed.values())

    def kind_of(self, source, binary):
        if binary in self.demo:
            return "demo"
        if source.parts[0] != "tests":
            return "unit"
        # tests/module.rs or tests/scenarios/main.rs
        return {"properties": "property", "scenarios": "scenario"}.get(
            name := Path(source.parts[1]).stem, name
        )

    def __str__(self):
        seen = set(self.passed + self.failed + self.ignored)
        kinds = [kind for kind in KINDS if kind in seen] + sorted(seen - set(KINDS))
        counts = ", ".join(f"{self.passed[kind] + self.failed[kind]} {kind}" for kind in kinds)
        lines = [f"mesh-jwt: {counts}"]
        if ignored := sum(self.ignored.values()):
            lines.append(f"{ignored} ignored")
        # They ended well for their harness, but showed nothing.
        lines += [f"1 skipped: {reason}" for reason in self.skipped]
        passed = sum(self.passed.values()) - len(self.skipped)
        lines.append(f"{passed} passed, {sum(self.failed.values())} failed")
        return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
