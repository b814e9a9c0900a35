"""What the kernel knows about a process: CPU time and memory."""

import os
import re
from pathlib import Path
from typing import NamedTuple

MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)$")
# V8 reserves all that 32 bits can address, so that it need not check bounds.
RESERVED = 4 << 30
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    resident_bytes: int
    # Of each wasm VM: Envoy has one on its main thread and one on each worker.
    wasm_bytes: list


def cpu_ns(pid):
    """How long all its threads have run."""
    return sum(thread_ns(thread) for thread in Path(f"/proc/{pid}/task").iterdir())


def thread_ns(thread):
    precise = thread / "schedstat"
    if precise.exists():
        return int(precise.read_text().split()[0])
    # The fields after the name, which may hold spaces: utime and stime are the 14th and 15th.
    fields = (thread / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 10**9 // TICKS_PER_SECOND


def busy_ns(cpu):
    """How long a CPU has run anything."""
    stat = Path("/proc/stat").read_text()
    fields = re.search(rf"^cpu{cpu} (.+)$", stat, re.MULTILINE)[1].split()
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks * 10**9 // TICKS_PER_SECOND


def memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024
    return Memory(resident, wasm_memories(pid))


def wasm_memories(pid):
    """The sizes of what is in use at the start of each address space that V8 has reserved."""
    sizes = []
    used = None
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        start, end, access, name = MAPPING.match(line).groups()
        start, end = int(start, 16), int(end, 16)
        follows = used and used[1] == start
        if access == "---p" and follows and end - used[0] >= RESERVED:
            sizes.append(used[1] - used[0])
        used = (start, end) if access == "rw-p" and not name else None
    return sizes
