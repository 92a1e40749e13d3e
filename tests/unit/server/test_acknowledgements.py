"""Callbacks that wait for clients are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from flask_rooms.membership.refusals import Refusals
from flask_rooms.server.acknowledgements import MAX_LOCAL, Acknowledgements, Cancellable

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
