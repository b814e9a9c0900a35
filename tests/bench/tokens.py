"""The tokens that are sent: signed by `tokens.rs`, or spoilt after that."""

import base64
import json
import random
import subprocess
from typing import NamedTuple

import run
from load import Load

# More than any cache of verified tokens holds.
COUNT = 2500
# In bytes. The smallest that there is, which has a little more.
SMALL = 512
PATH = "/service-1/orders"
# Where even the Envoy without a check answers 401 by itself: a rejected request does not get to
# the upstream, so nothing that does could be compared with it.
REJECTED_PATH = "/service-1/rejected"


class Issuer(NamedTuple):
    """What a provider has to know about the tokens."""

    issuer: str
    audience: str
    jwk: dict

    def keys(self, count):
        """A set of so many keys, of which the last has signed the tokens."""
        others = [{**self.jwk, "kid": f"key-{n}", "n": modulus()} for n in range(1, count)]
        return {"keys": [*others, self.jwk]}


def modulus():
    """Of 2048 bits. Its factors are nobody's, but no verifier looks for them."""
    number = random.getrandbits(2048) | 1 << 2047 | 1
    return base64.urlsafe_b64encode(number.to_bytes(256, "big")).rstrip(b"=").decode()


def sign(directory, sizes):
    """Writes the files that `loads` names, and returns who has issued their tokens."""
    directory = directory / "tokens"
    directory.mkdir(exist_ok=True)
    cargo = ["cargo", "run", "--quiet", "--locked", "--example", "bench_tokens", "--"]
    command = [*cargo, directory, str(COUNT), *(str(size) for size in sizes)]
    if subprocess.run(command, cwd=run.ROOT, stdin=subprocess.DEVNULL).returncode != 0:
        raise run.DemoError("the tokens could not be signed; see above")
    for size in sizes:
        write(directory / f"hot-{size}.txt", signed(directory, size)[:1])
    write(directory / f"rejected-{SMALL}.txt", map(spoilt, signed(directory, SMALL)))
    return Issuer(**json.loads((directory / "issuer.json").read_text()))


def signed(directory, size):
    return (directory / f"cold-{size}.txt").read_text().split()


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))


def spoilt(token):
    """With another signature that is as well-formed: neither its first bits change, which could
    make it larger than the modulus, nor its last, which have to be zero."""
    signature = token.rindex(".") + 1
    middle = (signature + len(token)) // 2
    return token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]


def loads(directory):
    """Those that the systems are compared under."""
    return (
        good(directory, "cold", SMALL, PATH),
        good(directory, "hot", SMALL, PATH),
        Load("rejected", directory / "tokens" / f"rejected-{SMALL}.txt", REJECTED_PATH, 401),
    )


def good(directory, kind, size, path):
    path_of_tokens = directory / "tokens" / f"{kind}-{size}.txt"
    return Load(load_name(kind, size), path_of_tokens, path, 200)


def load_name(kind, size):
    return kind if size == SMALL else f"{kind}, {size} bytes"
