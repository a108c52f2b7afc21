"""Runs one program on the client's core against the server on its own."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from peers import Failed

SERVER_CORE, CLIENT_CORE = 0, 1


class Options:
    """What is measured with."""

    def __init__(self, binaries, generators, rounds, seconds):
        self.server = str(binaries / "examples/bench_server")
        self.probe = str(binaries / "examples/bench_probe")
        self.squall = str(binaries / "squall")
        self.generators = generators
        self.rounds = rounds
        #: Of each run; none where the case decides.
        self.seconds = seconds

    def peer(self, name):
        return next((peer for peer in self.generators if peer.name == name), None)


class Usage:
    """What the last program used."""

    cpu = 0.0
    rss_mib = 0.0


def launch(command, folder, limit=120):
    """Runs a program on the client's core; returns what it printed."""
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
def server(options, arguments=(), tls=False, said=None, process=None):
    """The server on its core; gives its URL. What it prints later goes to the list `said`, line by line; its process to
    the list `process`."""
    with tempfile.TemporaryDirectory() as folder:
        if tls:
            arguments = [*arguments, "--tls", f"{folder}/cert.pem"]
        command = ["taskset", "-c", str(SERVER_CORE), options.server, *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if process is not None:
            process.append(child)
        try:
            port = child.stdout.readline().strip()
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
        finally:
            child.kill()
            rest, _ = child.communicate()
            if said is not None:
                said += rest.splitlines()


def say(text):
    print(text, file=sys.stderr, flush=True)
