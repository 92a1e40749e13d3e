"""The example as it is started from a terminal: its server, and its demonstration."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from example_app.visitor import Visitor
from example_app.workers import Worker

pytestmark = pytest.mark.mode_independent

PATIENCE = 60.0  # seconds; a demonstration takes about two


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "example_app.demo", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def steps(output: str) -> list[str]:
    return [line.strip()[0] for line in output.splitlines() if line.startswith("  ")]


def test_the_story_comes_true_on_one_worker() -> None:
    shown = demo("--once")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Left a fun room called hall!" in shown.stdout
    assert set(steps(shown.stdout)) == {"\N{CHECK MARK}"}


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_the_story_comes_true_across_workers(broker: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(broker).url
    shown = demo("--once", "--workers", "2", "--backend", url)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert set(steps(shown.stdout)) == {"\N{CHECK MARK}"}


@pytest.mark.usefixtures("redis_broker")  # so that there is a redis-server
def test_several_workers_get_a_broker_of_their_own() -> None:
    shown = demo("--once", "--workers", "2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Starting 2 workers on redis://127.0.0.1:" in shown.stdout
    assert set(steps(shown.stdout)) == {"\N{CHECK MARK}"}


def test_memory_does_not_connect_several_workers() -> None:
    shown = demo("--once", "--workers", "2", "--backend", "memory://")
    assert shown.returncode == 2
    assert "--backend redis://" in shown.stderr


def test_a_worker_that_cannot_start_fails_the_demonstration() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown = demo("--once", "--port", str(taken.getsockname()[1]))
    assert shown.returncode == 1
    assert "Address already in use" in shown.stderr
    assert "A worker did not start" in shown.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_do_not_outlive_the_demonstration(end: signal.Signals) -> None:
    """They have inherited its standard error, so that ends when the last of them has."""
    shown = subprocess.Popen(
        [sys.executable, "-m", "example_app.demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert shown.stdout is not None
    assert any(line.startswith("  http://") for line in shown.stdout)
    shown.send_signal(end)
    _, errors = shown.communicate(timeout=PATIENCE)
    assert errors == ""
    assert shown.returncode != 0


def test_a_worker_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with Worker({"DATABASE": str(tmp_path / "chat.sqlite")}) as worker:
        worker.wait_until_listening()
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_ends_quietly_while_a_client_is_connected(
    end: signal.Signals, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Worker({"DATABASE": str(tmp_path / "chat.sqlite")}) as worker:
        worker.wait_until_listening()
        with Visitor("Ada", worker.url):
            worker.process.send_signal(end)
            worker.process.wait(PATIENCE)
    assert capfd.readouterr().err == ""


def test_nothing_can_be_killed_where_others_reach_the_workers(tmp_path: Path) -> None:
    """The demonstration on another address than this machine's own has no controls."""
    shown = subprocess.Popen(
        [sys.executable, "-m", "example_app.demo", "--host", "0.0.0.0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shown.stdout is not None
        url = next(line.strip() for line in shown.stdout if line.startswith("  http://"))
        with Visitor("Ada", url, moderator="yes") as ada:
            assert ada.request("get", "/underneath").body["controls"] is False
            assert ada.request("delete", "/controls/workers/1").status == 404
    finally:
        shown.terminate()
        shown.communicate(timeout=PATIENCE)
