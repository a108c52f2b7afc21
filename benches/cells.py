"""Requests per second of every generator, cell by cell."""

import time
from statistics import median

from measure import Usage, launch, say, server
from peers import Case, Failed

FEW = ("wrk", "squall", "oha", "hey", "h2load")
CLOSING = ("wrk", "squall", "oha", "hey", "ab")

#: Sections of cells. Everybody is in the first; the rest are for those that are fast, and for what they differ in.
GROUPS = {
    "keep-alive": [Case("keep-alive, 50 connections, 0.1 KiB", seconds=2)],
    "bodies": [
        Case("keep-alive, 50 connections, 1 KiB", body=1 << 10, who=FEW),
        Case("keep-alive, 50 connections, 16 KiB", body=16 << 10, who=FEW),
    ],
    "connections": [
        Case("keep-alive, 1 connection, 0.1 KiB", connections=1, who=FEW),
        Case("keep-alive, 1,000 connections, 0.1 KiB", connections=1000, who=FEW),
    ],
    "new-connections": [
        Case("new connection per request, 50 at once, 0.1 KiB", keep_alive=False, who=CLOSING),
        Case(
            "new connection per request, 50 at once, 16 KiB",
            keep_alive=False,
            body=16 << 10,
            who=("wrk", "squall", "oha"),
        ),
    ],
    "tls": [
        Case("TLS, keep-alive, 50 connections, 0.1 KiB", tls=True, who=FEW),
        Case("TLS, keep-alive, 50 connections, 16 KiB", tls=True, body=16 << 10, who=FEW),
        Case(
            "TLS, new connection per request, 50 at once, 0.1 KiB",
            tls=True,
            keep_alive=False,
            who=("wrk", "squall", "oha"),
        ),
    ],
}


def group(cases, options):
    return [cell(case, options) for case in cases]


def cell(case, options):
    """What each generator reached, round by round in turn, so that what disturbs the machine disturbs all of them."""
    seconds = options.seconds or case.seconds
    rates, costs, failed = {}, {}, {}
    with server(options, case.server_arguments(), case.tls) as url:
        for number in range(1, options.rounds + 1):
            for peer in options.generators:
                if peer.name in failed or not peer.can(case):
                    continue
                try:
                    rate = peer.run(case, url, seconds, launch)
                except (Failed, KeyError, ValueError, OSError) as problem:
                    failed[peer.name] = str(problem)
                    say(f"{case.name}: {peer.name} gave no number: {problem}")
                    continue
                cost = Usage.cpu / (rate * seconds) * 1e6
                rates.setdefault(peer.name, []).append(rate)
                costs.setdefault(peer.name, []).append(cost)
                say(f"{case.name}, round {number}: {peer.name} {rate:,.0f}/s, {cost:.2f} us CPU")
                # The kernel's backlog of closed connections would slow the next one down.
                time.sleep(0.1 if case.keep_alive else 1.5)
    return {
        "case": case.name,
        "seconds": seconds,
        "rates": {name: median(values) for name, values in rates.items()},
        "cpu_us": {name: median(values) for name, values in costs.items()},
        "failed": failed,
    }
