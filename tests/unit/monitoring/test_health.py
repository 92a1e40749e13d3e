"""A worker is alive, and ready as long as new clients are welcome; only HTTP is told."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from flask import Flask

from flask_rooms import ConfigurationError, Rooms, monitoring
from flask_rooms.results import Health
from tests.support.apps import LocalCluster, Worker, eventually, make_app
from tests.support.faults import FaultyBackend

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

READY = {"ready": True, "joined": True, "broker": True, "draining": False}


class Watched:
    """A worker whose application has the blueprint, and its backend."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.backend = FaultyBackend(cluster.hub)
        self.app = make_app()
        self.app.register_blueprint(monitoring.blueprint(), url_prefix="/watch")
        self.worker: Worker = cluster.worker(self.app, backend=self.backend)

    def get(self, path: str) -> tuple[int, object]:
        """Return the status and the body of a page."""
        response = self.app.test_client().get(f"/watch/{path}")
        assert response.headers["Cache-Control"] == "no-store"
        return response.status_code, response.get_json(silent=True) or response.text


@pytest.fixture(name="watched")
def _watched() -> Iterator[Watched]:
    with LocalCluster() as cluster:
        yield Watched(cluster)


def test_a_worker_that_serves_is_alive_and_ready(watched: Watched) -> None:
    assert watched.get("health") == (200, "alive\n")
    assert watched.get("ready") == (200, READY)
    assert watched.worker.rooms.health() == Health(joined=True, broker=True, draining=False)


def test_asking_does_not_make_a_worker_join() -> None:
    rooms = Rooms(make_app())

    assert rooms.health() == Health(joined=False, broker=False, draining=False)
    assert not rooms.health().ready


def test_a_worker_without_its_broker_is_alive_and_not_ready(watched: Watched) -> None:
    watched.get("ready")
    watched.backend.down = True
    watched.worker.sockets.broadcast("red", "news")  # and so it notices

    assert watched.get("ready") == (503, READY | {"ready": False, "broker": False})
    assert watched.get("health")[0] == 200
    assert watched.worker.rooms.health().problem == "The test has switched the broker off."

    watched.backend.down = False
    eventually(watched.worker, lambda: watched.get("ready") == (200, READY))
    assert watched.worker.rooms.health().problem is None


def test_a_worker_that_drains_is_not_ready(watched: Watched) -> None:
    watched.get("ready")
    watched.worker.rooms.drain(0)

    told = {"ready": False, "joined": False, "broker": False, "draining": True}
    assert watched.get("ready") == (503, told)
    assert watched.get("health")[0] == 200


@pytest.mark.parametrize("path", ["health", "ready", "metrics"])
def test_a_client_cannot_ask_over_its_socket(watched: Watched, path: str) -> None:
    answer = watched.worker.connect().ask("get", f"/watch/{path}")

    assert answer["statusCode"] == 404
    assert watched.get(path)[0] == 200


def test_nothing_is_there_by_default() -> None:
    app = make_app()
    Rooms(app)

    assert not any(
        "health" in rule.rule or "metrics" in rule.rule for rule in app.url_map.iter_rules()
    )


def test_without_rooms_the_blueprint_says_what_is_missing() -> None:
    app = Flask(__name__)
    app.testing = True
    app.register_blueprint(monitoring.blueprint())

    with pytest.raises(ConfigurationError, match=r"call Rooms\(app\)"):
        app.test_client().get("/ready")


def test_without_prometheus_client_there_is_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "flask_rooms.monitoring.metrics", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ConfigurationError, match=r"Flask-Rooms\[metrics\]"):
        monitoring.blueprint()
    app = make_app()
    app.register_blueprint(monitoring.blueprint(metrics=False))
    Rooms(app)
    assert app.test_client().get("/metrics").status_code == 404
    assert app.test_client().get("/ready").status_code == 200
