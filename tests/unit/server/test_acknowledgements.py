"""Callbacks that wait for clients are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from flask_rooms.globals import parts_of
from flask_rooms.membership.refusals import Refusals
from flask_rooms.server.acknowledgements import MAX_LOCAL, Acknowledgements, Cancellable
from tests.support.apps import LocalCluster

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


class Waiting(Cancellable):
    """A callback that notes whether it has to wait any longer."""

    is_cancelled = False

    def __call__(self, *args: Any) -> None:
        raise AssertionError("Nothing was acknowledged.")

    def cancel(self) -> None:
        self.is_cancelled = True


def test_the_callbacks_that_wait_for_a_client_are_bounded() -> None:
    refusals = Refusals()
    acknowledgements = Acknowledgements(refusals)
    kept = [acknowledgements.add_local("silent", print) for _ in range(MAX_LOCAL)]
    assert not refusals.counts

    waiting = Waiting()
    not_kept = acknowledgements.add_local("silent", waiting)

    assert waiting.is_cancelled
    assert refusals.counts == {"unanswered_callbacks": 1}
    assert acknowledgements.take_local("silent", not_kept) is None
    assert acknowledgements.take_local("silent", kept[0]) is print
    assert acknowledgements.take_local("other", acknowledgements.add_local("other", print))
    acknowledgements.add_local("silent", print)  # there is room again
    assert refusals.total == 1


def test_no_callback_waits_for_a_client_that_leaves_while_it_is_sent_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with LocalCluster() as cluster:
        worker = cluster.worker()
        client, acknowledgements = worker.connect(), parts_of(worker.app).acknowledgements
        waiting, add = Waiting(), acknowledgements.add_local

        def leave_and_add(*args: Any) -> int:
            client.disconnect()
            return add(*args)

        monkeypatch.setattr(acknowledgements, "add_local", leave_and_add)
        worker.socketio.emit("question", 1, to=client.sid, callback=waiting)

        assert waiting.is_cancelled
        assert acknowledgements.local == {}
