"""
Write the tables and the plots of docs/performance.md from what the benchmarks have printed.

    python -m benchmarks.report FILE...

Each file is the output of one run of `speed`, `inside`, `fairness`, `served`, `idle` or `scale`.
What stands in the page between the markers of a table is replaced. `./dev bench` runs all of them,
and this.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import fairness, idle, inside, served, table
from benchmarks.plots import Bar, save
from benchmarks.table import Record

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "performance.md"


def main() -> None:
    """Write the page and the plots."""
    paths = [Path(name) for name in sys.argv[1:]]
    records = [record for path in paths for record in table.read(path)]
    scale = [line for path in paths for line in _scale_rows(path)]
    speed, local = _of(records, "speed"), _of(records, "inside")
    fair = _of(records, "fairness")
    left_alone = _of(records, "idle")
    requests, crowds = _of(records, "requests"), _of(records, "crowd")
    tables = {
        "speed": table.speed(speed) if speed else "",
        "inside": inside.table(local) if local else "",
        "fairness": fairness.table(fair) if fair else "",
        "requests": served.requests_table(requests) if requests else "",
        "crowd": served.crowd_table(crowds) if crowds else "",
        "idle": idle.table(left_alone) if left_alone else "",
        "versions": _versions(records),
    }
    page = PAGE.read_text(encoding="utf-8")
    for name, text in tables.items():
        page = replaced(page, name, text) if text else page
    PAGE.write_text(page, encoding="utf-8")
    if speed:
        _plot_speed(speed)
    if local:
        _plot_disconnect(local)
    if scale:
        _plot_scale(scale)


def replaced(page: str, name: str, text: str) -> str:
    """Return a page with *text* between the markers of a table."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    if begin not in page or end not in page:
        raise ValueError(f"{PAGE.name} has no markers for the table {name!r}.")
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}\n\n{end}{rest.split(end)[1]}"


def _of(records: Iterable[Record], benchmark: str) -> list[Record]:
    return [one for one in records if one.get("benchmark") == benchmark]


def _versions(records: Iterable[Record]) -> str:
    """Return the versions of the latest run, and the load of the machine in all of them."""
    found: dict[str, str] = {}
    loads = [one["load"] for one in records if "load" in one]
    for one in records:
        found |= one.get("versions", {})
    named = ", ".join(f"{name} {version}" for name, version in found.items())
    return f"{named}. Load of the machine: {min(loads):.1f} to {max(loads):.1f}." if loads else ""


def _scale_rows(path: Path) -> list[tuple[str, str, float]]:
    """Return workers, event and MB of each row that `scale` has printed."""
    row = re.compile(r"\| (\d+) \| (.+) \| [\d,]+ \| ([\d,.]+) \| .*\|")
    found = map(row.fullmatch, path.read_text(encoding="utf-8").splitlines())
    return [(one[1], one[2], float(one[3].replace(",", ""))) for one in found if one]


# -- plots ------------------------------------------------------------------------------------


def _plot_speed(records: list[Record]) -> None:
    for key, name, title, unit in (
        ("p50", "latency", "One leave on another worker, median (less is better)", "us"),
        ("rate", "throughput", "Leaves back to back (more is better)", "/s"),
        ("cpu", "cpu", "Processor time of both workers for a leave (less is better)", "us"),
    ):
        groups: dict[str, list[Record]] = {}
        for one in records:
            stop = ", confirmed" if one["stop"] == "confirmed here" else ""
            groups.setdefault(_short(one["contender"]) + stop, []).append(one)
        bars = [_bar(label, some, key, unit) for label, some in groups.items()]
        save(DOCS, f"performance-{name}", title, bars)


def _short(contender: str) -> str:
    return contender.replace("python-socketio ", "").replace("Socket.IO ", "Node ")


def _bar(label: str, some: list[dict[str, Any]], key: str, unit: str) -> Bar:
    value = median(one[key] for one in some)
    return Bar(label, value, f"{value:,.0f} {unit}", label.startswith("Flask-Rooms"))


def _plot_disconnect(records: list[Record]) -> None:
    bars = []
    for one in records:
        if one["what"].startswith("disconnect"):
            rooms = one["what"].rpartition(" of ")[2]
            for who, key in (("Flask-Rooms", "ours"), ("python-socketio", "peer")):
                value = median(one[key])
                shown = f"{value:,.0f} {one['unit']}"
                bars.append(Bar(f"{who}, {rooms}", value, shown, key == "ours"))
    title = "Disconnect of a socket, by the number of all rooms (less is better)"
    save(DOCS, "performance-disconnect", title, bars)


def _plot_scale(rows: list[tuple[str, str, float]]) -> None:
    bars = [
        Bar(f"{event}, {workers} workers", size, f"{1000 * size:,.0f} kB", ours=True)
        for workers, event, size in rows
        if event in ("one leave", "one heartbeat interval", "one broadcast of 1 KiB")
    ]
    save(DOCS, "performance-scale", "What a broker delivers, by the number of workers", bars)


if __name__ == "__main__":
    main()
