"""How losses are repaired: nacks, retransmissions, and the list that they read from."""

from __future__ import annotations

import pytest

from flask_rooms.errors import BackendUnavailable
from flask_rooms.protocol.delivery import REPAIR_LOG_ECHOES
from flask_rooms.protocol.events import Deliver
from flask_rooms.protocol.messages import Change
from flask_rooms.protocol.pending import Completed
from flask_rooms.protocol.stream import Limits, Stream
from tests.support.network import HEARTBEAT, Network

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_what_was_missed_is_retransmitted_in_order_and_applied_once() -> None:
    """Rule `ordered-stream`."""
    network = Network("a", "b")

    numbers = [network.call("a", "b")]
    network.exchange(deaf=("b",))
    numbers.append(network.call("a", "b"))
    network.advance(HEARTBEAT)

    assert network.applied("b") == [("a", number) for number in numbers]


def test_what_one_has_missed_is_repeated_to_it_alone_and_nothing_else() -> None:
    """Rule `ordered-stream`: what has arrived after the gap is kept."""
    network = Network("a", "b", "c")
    network.call("a", "b")
    network.send("a")
    missed = network.call("a", "b")
    network.send("a", deaf=("b",))
    network.call("a", "b")
    network.deliver("b", network.take("a"))

    request = network.take("b")
    network.deliver("a", request)
    answer = next(frame for frame in iter(lambda: network.take("a"), None) if frame.to)

    assert request.to == "a"
    assert request.direct is not None
    assert request.direct.nack == (missed, missed + 1)
    assert (answer.to, answer.first, len(answer.operations)) == ("b", missed, 1)
    network.deliver("b", answer)
    assert network.applied("b") == [("a", missed - 1), ("a", missed), ("a", missed + 1)]


def test_what_is_kept_behind_a_gap_is_bounded() -> None:
    """Rule `ordered-stream`: what does not fit is repeated with the rest."""
    network = Network("a")
    network.add("b", Limits(outbox=10_000, log=100, frame=1_000))
    network.exchange()
    numbers = []
    for number in range(10):
        numbers.append(network.call("a", "b"))
        network.send("a", deaf=("b",) if number == 0 else ())
    assert sum(map(len, network.nodes["b"]._delivery.link("a").inbound.early.values())) <= 100

    network.advance(HEARTBEAT)

    assert network.applied("b") == [("a", number) for number in numbers]


def test_an_answer_goes_to_the_worker_that_has_asked() -> None:
    """Rule `answers-to-the-asker`."""
    network = Network("a", "b", "c")
    network.call("a", "b")
    network.send("a")

    answer = network.take("b")

    assert answer.to == "a"
    assert answer.direct is not None
    assert len(answer.direct.answers) == 1
    assert network.deliver("c", answer) == []  # where the backend has no addresses


@pytest.mark.parametrize("lost", ["the answer", "the first of two"])
def test_an_answer_that_is_lost_is_sent_again(lost: str) -> None:
    """Rule `answers-to-the-asker`: its sender asks whether it has arrived."""
    network = Network("a", "b")
    number = network.call("a", "b")
    network.send("a")
    network.send("b", deaf=("a",))
    if lost == "the first of two":
        network.call("a", "b")

    network.advance(HEARTBEAT)

    outcomes = [event for event in network.events["a"] if isinstance(event, Completed)]
    assert [one.number for one in outcomes][:1] == [number]
    assert len(outcomes) == (2 if lost == "the first of two" else 1)
    assert len(network.applied("b")) == len(outcomes)


def test_answers_that_have_arrived_are_forgotten() -> None:
    """Rule `answers-to-the-asker`."""
    network = Network("a", "b")
    for _ in range(5):
        network.call("a", "b")
        network.exchange()
    answers = network.nodes["b"]._delivery.link("a").answers
    assert answers.next == 6

    network.advance(HEARTBEAT)

    assert answers.oldest == 6


def test_what_was_missed_twice_is_retransmitted_twice() -> None:
    """Rule `ordered-stream`."""
    network = Network("a", "b", "c")
    number = network.call("a", "b", "c")
    network.send("a", deaf=("b", "c"))

    network.advance(HEARTBEAT, deaf=("c",))
    assert network.applied("b") == [("a", number)]
    network.advance(HEARTBEAT)

    assert network.applied("b") == network.applied("c") == [("a", number)]


def test_a_heartbeat_shows_what_was_missed_at_the_end() -> None:
    """Rule `empty-frames-are-numbered`."""
    network = Network("a", "b")

    number = network.call("a", "b")
    network.exchange(deaf=("b",))
    network.advance(2 * HEARTBEAT)

    assert network.applied("b") == [("a", number)]


