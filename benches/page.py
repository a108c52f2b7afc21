"""docs/benchmarks.md, from the numbers of the sections that were measured."""

from statistics import median

#: What is said of squall's connections in the runs against a stalling server, and what its scenario says.
STALL_CONNECTIONS = {
    ", 50 connections": "{ pooled: 50 }",
    ", a connection for each visitor": "per-user",
}


def page(sections, groups):
    lines = ["# Benchmarks", "", "Written by `benches/compare.sh`; do not edit.", ""]
    lines += preface(sections)
    lines += ["## Against the goals", "", "| what | goal | measured | |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in goals(sections)]
    lines += ["", "## Requests per second", ""]
    for name in groups:
        for cell in data(sections, name) or []:
            lines += rates_table(cell)
    lines += ["## Turns, truth, schedule, memory", ""]
    for name, show in SHOWN.items():
        if found := data(sections, name):
            lines += show(found)
    return "\n".join(lines).rstrip() + "\n"


def data(sections, name):
    return sections[name]["data"] if name in sections else None


def said(sections, key):
    """What sections say of something, once where all say the same."""
    by_value = {}
    for name, section in sections.items():
        by_value.setdefault(section[key], []).append(name)
    if len(by_value) == 1:
        return str(*by_value)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())


def preface(sections):
    versions, missing = {}, set()
    for section in sections.values():
        versions.update(section["versions"])
        missing.update(section["missing"])
    missing -= set(versions)
    if not sections:
        return ["Nothing was measured.", ""]
    return [
        f"- Machine: {said(sections, 'machine')}",
        f"- Date: {said(sections, 'date')}; commit: {said(sections, 'commit')}",
        f"- Requests per second, schedule and workers: medians of {said(sections, 'rounds')} runs of {lengths(sections)},"
        " generators in turn. Stall, memory and record: one run. By turns: as told there.",
        "- Server and client are pinned to one core each, the same minimal server for all (`examples/bench_server`).",
        "- CPU per request is that of the whole process, its start included.",
        "- squall records in full: per-second histograms, status check, serving instance. wrk and h2load check"
        " neither status nor instance.",
        "- Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        *(["- Not measured: " + ", ".join(sorted(missing))] if missing else []),
        "",
    ]


def lengths(sections):
    """How long the runs of cells were."""
    cells = [cell for section in sections.values() if isinstance(section["data"], list) for cell in section["data"]]
    return " or ".join(f"{seconds} s" for seconds in sorted({cell["seconds"] for cell in cells}))


def rates_table(cell):
    lines = [f"### {cell['case']}", ""]
    lines += ["| generator | requests/s | of wrk | CPU per request |", "| --- | ---: | ---: | ---: |"]
    wrk = cell["rates"].get("wrk")
    for name, rate in sorted(cell["rates"].items(), key=lambda entry: -entry[1]):
        ratio = f"{rate / wrk:.2f} x" if wrk else "-"
        lines.append(f"| {name} | {rate:,.0f} | {ratio} | {cell['cpu_us'][name]:.2f} us |")
    for name, why in cell["failed"].items():
        first = why.splitlines()[0][:80].replace("|", "/")
        lines.append(f"| {name} | none: {first} | | |")
    return [*lines, ""]


def by_turns(case):
    """squall's rate over wrk's, round by round."""
    found = case["found"]
    return [ours / wrk for ours, wrk in zip(found["squall"]["rates"], found["wrk"]["rates"])]


