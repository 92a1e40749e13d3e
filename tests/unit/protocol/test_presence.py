"""The lists of those who are present: numbered changes, whole lists, and the grace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.lists import PATIENCE, Key
from flask_rooms.protocol.messages import (
    Absent,
    Announced,
    Listed,
    ListPart,
    Operation,
    Present,
    User,
    Wanted,
)
from flask_rooms.protocol.presence import Replica

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


def told(
    replica: Replica, *operations: Present | Absent | Listed | ListPart, by: str = "w"
) -> list[Operation]:
    """Let a worker have what another one has sent; return what it sends in turn."""
    return [one for operation in operations for one in replica.receive(by, operation)]


def whole(version: int, *members: Present | Announced) -> ListPart:
    """Return a list in one part."""
    return ListPart("me", version, 0, tuple(map(encode_operation, members)), True, 0)


def meet(replica: Replica, *members: Present, by: str = "w") -> None:
    """Let a worker meet another one that has listed these members."""
    replica.meet(by)
    told(replica, whole(len(members), *members), by=by)


def test_a_user_with_several_sockets_is_one_person(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 10.0)
    replica.enter(key("me_2"), "ann", "{}", 20.0)
    replica.enter(key("me_3"), None, "{}", 30.0)

    assert {person: len(known) for person, known in replica.people(PLACE).items()} == {
        ANN: 2,
        "me_3": 1,
    }
    assert {one.since for one in replica.sockets(PLACE, ANN)} == {10.0}


# -- the list of another worker ------------------------------------------------------------


def test_a_worker_that_is_met_is_asked_for_its_list(replica: Replica) -> None:
    assert replica.meet("w") == [Wanted("w", 0, 0)]
    assert replica.missing(["w"]) == {"w"}

    assert told(replica, whole(1, present(1))) == []

    assert replica.missing(["w"]) == frozenset()
    assert replica.people(PLACE).keys() == {ANN}


def test_a_list_comes_in_parts_and_counts_when_it_is_whole(replica: Replica) -> None:
    replica.meet("w")
    first, second = (encode_operation(present(n, f"w_{n}", f"u{n}")) for n in (1, 2))

    assert told(replica, ListPart("me", 2, 0, (first,), False, 0)) == [Wanted("w", 2, 1)]
    assert replica.people(PLACE) == {}
    assert told(replica, ListPart("me", 2, 0, (first,), False, 0)) == [Wanted("w", 2, 1)]  # a copy
    assert told(replica, ListPart("me", 9, 1, (second,), True, 0)) == []  # of another list
    assert told(replica, ListPart("me", 2, 1, (second,), True, 0)) == []

    assert replica.people(PLACE).keys() == {User("u1"), User("u2")}
    assert replica.missing(["w"]) == frozenset()


def test_changes_that_come_before_the_list_wait_for_it(replica: Replica) -> None:
    replica.meet("w")

    told(replica, present(1), Absent(2, *key("w_1")), present(3, "w_3", "bob"))
    told(replica, present(4, "w_4", "dan"), Absent(5, *key("w_4")))
    assert replica.people(PLACE) == {}
    assert told(replica, whole(2)) == []  # as it was after the second change

    assert replica.people(PLACE).keys() == {User("bob")}
    told(replica, Absent(6, *key("w_3")))
    assert replica.people(PLACE) == {}
    assert replica.missing(["w"]) == frozenset()


def test_changes_that_come_after_a_list_that_has_them_are_dropped(replica: Replica) -> None:
    meet(replica, present(1), present(2, "w_2", "bob"))
    replica.take_touched()

    told(replica, present(1, "w_3", "dan"), Absent(2, *key("w_1")))
    assert replica.take_touched() == []

    told(replica, Absent(3, *key("w_2")))
    assert replica.people(PLACE).keys() == {ANN}


def test_a_list_that_does_not_come_is_asked_for_again(replica: Replica) -> None:
    replica.meet("w")
    assert replica.tick(0.0) == []
    assert replica.wakes_at == PATIENCE
    assert replica.tick(PATIENCE - 0.1) == []

    assert replica.tick(PATIENCE) == [Wanted("w", 0, 0)]

    part = ListPart("me", 1, 0, (encode_operation(present(1)),), False, 0)
    told(replica, part)
    replica.tick(PATIENCE)
    assert replica.tick(2 * PATIENCE) == [Wanted("w", 1, 1)]  # the rest of it
    told(replica, ListPart("me", 1, 1, (), True, 0))
    assert replica.wakes_at == float("inf")
    assert replica.tick(9 * PATIENCE) == []


def test_a_change_that_is_missing_is_noticed(replica: Replica) -> None:
    meet(replica, present(1))

    # The outbox of the sender was full.
    assert told(replica, present(3, "w_3", "bob")) == [Wanted("w", 0, 0)]
    assert told(replica, present(4, "w_4", "dan")) == []

    assert replica.missing(["w"]) == {"w"}
    assert replica.people(PLACE).keys() == {ANN}  # the list as it was, until there is another
    told(replica, whole(3, present(3, "w_3", "bob")))
    assert replica.people(PLACE).keys() == {User("bob"), User("dan")}
    assert replica.missing(["w"]) == frozenset()


def test_so_is_one_of_which_only_the_number_comes(replica: Replica) -> None:
    meet(replica, present(1))

    assert told(replica, Listed(2, 0)) == []
    assert told(replica, Listed(4, 0)) == [Wanted("w", 0, 0)]


def test_a_list_that_is_older_than_the_changes_is_asked_for_again(replica: Replica) -> None:
    """So it is after two gaps, or when too much was to wait."""
    meet(replica, present(1))
    told(replica, present(3, "w_3", "bob"), present(6, "w_6", "dan"))

    assert told(replica, whole(3, present(3, "w_3", "bob"))) == [Wanted("w", 0, 0)]
    assert replica.missing(["w"]) == {"w"}

    told(replica, whole(6, present(6, "w_6", "dan")))
    assert replica.people(PLACE).keys() == {User("dan")}


def test_so_much_waits_for_a_list(replica: Replica) -> None:
    replica.meet("w")
    told(replica, *(present(n, f"w_{n}", f"u{n}") for n in range(1, 9)))

    assert told(replica, whole(1, present(1))) == [Wanted("w", 0, 0)]


def test_the_role_of_a_worker_is_the_latest(replica: Replica) -> None:
    replica.meet("w")
    told(replica, Listed(2, 4), whole(1))

    assert replica.roles == {"w": 4}


def test_what_was_announced_comes_with_the_list(replica: Replica) -> None:
    mark = Announced("/", "team", "ann", "", True, 5)
    replica.meet("w")
    told(replica, whole(1, mark, present(1)))

    assert replica.take_marks("w") == [mark]
    assert replica.take_marks("w") == replica.take_marks("gone") == []


def test_what_a_worker_sends_that_has_ended_counts_no_more(replica: Replica) -> None:
    meet(replica, present(1))
    replica.lose("w", 0.0, said_goodbye=False)

    assert told(replica, present(2), whole(1, present(1))) == []

    assert replica.people(PLACE) == {}
    assert replica.roles == {}


def test_a_list_of_something_else_hides_no_member(replica: Replica) -> None:
    replica.meet("w")
    entries = b"\xc1", encode_operation(Absent(1, *key("w_1"))), encode_operation(present(1))

    told(replica, ListPart("me", 1, 0, entries, True, 0))

    assert replica.people(PLACE).keys() == {ANN}


# -- the list of this worker ---------------------------------------------------------------


def test_each_part_has_so_many_bytes_and_one_member_at_least(replica: Replica) -> None:
    for number in (1, 2, 3):
        replica.enter(key(f"me_{number}"), f"u{number}", "{}", 1.0)
    other = Replica(GRACE, limit=3)
    (wanted,) = other.meet("me")

    for space in (1, 1, 1):
        assert isinstance(wanted, Wanted)
        part = replica.part_for("w", wanted, (), space)
        assert isinstance(part, ListPart)
        assert len(part.entries) == 1
        wanted, *_ = [*other.receive("me", part), None]

    assert other.people(PLACE).keys() == {User("u1"), User("u2"), User("u3")}
    assert replica.part_for("w", Wanted("me", 0, 0), (), 10_000).ends


def test_a_list_of_which_nothing_is_kept_begins_anew(replica: Replica) -> None:
    replica.enter(key("me_1"), "ann", "{}", 1.0)
    replica.enter(key("me_2"), "bob", "{}", 1.0)
    replica.part_for("w", Wanted("me", 0, 0), (), 1)
    replica.lose("w", 0.0, said_goodbye=False)

    for wanted in (Wanted("me", 2, 1), Wanted("me", 1, 7), Wanted("me", 9, 2**60)):
        part = replica.part_for("w", wanted, (), 1)
        assert (part.version, part.first, part.ends) == (2, 0, False)


def test_a_worker_lists_only_its_own_sockets(replica: Replica) -> None:
    meet(replica, present(1, "other_1"), present(2, "w_2", "bob"))
    told(replica, present(3, "other_3", "dan"))

    assert replica.people(PLACE).keys() == {User("bob")}


def test_a_list_has_so_many_members(replica: Replica) -> None:
    meet(replica, *(present(n, f"w_{n}", f"u{n}") for n in range(1, 9)))
    told(replica, present(9, "w_9", "u9"))

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
    meet(replica)
    replica.enter(key("me_1"), "ann", "{}", 1.0)
    replica.leave(key("me_1"), 0.0, stays=True)

    replica.receive("w", present(1))
    assert replica.tick(GRACE) == [Absent(2, *key("me_1"))]
    assert [one.sid for one in replica.sockets(PLACE, ANN)] == ["w_1"]


def test_two_workers_that_wait_for_one_person_do_not_wait_for_each_other() -> None:
    """Each learns that the person was there on the other one, when it has left both."""
    here, there = Replica(GRACE, limit=3), Replica(GRACE, limit=3)
    for one, other in ((here, "there"), (there, "here")):
        meet(one, by=other)
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
    meet(replica, present(1))

    replica.lose("w", 0.0, said_goodbye=False)

    assert replica.people(PLACE) == {}


def test_the_people_of_a_worker_that_said_goodbye_have_the_grace_to_come_back(
    replica: Replica,
) -> None:
    meet(replica, present(1), present(2, "w_2", "bob"))
    replica.lose("w", 0.0, said_goodbye=True)
    assert replica.people(PLACE).keys() == {ANN, User("bob")}

    replica.enter(key("me_1"), "ann", "{}", 3.0)
    replica.tick(GRACE)

    assert replica.people(PLACE).keys() == {ANN}


def test_after_a_restart_nothing_is_known(replica: Replica) -> None:
    meet(replica, present(1))
    replica.enter(key("me_1"), "bob", "{}", 1.0)
    replica.take_touched()

    replica.restart()

    assert replica.people(PLACE) == {}
    assert replica.part_for("w", Wanted("me", 0, 0), (), 100) == ListPart("w", 0, 0, (), True, 0)
    assert {person for _, person in replica.take_touched()} == {ANN, User("bob")}


def test_a_list_may_take_its_time() -> None:
    """What changes while it is sent is not in it, and comes by the stream: before it, or after."""
    for early in (True, False):
        sender, replica = Replica(GRACE, limit=10), Replica(GRACE, limit=10)
        for number in (1, 2, 3):
            sender.enter(key(f"w_{number}"), f"u{number}", "{}", 1.0)
        requests = replica.meet("w")
        changes: list[Callable[[], list[Any]]] = [
            lambda sender=sender: sender.leave(key("w_1"), 0.0, stays=False),  # type: ignore[misc]
            lambda sender=sender: [  # type: ignore[misc]
                *sender.enter(key("w_4"), "u4", "{}", 1.0),
                *sender.leave(key("w_3"), 0.0, stays=False),
                *sender.enter(key("w_2"), "u2", '{"x": 1}', 1.0),
            ],
        ]
        held: list[Any] = []

        while requests:
            wanted = requests.pop()
            assert isinstance(wanted, Wanted)
            part = sender.part_for("me", wanted, (), 1)
            held += changes.pop(0)() if changes else []
            while early and held:
                replica.receive("w", held.pop(0))
            requests += replica.receive("w", part)
        told(replica, *held)

        assert replica.missing(["w"]) == frozenset()
        people = replica.people(PLACE).items()
        assert {person: [one.data for one in known] for person, known in people} == {
            User("u2"): ['{"x": 1}'],
            User("u4"): ["{}"],
        }
