"""The benchmarks run, and Flask-Rooms loses nothing in them; what others do is not tested."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import report, table

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
DEPLOYING = ROOT / "docs" / "deploying.md"

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
    pages = [page.read_text(encoding="utf-8") for page in (DOCUMENT, PERFORMANCE)]
    assert any(f"\n{head}\n" in page for page in pages)
    return records, "\n".join(
        line for line in done.stdout.splitlines() if line.startswith("| Flask-Rooms")
    )


def test_no_leave_is_lost_to_a_fault() -> None:
    """Whatever the fault is: no membership remains, and the client has stayed."""
    records, printed = run("lost_leaves", leaves=200, quiet=1)

    assert [one["fault"] for one in records] == ["cut", "outage"]
    for one in records:
        assert (one["lost_silently"], one["lost_with_error"], one["connected"]) == (0, 0, True)
        assert 0 < one["called_by_its_end"] <= one["leaves"] == 200
        assert one["server"].startswith("Redis ")
    assert printed.count("\n") == 1


def test_calls_inside_a_worker_are_compared_and_the_page_has_room_for_it(tmp_path: Path) -> None:
    """Each has both figures in each round, and every table of the page has its place."""
    printed = tmp_path / "inside.txt"
    with printed.open("w") as file:
        command = [sys.executable, "-m", "benchmarks.inside", "--rounds=1", "--clients=200"]
        subprocess.run(command, cwd=ROOT, stdout=file, timeout=TIMEOUT, check=True)

    records = [one for one in table.read(printed) if one.get("benchmark") == "inside"]
    assert len(records) == 9
    for one in records:
        assert len(one["ours"]) == len(one["peer"]) == len(one["ratio"]) == 1
        assert one["ours"][0] > 0
    page = PERFORMANCE.read_text(encoding="utf-8")
    for name in ("versions", "speed", "inside", "idle"):
        page = report.replaced(page, name, f"| {name} |")
        assert f"\n| {name} |\n" in page
    for plot in re.findall(r"!\[.*\]\((.*)-light.svg\)", page):
        for scheme in ("light", "dark"):
            ElementTree.parse(DOCUMENT.parent / f"{plot}-{scheme}.svg")


def test_an_idle_worker_is_measured_with_its_peers_and_without() -> None:
    command = [sys.executable, "-m", "benchmarks.idle", "--rounds=1"]
    command += ["--clients=5", "--peers=2", "--seconds=0.2"]

    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True
    )

    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    found = [(one["clients"], one["peers"]) for one in records if one.get("benchmark") == "idle"]
    assert found == [(5, 0), (5, 2)]


def test_speed_is_measured_until_done_and_until_confirmed() -> None:
    """Without its peer there is no ratio."""
    records, printed = run("speed", rounds=1, singles=20, burst=50)

    assert [one["stop"] for one in records] == ["done there", "confirmed here"]
    for one in records:
        assert one["p50"] <= one["p99"]
        assert one["rate"] > 0
        assert "times_as_long" not in one
    assert printed.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Memory and threads are read from /proc.")
def test_what_a_worker_and_a_broker_hold_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks.capacity"]
    command += ["--clients=5", "--workers=2", "--seconds=0.5"]

    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True
    )

    rows = [row.split("|") for row in done.stdout.splitlines() if row.startswith("| ")]
    servers, gevent, gthread, brokers, two = rows
    page = DEPLOYING.read_text(encoding="utf-8")
    assert all(f"\n{'|'.join(head)}\n" in page for head in (servers, brokers))
    assert int(gthread[5].replace(",", "")) > 5 > int(gevent[5])
    assert float(two[2].split()[0]) > 0
