"""Turns what was measured into numbers to compare, and those into Markdown."""

import platform
import re
import statistics
import subprocess
from pathlib import Path

import cpus
import install
import load
import proxy
import table
import tokens
from systems import CLAIMS, CROWD, JWT_AUTHN, JWT_AUTHN_CACHE, MESH_JWT, MESH_JWT_NO_CACHE, PLAIN

LOADS = ("cold", "hot", "rejected")
# By load, what of Envoy's own comes nearest to which of ours.
RIVALS = (
    ("cold", JWT_AUTHN, MESH_JWT),
    ("cold", JWT_AUTHN, MESH_JWT_NO_CACHE),
    ("hot", JWT_AUTHN_CACHE, MESH_JWT),
    ("rejected", JWT_AUTHN, MESH_JWT),
)


# === Numbers ===


def summarise(about, records, points, memories, starts):
    memory, crowds = memories
    return {
        "about": about,
        "systems": compare(records),
        "ratios": [
            {"load": one, "native": native, "ours": ours, **spread(ratios(records, *rivals))}
            for rivals in RIVALS
            for one, native, ours in [rivals]
        ],
        "scaling": [row for point in points for row in scaled(records, point)],
        "memory": {
            name: {
                **one._asdict(),
                "added_bytes": one.resident_bytes - memory[PLAIN].resident_bytes,
                "each_worker_bytes": each_worker(one, crowds[name]) if name in crowds else None,
            }
            for name, one in memory.items()
        },
        "start": {
            name: {
                "ready_ms": spread([1e3 * one["ready"] for one in times]),
                "verified_ms": spread([1e3 * one["verified"] for one in times]),
            }
            for name, times in starts.items()
        },
        "records": records,
    }


def about(mode, plan, records):
    version = subprocess.run([install.available(), "--version"], capture_output=True, text=True)
    found = re.search(r"/(\d+\.\d+\.\d+)/", version.stdout)
    return {
        "mode": mode,
        **plan._asdict(),
        "envoy": found[1] if found else version.stdout.strip(),
        "module_bytes": proxy.MODULE.stat().st_size,
        "cpu": cpu_model(),
        "cpus": len(cpus.ALL),
        "pinned": cpus.are_pinned(),
        "others": spread([one["others"] for one in records if one["phase"] != "paced"]),
    }


def each_worker(one, crowd):
    """What every worker beyond the first adds to the process."""
    return (crowd.resident_bytes - one.resident_bytes) / (CROWD - 1)


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def by_round(records, phase, load_name, system, figure):
    return [
        record[figure]
        for record in records
        if (record["phase"], record["load"], record["system"]) == (phase, load_name, system)
    ]


def added_cpu(records, phase, load_name, system):
    """Beyond what the same round cost without a check."""
    both = zip(
        by_round(records, phase, load_name, system, "cpu_us"),
        by_round(records, phase, load_name, PLAIN, "cpu_us"),
    )
    return [cpu - plain for cpu, plain in both]


def compare(records):
    names = dict.fromkeys(r["system"] for r in records if r["phase"] == "saturated")
    return {one: {name: figures(records, one, name) for name in names} for one in LOADS}


def figures(records, load_name, system):
    def of(phase, figure):
        return spread(by_round(records, phase, load_name, system, figure))

    return {
        "requests_per_second": of("saturated", "requests_per_second"),
        "busy": of("saturated", "busy"),
        "cpu_us": of("saturated", "cpu_us"),
        "added_cpu_us": spread(added_cpu(records, "saturated", load_name, system)),
        "paced_requests_per_second": of("paced", "requests_per_second"),
        "p50_ms": of("paced", "p50_ms"),
        "p99_ms": of("paced", "p99_ms"),
    }


def ratios(records, load_name, native, ours):
    """How many times as much CPU Envoy's own filter adds."""
    return divided(
        added_cpu(records, "saturated", load_name, native),
        added_cpu(records, "saturated", load_name, ours),
    )


def divided(numerators, denominators):
    return [numerator / denominator for numerator, denominator in zip(numerators, denominators)]


def scaled(records, point):
    for kind in point.kinds:
        baseline = added_cpu(records, "scaling", kind, MESH_JWT)
        load_name = tokens.load_name(kind, point.token_bytes)
        enlarged = added_cpu(records, "scaling", load_name, point.system.name)
        yield {
            "dimension": point.dimension,
            "size": point.size,
            "load": kind,
            "baseline_added_cpu_us": spread(baseline),
            "added_cpu_us": spread(enlarged),
            "ratio": spread(divided(enlarged, baseline)),
        }


# === Markdown ===


