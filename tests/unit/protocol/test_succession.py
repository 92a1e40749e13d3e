"""What the next life of an evicted worker repeats: the order of a caller is kept across lives."""

from __future__ import annotations

from contextlib import suppress

import pytest

from flask_rooms.errors import BackendUnavailable
from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.delivery import MAX_ENDED
from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.messages import Change, Done, Emit, Frame, Operation, Succeeds, User
from flask_rooms.protocol.pending import Completed
from flask_rooms.protocol.stream import Limits
from flask_rooms.protocol.succession import MAX_FORMER, MAX_UNKNOWN, OpenChanges
from tests.support.network import HEARTBEAT, Network, make_node

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

EMIT = Emit("/", ("x",), ("room",), (), 0)
LEAVE = Change("leave", "/", ("b_s",), ("room",))
JOIN = Change("join", "/", ("b_s",), ("room",))


def start_over(network: Network, former: str, name: str) -> None:
    """Give a node its next life, as the driver does when it is evicted."""
    node = network.nodes.pop(former)
    network.add(name).take_over(node)


def operations(network: Network, name: str) -> list[Operation]:
    """Return what a node has had to carry out, in order, apart from the successions."""
    delivered = [one.operation for one in network.events[name] if isinstance(one, Deliver)]
    return [one for one in delivered if not isinstance(one, Succeeds)]


@pytest.mark.parametrize("times_out", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        LEAVE,
        Change("leave_all", "/", ("b_s",), ()),
        Change("disconnect", "/", ("b_s",), ()),
        Change("recheck", "/", ("b_s",), ("room",)),
    ],
)
def test_what_may_not_have_happened_comes_before_what_is_sent_later(
    change: Change, times_out: bool
) -> None:
    """Rule `order-across-lives`: or a caller's broadcast would reach a socket it has had leave."""
    network = Network("a", "b")
    node = network.nodes["a"]
    number, _ = node.call(change, {"b": ("b_s",)}, network.now)
    network.take("a")  # and it never arrives
    if times_out:
        node.time_out(number)
    node.submit(EMIT)

    start_over(network, "a", "a2")
    network.nodes["a2"].submit(EMIT)
    network.exchange()

    assert operations(network, "b") == [change, EMIT, EMIT]


def test_what_was_carried_out_is_not_carried_out_again() -> None:
    """Rule `order-across-lives`: the answer was lost, and somebody may have joined since."""
    network = Network("a", "b")
    network.call("a", "b")
    network.deliver("b", network.take("a"))

    start_over(network, "a", "a2")
    network.exchange()

    assert operations(network, "b") == [LEAVE]


def test_what_is_confirmed_is_not_repeated() -> None:
    """Rule `order-across-lives`."""
    network = Network("a", "b")
    network.call("a", "b")
    network.exchange()

    assert network.nodes["a"].carried_over() == [Succeeds("a", ())]


def test_what_was_called_unknown_is_repeated_where_the_owner_counted_as_dead() -> None:
    """Rule `order-across-lives`: it lives on the other side of a partition."""
    network = Network("a", "b")
    network.advance(8 * HEARTBEAT, deaf=("b",), mute=("b",))
    network.call("a", "b")
    assert network.outcome("a") == Completed(1, 0, 0, ("b_s",))
    network.advance(40 * HEARTBEAT, deaf=("b",), mute=("b",))

    start_over(network, "a", "a2")
    network.advance(2 * HEARTBEAT)

    assert operations(network, "b") == [LEAVE]
    assert network.evicted() == set()


def test_what_was_called_unknown_by_its_owner_is_not_repeated() -> None:
    """The socket has gone, as sockets do."""
    network = Network("a", "b")
    number, _ = network.nodes["a"].call(LEAVE, {"b": ("b_s",)}, network.now)
    network.nodes["b"].submit(Done("a", number, 0, 0, ("b_s",)))
    network.exchange()

    assert network.nodes["a"].carried_over() == [Succeeds("a", ())]


def test_what_every_live_worker_has_had_is_not_repeated() -> None:
    """Rule `order-across-lives`: it is as long ago as the repair log goes back."""
    network = Network("a", "b")
    node = network.nodes["a"]
    number = network.call("a", "b")
    network.exchange(mute=("b",))
    node.time_out(number)
    assert node.carried_over() == [Succeeds("a", ((1, encode_operation(LEAVE)),))]

    network.advance(40 * HEARTBEAT)

    assert node.carried_over() == [Succeeds("a", ())]


def test_joins_are_repeated_too_and_in_order() -> None:
    """Rule `order-across-lives`: what a caller does after a join may depend on it."""
    network = Network("a", "b")
    node = network.nodes["a"]
    empty = Change("leave", "/", (), ("chat",), source="room")
    for change, targets in ((JOIN, {"b": ("b_s",)}), (empty, None)):
        node.call(change, targets, network.now)
    network.take("a")
    node.submit(EMIT)

    start_over(network, "a", "a2")
    network.exchange()

    assert operations(network, "b") == [JOIN, empty, EMIT]


