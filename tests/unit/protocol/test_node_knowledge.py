"""When a worker knows every other live one: nothing false is said before that."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from flask_rooms.protocol.messages import Direct, Emit, Frame, Goodbye, Heartbeat
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.support.network import CONFIRM, HEARTBEAT, SETTLING, Network

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def hello_of(network: Network, name: str) -> Frame:
    """Add a node, and return its hello, which no other node has received."""
    network.add(name)
    hello = network.take(name)
    network.deliver(name, hello)
    return hello


def test_a_script_calls_no_worker_unknown_that_is_stopped() -> None:
    """Rule `every-worker-is-known`: it takes as long as to count a worker as dead."""
    network = Network("owner")
    network.advance(SETTLING)
    network.add("script")

    network.call("script", "owner")
    network.query("script")
    network.advance(CONFIRM, deaf=("owner",), mute=("owner",))

    outcomes = [e for e in network.events["script"] if isinstance(e, Completed | TimedOut)]
    assert [type(one) for one in outcomes] == [TimedOut, TimedOut]


def test_a_script_knows_everybody_as_soon_as_one_vouches() -> None:
    """Rule `every-worker-is-known`: another worker has heard them all."""
    network = Network("a", "b")
    network.advance(SETTLING)
    network.add("script")

    network.call("script", "ended")
    network.exchange()

    assert network.has_completed("script")


def test_a_stopped_worker_that_one_vouches_for_is_awaited() -> None:
    """Rule `every-worker-is-known`: also when the one that has reported it leaves."""
    network = Network("a", "stopped")
    network.advance(SETTLING)
    network.add("script")
    number = network.query("script")
    network.exchange(deaf=("stopped",), mute=("stopped",))
    assert network.nodes["script"].is_settled

    del network.nodes["a"]
    network.advance(CONFIRM, deaf=("stopped",), mute=("stopped",))

    assert "stopped" in network.nodes["script"].known_workers
    outcome = network.outcome("script")
    assert isinstance(outcome, TimedOut)
    assert (outcome.number, "stopped" in outcome.missing) == (number, True)


def test_a_worker_that_was_away_has_to_be_told_again() -> None:
    """Rule `every-worker-is-known`: it may have missed a hello."""
    network = Network("a", "b")
    network.advance(SETTLING)

    network.nodes["a"].on_reconnect(network.now)
    assert not network.nodes["a"].is_settled
    network.exchange()

    assert network.nodes["a"].is_settled


def test_a_worker_that_is_counted_by_the_broker_is_awaited() -> None:
    """Rule `every-worker-is-known`: the broker counts one that is stopped."""
    network = Network("a")
    network.add("stopped")
    network.add("script")
    network.now += 0.1
    network.nodes["script"].note_audience(3, network.now)

    network.query("script")
    network.exchange(deaf=("stopped",), mute=("stopped",))
    assert not network.has_completed("script")


def test_everybody_is_known_when_as_many_have_answered_as_the_broker_counts() -> None:
    """Rule `every-worker-is-known`: nothing else has to be waited for."""
    network = Network("a", "b")
    network.add("script")
    network.now += 0.1
    network.nodes["script"].note_audience(3, network.now)

    network.query("script")
    network.exchange()

    assert network.has_completed("script")


def test_a_socket_of_a_worker_that_has_left_is_unknown_when_the_count_is_verified() -> None:
    """Rule `every-worker-is-known`: a newcomer need not wait until another worker can vouch."""
    network = Network("a")
    network.add("script")
    network.now += 0.1
    network.nodes["script"].note_audience(2, network.now)

    network.call("script", "gone")
    network.exchange()

    assert not network.nodes["script"].is_settled
    assert network.has_completed("script")


def test_a_worker_that_stands_still_is_not_unknown_because_others_are_as_many_as_counted() -> None:
    """Rule `every-worker-is-known`: one of them may have ended before the count."""
    network = Network("crashed")
    network.add("stopped")
    network.add("script")
    network.exchange(deaf=("stopped",), mute=("stopped",))
    network.nodes["script"].note_audience(2, network.now)
    assert network.nodes["script"].has_met_audience

    network.call("script", "stopped")
    left_out = ("stopped", "crashed")
    network.exchange(deaf=left_out, mute=left_out)

    assert not network.has_completed("script")


def test_a_worker_that_connects_after_the_count_does_not_stand_for_another_one() -> None:
    """Rule `every-worker-is-known`."""
    network = Network("script")
    network.add("stopped")
    network.nodes["script"].note_audience(2, network.now)
    network.now += 0.1
    network.query("script")
    network.add("late")

    network.exchange(deaf=("stopped",), mute=("stopped",))

    assert not network.has_completed("script")


def test_a_count_stays_when_the_next_one_has_a_worker_that_has_just_connected() -> None:
    """Rule `every-worker-is-known`: its hello has come, so no older one need be in its place."""
    network = Network("a")
    node = network.nodes["a"]
    node.note_audience(1, network.now)
    network.now += 0.1
    node.note_audience(2, network.now)
    network.add("b")  # which says hello in the moment of that count

    network.query("a")
    network.exchange()

    assert network.has_completed("a")


def test_a_count_is_replaced_when_one_of_those_has_left() -> None:
    """Rule `every-worker-is-known`: else as many would never be met."""
    network = Network("a", "b")
    node = network.nodes["a"]
    network.now += 0.1
    node.note_audience(2, network.now)
    assert node.has_met_audience
    network.nodes["b"].submit(Goodbye())
    network.exchange()
    assert not node.has_met_audience

    network.now += 0.1
    node.note_audience(1, network.now)

    network.query("a")
    network.exchange()
    assert network.has_completed("a")


def test_a_count_from_before_an_absence_is_no_count() -> None:
    """Rule `every-worker-is-known`: another worker may have connected meanwhile."""
    network = Network("script")
    network.nodes["script"].note_audience(1, network.now)
    network.query("script")
    network.nodes["script"].on_reconnect(network.now)

    network.exchange()

    assert not network.has_completed("script")


def test_the_copy_of_a_hello_confirms_nothing() -> None:
    """Rule `hello-is-verified`: its sender has not been asked, and a second copy is no proof."""
    network = Network()
    recorded = hello_of(network, "owner")
    assert recorded.heartbeat is not None
    second = replace(recorded, heartbeat=replace(recorded.heartbeat, beat=2, age=0.5))
    network.advance(SETTLING)
    network.add("script")
    number = network.call_all("script")
    network.send("script", deaf=("owner",))
    for copy in (recorded, second):
        network.deliver("script", copy)

    network.advance(CONFIRM)

    assert network.outcome("script") == TimedOut(number, ("owner",))


def test_a_newcomer_after_the_call_is_not_asked() -> None:
    """Rule `hello-is-verified`: it introduces itself, and proves its age so."""
    network = Network("a")
    network.advance(SETTLING)
    network.add("script")
    number = network.call_all("script")
    network.send("script")
    network.add("newcomer")

    network.exchange()

    assert network.outcome("script") == Completed(number, 1, 0, ())


def test_a_nack_is_obeyed_once() -> None:
    """Rule `nacks-count-once`: an attacker may repeat it."""
    network = Network("a", "b")
    network.nodes["a"].submit(Emit("/", ("x",), None, (), 0))
    network.exchange()
    request = Direct(7, 1, 1, (), 1, start=1, view=0, nack=(1, 2))
    nack = Frame("b", 1, to="a", direct=request)

    network.deliver("a", nack)
    assert network.take("a").operations
    for copy in (nack, replace(nack, direct=replace(request, serial=6))):
        network.deliver("a", copy)

    assert not network.nodes["a"].has_unsent


def test_a_heartbeat_says_whether_its_sender_knows_everybody() -> None:
    """Rule `every-worker-is-known`."""
    network = Network("a")
    hello = hello_of(network, "b").heartbeat
    assert isinstance(hello, Heartbeat)
    assert hello.asks
    network.advance(SETTLING)

    network.now += HEARTBEAT
    settled = network.take("b").heartbeat
    assert settled is not None
    assert not settled.asks
