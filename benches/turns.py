"""squall and wrk at the same time on the same core, stopped and continued in turns of some milliseconds.

Where a machine is faster in one second than in the next, by a third on a shared one, runs of seconds in turn compare two
seconds rather than two programs. Turns are so short that what disturbs the machine disturbs both alike.
"""

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from measure import CLIENT_CORE, server
from peers import Case, Failed

CASE = Case("keep-alive, 50 connections, 0.1 KiB")
TURN_S = 0.05
#: What each gets of the core, and how often all is done.
SECONDS, ROUNDS = 15, 4


class Client:
    """A program under way, and the server that it has for itself."""

    def __init__(self, peer, options, stack, seconds):
        self.peer = peer
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        said = stack.enter_context(server(options, CASE.server_arguments()))
        command = ["taskset", "-c", str(CLIENT_CORE), *peer.command(CASE, said, seconds, self.folder)]
        self.out = stack.enter_context(open(self.folder / "printed", "w+", encoding="utf-8"))
        self.child = subprocess.Popen(command, stdout=self.out, stderr=subprocess.STDOUT)
        stack.callback(self.end)
        self.active, self.cpu = 0.0, None

    def end(self):
        if self.cpu is None:
            self.child.kill()
            self.child.wait()

    def turn(self, seconds):
        """Lets it run for so long. True when it has ended."""
        begun = time.monotonic()
        os.kill(self.child.pid, signal.SIGCONT)
        while (left := begun + seconds - time.monotonic()) > 0:
            time.sleep(min(left, 0.01))
            pid, _, usage = os.wait4(self.child.pid, os.WNOHANG)
            if pid:
                self.child.returncode = 0
                self.cpu = usage.ru_utime + usage.ru_stime
                break
        else:
            os.kill(self.child.pid, signal.SIGSTOP)
        self.active += time.monotonic() - begun
        return self.cpu is not None

    def requests(self):
        self.out.seek(0)
        return self.peer.requests(self.out.read(), self.folder)


def turns(options):
    """Requests a second and CPU per request of each, round by round."""
    rivals = [peer for peer in options.generators if hasattr(peer, "requests")]
    if len(rivals) < 2:
        raise Failed("needs squall and wrk")
    found = {peer.name: {"rates": [], "cpu_us": []} for peer in rivals}
    for number in range(ROUNDS):
        # Who is started last has the core for itself at the end: each is, in half of the rounds.
        for client in race(rivals[number % 2 :] + rivals[: number % 2], options):
            done = client.requests()
            found[client.peer.name]["rates"].append(done / client.active)
            found[client.peer.name]["cpu_us"].append(client.cpu / done * 1e6)
    return {"case": CASE.name, "turn_ms": TURN_S * 1000, "found": found}


def race(rivals, options):
    """Runs them until all have ended, and gives what became of them."""
    with contextlib.ExitStack() as stack:
        clients = []
        for peer in rivals:
            client = Client(peer, options, stack, SECONDS * len(rivals))
            clients.append(client)
            client.turn(TURN_S)
        running = list(clients)
        while running:
            random.shuffle(running)
            running = [client for client in running if not client.turn(TURN_S)]
        yield from clients
