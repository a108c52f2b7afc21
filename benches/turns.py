"""squall and wrk at the same time on the same core, stopped and continued in turns of some milliseconds.

Where a machine is faster in one second than in the next, by a third on a shared one, runs of seconds in turn compare two
seconds rather than two programs. Turns are so short that what disturbs the machine disturbs both alike. A client's server
is stopped with it: all that is under way between them stays where it is.
"""

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from measure import CLIENT_CORE, say, server
from peers import Case, Failed

#: By what the goals call them.
CASES = {
    "keep-alive": Case("keep-alive, 50 connections, 0.1 KiB"),
    "new-connections": Case("new connection per request, 50 at once, 0.1 KiB", keep_alive=False),
    "connections": Case("keep-alive, 1,000 connections, 0.1 KiB", connections=1000),
}
TURN_S = 0.05
#: What each gets of the core in a round, and how many rounds there are.
SECONDS, ROUNDS = 6, 5


class Client:
    """A program under way, and the server that it has for itself."""

    def __init__(self, peer, case, options, stack):
        self.peer = peer
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        process = []
        arguments = case.server_arguments()
        url = stack.enter_context(server(options, arguments, process=process))
        self.server = process[0]
        seconds = 2 * (options.seconds or SECONDS)
        command = peer.command(case, url, seconds, self.folder)
        command = ["taskset", "-c", str(CLIENT_CORE), *command]
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
        self.server.send_signal(signal.SIGCONT)
        os.kill(self.child.pid, signal.SIGCONT)
        time.sleep(seconds)
        pid, _, usage = os.wait4(self.child.pid, os.WNOHANG)
        if pid:
            self.child.returncode = 0
            self.cpu = usage.ru_utime + usage.ru_stime
        else:
            os.kill(self.child.pid, signal.SIGSTOP)
            self.server.send_signal(signal.SIGSTOP)
        self.active += time.monotonic() - begun
        return self.cpu is not None

    def requests(self):
        self.out.seek(0)
        return self.peer.requests(self.out.read(), self.folder)


def turns(options):
    """Requests a second and CPU per request of both, round by round, case by case."""
    rivals = [peer for peer in options.generators if hasattr(peer, "requests")]
    if len(rivals) != 2:
        raise Failed("needs squall and wrk")
    return {
        "turn_ms": TURN_S * 1000,
        "cases": {
            key: {"case": case.name, "found": compared(case, rivals, options)}
            for key, case in CASES.items()
        },
    }


def compared(case, rivals, options):
    found = {peer.name: {"rates": [], "cpu_us": []} for peer in rivals}
    for number in range(ROUNDS):
        # Who is started last has the core for itself at the end: each is, in half of the rounds.
        order = rivals if number % 2 else rivals[::-1]
        for client in race(order, case, options):
            done = client.requests()
            rate, cost = done / client.active, client.cpu / done * 1e6
            found[client.peer.name]["rates"].append(rate)
            found[client.peer.name]["cpu_us"].append(cost)
            say(f"{case.name}, by turns: {client.peer.name} {rate:,.0f}/s, {cost:.2f} us CPU")
    return found


def race(rivals, case, options):
    """Runs both until they have ended, and gives what became of them."""
    with contextlib.ExitStack() as stack:
        clients = []
        for peer in rivals:
            clients.append(Client(peer, case, options, stack))
            clients[-1].turn(TURN_S)
        running = list(clients)
        while running:
            random.shuffle(running)
            running = [client for client in running if not client.turn(TURN_S)]
        yield from clients
