"""The report of a run: one line of JSON, or a summary to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.faults.run import Run


def as_json(run: Run) -> dict[str, Any]:
    """Return everything that was counted and measured; times are in milliseconds."""
    verdict = run.verdict
    return {
        "seconds": round(run.seconds),
        "standstill": _ms(run.standstill.longest),
        "faults": sum(row.times for name, row in run.rows.items() if name != "no fault"),
        "calls": dict(sorted(run.fates.items())),
        "must be zero": dict(verdict.broken),
        "counts": dict(sorted(verdict.counts.items())),
        "longest block": _ms(max((row.block for row in run.rows.values()), default=0.0)),
        "by fault": {
            name: {
                "times": row.times,
                "longest block": _ms(row.block),
                "longest wait": _ms(row.wait),
                "longest until rest": _ms(row.rest),
                **dict(sorted(row.fates.items())),
            }
            for name, row in sorted(run.rows.items())
        },
        "examples": verdict.examples,
    }


def as_text(run: Run) -> str:
    """Return the same as lines to read."""
    return "\n".join(_lines(as_json(run)))


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield f"{report['faults']} faults in {report['seconds']} s"
    yield f"the machine stood still for {report['standstill']:,} ms at the longest"
    for title in ("calls", "counts", "must be zero"):
        yield ""
        yield f"{title}:"
        for name, count in report[title].items():
            yield f"  {count:>10,}  {name}"
    yield ""
    yield f"{'fault':<18} {'times':>5} {'block':>8} {'wait':>8} {'rest':>8}  changes"
    for name, row in report["by fault"].items():
        fates = [f"{n} {fate.split()[1]}" for fate, n in row.items() if fate.startswith("changes")]
        yield (
            f"{name:<18} {row['times']:>5} {row['longest block']:>8} {row['longest wait']:>8} "
            f"{row['longest until rest']:>8}  {', '.join(fates)}"
        )
    yield from ("", *report["examples"])


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
