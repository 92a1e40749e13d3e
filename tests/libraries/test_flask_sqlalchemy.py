"""Flask-SQLAlchemy: guards and receivers have a `db.session` of their own."""

from __future__ import annotations

from typing import Any

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, select

from flask_rooms import signals
from tests.support.apps import PATIENCE, LocalCluster, make_app

pytestmark = pytest.mark.mode_independent


def test_uncommitted_rows_of_the_caller_survive_a_call(
    cluster: LocalCluster, tmp_path: Any
) -> None:
    app = make_app()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/rows.db"
    db = SQLAlchemy(app)
    model: Any = db.Model

    class Row(model):
        id = db.Column(db.Integer, primary_key=True)

    def count() -> int:
        return int(db.session.execute(select(func.count()).select_from(Row)).scalar_one())

    with app.app_context():
        db.create_all()
    worker = cluster.worker(app)
    seen: list[int] = []

    @worker.rooms.guard("red")
    def guard() -> bool:
        seen.append(count())
        return True

    def receive(sender: Any, **about: Any) -> None:
        seen.append(count())

    @app.put("/rows/<sid>")
    def put(sid: str) -> dict[str, int]:
        db.session.add(Row())
        db.session.flush()
        worker.sockets.join(sid, "red").result(PATIENCE)
        db.session.commit()
        return {"rows": count()}

    sid = worker.connect().sid
    with signals.joined.connected_to(receive, app):
        assert app.test_client().put(f"/rows/{sid}").json == {"rows": 1}
    assert seen == [0, 0]
