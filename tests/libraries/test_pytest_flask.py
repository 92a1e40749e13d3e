"""pytest-flask: its fixtures and `flask_rooms.testing` work in one test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.mode_independent

TESTS = """
import pytest
from flask import Flask
from flask_rooms import Rooms, request, sockets
from flask_rooms.testing import cluster

rooms = Rooms()


def create_app():
    app = Flask("fun")
    app.config["SECRET_KEY"] = "secret"
    rooms.init_app(app)

    @app.put("/rooms/<room>")
    def join(room):
        if not request.is_socket:
            return {}, 400
        sockets.join(request, room).result()
        return {"members": sockets.count(room).value}

    return app


@pytest.fixture
def app():
    return create_app()


def test_over_http(client):
    assert client.put("/rooms/fun").status_code == 400
    assert client.get("/socket.io/?EIO=4&transport=polling").status_code == 200
    assert sockets.count("fun").value == 0  # in the context that pytest-flask has pushed


def test_over_sockets(client):
    with cluster(create_app, workers=2) as workers:
        one, two = (worker.connect() for worker in workers)
        assert one.request("put", "/rooms/fun").body == {"members": 1}
        assert two.request("put", "/rooms/fun").body == {"members": 2}
    assert client.put("/rooms/fun").status_code == 400
"""


def test_its_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_fun.py").write_text(TESTS, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120.0,
        check=False,
    )

    assert "2 passed" in done.stdout, done.stdout
