"""Each limit that a client reaches is counted, and warned of once a minute."""

from __future__ import annotations

import logging

import pytest

from flask_rooms import Rooms
from flask_rooms.globals import parts_of
from flask_rooms.membership import refusals
from flask_rooms.membership.refusals import Refusals
from tests.support.apps import make_app

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_each_limit_is_counted_by_its_name() -> None:
    limits = Refusals()

    for name in ("unread_bytes", "waiting_requests", "unread_bytes"):
        limits.count(name)

    assert limits.counts == {"unread_bytes": 2, "waiting_requests": 1}
    assert limits.counts["attachments"] == 0


def test_each_limit_is_warned_of_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Refusals()
    for name in ("unread_bytes", "waiting_requests", "unread_bytes"):
        limits.count(name)

    records = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert records == [
        (logging.WARNING, f"A client has reached the limit {name} (1 so far on this worker).")
        for name in ("unread_bytes", "waiting_requests")
    ]

    monkeypatch.setattr(refusals, "WARN_EVERY", 0.0)
    limits.count("unread_bytes")
    assert "(3 so far" in caplog.messages[-1]


def test_rooms_shows_the_counts_of_its_application() -> None:
    app = make_app()
    rooms = Rooms(app)
    parts_of(app).refusals.count("unread_bytes")

    assert rooms.refusals == {"unread_bytes": 1}
    with pytest.raises(TypeError):
        rooms.refusals["unread_bytes"] = 0  # type: ignore[index]
