"""When another worker is dead: by own echoes, after it was told, or after its goodbye."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from flask_rooms.protocol.events import Evicted, PeerLeft
from flask_rooms.protocol.messages import Goodbye
from flask_rooms.protocol.pending import Completed
from tests.support.network import HEARTBEAT, SETTLING, Network, make_node

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_a_silent_worker_is_dead_and_calls_complete_without_it() -> None:
    """Rule `own-echo-clock`."""
    network = Network("a", "b", "c")
    del network.nodes["b"]
    network.advance(3 * HEARTBEAT)

    number = network.call("a", "b", "c")
    network.advance(2 * HEARTBEAT)

    assert network.outcome("a") == Completed(number, 1, 0, ("b_s",))
    assert PeerLeft("b", said_goodbye=False) in network.events["a"]


@pytest.mark.parametrize(("interval", "patience"), [(5, 15), (0.2, 3)])
def test_workers_with_different_intervals_go_by_the_longer_one(
    interval: float, patience: int
) -> None:
    """Rule `longer-interval`: both in intervals of the worker that counts."""
    network = Network("a")
    network.add("b", heartbeat=interval * HEARTBEAT)
    network.exchange()

    network.advance(patience * HEARTBEAT, mute=("b",))
    assert network.nodes["a"].peers == {"b"}
    network.advance(6 * HEARTBEAT, mute=("b",))

    assert PeerLeft("b", said_goodbye=False) in network.events["a"]


def test_everybody_is_known_after_the_longest_interval() -> None:
    """Rule `longer-interval`: a slow worker that is not heard yet may live."""
    network = Network()
    network.add("slow", heartbeat=5 * HEARTBEAT)
    network.add("a")
    network.exchange()

    network.advance(SETTLING + HEARTBEAT)
    assert not network.nodes["a"].is_followed
    network.advance(6 * SETTLING)

    assert network.nodes["a"].is_followed


def test_a_slow_worker_does_not_hold_up_one_that_was_away() -> None:
    """Rule `longer-interval`: it is asked how it counts the other one."""
    network = Network("a")
    network.add("slow", heartbeat=20 * HEARTBEAT)
    network.exchange()
    network.advance(2 * HEARTBEAT, deaf=("a",))
    network.nodes["a"].on_reconnect(network.now)
    network.call("slow", "a")

    network.exchange()

    assert network.applied("a") == [("slow", 1)]


def test_no_worker_dies_while_this_one_is_deaf() -> None:
    """Rule `own-echo-clock`."""
    network = Network("a", "b")

    network.advance(10 * HEARTBEAT, deaf=("a", "b"))
    network.advance(HEARTBEAT)

    assert network.nodes["a"].peers == {"b"}
    assert not [e for e in network.events["a"] if isinstance(e, PeerLeft | Evicted)]


def test_copies_of_its_frames_keep_no_worker_alive() -> None:
    """Rule `own-echo-clock`."""
    network = Network("a", "b")
    network.advance(2 * HEARTBEAT)
    network.call("b", "a")
    copies = [network.take("b")]
    network.deliver("a", copies[0])
    network.now += HEARTBEAT
    copies.append(network.take("b"))
    network.deliver("a", copies[1])
    del network.nodes["b"]

    for _ in range(6):
        network.advance(HEARTBEAT)
        for frame in copies:
            network.deliver("a", frame)

    assert PeerLeft("b", said_goodbye=False) in network.events["a"]


def test_an_operation_after_a_gap_is_a_sign_of_life() -> None:
    """Rule `own-echo-clock`: it cannot be applied yet, but its sender is alive."""
    network = Network("a", "b")
    network.call("b", "a")
    network.send("b", deaf=("a",))

    for _ in range(6):
        network.now += HEARTBEAT
        network.send("a", deaf=("b",))
        network.call("b", "a")
        frame = network.take("b")
        network.deliver("a", replace(frame, heartbeat=None))

    assert network.applied("a") == []
    assert network.nodes["a"].peers == {"b"}


def test_missed_heartbeats_are_not_counted_across_an_absence() -> None:
    """Rule `own-echo-clock`."""
    network = Network("a", "b")
    network.advance(3 * HEARTBEAT, mute=("b",))

    network.nodes["a"].on_reconnect(network.now)
    network.advance(2 * HEARTBEAT, mute=("b",))

    assert network.nodes["a"].peers == {"b"}


def test_calls_complete_only_after_the_dead_have_been_told() -> None:
    """Rule `dead-are-told-first`."""
    network = Network("a", "b")
    del network.nodes["b"]
    for _ in range(2):
        network.now += HEARTBEAT
        network.send("a")
    number = network.call("a", "b")
    network.send("a")
    for _ in range(2):
        network.now += HEARTBEAT
        network.send("a")
    assert "b" not in network.nodes["a"].peers
    assert network.events["a"] == []

    beat = network.take("a")
    assert beat.heartbeat is not None
    assert beat.heartbeat.dead == ("b",)
    events = network.deliver("a", beat)
    assert events == [PeerLeft("b", said_goodbye=False), Completed(number, 0, 0, ("b_s",))]


def test_a_suspect_is_told_even_if_it_counts_the_other_as_dead() -> None:
    """Rule `dead-are-told-first`."""
    network = Network("a", "b")
    for sender, other in (("b", "a"), ("a", "b")):
        for _ in range(4):
            network.now += HEARTBEAT
            network.send(sender, deaf=(other,))
    assert [node.peers for node in network.nodes.values()] == [frozenset()] * 2

    beat = network.take("a")
    assert network.deliver("b", beat) == [Evicted("a", counted_dead=True)]


def test_two_workers_that_count_each_other_as_dead_do_not_stay_apart() -> None:
    """Rule `dead-are-told-again`: neither applies what the other one sends."""
    network = Network("a", "b")
    network.advance(6 * HEARTBEAT, mute=("a", "b"))
    assert [node.peers for node in network.nodes.values()] == [frozenset()] * 2

    network.advance(2 * HEARTBEAT)

    assert network.evicted()


def test_a_goodbye_completes_calls_at_once() -> None:
    """Rule `goodbye-ends-a-worker`."""
    network = Network("a", "b")
    number = network.call("a", "b")
    network.send("a", deaf=("b",))

    network.nodes["b"].submit(Goodbye())
    network.send("b")

    assert network.events["a"] == [
        PeerLeft("b", said_goodbye=True),
        Completed(number, 0, 0, ("b_s",)),
    ]


def test_a_late_heartbeat_is_ignored() -> None:
    """Rule `late-heartbeats-are-ignored`: one from before it was named leaves no worker out."""
    network = Network("a")
    old = network.nodes["a"].take(network.now + HEARTBEAT)
    assert old is not None
    assert old.heartbeat is not None
    network.add("b")
    network.advance(2 * HEARTBEAT)

    for copy in (old, replace(old, heartbeat=replace(old.heartbeat, oldest=10**6))):
        assert network.deliver("b", copy) == []


def test_a_copy_of_an_own_heartbeat_is_ignored() -> None:
    """Rule `late-heartbeats-are-ignored`: a copy gives no worker more time to be heard."""
    network = Network()
    node = network.add("a")
    hello = network.take("a")
    network.deliver("a", hello)
    network.call("a", "b")
    call = network.take("a")
    network.deliver("a", call)

    network.now += 0.95 * HEARTBEAT
    network.deliver("a", hello)

    assert not node.is_settled
    assert network.events["a"] == []


def test_a_worker_of_another_version_that_falls_silent_is_gone() -> None:
    """Rule `foreign-version-exists`."""
    network = Network("a")
    network.advance(2 * HEARTBEAT)
    network.nodes["a"].note_foreign_version("b")
    network.advance(5 * HEARTBEAT)

    number = network.call("a", "b")
    network.exchange()

    assert network.outcome("a") == Completed(number, 0, 0, ("b_s",))


def test_a_node_that_does_not_hear_itself_is_deaf_after_three_intervals() -> None:
    """Rule `reconnect-when-deaf`."""
    node = make_node("a")
    hello = node.take(0.0)
    assert hello is not None

    assert not node.is_deaf(3 * HEARTBEAT)
    assert node.is_deaf(3 * HEARTBEAT + 0.1)
    node.receive(hello, 3 * HEARTBEAT + 0.1)
    assert not node.is_deaf(9 * HEARTBEAT)


def test_the_known_workers_include_those_that_only_others_know() -> None:
    """Rule `heard-before-leaving`: a worker that leaves queries all of them."""
    network = Network("a", "b")
    network.add("c")

    network.advance(HEARTBEAT, mute=("a",))  # only b reports a to c

    assert network.nodes["c"].peers == {"b"}
    assert network.nodes["c"].known_workers == {"a", "b"}
