"""What a node applies: each operation once, in order, from where its sender's stream starts."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from flask_rooms.errors import BackendUnavailable, InvalidArgument
from flask_rooms.protocol.codec import NOTHING, BadMessage, Codec, encode_operation
from flask_rooms.protocol.events import Deliver, PeerLeft
from flask_rooms.protocol.messages import Change, Direct, Done, Frame, Goodbye, Heartbeat
from flask_rooms.protocol.node import Node
from flask_rooms.protocol.pending import Completed
from flask_rooms.protocol.stream import Limits
from tests.support.network import CONFIRM, HEARTBEAT, SETTLING, Network, make_node

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_a_duplicate_is_dropped() -> None:
    """Rule `ordered-stream`."""
    network = Network("a", "b")
    number = network.call("a", "b")
    frame = network.take("a")

    events = [network.deliver("b", frame) for _ in range(3)]

    assert [len(one) for one in events] == [1, 0, 0]
    assert network.applied("b") == [("a", number)]


def test_what_waits_shares_a_frame_until_what_is_under_way_has_echoed() -> None:
    network = Network("a", "b")
    node = network.nodes["a"]

    network.broadcast("a")
    assert not node.shares_next
    frame = network.take("a")
    network.broadcast("a")
    assert node.shares_next

    network.deliver("a", frame)
    assert not node.shares_next


def test_calls_wait_for_calls_alone() -> None:
    network = Network("a", "b")
    node = network.nodes["a"]
    network.broadcast("a")
    events = network.take("a")

    network.broadcast("a")
    network.call("a", "b")
    assert not node.shares_next
    call = network.take("a")
    assert len(call.operations) == 2
    network.call("a", "b")
    assert node.shares_next

    network.deliver("a", events)
    assert node.shares_next
    network.deliver("a", call)
    assert not node.shares_next


def test_a_heartbeat_has_seconds_as_floats_whatever_they_are_configured_as() -> None:
    """Older workers take nothing else."""
    hello = make_node("a", 1000, heartbeat=2).take(1001)  # integers

    assert hello is not None
    assert hello.heartbeat is not None
    assert hello.heartbeat.about is not None
    assert type(hello.heartbeat.age) is type(hello.heartbeat.about.interval) is float


def test_a_sender_that_has_not_named_the_receiver_is_not_applied() -> None:
    """Rule `stream-start`: the frame may be a copy from before the receiver was born."""
    network = Network("a", "b")
    network.call("a", "b")
    network.now += HEARTBEAT
    old = network.take("a")
    network.deliver("a", old)
    network.add("c")

    events = network.deliver("c", old)
    network.exchange()

    assert events == []
    assert network.applied("c") == []


def test_a_newcomer_gets_what_is_sent_after_its_hello() -> None:
    """Rule `stream-start`."""
    network = Network("a")
    before = network.broadcast("a")
    network.exchange()
    network.add("b")
    hello = network.take("b")
    network.deliver("b", hello)

    after = network.broadcast("a")  # a has not received the hello yet
    frame = network.take("a")
    network.deliver("a", hello)
    network.deliver("a", frame)
    network.deliver("b", frame)
    network.exchange()

    assert before < after
    assert network.applied("b") == [("a", after)]


def test_a_newcomer_whose_hello_was_lost_gets_what_was_sent_since_its_birth() -> None:
    """Rule `stream-start`."""
    network = Network("a")
    network.advance(3 * HEARTBEAT)
    before = network.broadcast("a")
    network.advance(3 * HEARTBEAT)
    network.add("b")
    network.send("b", deaf=("a",))

    after = network.broadcast("a")
    network.send("a", deaf=("b",))
    network.advance(HEARTBEAT)

    assert before < after
    assert network.applied("b") == [("a", after)]


def test_a_newcomer_is_not_evicted_for_what_was_sent_just_before_its_birth() -> None:
    """Rule `stream-start`: its stream starts a little earlier, as far as the log reaches back."""
    network = Network()
    node = network.add("a", Limits(outbox=10_000, log=100, frame=1_000))
    network.advance(3 * HEARTBEAT)
    for _ in range(10):
        node.submit(Change("leave", "/", ("b_s",), ("room",)))
        network.send("a")
    network.advance(HEARTBEAT)
    network.add("b")
    network.send("b", deaf=("a",))

    network.advance(HEARTBEAT)

    assert network.evicted() == set()
    assert "a" in network.nodes["b"].peers


def test_an_older_worker_gets_the_whole_stream_of_one_born_without_a_broker() -> None:
    """Rule `stream-start`."""
    network = Network("a")
    network.now += 1
    network.add("b")
    numbers = [network.call("b", "a"), network.call("b", "a")]
    network.advance(CONFIRM + 1, deaf=("a", "b"))  # so both time out

    network.advance(2 * HEARTBEAT)

    assert network.applied("a") == [("b", number) for number in numbers]


def test_a_worker_gets_the_call_that_was_pending_for_it_before_it_was_met() -> None:
    """Rule `stream-start`: it has served its clients without a broker so far."""
    network = Network("a")

    number = network.call("a", "b")
    network.send("a")
    network.add("b")
    network.exchange()

    assert network.applied("b") == [("a", number)]
    assert network.outcome("a") == Completed(number, 1, 0, ())


def test_an_unmet_worker_is_introduced_to_at_once() -> None:
    """Rule `announce-to-unmet`."""
    network = Network("a")
    network.add("b")
    hello = network.take("b")

    network.deliver("a", hello)

    introduction = network.take("a")
    assert introduction.heartbeat is not None
    assert introduction.direct is not None
    assert (introduction.to, introduction.direct.start) == ("b", 1)


def test_many_workers_that_start_together_get_no_heartbeat_for_all() -> None:
    """Rule `announce-to-unmet`: an answer to all for each of them would be a flood."""
    network = Network("a")
    node = network.nodes["a"]
    network.now += HEARTBEAT / 2
    sent = []
    for number in range(20):
        hello = make_node(f"b{number}", network.now).take(network.now)
        assert hello is not None
        network.deliver("a", hello)
        answer = node.take(network.now)
        assert answer is not None
        sent.append(answer.to)

    assert sent == [f"b{number}" for number in range(20)]
    assert node.take(network.now) is None


@pytest.mark.parametrize("data", [b"", b"\xff", encode_operation(Goodbye())[:-1] + b"\x63"])
def test_a_malformed_operation_does_not_stop_the_stream(data: bytes) -> None:
    """Rule `bad-messages-are-dropped`: the operations after it are applied."""
    network = Network("a", "b")
    number = network.call("a", "b")
    frame = network.take("a")

    events = network.deliver("b", replace(frame, operations=(data, *frame.operations)))

    assert [event.number for event in events if isinstance(event, Deliver)] == [number + 1]


def test_no_number_of_another_worker_keeps_a_node_from_sending() -> None:
    """Rule `bad-messages-are-dropped`: a nack may count on from the highest number allowed."""
    codec = Codec(["key"], "channel", 10_000)
    node = make_node("a")
    highest = 2**64 - 1
    with suppress(BadMessage):
        for beat, now in (1, 1.0), (2, 9.0):
            direct = Direct(beat, highest, highest, (), highest, highest, highest)
            frame = Frame("b", highest, (NOTHING,) * (2 - beat), Heartbeat(beat, 1, now, 1))
            node.receive(codec.decode(codec.encode(frame)), now)
            frame = Frame("b", highest, to="a", direct=direct)
            node.receive(codec.decode(codec.encode(frame)), now)
            node.on_reconnect(now + 5)

    sent = node.take(9.0)

    assert sent is not None
    assert codec.decode(codec.encode(sent)) == sent


def test_nothing_is_applied_after_a_goodbye() -> None:
    """Rule `goodbye-ends-a-worker`."""
    network = Network("a", "b")
    node = network.nodes["a"]
    node.submit(Goodbye())
    node.submit(Change("leave", "/", ("b_s",), ("room",)))

    network.send("a")

    assert network.events["b"] == [PeerLeft("a", said_goodbye=True)]


def test_the_outbox_and_a_message_are_bounded() -> None:
    """Rule `one-outbox-and-log`: what could not be published counts as waiting again."""
    node = Node("a", 0.0, heartbeat=1, confirm=1, limits=Limits(outbox=300, log=1, frame=200))

    with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
        node.submit(Change("leave", "/", ("a_s",), ("r" * 200,)))
    node.submit(Change("leave", "/", ("a_s",), ("r" * 150,)))
    with pytest.raises(BackendUnavailable, match="ROOMS_OUTBOX_BYTES"):
        node.submit(Change("leave", "/", ("a_s",), ("r" * 150,)))

    frame = node.take(0.0)
    assert frame is not None
    node.give_back(frame, 0.0)
    with pytest.raises(BackendUnavailable):
        node.submit(Change("leave", "/", ("a_s",), ("r" * 150,)))
    assert node.take(0.0) is not None
    node.take(0.0)
    node.submit(Change("leave", "/", ("a_s",), ("r" * 150,)))


def test_a_full_outbox_refuses_no_answer_and_no_goodbye() -> None:
    """Rule `answers-never-refused`."""
    node = Node("a", 0.0, heartbeat=1, confirm=1, limits=Limits(outbox=300, log=1, frame=200))
    node.submit(Change("leave", "/", ("a_s",), ("r" * 150,)))
    node.submit(Change("leave", "/", ("a_s",), ("r" * 90,)))
    answers = [Done("b", n, 1, 0, ("b_s" * 20,)) for n in range(3)]

    for answer in answers:
        node.submit(answer)
    node.submit(Goodbye())

    assert node.waiting()[2:] == [Goodbye()]
    with pytest.raises(BackendUnavailable):
        node.submit(Change("leave", "/", ("a_s",), ("r",)))


def test_a_completed_call_for_all_is_nothing_to_a_newcomer() -> None:
    """Rule `completed-is-not-repeated`: its sockets have joined after the call."""
    network = Network("a", "b")
    network.advance(SETTLING)
    network.call_all("a")
    network.exchange()
    assert network.has_completed("a")
    network.add("c")
    network.send("c", deaf=("a",))

    after = network.broadcast("a")
    network.advance(HEARTBEAT)

    assert network.applied("c") == [("a", after)]
