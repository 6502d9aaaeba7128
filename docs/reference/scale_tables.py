"""Write the tables of docs/explanation/scaling.md from benchmarks/results: what was measured, and what follows from it.

The text around them is written by hand. `make docs` writes the tables again; a test holds the page against them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arithmetic import Need, Segment, needs, ray_calls, segment
from benchmarks.figures import RATE, Figure, finish_frames_per_second, paces, result

PAGE = Path(__file__).parents[1] / "explanation" / "scaling.md"
FLEETS = (10, 1_000, 100_000)
FILM_SECONDS = 7200
CALLERS = ("1 thread", "4 threads", "16 threads", "4 processes", "16 processes")
_KINDS = ("clip", "short", "film")
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def scaling_page() -> str:
    """Return docs/explanation/scaling.md with its tables as the results are now."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", PAGE.read_text(encoding="utf-8"))


def segment_table() -> str:
    """Return what one segment costs."""
    one = segment()
    return _rows(("a segment of ten seconds", "takes", "from"), _of_segment(one))


def _of_segment(one: Segment) -> Iterator[Sequence[str]]:
    for name, pace in paces().items():
        yield f"GPU, {name}: {pace.value:.4g} frames a second", f"{one.frames / pace.value:.3g} s", _source(pace)
    for what, figure in (
        ("decoding", one.decode),
        ("encoding", one.encode),
        ("the network on processors", one.network),
    ):
        yield f"{what}", f"{figure.value:.3g} core seconds", _source(figure)
    yield "its part of joining and auditing", f"{one.finish.value:.3g} core seconds", _source(one.finish)
    for what, figure in (("source read", one.source_bytes), ("output written", one.output_bytes)):
        yield what, _bytes(figure.value), _source(figure)
    yield "copy for watching", _bytes(one.copy_bytes.value), _source(one.copy_bytes)
    yield "order and answer", _bytes(one.message_bytes.value), _source(one.message_bytes)


def control_table() -> str:
    """Return what the jobs' database does a second."""
    found = result("control")
    works = (("jobs handed in", "submit"), ("whole lives of jobs", "life"), ("leases renewed", "renew"))
    rows = [
        (what, name, *(_rate(found[database][work][callers]) for callers in CALLERS))
        for what, work in works
        for database, name in _databases(found)
    ]
    if "postgres" in found:
        by_row = (_rate(found["postgres"]["renew_by_row"][callers]) for callers in CALLERS)
        rows.append(("leases renewed, each under its own row's lock (tried, not built)", "Postgres", *by_row))
    return _rows(("a second", "", *CALLERS), rows)


def waiting_table() -> str:
    """Return what many waiting jobs cost."""
    found = result("control")
    counts = list(next(iter(found["sqlite"]["waiting"].values())))
    rows = [
        (what, name, *(_rate(found[database]["waiting"][work][one]) for one in counts))
        for what, work in (("jobs handed in", "submit"), ("jobs claimed", "claim"))
        for database, name in _databases(found)
    ]
    return _rows(("a second, four threads", "", *(f"{int(one):,} wait" for one in counts)), rows)


def _databases(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, shown) for name, shown in (("sqlite", "SQLite"), ("postgres", "Postgres")) if name in found]


def together_line() -> str:
    """Return what renewing many leases at once would give."""
    found = result("control").get("postgres", {}).get("renew_together")
    if not found:
        return "Many leases by one statement: **not measured** (there was no Postgres).\n"
    each, per_second = found["leases_of_each"], found["per_second"]
    return (
        f"One statement that renews {each:,} leases: {_number(per_second)} a second, {each * per_second:,.0f} leases.\n"
    )


def film_line() -> str:
    """Return how long the end of one long film takes, whatever the fleet."""
    frames, pace = FILM_SECONDS * RATE, finish_frames_per_second()
    hours = frames / pace.value / 3600
    return (
        f"A film of two hours at 3840x2160 has {frames:,.0f} frames. One desk audits {_number(pace.value)} a second "
        f"({_source(pace)}): {hours:.1f} hours, reckoned.\n"
    )


def ray_table() -> str:
    """Return what Ray costs and carries."""
    calls, found = ray_calls(), result("cluster")
    if calls is None:
        return "Calls over Ray: **not measured yet** (`benchmarks/results/cluster.json` is not there).\n"
    pace, ratios = found["segments_per_second"], (found["overhead"], found["efficiency"])
    overhead, efficiency = (
        f"{one['median']:.2f} ({min(one['rounds']):.2f} to {max(one['rounds']):.2f} in {len(one['rounds'])} rounds; "
        f"{one['of_wall']['median']:.2f} with what the host took)"
        for one in ratios
    )
    return _rows(
        ("over Ray", "measured: cluster.json, everything on two cores"),
        [
            ("seconds of a job on one machine of one core, against the same core without Ray", overhead),
            ("work of two such machines against twice that of one", efficiency),
            ("segments a second with next to no work in them, one machine", _number(pace["one"])),
            ("the same, two machines", _number(pace["two"])),
            ("calls a second that one server gets answered", _number(calls.value)),
        ],
    )


