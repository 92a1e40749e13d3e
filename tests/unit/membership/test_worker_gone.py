"""The signal `worker_gone`: the survivors are told which worker is gone and why, once each."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Empty, Queue
from typing import Any

import pytest
from flask import Flask, current_app

from flask_rooms import Rooms, signals
from flask_rooms.results import WorkerInfo
from flask_rooms.testing import LocalCluster, Worker, cluster
from tests.support.apps import PATIENCE, eventually, make_app

pytestmark = pytest.mark.every_python


def create_app() -> Flask:
    app = make_app()
    Rooms(app)
    return app


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, workers=3) as workers:
        yield workers


class Ear:
    """Hears which workers are gone, as one worker tells it."""

    def __init__(self, worker: Worker) -> None:
        self._heard: Queue[tuple[str, str]] = Queue()
        self._app = worker.app
        signals.worker_gone.connect(self._hear, worker.app)

    def _hear(self, app: Flask, worker: WorkerInfo, reason: str) -> None:
        assert current_app == app == self._app
        assert worker.pid is not None
        self._heard.put((worker, reason))

    def next(self) -> tuple[str, str]:
        return self._heard.get(timeout=PATIENCE)

    def nothing_more(self) -> bool:
        try:
            self._heard.get_nowait()
        except Empty:
            return True
        return False


@pytest.mark.parametrize("reason", ["goodbye", "dead"])
def test_every_survivor_is_told_once(workers: LocalCluster, reason: str) -> None:
    survivors, gone = workers[:2], workers[2]
    ears = [Ear(worker) for worker in survivors]

    if reason == "dead":
        gone.crash()
    else:
        gone.stop()

    assert [ear.next() for ear in ears] == [(gone.name, reason)] * 2
    survivors[1].stop()
    assert ears[0].next() == (survivors[1].name, "goodbye")
    assert all(ear.nothing_more() for ear in ears)


def test_a_survivor_that_restarts_meanwhile_is_told_as_well(workers: LocalCluster) -> None:
    survivor, gone = workers[0], workers[2]
    ear = Ear(survivor)
    survivor.cut()
    gone.crash()
    survivor.app.extensions["rooms_parts"].cluster.restart("a test says so")

    survivor.restore()

    assert ear.next() == (gone.name, "dead")
    assert ear.nothing_more()


def test_a_receiver_that_raises_harms_no_other(
    workers: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(app: Any, **about: Any) -> None:
        raise ZeroDivisionError

    with signals.worker_gone.connected_to(fail, workers[0].app):
        ear = Ear(workers[0])
        workers[2].stop()
        assert ear.next() == (workers[2].name, "goodbye")
        eventually_logged(caplog, workers[0])


def eventually_logged(caplog: pytest.LogCaptureFixture, worker: Worker) -> None:
    def logged() -> bool:
        return "'worker-gone' has failed" in caplog.text

    eventually(worker, logged)  # type: ignore[arg-type]


def test_a_name_is_described_without_control_characters() -> None:
    assert WorkerInfo("name", "host", 7).description == "name (process 7 on host)"
    assert WorkerInfo("name").description == "name"
    assert "\x1b" not in WorkerInfo("name", "\x1b[2J", 7).description
