"""How calls end: confirmed by the owners, unknown, or timed out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from flask_rooms.protocol.messages import Done, Goodbye
from flask_rooms.protocol.pending import Completed, TimedOut
from tests.support.network import CONFIRM, HEARTBEAT, SETTLING, Network

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def test_the_owner_answers_and_the_call_completes() -> None:
    """Rule `owner-answers`."""
    network = Network("a", "b", "c")

    number = network.call("a", "b")
    network.exchange()

    assert network.applied("b") == [("a", number)]
    assert network.outcome("a") == Completed(number, 1, 0, ())


def test_what_is_for_the_owners_of_sockets_is_skipped_by_all_others() -> None:
    """Rule `others-skip`: it is counted, so nothing is missed, and what follows is applied."""
    network = Network("a", "b", "x", "y")

    first = network.call("a", "b", "x")
    network.exchange()
    second = network.query("a")
    network.exchange()

    assert network.applied("b") == network.applied("x") == [("a", first), ("a", second)]
    assert network.applied("y") == [("a", second)]
    assert network.nodes["a"].retransmissions == 0


def test_a_worker_that_has_missed_what_it_would_skip_has_it_repeated() -> None:
    """Rule `others-skip`: it cannot know what is missing."""
    network = Network("a", "b", "y")
    network.call("a", "b")
    network.send("a", deaf=("y",))
    number = network.query("a")
    network.exchange()

    assert network.applied("y") == [("a", number)]
    assert network.nodes["a"].retransmissions == 1


def test_a_call_completes_when_all_owners_have_answered() -> None:
    """Rule `owner-answers`."""
    network = Network("a", "b", "c")

    number = network.call("a", "b", "c")
    network.exchange(mute=("c",))
    assert not network.has_completed("a")
    network.advance(HEARTBEAT)

    assert network.outcome("a") == Completed(number, 2, 0, ())


def test_an_answer_counts_once_and_only_from_a_worker_that_was_asked() -> None:
    """Rule `owner-answers`."""
    network = Network("a", "b", "c")
    number = network.call("a", "b")
    network.send("a", deaf=("b",))

    network.nodes["c"].submit(Done("a", number, 99, 0, ("b_s",)))
    network.send("c")
    assert network.events["a"] == []
    network.nodes["b"].submit(Done("a", number, 0, 1, ("b_s", "c_s")))
    network.nodes["b"].submit(Done("a", number, 99, 0, ()))
    network.send("b")

    assert network.outcome("a") == Completed(number, 0, 1, ("b_s",))


def test_a_worker_that_does_not_answer_in_time_is_named() -> None:
    """Rule `unanswered-times-out`."""
    network = Network("a", "b", "c")

    number = network.call("a", "b", "c")
    network.advance(CONFIRM, mute=("c",))

    assert network.outcome("a") == TimedOut(number, ("c",))


def test_a_call_for_all_completes_when_all_have_answered() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b", "c")
    network.advance(2 * HEARTBEAT)

    number = network.call_all("a")
    network.exchange(mute=("c",))
    assert not network.has_completed("a")
    network.advance(HEARTBEAT)

    assert network.outcome("a") == Completed(number, 2, 0, ())


def test_a_call_for_all_waits_until_every_worker_has_been_heard() -> None:
    """Rule `every-worker-answers`: a new worker may not have met all others yet."""
    network = Network("a")
    network.advance(2 * HEARTBEAT)
    network.add("b")
    network.nodes["b"].take(network.now)  # its hello is lost, so a sends it no heartbeat

    number = network.call_all("b")
    network.exchange(deaf=("a",), mute=("a",))
    assert not network.has_completed("b")
    network.advance(2 * HEARTBEAT)

    assert network.outcome("b") == Completed(number, 1, 0, ())


def test_a_worker_whose_hello_comes_before_the_echo_of_a_call_is_asked_too() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b")
    network.advance(2 * HEARTBEAT)
    newcomer = network.add("c")
    hello = newcomer.take(network.now)
    assert hello is not None

    number = network.call_all("a")
    for name in network.nodes:
        network.deliver(name, hello)
    network.advance(2 * HEARTBEAT)

    assert ("a", number) in network.applied("c")
    assert network.outcome("a") == Completed(number, 2, 0, ())


def test_a_worker_that_only_others_know_is_awaited() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b", "c")
    network.advance(2 * HEARTBEAT)
    network.add("d")
    network.advance(HEARTBEAT, mute=("d",))
    beat = network.nodes["d"].take(network.now + HEARTBEAT)
    assert beat is not None
    network.deliver("b", beat)  # only b receives d
    network.advance(HEARTBEAT, mute=("d",))

    number = network.call_all("a")
    network.advance(CONFIRM, mute=("d",))

    assert network.outcome("a") == TimedOut(number, ("d",))


def test_a_call_for_all_awaits_a_newcomer_that_will_receive_it() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b")
    network.advance(2 * HEARTBEAT)
    network.add("c")
    network.send("c", deaf=("a",))  # so that c is met later than it was born

    number = network.call_all("a")
    network.send("a", deaf=("b", "c"))
    network.advance(HEARTBEAT, mute=("b",))
    assert not network.has_completed("a")
    network.advance(HEARTBEAT)

    assert ("a", number) in network.applied("c")
    assert network.outcome("a") == Completed(number, 2, 0, ())


def test_a_query_is_answered_by_all_pages_of_all_workers() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b", "c")
    network.advance(SETTLING)

    number = network.query("a")
    network.exchange()

    outcome = network.outcome("a")
    assert isinstance(outcome, Completed)
    names = [name for reply in outcome.replies for name in reply.names]
    assert sorted(map(str, names)) == ["b 1", "b 2", "c 1", "c 2"]
    assert {reply.number for reply in outcome.replies} == {number}


def test_a_worker_that_has_not_sent_its_last_page_is_missing() -> None:
    """Rule `every-worker-answers`: its other pages do not count."""
    network = Network("a", "b", "c")
    network.advance(2 * HEARTBEAT)

    number = network.query("a")
    network.send("a")
    half = network.take("b")
    assert half.direct is not None
    first = replace(half.direct, answers=half.direct.answers[:1])
    network.deliver("a", replace(half, direct=first))
    network.advance(CONFIRM, mute=("b",))

    outcome = network.outcome("a")
    assert isinstance(outcome, TimedOut)
    assert (outcome.number, outcome.missing) == (number, ("b",))
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}


def test_the_pages_of_a_worker_that_has_died_do_not_count() -> None:
    """Rule `every-worker-answers`."""
    network = Network("a", "b", "c")
    network.advance(SETTLING)

    network.query("a")
    network.send("a")
    half = network.take("b")
    assert half.direct is not None
    first = replace(half.direct, answers=half.direct.answers[:1])
    network.deliver("a", replace(half, direct=first))
    network.nodes["b"].submit(Goodbye())
    goodbye = network.take("b")
    network.deliver("a", goodbye)
    network.exchange(mute=("b",))

    outcome = network.outcome("a")
    assert isinstance(outcome, Completed)
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}


def test_a_query_that_times_out_keeps_the_answers_that_are_whole() -> None:
    """Rule `unanswered-times-out`."""
    network = Network("a", "b", "c")
    network.advance(2 * HEARTBEAT)
    number = network.query("a")
    network.exchange(mute=("b",))

    network.events["a"] += network.nodes["a"].time_out(number)

    outcome = network.outcome("a")
    assert isinstance(outcome, TimedOut)
    assert outcome.missing == ("b",)
    assert {reply.names for reply in outcome.replies} == {("c 1",), ("c 2",)}
    assert network.nodes["a"].time_out(number) == []


def test_a_socket_of_an_unmet_worker_is_unknown_once_that_is_certain() -> None:
    """Rule `unknown-takes-knowing`."""
    network = Network("a", "b")
    network.advance(2 * HEARTBEAT)

    number = network.call("a", "unmet")
    network.exchange()
    assert not network.has_completed("a")
    network.advance(HEARTBEAT)

    assert network.outcome("a") == Completed(number, 0, 0, ("unmet_s",))


def test_no_socket_is_unknown_before_the_call_has_echoed() -> None:
    """Rule `unknown-takes-knowing`: the hello of a new worker may be on its way."""
    network = Network("a", "b")
    network.advance(3 * HEARTBEAT)

    number = network.call("a", "unmet")
    network.events["a"] += network.nodes["a"].tick(network.now)
    assert network.events["a"] == []
    network.send("a")

    assert network.outcome("a") == Completed(number, 0, 0, ("unmet_s",))


def test_a_socket_of_a_worker_that_others_report_is_not_unknown() -> None:
    """Rule `unknown-takes-knowing`."""
    network = Network("a", "b")
    network.add("c")

    number = network.call("c", "a")
    network.advance(HEARTBEAT, mute=("a",))  # only b reports a to c
    assert not network.has_completed("c")
    network.advance(HEARTBEAT)

    assert network.outcome("c") == Completed(number, 1, 0, ())


def test_a_socket_of_a_dead_worker_is_unknown_at_once() -> None:
    """Rule `unknown-takes-knowing`."""
    network = Network("a", "b")
    network.nodes.pop("b").submit(Goodbye())
    network.events["a"].clear()
    network.advance(5 * HEARTBEAT)
    network.events["a"].clear()

    number = network.call("a", "b")

    assert network.outcome("a") == Completed(number, 0, 0, ("b_s",))


def test_after_an_absence_no_socket_is_unknown_until_all_have_been_heard() -> None:
    """Rule `unknown-takes-knowing`: a hello may have been missed meanwhile."""
    network = Network("a", "b")
    network.advance(3 * HEARTBEAT)
    network.add("c")
    network.exchange(deaf=("a",), mute=("a",))

    network.nodes["a"].on_reconnect(network.now)
    number = network.call("a", "c")
    network.send("a")
    assert not network.has_completed("a")
    network.exchange()

    assert network.outcome("a") == Completed(number, 1, 0, ())


def test_a_worker_of_another_version_exists_although_it_was_called_unknown() -> None:
    """Rule `foreign-version-exists`: it cannot be told, so it goes on under its name."""
    network = Network("a")
    network.advance(SETTLING)
    network.call("a", "b")
    network.exchange()
    assert network.nodes["a"].is_ruled_out("b")

    network.nodes["a"].note_foreign_version("b")

    assert not network.nodes["a"].is_ruled_out("b")
    assert "b" in network.nodes["a"].known_workers


def test_a_socket_of_a_worker_of_another_version_is_not_unknown() -> None:
    """Rule `foreign-version-exists`: its frames cannot be read, but its sockets may exist."""
    network = Network("a")
    network.advance(2 * HEARTBEAT)
    network.nodes["a"].note_foreign_version("b")

    number = network.call("a", "b")
    for _ in range(3):
        network.nodes["a"].note_foreign_version("b")
        network.advance(HEARTBEAT)

    assert network.outcome("a") == TimedOut(number, ("b",))
