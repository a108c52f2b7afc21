"""Runs every generator in turn against the same server and writes the medians to docs/benchmarks.md.

Called by compare.sh, which installs the generators. Server and client have a core each. The generators alternate
within a round, so that what disturbs the machine disturbs all of them; ratios are of medians over the rounds.
"""

import argparse
import contextlib
import datetime
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from statistics import median

import peers
from peers import Case, Failed, OpenSquall, Squall

SERVER_CORE, CLIENT_CORE = 0, 1
SERVER = pathlib.Path("target/release/examples/bench_server").resolve()
PROBE = pathlib.Path("target/release/examples/bench_probe").resolve()

GROUPS = {
    "keep-alive": [Case("keep-alive, 50 connections, 0.1 KiB")],
    "bodies": [
        Case("keep-alive, 50 connections, 1 KiB", body=1 << 10),
        Case("keep-alive, 50 connections, 16 KiB", body=16 << 10),
    ],
    "connections": [
        Case("keep-alive, 1 connection, 0.1 KiB", connections=1),
        Case("keep-alive, 1,000 connections, 0.1 KiB", connections=1000),
    ],
    "new-connections": [Case("new connection per request, 50 at once", keep_alive=False)],
    "tls": [Case("TLS, keep-alive, 50 connections, 0.1 KiB", tls=True)],
}
SPECIAL = ["stall", "schedule", "memory", "workers"]


class Usage:
    """What the last generator used."""

    cpu = 0.0
    rss_mib = 0.0


