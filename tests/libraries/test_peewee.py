"""peewee: a connection that a receiver leaves open is not found by a request of another client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peewee import SqliteDatabase, TextField
from playhouse.flask_utils import FlaskDB

from flask_rooms import signals
from flask_rooms.server import kept_threads
from tests.support.apps import PATIENCE, LocalCluster, make_app
from tests.support.polling import PollingClient

pytestmark = pytest.mark.mode_independent

ROUNDS = 20


def test_a_receiver_that_leaves_its_connection_open_harms_no_request(
    cluster: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    FlaskDB connects before a request and closes after it: a thread has one connection at a time.

    A receiver has neither of these, and peewee connects by itself there.
    """
    monkeypatch.setattr(kept_threads, "STAY", PATIENCE)
    app = make_app()
    db = FlaskDB(app, SqliteDatabase(str(tmp_path / "notes.db")))
    model: Any = db.Model

    class Note(model):
        text = TextField()

    db.database.create_tables([Note])
    db.database.close()
    worker = cluster.worker(app)
    app.add_url_rule("/count", "count", lambda: [Note.select().count()])

    def note(sender: Any, room: str, **about: Any) -> None:
        Note.create(text=room)

    client = PollingClient(app).connect()
    with signals.joined.connected_to(note, app):
        for number in range(ROUNDS):
            worker.sockets.join(client.sid, f"room {number}").result(PATIENCE)
            answer = client.request("get", "/count")
            assert (answer["statusCode"], answer["body"]) == (200, [number + 1])
