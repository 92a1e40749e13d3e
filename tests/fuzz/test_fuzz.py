"""The fuzz program, for some seconds at each edge; and that it sees what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import MISSING
from tests.fuzz.__main__ import RUNS
from tests.fuzz.worker import Figures

pytestmark = pytest.mark.mode_independent

ROOT = Path(__file__).parents[2]
NONE = Figures(memory=0, threads=0, files=0, connections=0, sockets=0)


@pytest.mark.program
def test_noise_at_each_edge_leaves_nothing(tmp_path: Path) -> None:
    """The witness is answered, and memory, threads, files and sockets return to where they were."""
    # Into files: a pipe stays open as long as any worker of a run that hangs.
    outputs = [tmp_path / edge for edge in RUNS]
    runs = [_start(edge, output) for edge, output in zip(RUNS, outputs, strict=True)]
    statuses = {run.wait() for run in runs}
    allowed = {0} if os.environ.get("CI") else {0, MISSING}
    assert statuses <= allowed, "\n".join(output.read_text() for output in outputs)


def _start(edge: str, output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.fuzz", edge, "--seconds", "5", "--seed", "7"]
    with output.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


@pytest.mark.every_python
def test_what_is_more_than_before_is_named() -> None:
    after = Figures(memory=30, threads=1, files=0, connections=2, sockets=0)
    assert after.rest(NONE, slack=30) == ["threads", "connections"]
    assert after.rest(NONE, slack=29) == ["memory", "threads", "connections"]
    assert NONE.rest(after, slack=0) == []
