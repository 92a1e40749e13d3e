"""The benchmarks run, and Flask-Rooms loses nothing in them; what others do is not tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"

#: Seconds that a benchmark with so little to do may take, on a machine that is busy.
TIMEOUT = 120.0

pytestmark = [
    pytest.mark.mode_independent,
    pytest.mark.program,
    pytest.mark.usefixtures("redis_broker"),  # which says what is missing
    pytest.mark.skipif(
        "ROOMS_TEST_REDIS_URL" in os.environ, reason="A broker is killed, which has to be our own."
    ),
]


def run(benchmark: str, **options: int) -> tuple[list[dict[str, Any]], str]:
    """Run a benchmark of Flask-Rooms on Redis; return its records, and the lines of its table."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}"]
    command += ["--only", "flask-rooms redis threading"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True
    )
    versions, *records = [
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")
    ]
    assert versions["versions"]["Flask-Rooms"]
    head = next(line for line in done.stdout.splitlines() if line.startswith("|"))
    assert f"\n{head}\n" in DOCUMENT.read_text(encoding="utf-8")
    return records, "\n".join(
        line for line in done.stdout.splitlines() if line.startswith("| Flask-Rooms")
    )


def test_no_leave_is_lost_to_a_fault() -> None:
    """Whatever the fault is: no membership remains, and the client has stayed."""
    records, table = run("lost_leaves", leaves=200, quiet=1)

    assert [one["fault"] for one in records] == ["cut", "outage"]
    for one in records:
        assert (one["lost_silently"], one["lost_with_error"], one["connected"]) == (0, 0, True)
        assert 0 < one["called_by_its_end"] <= one["leaves"] == 200
        assert one["server"].startswith("Redis ")
    assert table.count("\n") == 1


def test_speed_is_measured_until_done_and_until_confirmed() -> None:
    """Without its peer there is no ratio."""
    records, table = run("speed", rounds=1, singles=20, burst=50)

    assert [one["stop"] for one in records] == ["done there", "confirmed here"]
    for one in records:
        assert one["p50"] <= one["p99"]
        assert one["rate"] > 0
        assert "times_as_long" not in one
    assert table.count("\n") == 1