def markdown(results):
    parts = [introduction(results)]
    for one in LOADS:
        title = f"### {one.capitalize()}: {MEANINGS[one]}"
        parts += [title, systems_table(results["systems"][one])]
    parts += ["### Added CPU, jwt_authn ÷ mesh-jwt", ratios_table(results["ratios"])]
    parts += [f"### Added CPU, enlarged ÷ {BASELINE}", scaling_table(results["scaling"])]
    parts += ["### Memory of a process with one worker", memory_table(results["memory"])]
    parts += ["### From the start of Envoy", start_table(results["start"])]
    return "\n\n".join(parts) + "\n"


BASELINE = f"{MESH_JWT} with one rule, one provider, one key and the smallest token"
MEANINGS = {
    "cold": f"{tokens.COUNT} good tokens in turn",
    "hot": "one good token",
    "rejected": f"{tokens.COUNT} tokens with a bad signature in turn",
}


def introduction(results):
    about = results["about"]
    paced = statistics.median(
        figures["paced_requests_per_second"]["median"]
        for systems in results["systems"].values()
        for figures in systems.values()
    )
    placement = "Envoy alone on one of them" if about["pinned"] else "all on it"
    return f"""## Benchmark, {about["mode"]}

Envoy {about["envoy"]}, mesh-jwt.wasm of {about["module_bytes"]:,} bytes; {about["cpu"]}, \
{about["cpus"]} CPUs, {placement}, of which other programs took \
{100 * about["others"]["median"]:.0f} % (at most {100 * about["others"]["max"]:.0f} %).

Each system checks signature, issuer, audience and times, removes the token and sets \
{len(CLAIMS)} headers from claims; `{PLAIN}` is the same Envoy without a check, which forwards the \
token, and answers the rejected requests with 401 by a route. Medians of {about["rounds"]} rounds \
(min–max).

- requests/s: with {load.CONNECTIONS} connections, for {about["saturated_seconds"]} s a run; busy \
is how much of a CPU Envoy used: well below 100 %, something else was the limit
- CPU: Envoy's own, per request, during that; added: beyond `{PLAIN}` in the same round
- p50, p99: at {paced:.0f} requests/s, for {about["paced_seconds"]} s a run
- rejected: mesh-jwt has its keys in the configuration. Where it fetches them it looks for a new key \
first, and lets the request wait."""


def systems_table(systems):
    header = ("", "requests/s", "busy", "CPU µs", "added CPU µs", "p50 ms", "p99 ms")
    return table.markdown(
        [
            header,
            *(
                (
                    name,
                    shown(figures["requests_per_second"], ",.0f"),
                    f"{100 * figures['busy']['median']:.0f} %",
                    shown(figures["cpu_us"], ".1f"),
                    "" if name == PLAIN else shown(figures["added_cpu_us"], ".1f"),
                    shown(figures["p50_ms"], ".2f"),
                    shown(figures["p99_ms"], ".2f"),
                )
                for name, figures in systems.items()
            ),
        ]
    )


def ratios_table(ratios):
    return table.markdown(
        [
            ("load", "compared", "ratio"),
            *(
                (ratio["load"], f"{ratio['native']} ÷ {ratio['ours']}", shown(ratio, ".2f"))
                for ratio in ratios
            ),
        ]
    )


def scaling_table(rows):
    return table.markdown(
        [
            ("enlarged to", "load", "added before, µs", "added after, µs", "ratio"),
            *(
                (
                    f"{row['size']:,} {row['dimension']}",
                    row["load"],
                    shown(row["baseline_added_cpu_us"], ".1f"),
                    shown(row["added_cpu_us"], ".1f"),
                    shown(row["ratio"], ".2f"),
                )
                for row in rows
            ),
        ]
    )


def memory_table(memory):
    return table.markdown(
        [
            (
                "",
                "resident MiB",
                f"beyond {PLAIN}, MiB",
                "each worker more, MiB",
                "wasm memory of each VM, KiB",
            ),
            *(
                (
                    name,
                    f"{one['resident_bytes'] / 2**20:.1f}",
                    "" if name == PLAIN else f"{one['added_bytes'] / 2**20:.1f}",
                    "" if each is None else f"{each / 2**20:.1f}",
                    " + ".join(f"{size // 1024:,}" for size in one["wasm_bytes"]),
                )
                for name, one in memory.items()
                for each in [one["each_worker_bytes"]]
            ),
        ]
    )


def start_table(start):
    return table.markdown(
        [
            ("", "ready ms", "first verified request ms"),
            *(
                (name, shown(one["ready_ms"], ".0f"), shown(one["verified_ms"], ".0f"))
                for name, one in start.items()
            ),
        ]
    )


def shown(spread, form):
    median, low, high = (format(spread[name], form) for name in ("median", "min", "max"))
    return f"{median} ({low}–{high})"
