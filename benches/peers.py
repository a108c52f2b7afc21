"""How each load generator is called, and where it says its rate."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile


class Failed(Exception):
    """A generator that gave no number."""


class Case:
    """What is measured: the load, the server that it is put on, how long, and by which generators (none: by all)."""

    def __init__(
        self, name, connections=50, body=100, keep_alive=True, tls=False, seconds=1, who=None
    ):
        self.name = name
        self.connections = connections
        self.body = body
        self.keep_alive = keep_alive
        self.tls = tls
        self.seconds = seconds
        self.who = who

    def server_arguments(self):
        arguments = ["--body", str(self.body)]
        return arguments if self.keep_alive else arguments + ["--close"]


def found(pattern, text):
    match = re.search(pattern, text)
    if not match:
        raise Failed(f"no rate in its output: {text.strip()[-300:]!r}")
    return float(match.group(1))


def written(file, output):
    """What a generator has written to a file as JSON; `output` is what it printed."""
    if not file.exists():
        raise Failed(f"it wrote no {file.name}: {output.strip()[-300:]!r}")
    return json.loads(file.read_text())


class Peer:
    """A generator. `command` returns the command line; `rate` reads requests/s from what it printed."""

    #: What it cannot do, as names of attributes of a case.
    lacks = ()

    def __init__(self, program):
        self.program = program

    def can(self, case):
        return (case.who is None or self.name.split()[0] in case.who) and not (
            ("tls" in self.lacks and case.tls)
            or ("close" in self.lacks and not case.keep_alive)
            or ("many" in self.lacks and case.connections > 500)
        )

    def run(self, case, url, seconds, launch):
        with tempfile.TemporaryDirectory() as folder:
            output = launch(self.command(case, url, seconds, pathlib.Path(folder)), folder)
            return self.rate(output, pathlib.Path(folder))


class Wrk(Peer):
    name = "wrk"

    def command(self, case, url, seconds, _folder):
        close = [] if case.keep_alive else ["-H", "Connection: close"]
        return [self.program, "-t1", f"-c{case.connections}", f"-d{seconds}", *close, url]

    def rate(self, output, _folder):
        return found(r"Requests/sec:\s+([\d.]+)", output)

    def requests(self, output, _folder):
        return found(r"(\d+) requests in", output)


class Hey(Peer):
    name = "hey"

    def command(self, case, url, seconds, _folder):
        close = [] if case.keep_alive else ["-disable-keepalive"]
        load = ["-z", f"{seconds}s", "-c", str(case.connections), "-cpus", "1"]
        return [self.program, *load, *close, url]

    def rate(self, output, _folder):
        return found(r"Requests/sec:\s+([\d.]+)", output)


class H2load(Peer):
    name = "h2load (HTTP/1.1)"
    lacks = ("close",)

    def command(self, case, url, seconds, _folder):
        return [self.program, "--h1", "-t1", "-c", str(case.connections), "-D", str(seconds), url]

    def rate(self, output, _folder):
        return found(r"finished in [^,]*, ([\d.]+) req/s", output)


class Ab(Peer):
    name = "ab"

    def command(self, case, url, seconds, _folder):
        keep = ["-k"] if case.keep_alive else []
        # -t sets a number of requests, too: it must come first.
        load = ["-t", str(seconds), "-n", "100000000", "-c", str(case.connections)]
        return [self.program, "-q", *keep, *load, url]

    def rate(self, output, _folder):
        return found(r"Requests per second:\s+([\d.]+)", output)


class Oha(Peer):
    name = "oha"

    def command(self, case, url, seconds, _folder):
        close = [] if case.keep_alive else ["--disable-keepalive"]
        tls = ["--insecure"] if case.tls else []
        load = ["-z", f"{seconds}s", "-c", str(case.connections)]
        return [self.program, "--no-tui", "--output-format", "json", *load, *close, *tls, url]

    def rate(self, output, _folder):
        return float(json.loads(output)["summary"]["requestsPerSec"])


class Autocannon(Peer):
    name = "autocannon"
    lacks = ("close", "tls")

    def command(self, case, url, seconds, _folder):
        return [self.program, "-j", "-c", str(case.connections), "-d", str(seconds), url]

    def rate(self, output, _folder):
        return float(json.loads(output[output.index("{") :])["requests"]["average"])


class Locust(Peer):
    name = "Locust (FastHttpUser)"
    lacks = ("close", "tls", "many")

    def command(self, case, url, seconds, folder):
        file = pathlib.Path(__file__).parent / "locustfile.py"
        users = str(case.connections)
        load = ["-u", users, "-r", users, "-t", f"{seconds}s"]
        result = ["--json-file", str(folder / "stats")]
        flags = ["--headless", "--only-summary", "-L", "ERROR", "--host", url.rstrip("/"), *result]
        return [self.program, "-f", str(file), *flags, *load]

    def rate(self, output, folder):
        files = [json.loads(file.read_text()) for file in folder.glob("stats*")]
        if not any(files):
            raise Failed(f"it wrote no statistics: {output.strip()[-300:]!r}")
        stats = files[0][0]
        seconds = stats["last_request_timestamp"] - stats["start_time"]
        if stats["num_failures"]:
            raise Failed(f"{stats['num_failures']} requests failed")
        return stats["num_requests"] / seconds


class K6(Peer):
    """k6 with a script of one request and one check, as its documentation begins."""

    name = "k6"
    #: Percentiles of the summary, least first.
    TRENDS = ("p(50)", "p(95)", "p(99)", "p(99.9)")

    def command(self, case, url, seconds, folder):
        load = {
            "vus": case.connections,
            "duration": f"{seconds}s",
            "noConnectionReuse": not case.keep_alive,
            "insecureSkipTLSVerify": case.tls,
        }
        return self.script(load, url, folder)

    def arrivals(self, rate, seconds, url, folder):
        """An open loop, by as many users as wait at the worst moment of a stall of one second."""
        open_loop = {
            "executor": "constant-arrival-rate",
            "rate": rate,
            "timeUnit": "1s",
            "duration": f"{seconds}s",
            "preAllocatedVUs": 50,
            "maxVUs": rate,
        }
        return self.script({"scenarios": {"main": open_loop}}, url, folder)

    def script(self, options, url, folder):
        file = folder / "script.js"
        file.write_text(f"""import http from 'k6/http';