def launch(command, folder, limit=120):
    """Runs a generator on the client's core; returns what it printed."""
    with open(pathlib.Path(folder) / "out", "w+") as out:
        pinned = ["taskset", "-c", str(CLIENT_CORE), *command]
        child = subprocess.Popen(pinned, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + limit
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                child.kill()
                os.wait4(child.pid, 0)
                raise Failed(f"it did not end within {limit} s")
            time.sleep(0.02)
        child.returncode = os.waitstatus_to_exitcode(status)
        Usage.cpu = usage.ru_utime + usage.ru_stime
        Usage.rss_mib = usage.ru_maxrss / 1024
        out.seek(0)
        return out.read()


@contextlib.contextmanager
def server(arguments, tls=False):
    """The server on its core; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        if tls:
            arguments = [*arguments, "--tls", f"{folder}/cert.pem"]
        command = ["taskset", "-c", str(SERVER_CORE), str(SERVER), *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            port = child.stdout.readline().strip()
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
        finally:
            child.kill()
            child.wait()


def say(text):
    print(text, file=sys.stderr, flush=True)


def compare(case, generators, options):
    """Requests/s of each generator, round by round; what failed, with why."""
    rates, failed = {}, {}
    with server(case.server_arguments(), case.tls) as url:
        for number in range(1, options.rounds + 1):
            for peer in generators:
                if peer.name in failed or not peer.can(case):
                    continue
                try:
                    rate = peer.run(case, url, options.seconds, launch)
                except (Failed, KeyError, ValueError, OSError) as problem:
                    failed[peer.name] = str(problem)
                    say(f"{case.name}: {peer.name} gave no number: {problem}")
                    continue
                cpu = Usage.cpu / (rate * options.seconds) * 1e6
                rates.setdefault(peer.name, []).append((rate, cpu))
                say(f"{case.name}, round {number}: {peer.name} {rate:,.0f}/s, {cpu:.2f} us CPU")
                # The kernel's backlog of closed connections would slow the next one down.
                time.sleep(0.2 if case.keep_alive else 2)
    return rates, failed


def table(case, rates, failed):
    lines = [
        f"### {case.name}",
        "",
        "| generator | requests/s | of wrk | CPU per request |",
        "| --- | ---: | ---: | ---: |",
    ]
    medians = {name: median(r for r, _ in runs) for name, runs in rates.items()}
    for name, rate in sorted(medians.items(), key=lambda entry: -entry[1]):
        ratio = f"{rate / medians['wrk']:.2f} x" if "wrk" in medians else "-"
        cpu = median(cpu for _, cpu in rates[name])
        lines.append(f"| {name} | {rate:,.0f} | {ratio} | {cpu:.2f} us |")
    lines += [f"| {name} | none: {why.splitlines()[0][:80]} | | |" for name, why in failed.items()]
    return lines + [""]


def open_run(url, rate, seconds, program, threads=1, load=None):
    """One run of squall with arrivals on a schedule (or another load): its summary."""
    peer = OpenSquall(program, rate)
    if load:
        peer.load = lambda _case, _seconds: load
    case = Case("open loop")
    peer.scenario = lambda c, u, s, _base=peer.scenario: _base(c, u, s, threads)
    return peer.run(case, url, seconds, launch)


def probe(url, rate, seconds):
    """The median that a plain blocking loop sees at the same rate, in microseconds."""
    port = url.rsplit(":", 1)[1].strip("/")
    with tempfile.TemporaryDirectory() as folder:
        output = launch([str(PROBE), port, str(rate), str(seconds)], folder)
        return peers.found(r"p50 ([\d.]+) us", output)


def oha_stall(generators, url, seconds):
    oha = next((p for p in generators if p.name == "oha"), None)
    if oha is None:
        return None
    import json

    load = ["-z", f"{seconds}s", "-c", "4000", "-q", "2000", "--latency-correction"]
    with tempfile.TemporaryDirectory() as folder:
        output = launch([oha.program, "--no-tui", "--output-format", "json", *load, url], folder)
        found = json.loads(output)["latencyPercentiles"]
        return [found[p] * 1e6 for p in ("p50", "p95", "p99", "p99.9")]


def stall(generators, options, squall):
    """Against a server that stands still for 1 s in every 10: percentiles that arithmetic knows."""
    seconds = 30
    with server([]) as url:
        truth = probe(url, 2000, 5)
    expected = [truth, 500_000, 900_000, 990_000]
    with server(["--stall"]) as url:
        latency = open_run(url, 2000, seconds, squall)["all"]["response"]
        ours = [latency[key] for key in ("p50_us", "p95_us", "p99_us", "p999_us")]
        theirs = oha_stall(generators, url, seconds)
    lines = ["### A server that stalls for 1 s in every 10, 2,000 arrivals/s", ""]
    lines += ["| | p50 | p95 | p99 | p99.9 |", "| --- | ---: | ---: | ---: | ---: |"]

    def row(name, values):
        cells = [f"{values[0]:,.0f} us", *(f"{v / 1000:,.0f} ms" for v in values[1:])]
        errors = [f"{v / e - 1:+.1%}" for v, e in zip(values[1:], expected[1:])]
        cells = cells[:1] + [f"{c} ({e})" for c, e in zip(cells[1:], errors)]
        return "| " + " | ".join([name, *cells]) + " |"

    lines.append(row("arithmetic; p50 by a plain closed-loop probe", expected))
    lines.append(row("squall", ours))
    if theirs:
        lines.append(row("oha --latency-correction", theirs))
    return lines + [""]


def schedule(options, squall):
    with server([]) as url:
        runs = [open_run(url, 20_000, options.seconds, squall) for _ in range(options.rounds)]
    lag = median(run["generator"]["lag_p99_us"] for run in runs)
    rate = median(run["all"]["throughput_per_s"] for run in runs)
    text = f"Open loop at 20,000/s on one core: {rate:,.0f}/s answered, schedule lag p99 {lag:,.0f} us."
    return ["### Schedule", "", text, ""]


def memory(options, squall):
    load = f"users: {{ count: 10000, ramp: 5s, hold: {options.seconds + 5}s, think: 1s }}"
    with server([]) as url:
        summary = open_run(url, 0, options.seconds + 10, squall, load=load)
    rate = summary["all"]["throughput_per_s"]
    text = f"10,000 keep-alive users, {rate:,.0f}/s: {Usage.rss_mib:,.0f} MiB at most."
    return ["### Memory", "", text, ""]


def workers(options, squall):
    lines = ["### Workers", "", "20,000 arrivals/s on one core, CPU per request:", ""]
    with server([]) as url:
        for threads in (1, 2):
            costs = []
            for _ in range(options.rounds):
                summary = open_run(url, 20_000, options.seconds, squall, threads)
                costs.append(Usage.cpu / summary["all"]["ended"] * 1e6)
            lines.append(f"- {threads} worker{'s' if threads > 1 else ''}: {median(costs):.2f} us")
    return lines + [""]


def machine():
    cpu = "unknown processor"
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    groups = [*GROUPS, *SPECIAL]
    parser.add_argument("--only", default=",".join(groups), help=f"of {', '.join(groups)}")
    parser.add_argument("--peers", help="only generators whose name has one of these words")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/benchmarks.md"))
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = set(options.only) - set(groups)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return options


def main():
    options = arguments()
    generators, missing = peers.available(options.cache)
    if options.peers:
        words = options.peers.split(",")
        generators = [p for p in generators if any(word in p.name for word in words)]
    squall = next((p.program for p in generators if isinstance(p, Squall)), None)
    lines = [
        "# Benchmarks",
        "",
        "Written by `benches/compare.sh`; do not edit.",
        "",
        f"- Machine: {machine()}",
        f"- Date: {datetime.date.today().isoformat()}",
        f"- Each number is the median of {options.rounds} runs of {options.seconds} s, generators in turn; server and"
        " client pinned to one core each, the same minimal server for all (`examples/bench_server.rs`).",
        "- squall records in full: per-second histograms, status check, serving instance. wrk and h2load check"
        " neither status nor instance.",
        "- Versions: " + ", ".join(f"{p.name} {peers.version(p)}" for p in generators),
        "- Not measured: " + ", ".join([*missing, "k6 (in no package registry that is used here)"]),
        "",
        "## Requests per second",
        "",
    ]
    for group, cases in GROUPS.items():
        if group in options.only:
            for case in cases:
                lines += table(case, *compare(case, generators, options))
    specials = {
        "stall": lambda: stall(generators, options, squall),
        "schedule": lambda: schedule(options, squall),
        "memory": lambda: memory(options, squall),
        "workers": lambda: workers(options, squall),
    }
    if squall:
        lines += ["## Truth, schedule, memory", ""]
        for name, measure in specials.items():
            if name in options.only:
                say(name)
                lines += measure()
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text("\n".join(lines).rstrip() + "\n")
    say(f"written: {options.output}")


if __name__ == "__main__":
    main()
