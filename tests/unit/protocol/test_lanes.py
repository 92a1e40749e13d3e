"""What waits behind a guarded join of the same sender."""

from __future__ import annotations

import pytest

from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.lanes import Lanes, WaitingJoin
from flask_rooms.protocol.messages import (
    Ask,
    Change,
    Emit,
    Goodbye,
    Operation,
    Options,
    Query,
    Tell,
    User,
)

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

JOIN = Change("join", "/", ("a_s",), ("vip", "bar"))


def emit(*rooms: str) -> Emit:
    """Return an event for the members of rooms."""
    return Emit("/", ("x",), rooms, (), 0)


def drained(lanes: Lanes, sender: str = "w") -> list[int]:
    """Return the numbers of what need not wait any more."""
    numbers = []
    if lanes.begin_drain(sender):
        while (event := lanes.next(sender)) is not None:
            numbers.append(event.number)
    return numbers


@pytest.mark.parametrize(
    ("operation", "waits"),
    [
        (emit("vip"), True),
        (emit("lounge", "bar"), True),
        (emit("lounge"), False),
        (Emit("/", ("x",), None, (), 0), False),
        (Emit("/other", ("x",), ("vip",), (), 0), False),
        (Emit("/", ("x",), (User("vip"),), (), 0), False),
        (Change("join", "/", (), ("lounge",), source="vip"), True),
        (Change("join", "/", (), ("vip",), source="lounge"), False),
        (Change("leave", "/", (), ("vip",), source="vip"), False),
        (Change("leave", "/", ("a_s",), ("vip",)), False),
        (Tell("news", ("x",)), True),
        (Query("count", "/", "vip"), True),
        (Query("count", "/", "lounge"), False),
        (Query("rooms", "/", ""), True),
        (Query("rooms_of", "/", "a_s"), True),
        (Query("rooms_of", "/", "a_other"), False),
        (Ask(1, "/", ("x",), ("vip",), (), 5.0), True),
        (Ask(1, "/", ("x",), ("lounge",), (), 5.0), False),
        (Ask(1, "/", ("x",), None, ("vip",), 5.0), True),
        (Emit("/", ("x",), None, (), 0, ("vip",)), True),
        (Change("leave", "/", (), ("lounge",), User("ann"), "", Options(("vip",))), True),
        (Goodbye(), False),
    ],
)
def test_what_depends_on_a_join_waits_for_it(operation: Operation, waits: bool) -> None:
    """Rule `guarded-joins-keep-order`."""
    assert WaitingJoin("w", JOIN, 5.0).concerns(operation) == waits


def test_what_follows_waits_too_and_comes_in_order() -> None:
    """Rule `guarded-joins-keep-order`: or two broadcasts would change places."""
    lanes, join = Lanes(), WaitingJoin("w", JOIN, 5.0)
    lanes.begin(join)
    assert not lanes.hold(Deliver("w", 1, emit("lounge")))

    assert lanes.hold(Deliver("w", 2, emit("vip")))
    assert lanes.hold(Deliver("w", 3, emit("lounge")))
    assert not lanes.hold(Deliver("other", 1, emit("vip")))
    assert drained(lanes) == []
    lanes.end(join)

    assert drained(lanes) == [2, 3]
    assert not lanes.hold(Deliver("w", 4, emit("vip")))


def test_what_comes_while_others_are_carried_out_waits_for_them() -> None:
    """Rule `guarded-joins-keep-order`."""
    lanes, join = Lanes(), WaitingJoin("w", JOIN, 5.0)
    lanes.begin(join)
    lanes.hold(Deliver("w", 1, emit("vip")))
    lanes.end(join)
    lanes.end(join)
    assert lanes.begin_drain("w")
    assert lanes.next("w") == Deliver("w", 1, emit("vip"))

    assert lanes.hold(Deliver("w", 2, emit("lounge")))
    assert not lanes.begin_drain("w")

    assert lanes.next("w") == Deliver("w", 2, emit("lounge"))
    assert lanes.next("w") is None