def needs_table() -> str:
    """Return what fleets need at each pace, and how many of something that is."""
    ends = list(paces().items())
    head = ["a fleet needs", *(f"{gpus:,} GPUs, {name}" for name, _ in ends for gpus in FLEETS)]
    columns = [needs(gpus, pace.value) for _, pace in ends for gpus in FLEETS]
    rows = [
        (f"{each[0].what}{f', {each[0].unit}' if each[0].unit else ''}", *map(_need, each))
        for each in zip(*columns, strict=True)
    ]
    return _rows(head, rows)


def limits_table() -> str:
    """Return what the needs are held against."""
    rows = [
        (one.what, one.one, f"{_number(one.of_one.value)} {one.unit}", _source(one.of_one))
        for one in needs(1, 1.0)
        if one.of_one is not None and one.unit != "cores"
    ]
    return _rows(("of", "one", "gives", "from"), rows)


def lengths_table() -> str:
    """Return what the simulation says of each length."""
    found = result("sim_fleet")
    rows = []
    for pace, of_pace in found["lengths"].items():
        for row in of_pace:
            mark = "**" if row["seconds"] == found["picked"][pace] else ""
            costs = (_percent(row[part]) for part in ("overhead", "lost"))
            rows.append((pace, f"{mark}{row['seconds']:g} s{mark}", _busy(row), *costs, *_rendered(row)))
    return _rows(("pace", "length", "GPUs busy", "starts", "lost", "clips", "short films", "long films"), rows)


def alone_table() -> str:
    """Return how one film alone keeps a fleet at work."""
    found = result("sim_fleet")["film_alone"]
    fleets = sorted({row["gpus"] for row in found})
    rows = []
    for length in sorted({row["seconds"] for row in found}):
        of_length = [row for gpus in fleets for row in found if (row["seconds"], row["gpus"]) == (length, gpus)]
        rows.append((f"{length:g} s", *(f"{row['took']:,.0f} s, {_percent(row['efficiency'])}" for row in of_length)))
    return _rows(("length", *(f"{gpus:,} GPUs" for gpus in fleets)), rows)


def shortest_table() -> str:
    """Return from which length on starts take little, by what they may take."""
    rows = [
        (
            row["pace"], f"{row['start']} as here, {row['by']}", f"{row['start_seconds']:.2g} s",
            f"{row['stored']:.0f} s", f"{row['hidden']:.0f} s",
        )
        for row in result("sim_fleet")["shortest"]
    ]  # fmt: skip
    return _rows(("pace", "a start takes", "which is", "starts ≤ 5 % from", "store's waits hidden"), rows)


def orders_table() -> str:
    """Return how long jobs wait by the order of the queue."""
    words = {
        "turns": "jobs take turns, the largest segment of each first",
        "largest": "the largest segment of all jobs",
    }
    words["oldest"] = "the job that waits longest"
    rows = [(words[row["order"]], *_rendered(row)) for row in result("sim_fleet")["orders"]]
    return _rows(("first comes", "clips", "short films", "long films"), rows)


def failures_table() -> str:
    """Return what is lost with nodes."""
    rows = [
        (
            "never" if row["hours"] is None else f"every {row['hours']:g} h", f"{row['seconds']:g} s",
            _percent(row["lost"]), _percent(row["down"]), str(row["redone"]), _waits(row["film_rendered"]),
        )
        for row in result("sim_fleet")["failures"]
    ]  # fmt: skip
    return _rows(("a node dies", "length", "lost", "GPUs away", "segments redone", "long films"), rows)


def assumptions_table() -> str:
    """Return what a fleet would do that is not as it was assumed to be."""
    rows = [
        (row["fleet"], _busy(row), _percent(row["stretched"]), *_rendered(row))
        for row in result("sim_fleet")["assumptions"]
    ]
    return _rows(("the fleet", "GPUs busy", "stretched", "clips", "short films", "long films"), rows)


def desks_table() -> str:
    """Return how long jobs wait for their audit."""
    rows = [
        (
            f"{row['desks'] or 'without end'}{', too few' if row['overloaded'] else ''}",
            *(_waits(row[f"{kind}_finished"]) for kind in _KINDS),
        )
        for row in result("sim_fleet")["desks"]
    ]
    return _rows(("desks", "clips", "short films", "long films"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "segment": segment_table,
    "control": control_table,
    "waiting": waiting_table,
    "together": together_line,
    "film": film_line,
    "ray": ray_table,
    "needs": needs_table,
    "limits": limits_table,
    "lengths": lengths_table,
    "shortest": shortest_table,
    "alone": alone_table,
    "orders": orders_table,
    "failures": failures_table,
    "assumptions": assumptions_table,
    "desks": desks_table,
}


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]] | Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _need(one: Need) -> str:
    if one.times is None or one.unit == "cores":
        return _number(one.amount)
    times = f"{_number(one.times)} ×"
    return f"{_number(one.amount)} ({f'**{times}**' if one.times > 1 else times})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"


def _rate(found: dict[str, Any]) -> str:
    return f"{found['per_second']:,.0f}"


def _busy(row: dict[str, Any]) -> str:
    return f"{100 * row['utilisation']:.0f} %{', overloaded' if row['overloaded'] else ''}"


def _rendered(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_waits(row[f"{kind}_rendered"]) for kind in _KINDS)


def _waits(found: dict[str, float]) -> str:
    return " / ".join(f"{value:,.0f}" for value in found.values())


def _source(figure: Figure) -> str:
    return f"{figure.kind}: {figure.source}"


def _bytes(count: float) -> str:
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
