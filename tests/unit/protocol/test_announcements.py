"""What a worker that takes over announces of people whom it saw come and go before."""

from __future__ import annotations

import pytest

from flask_rooms.protocol.announcements import Announcement, Announcements
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import User
from flask_rooms.protocol.presence import Replica

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

PLACE, ANN = ("/", "red"), User("ann")
SID = new_sid("aaaaaaaaaaaaaaaa")


class Follower:
    """A worker that has had a mark of Ann's visit, which began in the second 1."""

    def __init__(self) -> None:
        self.replica = Replica(5.0, 10)
        self.announcements = Announcements(self.replica)
        self.comes(1.0)
        self.announcements.receive(of_ann(True, 1).mark)

    def comes(self, now: float) -> None:
        self.replica.enter((*PLACE, SID), "ann", "{}", now)
        self._note()

    def goes(self, now: float) -> None:
        self.replica.leave((*PLACE, SID), now, stays=False)
        self._note()

    def _note(self) -> None:
        touched = self.replica.take_touched()
        assert self.announcements.note(touched, is_settled=True) == []


def of_ann(joined: bool, second: int) -> Announcement:
    return Announcement(PLACE, ANN, joined, second * 1_000_000)


def test_a_visit_that_has_ended_without_a_mark_ends_and_the_next_one_begins() -> None:
    """The leader may have told the application that Ann has left, and died before the mark."""
    follower = Follower()
    follower.goes(2.0)
    follower.comes(3.0)

    assert follower.announcements.lead(True) == [of_ann(False, 1), of_ann(True, 3)]


def test_one_that_has_ended_for_good_ends_once() -> None:
    follower = Follower()
    follower.goes(2.0)

    assert follower.announcements.lead(True) == [of_ann(False, 1)]


@pytest.mark.parametrize("marks", [[False], [False, True]], ids=["of its end", "of the next, too"])
def test_what_is_marked_is_not_announced_again(marks: list[bool]) -> None:
    follower = Follower()
    follower.goes(2.0)
    follower.comes(3.0)
    for joined in marks:
        follower.announcements.receive(of_ann(joined, 3 if joined else 1).mark)

    due = follower.announcements.lead(True)
    assert due == ([] if True in marks else [of_ann(True, 3)])


def test_a_mark_of_the_next_visit_is_one_of_the_end_before_it() -> None:
    follower = Follower()
    follower.goes(2.0)
    follower.comes(3.0)
    follower.announcements.receive(of_ann(True, 3).mark)

    assert follower.announcements.lead(True) == []