def test_each_operation_waits_for_the_joins_that_concern_it() -> None:
    """Rule `guarded-joins-keep-order`."""
    lanes = Lanes()
    first = WaitingJoin("w", JOIN, 5.0)
    second = WaitingJoin("w", Change("join", "/", ("a_s",), ("lounge",)), 6.0)
    for join in (first, second):
        lanes.begin(join)
    for number, room in enumerate(("vip", "lounge"), 1):
        lanes.hold(Deliver("w", number, emit(room)))

    lanes.end(first)
    assert drained(lanes) == [1]
    lanes.end(second)
    assert drained(lanes) == [2]


def test_a_join_holds_up_others_no_longer_than_its_caller_waits() -> None:
    """Rule `guarded-joins-keep-order`."""
    lanes, join = Lanes(), WaitingJoin("w", JOIN, 5.0)
    lanes.begin(join)

    assert lanes.overdue(4.9) == []
    assert lanes.overdue(5.0) == [join]


def test_what_a_next_life_sends_waits_for_the_former_one() -> None:
    """Rule `order-across-lives`."""
    lanes, join = Lanes(), WaitingJoin("w", JOIN, 5.0)
    lanes.begin(join)
    assert lanes.hold(Deliver("w", 2, emit("vip")))

    lanes.succeed("w2", former="w")
    assert lanes.hold(Deliver("w", 3, emit("lounge")))
    assert lanes.hold(Deliver("w2", 1, emit("lounge")))

    lanes.end(join)
    assert drained(lanes) == [2, 3, 1]
    assert not lanes.hold(Deliver("w2", 2, emit("vip")))


def test_what_a_next_life_sends_waits_for_a_join_that_it_repeats() -> None:
    """Rule `order-across-lives`: that comes under the former name."""
    lanes, join = Lanes(), WaitingJoin("w", JOIN, 5.0)
    lanes.succeed("w2", former="w")
    lanes.begin(join)

    assert lanes.hold(Deliver("w2", 2, emit("vip")))
    lanes.succeed("w3", former="w2")
    assert lanes.hold(Deliver("w3", 1, emit("vip")))
    lanes.end(join)

    assert drained(lanes, "w3") == [2, 1]


def test_nothing_is_kept_of_senders_for_which_nothing_waits() -> None:
    lanes = Lanes()
    lanes.succeed("w2", former="w")

    assert not lanes.hold(Deliver("w", 7, JOIN))
    assert not lanes.hold(Deliver("w2", 2, emit("vip")))

    assert not lanes._lanes


def test_what_a_next_life_sends_waits_for_all_former_ones() -> None:
    """Rule `order-across-lives`: the life between was evicted before it was heard."""
    lanes, first, second = Lanes(), WaitingJoin("w", JOIN, 5.0), WaitingJoin("w2", JOIN, 5.0)
    lanes.begin(first)
    assert lanes.hold(Deliver("w", 2, emit("vip")))
    lanes.succeed("w3", former="w")
    lanes.succeed("w3", former="w2")
    lanes.begin(second)
    assert lanes.hold(Deliver("w3", 3, emit("vip")))

    lanes.end(first)
    assert drained(lanes, "w") == []
    lanes.end(second)
    assert drained(lanes, "w2") == [2, 3]
    assert not lanes.hold(Deliver("w3", 4, emit("vip")))
    assert lanes.is_empty


def test_lanes_in_which_nothing_waits_do_not_pile_up() -> None:
    """Workers that were evicted, and never send again."""
    lanes = Lanes()
    for number in range(5):
        lanes.succeed(f"next {number}", former=f"former {number}")

    assert len(lanes._lanes) == 2


def test_what_a_next_life_sends_waits_for_each_join_that_it_repeats() -> None:
    """Rule `order-across-lives`: also where one is decided before the next one comes."""
    lanes = Lanes()
    lanes.succeed("w2", former="w")
    first = WaitingJoin("w", Change("join", "/", ("a_s",), ("lounge",)), 5.0)
    lanes.begin(first)
    lanes.end(first)
    assert drained(lanes) == []

    second = WaitingJoin("w", JOIN, 5.0)
    lanes.begin(second)
    assert lanes.hold(Deliver("w2", 1, emit("vip")))
    lanes.end(second)
    assert drained(lanes) == [1]

    assert not lanes.hold(Deliver("w2", 2, emit("vip")))
    assert lanes.is_empty
