"""Workers compare whom they count as alive, by digests. Rule `views-are-compared`."""

from __future__ import annotations

import pytest

from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.views import Views
from tests.support.network import CONFIRM, HEARTBEAT, SETTLING, Network

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def views(me: str, *others: str) -> Views:
    """Return what *me* knows of views once it has met the others, in this order."""
    result = Views(me)
    for name in others:
        result.add(name)
    return result


def test_workers_that_count_the_same_have_one_view() -> None:
    assert views("a", "b", "c").own == views("c", "a", "b").own
    assert views("a", "b").own != views("a", "c").own


def test_who_has_ended_is_in_no_view() -> None:
    one = views("a", "b", "c")
    one.remove("c")

    assert one.own == views("a", "b").own


def test_a_view_that_this_worker_has_had_is_clear() -> None:
    one = views("a")
    earlier = one.own
    for number in range(50):
        one.add(f"b{number}")

    assert one.is_met(earlier)
    assert one.names_in(earlier) == frozenset()


@pytest.mark.parametrize(
    "theirs",
    [("a", "b", "c"), ("a", "b", "c", "d", "gone"), ("a", "b", "c", "gone"), ("a", "d")],
    ids=["one less", "one that has ended", "one for another", "two less"],
)
def test_a_view_that_differs_by_two_workers_that_are_known_is_clear(
    theirs: tuple[str, ...],
) -> None:
    one = views("a", "gone", "d", "c", "b")
    one.remove("gone")

    assert one.is_clear(views(*theirs).own)


def test_a_view_with_an_unmet_worker_is_clear_once_its_names_are_known() -> None:
    one = views("a", "b")
    theirs = views("b", "a", "unmet").own

    assert not one.is_clear(theirs)
    one.learn(theirs, ("a", "b", "unmet"), [theirs])

    assert one.is_clear(theirs)
    assert not one.is_met(theirs)
    assert one.names_in(theirs) >= {"unmet"}


def test_names_are_forgotten_once_no_peer_has_that_view() -> None:
    one = views("a", "b")
    old, new = views("b", "a", "unmet").own, views("b", "a", "other").own
    one.learn(old, ("a", "b", "unmet"), [old])

    one.learn(new, ("a", "b", "other"), [new])

    assert not one.is_clear(old)


def test_a_view_without_this_worker_is_not_one_in_which_it_is_counted() -> None:
    one = views("a", "b", "c")

    assert not one.is_met(views("b", "c").own)


def test_a_worker_that_was_not_told_of_its_death_finds_out_by_the_view() -> None:
    """The heartbeats that tell it are lost, and the next ones do not name it."""
    network = Network("a", "b")
    network.advance(SETTLING)
    network.advance(5 * HEARTBEAT, mute=("b",), deaf=("b",))
    assert "b" not in network.nodes["a"].peers
    network.nodes["b"].on_reconnect(network.now)
    network.send("b", deaf=("a",), mute=("a",))  # its own heartbeat is lost, too
    network.exchange(mute=("b",))

    network.advance(3 * HEARTBEAT)

    assert network.evicted() == {"b"}


def test_a_call_waits_for_a_worker_in_the_view_of_another_one() -> None:
    """Rule `unknown-takes-knowing` (c): the caller cannot hear that worker."""
    network = Network("a", "b")
    for _ in range(5):
        network.advance(HEARTBEAT)
    network.add("c")
    hello = network.take("c")
    for name in ("b", "c"):
        network.deliver(name, hello)
    network.advance(HEARTBEAT, mute=("c",))  # b states a view that a does not have
    assert "c" not in network.nodes["a"].known_workers
    number = network.call("a", "c")

    network.exchange(mute=("c",))
    assert not network.has_completed("a")
    assert "c" in network.nodes["a"].known_workers

    network.advance(CONFIRM, mute=("c",))
    assert network.outcome("a") == TimedOut(number, ("c",))


def test_a_call_for_nobody_is_unknown_at_once_while_views_differ() -> None:
    network = Network("a", "b", "c", "d")
    network.advance(SETTLING)
    network.add("script")
    network.exchange()
    number = network.call("a", "nobody")

    network.exchange()

    assert network.outcome("a") == Completed(number, 0, 0, ("nobody_s",))