def turns_table(found):
    lines = [f"### squall and wrk by turns of {found['turn_ms']:.0f} ms", ""]
    lines += ["| | squall | wrk | ratio | least and most | CPU per request, squall | wrk |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for case in found["cases"].values():
        rates = [f"{median(case['found'][name]['rates']):,.0f}/s" for name in ("squall", "wrk")]
        costs = [f"{median(case['found'][name]['cpu_us']):.2f} us" for name in ("squall", "wrk")]
        ratios = by_turns(case)
        cells = [case["case"], *rates, f"{median(ratios):.3f} x", f"{min(ratios):.3f}, {max(ratios):.3f}", *costs]
        lines.append(f"| {' | '.join(cells)} |")
    own = found["cases"]["keep-alive"]["found"]["wrk"]["rates"]
    note = (
        "Both at the same time on the same core, each against a server of its own, stopped and continued with it by turns;"
        f" {len(own)} rounds, medians. Runs of seconds in turn, as above, also show whether a shared machine was just fast or"
        f" slow: from round to round wrk over 50 connections had {min(own):,.0f} to {max(own):,.0f}/s."
    )
    return [*lines, "", note, ""]


def stall_table(found):
    rate, expected = found["rate"], found["expected"]
    lines = [f"### A server that stalls for 1 s in every 10, {rate:,} arrivals/s", ""]
    lines += ["| | p50 | p95 | p99 | p99.9 |", "| --- | ---: | ---: | ---: | ---: |"]
    lines.append(stall_row("arithmetic; p50 by a plain closed-loop probe over 50 connections", expected, None))
    for name, values in found["found"].items():
        lost = "".join(f", {share:.1%} of arrivals dropped" for share in values[4:])
        lines.append(stall_row(name + lost, values, expected))
        if found["drained"][name]:
            lines.append(stall_row(f"the same, against the server of {name}", values, drained(found, name)))
    note = (
        f"The arithmetic takes the {rate:,} requests that have waited to be answered the moment a stall ends. The server"
        " needs some milliseconds for that, which every client sees, and tells when each answer left: the second row of"
        " each generator is against the arithmetic and that time. With 50 connections, as most generators have them, those"
        " that have waited queue in squall; with one for each visitor they wait in the server, which then works through"
        f" {rate:,} connections that it has not touched for up to a second."
    )
    return [*lines, "", note, ""]


def drained(found, name):
    """What arithmetic says where those that have waited are answered as the server did in that run."""
    p50, *rest = found["expected"]
    return [p50, *(exact + late for exact, late in zip(rest, found["drained"][name]))]


def stall_row(name, values, expected):
    cells = [f"{values[0]:,.0f} us"]
    for index, value in enumerate(values[1:4], 1):
        error = f" ({value / expected[index] - 1:+.1%})" if expected else ""
        cells.append(f"{value / 1000:,.0f} ms{error}")
    return f"| {name} | {' | '.join(cells)} |"


def schedule_text(found):
    text = (
        f"Open loop at {found['rate']:,}/s on one core: {found['answered_per_s']:,.0f}/s answered, schedule lag p99"
        f" {found['lag_p99_us']:,.0f} us."
    )
    return ["### Schedule", "", text, ""]


def memory_text(found):
    text = f"{found['users']:,} keep-alive users, {found['per_s']:,.0f}/s: {found['mib']:,.0f} MiB at most."
    return ["### Memory", "", text, ""]


def workers_text(found):
    one, two = found["cpu_us"]["1"], found["cpu_us"]["2"]
    text = (
        f"{found['rate']:,} arrivals/s on one core: {one:.2f} us of CPU per request with one worker, {two:.2f} us with two."
    )
    return ["### Workers", "", text, ""]


def record_text(found):
    text = (
        f"One step at {found['rate']:,}/s over {found['instances']} instances: the record grows by"
        f" {found['bytes_per_s']:,.0f} bytes/s."
    )
    return ["### Record", "", text, ""]


SHOWN = {
    "turns": turns_table,
    "stall": stall_table,
    "schedule": schedule_text,
    "memory": memory_text,
    "workers": workers_text,
    "record": record_text,
}


def goals(sections):
    """Each goal: what, the goal, what was measured, and whether it was reached."""
    yield from rate_goals(sections)
    yield from stall_goals(sections)
    yield at_most(
        "open loop at 20,000/s on one core, schedule lag p99",
        300,
        "us",
        number(sections, "schedule", "lag_p99_us"),
    )
    mib = number(sections, "memory", "mib")
    per_s = number(sections, "memory", "per_s")
    at = f" at {per_s:,.0f}/s" if per_s else ""
    megabytes = mib and mib * 1.048576
    yield at_most(f"memory of 10,000 keep-alive users{at}", 120, "MB", megabytes)
    cost = number(sections, "workers", "cpu_us")
    more = cost and (cost["2"] / cost["1"] - 1) * 100
    yield at_most("CPU per request, two workers more than one", 10, "%", more)
    growth = number(sections, "record", "bytes_per_s")
    yield at_most(
        "growth of the record, one step at 1,000/s over 4 instances", 2000, "bytes/s", growth
    )


def number(sections, name, key):
    found = data(sections, name)
    return found and found[key]


def ratio(sections, name, other):
    """squall's rate over another's, in a section's first cell."""
    found = data(sections, name)
    rates = found[0]["rates"] if found else {}
    if "squall" in rates and other in rates:
        return rates["squall"] / rates[other]
    return None


def rate_goals(sections):
    turns = data(sections, "turns")
    for name, what, least in (
        ("keep-alive", "requests/s, keep-alive, 50 connections", 1.15),
        ("new-connections", "requests/s, new connection per request", 1.0),
    ):
        measured = turns and median(by_turns(turns["cases"][name]))
        yield row(
            f"{what}, against wrk, by turns",
            f"at least {least:g} x",
            measured and f"{measured:.3f} x",
            measured and measured >= least,
        )
    for name, what, other, least in (
        ("keep-alive", "requests/s, keep-alive, 50 connections", "wrk", 1.15),
        ("keep-alive", "requests/s, keep-alive, 50 connections", "oha", 1.5),
        ("keep-alive", "requests/s, keep-alive, 50 connections", "hey", 3.0),
        ("keep-alive", "requests/s, keep-alive, 50 connections", "k6", 6.0),
        ("new-connections", "requests/s, new connection per request", "wrk", 1.0),
    ):
        measured = ratio(sections, name, other)
        yield row(
            f"{what}, against {other}",
            f"at least {least:g} x",
            measured and f"{measured:.2f} x",
            measured and measured >= least,
        )


def stall_goals(sections):
    found = data(sections, "stall")
    for name in (f"squall{how}" for how in STALL_CONNECTIONS):
        ours = found and found["found"][name]
        exact = found and {"arithmetic": found["expected"], "arithmetic and the server's own time": drained(found, name)}
        how = name.removeprefix("squall").strip(", ")
        for against in ("arithmetic", "arithmetic and the server's own time"):
            for index, percentile in ((1, "p95"), (2, "p99"), (3, "p99.9")):
                error = ours and (ours[index] / exact[against][index] - 1) * 100
                yield row(
                    f"stalling server, {how}: error of {percentile} against {against}",
                    "within 2 %",
                    error if error is None else f"{error:+.1f} %",
                    error if error is None else abs(error) <= 2,
                )
        off = ours and ours[0] - found["expected"][0]
        yield row(
            f"stalling server, {how}: median against a closed-loop probe",
            "within 20 us",
            off if off is None else f"{off:+.0f} us",
            off if off is None else abs(off) <= 20,
        )


def at_most(what, limit, unit, measured):
    return row(
        what,
        f"at most {limit:,} {unit}",
        measured if measured is None else f"{measured:,.0f} {unit}",
        measured if measured is None else measured <= limit,
    )


def row(what, goal, measured, reached):
    """Nothing measured is neither."""
    if measured is None:
        return (what, goal, "-", "not measured")
    return (what, goal, measured, "reached" if reached else "missed")
