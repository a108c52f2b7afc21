"""Measures squall beside other load generators, section by section, and writes docs/benchmarks.md.

Called by compare.sh, which installs the generators. Each section's numbers are kept as JSON in the cache, so that
sections may be measured one by one; the page is written whole from what is there.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

import cells
import page
import peers
import special
from measure import Options, say

SECTIONS = [*cells.GROUPS, *special.MEASUREMENTS]


def machine():
    model = "unknown processor"
    for line in open("/proc/cpuinfo", encoding="ascii"):
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def commit():
    """What is measured; `+` where it differs from the commit."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def arguments():
    parser = argparse.ArgumentParser(prog="benches/compare.sh", description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, help="of each run, instead of 1 or 2")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--peers", help="only generators whose name has one of these words")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/benchmarks.md"))
    given = parser.parse_args()
    given.binaries = given.binaries.resolve()
    given.only = [name for name in given.only.split(",") if name]
    unknown = set(given.only) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    return given


def main():
    given = arguments()
    generators, missing = peers.available(given.cache, given.binaries)
    if not any(isinstance(peer, peers.Squall) for peer in generators):
        sys.exit(f"no squall in {given.binaries}")
    if given.peers:
        words = given.peers.split(",")
        generators = [p for p in generators if any(word in p.name for word in words)]
    results = given.cache / "results"
    results.mkdir(parents=True, exist_ok=True)
    options = Options(given.binaries, generators, given.rounds, given.seconds)
    for name in given.only:
        say(f"== {name}")
        measured = cells.GROUPS.get(name) or special.MEASUREMENTS[name]
        found = {
            "machine": machine(),
            "date": datetime.date.today().isoformat(),
            "commit": commit(),
            "rounds": given.rounds,
            "versions": {peer.name: peers.version(peer) for peer in generators},
            "missing": missing,
            "data": cells.group(measured, options) if name in cells.GROUPS else measured(options),
        }
        (results / f"{name}.json").write_text(json.dumps(found, indent=1))
    sections = {}
    for name in SECTIONS:
        file = results / f"{name}.json"
        if file.exists():
            sections[name] = json.loads(file.read_text())
    given.output.write_text(page.page(sections, cells.GROUPS))
    say(f"written: {given.output}")


if __name__ == "__main__":
    main()