import {{ check }} from 'k6';
export const options = {json.dumps(options)};
export default function () {{
  const response = http.get('{url}');
  check(response, {{ 'status is 200': (r) => r.status === 200 }});
}}
""")
        summary = ["--summary-export", str(folder / "summary.json")]
        flags = ["--quiet", "--no-usage-report", "--address", "", *summary]
        return [self.program, "run", *flags, "--summary-trend-stats", ",".join(self.TRENDS), str(file)]

    def metrics(self, output, folder):
        metrics = written(folder / "summary.json", output)["metrics"]
        if failed := metrics["checks"]["fails"]:
            raise Failed(f"{failed} requests failed")
        return metrics

    def rate(self, output, folder):
        return float(self.metrics(output, folder)["http_reqs"]["rate"])


class Squall(Peer):
    name = "squall"
    threads = 1
    #: Where the case does not decide.
    connections = None

    def load(self, case, seconds):
        return f"users: {{ count: {case.connections}, hold: {seconds}s }}"

    def scenario(self, case, url, seconds):
        connections = self.connections or ("per-user" if case.keep_alive else "per-request")
        tls = ", tls: { insecure: true }" if case.tls else ""
        return f"""squall: 1
name: benchmark {case.name}
target: {{ url: {{ url: "{url}"{tls} }} }}
run: {{ threads: {self.threads} }}
traffic:
  main:
    {self.load(case, seconds)}
    connections: {connections}
    journey:
      - get: /
        check: {{ status: 200 }}
"""

    def command(self, case, url, seconds, folder):
        file = folder / "scenario.yaml"
        file.write_text(self.scenario(case, url, seconds))
        return [self.program, "run", str(file), "--quiet", "--out", str(folder / "run")]

    def summary(self, output, folder):
        summary = written(folder / "run" / "result.json", output)["summary"]
        if summary["all"]["failed"]:
            raise Failed(f"{summary['all']['failed']} requests failed: {summary['all']['errors']}")
        return summary

    def rate(self, output, folder):
        return self.summary(output, folder)["all"]["throughput_per_s"]

    def requests(self, output, folder):
        return self.summary(output, folder)["all"]["ended"]


class ScenarioSquall(Squall):
    """squall under a load of its own; gives the summary, the requests of each second and the record's size."""

    def __init__(self, program, load, threads=1, connections=None):
        super().__init__(program)
        self.own_load = load
        self.threads = threads
        self.connections = connections

    def load(self, _case, _seconds):
        return self.own_load

    def rate(self, output, folder):
        summary = self.summary(output, folder)
        files = [folder / "run" / name for name in ("record.jsonl", "intervals.hlog")]
        ended = []
        for line in files[0].read_text().splitlines():
            event = json.loads(line)
            if event.get("kind") == "traffic":
                ended.append(sum(sum(step["ended"].values()) for step in event["steps"]))
        size = sum(file.stat().st_size for file in files)
        return {"summary": summary, "ended": ended, "record_bytes": size}


def available(cache, binaries):
    """The generators that are there, and the names of those that are not."""
    places = [
        (Wrk, shutil.which("wrk")),
        (Squall, binaries / "squall"),
        (H2load, shutil.which("h2load")),
        (Oha, cache / "oha/bin/oha"),
        (Ab, shutil.which("ab")),
        (Hey, shutil.which("hey")),
        (Autocannon, cache / "autocannon/bin/autocannon"),
        (Locust, cache / "locust/bin/locust"),
        (K6, shutil.which("k6") or cache / "k6/bin/k6"),
    ]
    here = [kind(str(place)) for kind, place in places if place and pathlib.Path(place).exists()]
    names = {peer.name for peer in here}
    return here, [kind.name for kind, _ in places if kind.name not in names]


def version(peer):
    """The first line of what a generator says of itself."""
    for flag in ("--version", "-V", "-v"):
        done = subprocess.run([peer.program, flag], capture_output=True, text=True)
        text = (done.stdout + done.stderr).strip().splitlines()
        match = re.search(r"\d+\.\d+[\w.-]*", text[0]) if text else None
        if match:
            return match.group(0)
    return "(says no version)"
