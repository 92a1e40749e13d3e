"""Each limit that a client reaches is counted, and warned of once a minute."""

from __future__ import annotations

import logging
import time
from typing import get_args

import pytest

from flask_rooms import Rooms
from flask_rooms.backends import logs
from flask_rooms.globals import parts_of
from flask_rooms.membership import refusals
from flask_rooms.membership.refusals import Limit, Refusals
from tests.support.apps import make_app
from tests.support.documents import ROOT

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_each_limit_is_counted_by_its_name() -> None:
    limits = Refusals()

    for name in ("unread_bytes", "waiting_requests", "unread_bytes"):
        limits.count(name)

    assert limits.counts == {"unread_bytes": 2, "waiting_requests": 1}
    assert limits.counts["connections"] == 0


def test_the_threat_model_names_each_limit() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

    assert [limit for limit in get_args(Limit) if f"`{limit}`" not in page] == []


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

    monkeypatch.setattr(logs, "WARN_EVERY", 0.0)
    limits.count("unread_bytes")
    assert "(3 so far" in caplog.messages[-1]


def test_of_malformed_packets_each_connection_is_warned_of_on_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And with its address, in which a proxy may have passed on what the client has made up."""
    limits = Refusals()
    for connection, address in (("a", "10.0.0.1"), ("b", "10.0.0.2\n"), ("a", "10.0.0.1")):
        limits.count("malformed_packets", connection, address)

    assert caplog.messages == [
        "A client at '10.0.0.1' has reached the limit malformed_packets (1 so far on this worker).",
        "A client at '10.0.0.2\\n' has reached the limit malformed_packets (2 so far on this "
        "worker).",
    ]


def test_of_other_limits_one_connection_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    limits = Refusals()
    for connection in ("a", "b"):
        limits.count("max_http_buffer_size", connection, "10.0.0.1")
    assert len(caplog.messages) == 1


def test_the_connections_that_are_warned_of_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Refusals()
    for connection in range(refusals.MAX_CONNECTIONS + 10):
        limits.count("malformed_packets", f"{connection}", "10.0.0.1")
    assert len(caplog.messages) == refusals.MAX_CONNECTIONS
    assert limits.counts["malformed_packets"] == refusals.MAX_CONNECTIONS + 10
    limits.count("unread_bytes")  # a limit of the worker is warned of all the same
    assert "unread_bytes" in caplog.messages[-1]

    # Those whose minute is over are forgotten, and make room.
    later = time.monotonic() + logs.WARN_EVERY
    monkeypatch.setattr(time, "monotonic", lambda: later)
    limits.count("malformed_packets", "the next", "10.0.0.1")
    assert len(caplog.messages) == refusals.MAX_CONNECTIONS + 2


def test_rooms_shows_the_counts_of_its_application() -> None:
    app = make_app()
    rooms = Rooms(app)
    parts_of(app).refusals.count("unread_bytes")

    assert rooms.refusals == {"unread_bytes": 1}
    with pytest.raises(TypeError):
        rooms.refusals["unread_bytes"] = 0  # type: ignore[index]
