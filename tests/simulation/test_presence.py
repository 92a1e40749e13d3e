"""The lists of those who are present agree when it is calm, whatever happened before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from flask_rooms.protocol.announcements import Announcement, Announcements
from flask_rooms.protocol.leading import FOLLOWS, LEADS, next_role
from flask_rooms.protocol.lists import Key
from flask_rooms.protocol.messages import (
    Absent,
    Announced,
    Listed,
    ListPart,
    Operation,
    Present,
    Wanted,
)
from flask_rooms.protocol.presence import Replica
from tests.simulation.demands import BrokenPromise
from tests.simulation.generator import generate
from tests.simulation.play import play
from tests.simulation.presence import (
    GRACE,
    MANY,
    MakeAnnouncements,
    MakeReplica,
    NextRole,
    PresenceWorld,
    make_replica,
)
from tests.simulation.world import Worker

pytestmark = [pytest.mark.mode_independent, pytest.mark.program]

#: Those of the random schedules; each mutant is caught by one of them.
SEEDS = (500_003, 500_004, 500_005, 500_042, 500_043, 500_011, 7, 7_400_017, 7_400_043)
#: That of a schedule in which the broker is away while tight workers change their lists.
TIGHT_SEED = 500_036


def play_presence(
    seed: int,
    make: MakeReplica = make_replica,
    announce: MakeAnnouncements = Announcements,
    role: NextRole = next_role,
) -> int:
    """Play the schedule of a seed, check the lists, and return the number of steps."""
    world = PresenceWorld(seed, make, announce, role)
    play(generate(seed), world)
    world.check_lists()
    if world.speak_alike():
        world.check_announcements()
    return world.steps


@pytest.mark.parametrize("seed", SEEDS)
def test_every_worker_knows_who_is_present_once_it_is_calm(seed: int) -> None:
    play_presence(seed)


class RefusingWorld(PresenceWorld):
    """A world that counts what its outboxes refuse."""

    refused = 0

    def _submit(self, worker: Worker, operation: Operation, *, bounded: bool = True) -> int | None:
        number = super()._submit(worker, operation, bounded=bounded)
        self.refused += number is None
        return number


def test_a_list_is_whole_although_an_outbox_has_refused_parts_of_it() -> None:
    world = RefusingWorld(TIGHT_SEED)
    play(generate(TIGHT_SEED), world)

    assert world.refused
    world.check_lists()
    world.check_announcements()


class DeadStay(Replica):
    """The list of a worker that is dead stays."""

    def lose(self, worker: str, now: float, *, said_goodbye: bool) -> None:
        if said_goodbye:
            super().lose(worker, now, said_goodbye=said_goodbye)


class OrphansStay(Replica):
    """Those whose worker has said goodbye stay, although they are not back in time."""

    def _drop(self, keys: list[Key]) -> list[Operation]:
        self._orphans.clear()
        return super()._drop(keys)


class ListNotAskedFor(Replica):
    """A worker that is met is not asked for its list."""

    def meet(self, worker: str) -> list[Operation]:
        super().meet(worker)
        return []

    def tick(self, now: float) -> list[Operation]:
        return [one for one in super().tick(now) if not isinstance(one, Wanted)]


class ChangesForgotten(Replica):
    """What has changed before a list comes is taken to be in it."""

    def receive(
        self, sender: str, operation: Present | Absent | Listed | ListPart
    ) -> list[Operation]:
        if isinstance(operation, ListPart) and sender in self._lists:
            self._lists[sender]._waiting.clear()
        return super().receive(sender, operation)


class RestNotAskedFor(Replica):
    """Only the first part of a list is asked for."""

    def receive(
        self, sender: str, operation: Present | Absent | Listed | ListPart
    ) -> list[Operation]:
        requests = super().receive(sender, operation)
        return [] if isinstance(operation, ListPart) else requests

    def tick(self, now: float) -> list[Operation]:
        return [one for one in super().tick(now) if not isinstance(one, Wanted)]


class LeaveNotSent(Replica):
    """Those who are not back in time go on this worker only."""

    def tick(self, now: float) -> list[Operation]:
        super().tick(now)
        return []


class ListsSurvive(Replica):
    """A worker that starts over keeps what it has listed."""

    def restart(self) -> None:
        own = dict(self._own)
        super().restart()
        for member in own.values():
            self._set(self._own, member)


MUTANTS: Iterable[type[Replica]] = (
    DeadStay,
    OrphansStay,
    ListNotAskedFor,
    ChangesForgotten,
    RestNotAskedFor,
    LeaveNotSent,
    ListsSurvive,
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_list_that_is_kept_in_another_way_is_wrong(mutant: type[Replica]) -> None:
    def play_all() -> None:
        for seed in SEEDS:
            play_presence(seed, lambda: mutant(GRACE, MANY))

    with pytest.raises(BrokenPromise):
        play_all()


class NotTakenOver(Announcements):
    """A worker that takes over sends nothing that was not sent."""

    def lead(self, leads: bool) -> list[Announcement]:
        super().lead(leads)
        return []


class MarksIgnored(Announcements):
    """A worker does not take in what another one has announced."""

    def receive(self, mark: Announced) -> None:
        pass


class LeftUnmarked(Announcements):
    """A worker that takes over knows of no one who has left meanwhile."""

    def lead(self, leads: bool) -> list[Announcement]:
        return [one for one in super().lead(leads) if one.joined]


class AwayForgotten(Announcements):
    """A worker that takes over does not know that someone was gone since the last mark."""

    def lead(self, leads: bool) -> list[Announcement]:
        self._away.clear()
        return super().lead(leads)


class LedByAll(Announcements):
    """Every worker tells the application."""

    def lead(self, leads: bool) -> list[Announcement]:
        return super().lead(True)


def newcomers_lead(name: str, role: int, others: Mapping[str, int], knows_all: bool) -> int:
    """Return a role by which the least name leads, also that of a worker that has just started."""
    if not knows_all:
        return role
    return LEADS if all(name < other for other in others) else FOLLOWS


@pytest.mark.parametrize(
    "mutant",
    [NotTakenOver, MarksIgnored, LeftUnmarked, AwayForgotten, LedByAll],
    ids=lambda mutant: mutant.__name__,
)
def test_an_application_that_is_told_in_another_way_is_told_wrongly(
    mutant: type[Announcements],
) -> None:
    def play_all() -> None:
        for seed in SEEDS:
            play_presence(seed, announce=mutant)

    with pytest.raises(BrokenPromise):
        play_all()


def test_a_newcomer_does_not_lead() -> None:
    def play_all() -> None:
        for seed in SEEDS:
            play_presence(seed, role=newcomers_lead)

    with pytest.raises(BrokenPromise):
        play_all()