def test_nothing_of_a_former_life_comes_after_the_next_one() -> None:
    """Rule `order-across-lives`: a join that was late would undo a leave that was confirmed."""
    network = Network("a", "b")
    network.nodes["a"].call(JOIN, {"b": ("b_s",)}, network.now)
    late = network.take("a")
    start_over(network, "a", "a2")
    network.call("a2", "b")
    network.exchange()
    assert operations(network, "b") == [JOIN, LEAVE]

    network.deliver("b", late)
    network.exchange()

    assert operations(network, "b") == [JOIN, LEAVE]


def test_a_life_that_is_evicted_at_once_repeats_what_the_one_before_had_to() -> None:
    """Rule `order-across-lives`."""
    network = Network("a", "b")
    network.call("a", "b")
    network.take("a")
    start_over(network, "a", "a2")
    network.send("a2", deaf=("b",))

    start_over(network, "a2", "a3")
    start_over(network, "a3", "a4")  # which has not even tried to send it
    network.nodes["a4"].submit(EMIT)
    network.exchange()

    assert operations(network, "b") == [LEAVE, EMIT]


@pytest.mark.parametrize(
    ("change", "carries_out"),
    [
        (LEAVE, True),
        (Change("disconnect", "/", ("b_s",), ()), True),
        (JOIN, False),
        (Change("set_data", "/", ("b_s",), ()), False),
        (Change("leave", "/", (), ("room",), source="room"), False),
        (Change("disconnect", "/", (), (), source=User("ann")), False),
    ],
)
def test_a_worker_that_has_not_followed_the_former_life_has_named_sockets_leave(
    change: Change, carries_out: bool
) -> None:
    """Rule `order-across-lives`: it may be younger than the call, and its sockets, too."""
    network = Network("b")
    network.add("a2").submit(Succeeds("a", ((7, encode_operation(change)),)))
    network.exchange()

    assert operations(network, "b") == [change] * carries_out


def test_what_a_younger_worker_has_repeated_is_not_repeated_again() -> None:
    """Rule `order-across-lives`: it remembers that, although it has not followed that life."""
    network = Network("b")
    empty = Change("leave", "/", (), ("room",), source="room")
    repeated = Succeeds("a", ((7, encode_operation(LEAVE)), (8, encode_operation(empty))))
    node = network.add("a2")
    for _ in range(2):
        node.submit(repeated)
        network.exchange()

    assert operations(network, "b") == [LEAVE]


def test_a_former_life_that_is_met_late_is_over() -> None:
    """Rule `order-across-lives`: its frames were held back, and the next life was faster."""
    network = Network("b")
    former = network.add("a")
    network.advance(HEARTBEAT, mute=("a",))
    former.call(JOIN, {"b": ("b_s",)}, network.now)
    network.exchange(mute=("a",))
    late = [frame for frame in network.frames if frame.sender == "a"]
    assert any(frame.to == "b" for frame in late)
    start_over(network, "a", "a2")
    network.call("a2", "b")
    network.exchange()
    assert operations(network, "b") == [LEAVE]

    for frame in late:
        network.deliver("b", frame)

    assert operations(network, "b") == [LEAVE]


def test_a_dead_worker_s_successor_repeats_what_it_missed() -> None:
    """Rule `order-across-lives`: others have counted the former life as dead by then."""
    network = Network("a", "b")
    network.call("a", "b")
    network.deliver("b", network.take("a"))
    number = network.call("a", "b")
    network.take("a")
    network.advance(6 * HEARTBEAT, mute=("a",))
    assert "a" not in network.nodes["b"].peers

    start_over(network, "a", "a2")
    network.exchange()

    assert network.applied("b")[:1] + network.applied("b")[2:] == [("a", 1), ("a", number)]


def kept(limit: int, *changes: bytes) -> OpenChanges:
    """Return what has been called for, with numbers from 1 on."""
    open_changes = OpenChanges(limit)
    for number, data in enumerate(changes, 1):
        open_changes.note(number, LEAVE, data)
    return open_changes


def test_much_is_repeated_in_several_operations() -> None:
    """Each fits into a frame, and together they are what there was."""
    parts = kept(10_000, *[b"x" * 400] * 9).repeat("a", 10, frame=1000)

    assert [len(part.changes) for part in parts] == [2, 2, 2, 2, 1]
    assert [number for part in parts for number, _ in part.changes] == [*range(1, 10)]
    assert kept(10_000).repeat("a", 1, frame=1000) == [Succeeds("a", ())]


def test_the_longest_change_can_be_repeated() -> None:
    """It fills a frame by itself, and is carried out once, also beside others."""
    network = Network("a", "b")
    long = Change("leave", "/", ("b_s",), tuple(f"room {number:05}" for number in range(88)))
    assert len(encode_operation(long)) > 950  # of 1,000
    for change in (LEAVE, long, LEAVE):
        network.nodes["a"].call(change, {"b": ("b_s",)}, network.now)
    network.take("a")
    network.take("a")

    start_over(network, "a", "a2")
    network.exchange()

    assert operations(network, "b") == [LEAVE, long, LEAVE]