def test_what_could_not_be_published_is_sent_again_in_its_place() -> None:
    """Rule `one-outbox-and-log`."""
    network = Network("a", "b")
    node = network.nodes["a"]
    network.call("a", "b")
    network.call("a", "b", "c")
    frame = network.take("a")

    node.give_back(frame, network.now)
    network.call("a", "b", "d")
    again = network.take("a")

    assert again.first == frame.first
    applied = [e.operation for e in network.deliver("b", again) if isinstance(e, Deliver)]
    sids = [change.sids for change in applied if isinstance(change, Change)]
    assert sids == [("b_s",), ("b_s", "c_s"), ("b_s", "d_s")]


def test_a_failed_retransmission_takes_no_room_in_the_outbox() -> None:
    """Rule `one-outbox-and-log`: or the outbox would be full of what was sent before."""
    stream = Stream(Limits(outbox=10, log=1_000, frame=1_000))
    for _ in range(3):
        stream.append(b"12345")
        stream.take()
    stream.rewind(1)
    stream.append(b"12345")

    stream.give_back(stream.take()[0])

    stream.append(b"12345")
    with pytest.raises(BackendUnavailable):
        stream.append(b"1")


def test_a_heartbeat_that_could_not_be_published_gives_nothing_else_back() -> None:
    """Rule `one-outbox-and-log`: answers that wait leave it without operations."""
    network = Network("a", "b")
    node = network.nodes["a"]
    network.call("a", "b")
    assert network.take("a").operations
    network.call("b", "a")
    network.deliver("a", network.take("b"))
    network.now += HEARTBEAT
    heartbeat = network.take("a")
    assert heartbeat.heartbeat is not None
    assert heartbeat.operations == ()

    node.give_back(heartbeat, network.now)

    assert node.unsent == (0, 0)


def test_answers_confirmed_before_their_publish_fails_stay_sent() -> None:
    """Rule `one-outbox-and-log`: a broker that hangs may carry what it has not acknowledged."""
    stream = Stream(Limits(outbox=100, log=1_000, frame=1_000))
    for data in (b"first", b"second"):
        stream.append(data)
    first, _ = stream.take()
    stream.discard_before(3)

    stream.give_back(first)

    number = stream.append(b"third")
    assert stream.take() == (number, (b"third",))
    assert stream.unsent == (0, 0)


def test_the_next_life_does_not_send_what_may_have_been_published() -> None:
    """Rule `one-outbox-and-log`: or it could be applied twice."""
    network = Network("a", "b")
    node = network.nodes["a"]
    number = network.call("a", "b")
    frame = network.take("a")
    node.give_back(frame, network.now)
    network.deliver("b", frame)
    network.call("a", "b")

    assert network.applied("b") == [("a", number)]
    assert len(node.waiting()) == 1


def test_what_every_live_worker_has_had_the_time_to_nack_is_discarded() -> None:
    """Rule `bounded-repair-log`."""
    network = Network("a", "b")
    node = network.nodes["a"]
    for _ in range(5):
        node.submit(Change("leave", "/", ("b_s",), ("room",)))
    network.exchange()

    network.advance((REPAIR_LOG_ECHOES - 1) * HEARTBEAT)
    assert network.oldest("a") == 1
    network.advance(6 * HEARTBEAT)

    assert network.oldest("a") == 6
    assert network.events["b"][-1] == Deliver("a", 5, Change("leave", "/", ("b_s",), ("room",)))


def test_a_worker_with_a_longer_interval_has_the_time_to_nack() -> None:
    """Rule `longer-interval`: it may live, and not have heard of the gap yet."""
    network = Network("a")
    network.add("slow", heartbeat=5 * HEARTBEAT)
    network.exchange()
    network.nodes["a"].submit(Change("leave", "/", ("slow_s",), ("room",)))
    network.exchange()

    network.advance(3 * REPAIR_LOG_ECHOES * HEARTBEAT)
    assert network.oldest("a") == 1
    network.advance(3 * REPAIR_LOG_ECHOES * HEARTBEAT)

    assert network.oldest("a") == 2


def test_an_outage_discards_nothing() -> None:
    """Rule `bounded-repair-log`."""
    network = Network("a", "b")
    node = network.nodes["a"]
    node.submit(Change("leave", "/", ("b_s",), ("room",)))
    network.send("a", deaf=("a", "b"))

    network.advance(2 * REPAIR_LOG_ECHOES * HEARTBEAT, deaf=("a", "b"))
    assert network.oldest("a") == 1
    network.advance(HEARTBEAT)

    assert ("a", 1) in network.applied("b")
