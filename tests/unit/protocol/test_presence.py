"""The lists of those who are present: numbered changes, whole lists, and the grace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_rooms.protocol.messages import Absent, Listed, Present, User
from flask_rooms.protocol.presence import Key, Replica

pytestmark = pytest.mark.mode_independent

GRACE = 5.0
PLACE = "/", "team"
ANN = User("ann")


@pytest.fixture(name="replica")
def _replica() -> Replica:
    return Replica(GRACE, limit=3)


def present(version: int, sid: str = "w_1", user: str | None = "ann", data: str = "{}") -> Present:
    return Present(version, "/", "team", sid, user, 1.0, data)


def key(sid: str) -> Key:
    return "/", "team", sid


def told(replica: Replica, *operations: Present | Absent | Listed, by: str = "w") -> None:
    for operation in operations:
        replica.receive(by, operation)


def test_a_user_with_several_sockets_is_one_person(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 10.0)
    replica.enter(key("me_2"), "ann", "{}", 20.0)
    replica.enter(key("me_3"), None, "{}", 30.0)

    assert {person: len(known) for person, known in replica.people(PLACE).items()} == {
        ANN: 2,
        "me_3": 1,
    }
    assert {one.since for one in replica.sockets(PLACE, ANN)} == {10.0}


def test_a_worker_that_is_met_has_no_list_until_it_is_whole(replica: Replica) -> None:
    replica.meet("w")
    told(replica, present(1), Listed(1, True, False), present(1))

    assert replica.missing(["w"]) == {"w"}
    assert replica.people(PLACE) == {}

    told(replica, Listed(1, False, True))

    assert replica.missing(["w"]) == frozenset()
    assert replica.people(PLACE).keys() == {ANN}


def test_a_change_that_is_missing_is_noticed(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1))

    told(replica, present(3, "w_3", "bob"))  # the outbox of the sender was full

    assert replica.missing(["w"]) == {"w"}
    assert replica.people(PLACE).keys() == {ANN}  # the list as it was, until there is another


def test_a_whole_list_takes_the_place_of_the_former_one(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1))
    told(replica, present(5, "w_5", "dan"))  # a gap, and something that is no longer so

    told(replica, Listed(6, True, False), present(6, "w_3", "bob"), Listed(6, False, True))

    assert replica.people(PLACE).keys() == {User("bob")}
    assert replica.missing(["w"]) == frozenset()


def test_a_list_that_is_for_another_worker_changes_nothing(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1))
    replica.take_touched()

    told(replica, Listed(1, True, False), present(1), Listed(1, False, True))

    assert replica.take_touched() == []


def test_a_worker_lists_only_its_own_sockets(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1, "other_1"), present(2, "w_2", "bob"))

    assert replica.people(PLACE).keys() == {User("bob")}


def test_a_list_has_so_many_members(replica: Replica) -> None:
    told(replica, Listed(0, True, True), *(present(n, f"w_{n}", f"u{n}") for n in range(1, 9)))

    assert len(replica.people(PLACE)) == 3


def test_a_call_that_ends_a_membership_ends_it_at_once(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 1.0)

    assert replica.leave(key("me_1"), 0.0, stays=False) == [Absent(2, *key("me_1"))]
    assert replica.people(PLACE) == {}


def test_who_is_not_back_in_time_goes(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 1.0)

    assert replica.leave(key("me_1"), 0.0, stays=True) == []
    assert replica.tick(GRACE - 0.1) == []
    assert replica.people(PLACE).keys() == {ANN}

    assert replica.wakes_at == GRACE
    assert replica.tick(GRACE) == [Absent(2, *key("me_1"))]
    assert replica.people(PLACE) == {}


def test_who_is_back_in_time_has_never_been_away(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 1.0)
    replica.leave(key("me_1"), 0.0, stays=True)

    member, gone = replica.enter(key("me_2"), "ann", "{}", 3.0)

    assert isinstance(member, Present)
    assert member.since == 1.0
    assert gone == Absent(3, *key("me_1"))
    assert replica.wakes_at == float("inf")


def test_who_is_back_on_another_worker_has_never_been_away(replica: Replica) -> None:
    told(replica, Listed(0, True, True))
    replica.enter(key("me_1"), "ann", "{}", 1.0)
    replica.leave(key("me_1"), 0.0, stays=True)

    replica.receive("w", present(1))
    assert replica.tick(GRACE) == [Absent(2, *key("me_1"))]
    assert [one.sid for one in replica.sockets(PLACE, ANN)] == ["w_1"]


def test_two_workers_that_wait_for_one_person_do_not_wait_for_each_other() -> None:
    """Each learns that the person was there on the other one, when it has left both."""
    here, there = Replica(GRACE, limit=3), Replica(GRACE, limit=3)
    for one, other in ((here, "there"), (there, "here")):
        one.receive(other, Listed(0, True, True))
    came = here.enter(key("here_1"), "ann", "{}", 1.0)
    also = there.enter(key("there_1"), "ann", "{}", 1.0)
    here.leave(key("here_1"), 0.0, stays=True)
    there.leave(key("there_1"), 0.0, stays=True)

    told(here, *also, by="there")  # type: ignore[arg-type]
    told(there, *came, by="here")  # type: ignore[arg-type]

    assert here.people(PLACE).keys() == there.people(PLACE).keys() == {ANN}
    assert len(here.sockets(PLACE, ANN)) == len(there.sockets(PLACE, ANN)) == 2


def test_a_tab_that_is_closed_while_another_is_open_goes_at_once(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 1.0)
    replica.enter(key("me_2"), "ann", "{}", 1.0)

    assert replica.leave(key("me_1"), 0.0, stays=True) == [Absent(3, *key("me_1"))]
    assert replica.leave(key("me_2"), 0.0, stays=True) == []


def test_with_a_worker_that_is_dead_its_people_go(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1))

    replica.lose("w", 0.0, said_goodbye=False)

    assert replica.people(PLACE) == {}


def test_the_people_of_a_worker_that_said_goodbye_have_the_grace_to_come_back(
    replica: Replica,
) -> None:
    told(replica, Listed(0, True, True), present(1), present(2, "w_2", "bob"))
    replica.lose("w", 0.0, said_goodbye=True)
    assert replica.people(PLACE).keys() == {ANN, User("bob")}

    replica.enter(key("me_1"), "ann", "{}", 3.0)
    replica.tick(GRACE)

    assert replica.people(PLACE).keys() == {ANN}


def test_after_a_restart_nothing_is_known(replica: Replica) -> None:
    told(replica, Listed(0, True, True), present(1))
    replica.enter(key("me_1"), "bob", "{}", 1.0)
    replica.take_touched()

    replica.restart()

    assert replica.people(PLACE) == {}
    replica.begin_list()
    assert replica.next_listed() == Listed(0, True, True)
    assert {person for _, person in replica.take_touched()} == {ANN, User("bob")}


def test_a_list_may_take_its_time(replica: Replica) -> None:
    """What changes while it is sent is sent between its parts, and the list has it as well."""
    sender = Replica(GRACE, limit=10)
    for number in (1, 2, 3):
        sender.enter(key(f"w_{number}"), f"u{number}", "{}", 1.0)
    sender.begin_list()
    changes: list[Callable[[], list[Any]]] = [
        lambda: sender.leave(key("w_1"), 0.0, stays=False),
        lambda: sender.enter(key("w_4"), "u4", "{}", 1.0),
        lambda: sender.leave(key("w_3"), 0.0, stays=False),
        lambda: sender.enter(key("w_2"), "u2", '{"x": 1}', 1.0),
    ]

    while (part := sender.next_listed()) is not None:
        sender.has_listed(part)
        replica.receive("w", part)  # type: ignore[arg-type]
        for change in changes.pop(0)() if changes else []:
            replica.receive("w", change)

    assert replica.missing(["w"]) == frozenset()
    people = replica.people(PLACE).items()
    assert {person: [one.data for one in known] for person, known in people} == {
        User("u2"): ['{"x": 1}'],
        User("u4"): ["{}"],
    }