def test_what_is_kept_to_be_repeated_has_a_bound() -> None:
    """The oldest are dropped, and what waits in the outbox takes no place of them."""
    changes = kept(100, *[b"x" * 30] * 5)

    assert changes.repeat("a", 3, 1000) == [Succeeds("a", ((1, b"x" * 30), (2, b"x" * 30)))]
    assert [number for number, _ in changes.repeat("a", 6, 1000)[0].changes] == [3, 4, 5]
    changes.discard(3)
    changes.discard(4)
    changes.discard(4)
    changes.trim(5, 6)
    assert changes.repeat("a", 6, 1000) == [Succeeds("a", ((5, b"x" * 30),))]
    changes.trim(6, 6)
    assert changes.repeat("a", 6, 1000) == [Succeeds("a", ())]


def test_a_join_of_a_socket_that_was_called_unknown_is_not_repeated() -> None:
    """Its caller was told that nothing has joined."""
    changes = OpenChanges(1000)
    changes.note(1, JOIN, encode_operation(JOIN))
    changes.complete(1, owner_is_gone=True)

    assert changes.repeat("a", 2, 1000) == [Succeeds("a", ())]


def test_how_many_earlier_lives_are_repeated_has_a_bound() -> None:
    """A worker that is evicted again and again does not repeat ever more."""
    changes = OpenChanges(100)
    for number in range(1, MAX_FORMER + 4):
        changes.note(number, Succeeds(f"former {number}", ()), b"")

    repeated = [one.former for one in changes.repeat("a", 100, 1000)]
    assert repeated == [*(f"former {number}" for number in range(4, MAX_FORMER + 4)), "a"]


def test_how_much_is_repeated_of_what_was_called_unknown_has_a_bound() -> None:
    """Callers can make up any number of IDs of workers that are dead."""
    changes = OpenChanges(10**6)
    for number in range(1, MAX_UNKNOWN + 4):
        changes.note(number, LEAVE, encode_operation(LEAVE))
        changes.complete(number, owner_is_gone=True)

    (repeated,) = changes.repeat("a", 10**6, 10**6)
    assert [number for number, _ in repeated.changes] == [*range(4, MAX_UNKNOWN + 4)]


def test_the_log_holds_all_that_is_taken_over() -> None:
    """It may be published before the others have the time to ask for it."""
    network = Network("b")
    former = make_node("a", network.now, Limits(outbox=900, log=900, frame=1000))
    former.call(LEAVE, {"b": ("b_s",)}, network.now)
    while former.take(network.now) is not None:
        pass
    with suppress(BackendUnavailable):
        while True:
            former.submit(EMIT)
    waiting = former.unsent[0]
    node = network.add("a2", Limits(outbox=900, log=900, frame=100))
    node.take_over(former)
    while network.send("a2", deaf=("b",)):
        pass

    network.advance(4 * HEARTBEAT)

    assert operations(network, "b") == [LEAVE, *[EMIT] * waiting]
    assert network.evicted() == set()


def test_how_many_ended_workers_are_remembered_has_a_bound() -> None:
    """A worker can name any number of former lives."""
    network = Network("a", "b")
    for number in range(MAX_ENDED + 5):
        network.nodes["a"].submit(Succeeds(f"former {number}", ()))
        network.exchange()

    assert len(network.nodes["b"]._delivery._ended) == MAX_ENDED


@pytest.mark.parametrize(
    "removal",
    [
        b"",
        b"nonsense",
        encode_operation(EMIT),
        encode_operation(Succeeds("c", ())),
        b"\xc0\x91\x01",
    ],
)
def test_what_is_no_change_is_left_out(removal: bytes) -> None:
    """Rule `bad-messages-are-dropped`: the rest is carried out."""
    network = Network("a", "b")
    good = encode_operation(LEAVE)
    network.nodes["a"].submit(Succeeds("former", ((1, removal), (2, good))))
    network.nodes["a"].submit(EMIT)

    network.exchange()

    assert operations(network, "b") == [LEAVE, EMIT]


@pytest.mark.parametrize("former", ["a", "b", ""])
def test_a_worker_that_succeeds_somebody_it_cannot_harms_nobody_else(former: str) -> None:
    """Its own stream, or that of the receiver; only those with the key can send it."""
    network = Network("a", "b", "c")
    network.nodes["a"].submit(Succeeds(former, ()))
    network.exchange()

    network.nodes["c"].submit(EMIT)
    network.exchange()
    network.advance(2 * HEARTBEAT)

    assert operations(network, "b") == [EMIT]
    assert network.evicted() == set()


def test_an_old_frame_of_a_former_life_is_no_error() -> None:
    """Nor is one with a number beyond all."""
    network = Network("a", "b")
    start_over(network, "a", "a2")
    network.exchange()

    data = encode_operation(LEAVE)
    for first in (1, 5, 2**63 - 2):
        network.deliver("b", Frame("a", first, (data,)))
    network.advance(2 * HEARTBEAT)

    assert operations(network, "b") == []
