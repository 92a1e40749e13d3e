"""
Tables of measurements: python -m benchmarks.table FILE...

Each file is the output of one run. Of several runs the tables show the smallest and the largest
figure.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]

#: The counts of leaves in a record, in the order of the columns.
_COUNTS = ("lost_silently", "lost_with_error", "done_with_error")


def main() -> None:
    """Print the tables of the files on the command line."""
    records = [record for name in sys.argv[1:] for record in read(Path(name))]
    for kind, show in (("lost_leaves", lost_leaves), ("speed", speed)):
        if of_kind := [one for one in records if one.get("benchmark") == kind]:
            print(show(of_kind), end="\n\n")


def read(path: Path) -> list[Record]:
    """Return the records in the output of a run."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def lost_leaves(records: Iterable[Record]) -> str:
    """Return the table of lost leaves: for each fault those without and those with an error."""
    head = ["", "fault", "lost silently"]
    head += ["lost, error reported", "done, error reported", "longest call"]
    rows = []
    for (contender, fault), some in _grouped(records, "contender", "fault").items():
        row = [contender, fault]
        row += [spread(one[key] for one in some) for key in _COUNTS]
        row.append(f"{spread(one['longest'] for one in some)} ms")
        rows.append(row)
    return markdown(head, rows)


def speed(records: Iterable[Record]) -> str:
    """Return the table of speeds, with the ratios to the peer on the same broker."""
    head = ["", "measured until", "one at a time, p50", "p99", "times the peer's p50"]
    head += ["back to back", "times the peer's", "processor time"]
    rows = []
    for (contender, stop), some in _grouped(records, "contender", "stop").items():
        row = [contender, stop]
        row += [f"{spread(one[key] for one in some)} us" for key in ("p50", "p99")]
        row.append(spread(one["times_as_long"] for one in some if "times_as_long" in one))
        row.append(f"{spread(one['rate'] for one in some)} /s")
        row.append(spread(one["times_as_many"] for one in some if "times_as_many" in one))
        row.append(f"{spread(one['cpu'] for one in some if 'cpu' in one)} us")
        rows.append(row)
    return markdown(head, rows)


def spread(values: Iterable[float]) -> str:
    """Return the smallest and the largest of *values*, or one value if they are equal."""
    shown = [short(value) for value in sorted(values)] or ["-"]
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, with all columns but the first aligned to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float) -> str:
    """Return a figure with three digits, or whole where it is large."""
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.3g}"


def _grouped(records: Iterable[Record], *keys: str) -> dict[tuple[str, ...], list[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[tuple(record[key] for key in keys)].append(record)
    return groups


if __name__ == "__main__":
    main()
