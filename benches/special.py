"""What is not requests per second: truth, schedule, memory, workers, the record's growth."""

import json
import pathlib
import tempfile
import time
from statistics import mean, median

import peers
import turns
from measure import Usage, launch, server
from page import STALL_CONNECTIONS
from peers import Case

STALL_RATE = 2_000
OPEN_RATE = 20_000


def open_run(options, url, load, seconds, threads=1, connections=None):
    """One run of squall under a load of `seconds`."""
    peer = peers.ScenarioSquall(options.squall, load, threads, connections)
    return peer.run(Case("special"), url, seconds, launch)


def arrivals(rate, seconds):
    return f"arrivals: {{ rate: {rate}/s, hold: {seconds}s }}"


def stall(options):
    """Against a server that stands still for 1 s in every 10: percentiles that arithmetic knows."""
    seconds = 30
    with server(options) as url, tempfile.TemporaryDirectory() as folder:
        port = url.rsplit(":", 1)[1].strip("/")
        # What a plain blocking loop sees at the same rate over as many connections.
        output = launch([options.probe, port, str(STALL_RATE), "5", "50"], folder)
        probe = peers.found(r"p50 ([\d.]+) us", output)
    found, drained = {}, {}
    generators = {
        f"squall{how}": lambda *given, connections=connections: squall_stall(connections, *given)
        for how, connections in STALL_CONNECTIONS.items()
    }
    if oha := options.peer("oha"):
        generators["oha --latency-correction"] = lambda *given: oha_stall(oha, *given)
    if k6 := options.peer("k6"):
        generators["k6, constant arrival rate"] = lambda *given: k6_stall(k6, *given)
    for name, measure in generators.items():
        said = []
        with server(options, ["--stall"], said=said) as url:
            found[name] = measure(options, url, seconds)
            # The last stall ended with the run: the server has yet to tell of it.
            time.sleep(0.5)
        drained[name] = drain(said)
    expected = [probe, 500_000, 900_000, 990_000]
    return {"rate": STALL_RATE, "expected": expected, "found": found, "drained": drained}


def drain(said):
    """How long after a stall the server answered those at p95, p99 and p99.9: half, a tenth and a hundredth of all that
    had waited came before them. In microseconds, means over the stalls; none where arrivals were dropped in each."""
    stalls = [sorted(int(us) for us in line.split()) for line in said]
    whole = [left for left in stalls if len(left) >= STALL_RATE]
    if not whole:
        return None
    return [mean(left[int(STALL_RATE * part)] for left in whole) for part in (0.5, 0.1, 0.01)]


def squall_stall(connections, options, url, seconds):
    run = open_run(options, url, arrivals(STALL_RATE, seconds), seconds, connections=connections)
    latency = run["summary"]["all"]["response"]
    return [latency[key] for key in ("p50_us", "p95_us", "p99_us", "p999_us")]


def oha_stall(oha, _options, url, seconds):
    load = ["-z", f"{seconds}s", "-c", "4000", "-q", str(STALL_RATE), "--latency-correction"]
    with tempfile.TemporaryDirectory() as folder:
        output = launch([oha.program, "--no-tui", "--output-format", "json", *load, url], folder)
        found = json.loads(output)["latencyPercentiles"]
        return [found[p] * 1e6 for p in ("p50", "p95", "p99", "p99.9")]


def k6_stall(k6, _options, url, seconds):
    """The percentiles, and the share of arrivals that k6 dropped."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        output = launch(k6.arrivals(STALL_RATE, seconds, url, folder), folder)
        metrics = k6.metrics(output, folder)
        dropped = metrics.get("dropped_iterations", {"count": 0})["count"]
        latency = metrics["http_req_duration"]
        return [*(latency[p] * 1e3 for p in k6.TRENDS), dropped / (STALL_RATE * seconds)]


def schedule(options):
    seconds = options.seconds or 2
    load = arrivals(OPEN_RATE, seconds)
    with server(options) as url:
        runs = [open_run(options, url, load, seconds)["summary"] for _ in range(options.rounds)]
    return {
        "rate": OPEN_RATE,
        "answered_per_s": median(run["all"]["throughput_per_s"] for run in runs),
        "lag_p99_us": median(run["generator"]["lag_p99_us"] for run in runs),
    }


def memory(options):
    load = "users: { count: 10000, ramp: 5s, hold: 8s, think: 1s }"
    with server(options) as url:
        run = open_run(options, url, load, 13)
    # Seconds after all users are there.
    return {"users": 10_000, "per_s": median(run["ended"][6:12]), "mib": Usage.rss_mib}


def workers(options):
    seconds = options.seconds or 2
    costs = {}
    with server(options) as url:
        for _ in range(options.rounds):
            for threads in (1, 2):
                load = arrivals(OPEN_RATE, seconds)
                run = open_run(options, url, load, seconds, threads)
                cost = Usage.cpu / run["summary"]["all"]["ended"] * 1e6
                costs.setdefault(str(threads), []).append(cost)
    return {"rate": OPEN_RATE, "cpu_us": {threads: median(c) for threads, c in costs.items()}}


def record(options):
    """A long run less a short one: what is written once cancels out."""
    short, long = 2, 62
    with server(options, ["--instances", "4"]) as url:
        sizes = [open_run(options, url, arrivals(1000, s), s)["record_bytes"] for s in (short, long)]
    return {"rate": 1000, "instances": 4, "bytes_per_s": (sizes[1] - sizes[0]) / (long - short)}


MEASUREMENTS = {
    "turns": turns.turns,
    "stall": stall,
    "schedule": schedule,
    "memory": memory,
    "workers": workers,
    "record": record,
}
