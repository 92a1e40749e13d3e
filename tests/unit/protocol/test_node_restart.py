"""When a worker starts over or waits: evictions and quarantines."""

from __future__ import annotations

import pickle

import pytest

from flask_rooms.protocol.codec import encode_operation
from flask_rooms.protocol.events import Evicted, PeerLeft
from flask_rooms.protocol.membership import MAX_DEAD, MAX_RULED_OUT
from flask_rooms.protocol.messages import Change, Direct, Emit, Frame, Goodbye
from flask_rooms.protocol.pending import Completed, TimedOut
from flask_rooms.protocol.stream import Limits
from tests.support.network import HEARTBEAT, SETTLING, WIDE, Network, make_node

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


def call_unknown(network: Network) -> None:
    """Let "a" call a socket of "b" unknown, because it receives nothing from "b"."""
    network.advance(SETTLING)
    network.add("b")
    network.exchange(mute=("b",))
    network.call("a", "b")
    network.exchange(mute=("b",))
    assert isinstance(network.outcome("a"), Completed)


def rule_out_many(network: Network) -> None:
    """Let "a" call sockets of more workers unknown than it remembers."""
    for number in range(MAX_RULED_OUT + 1):
        network.call("a", f"unmet{number}")
        network.send("a", deaf=tuple(network.nodes.keys() - {"a"}))


def meet_many(network: Network, count: int, name: str = "guest") -> list[str]:
    """Let many workers come to "a"; return their names."""
    names = [f"{name}{number}" for number in range(count)]
    for guest in names:
        hello = make_node(guest, network.now).take(network.now)
        assert hello is not None
        network.deliver("a", hello)
        names_a = Direct(1, 1, 1, (), 1, start=1, view=0, heard=network.beat("a"))
        network.deliver("a", Frame(guest, 1, to="a", direct=names_a))
    return names


def let_many_leave(network: Network, count: int, name: str = "guest") -> None:
    """Let many workers come to "a", and leave."""
    for guest in meet_many(network, count, name):
        goodbye = Frame(guest, 1, (encode_operation(Goodbye()),))
        assert PeerLeft(guest, said_goodbye=True) in network.deliver("a", goodbye)


def test_a_live_worker_that_was_counted_as_dead_is_evicted() -> None:
    """Rule `evicted-start-over`."""
    network = Network("a", "b")

    network.advance(6 * HEARTBEAT, mute=("b",))

    assert set(network.events["b"]) == {Evicted("a", counted_dead=True)}
    assert network.nodes["b"].receive(Frame("a", 1), network.now) == []


def test_a_worker_that_missed_more_than_the_log_holds_is_evicted() -> None:
    """Rule `evicted-start-over`."""
    network = Network("a")
    small = network.add("b", Limits(outbox=10_000, log=100, frame=1_000))
    network.exchange()
    for _ in range(20):
        small.submit(Change("leave", "/", ("a_s",), ("room",)))
        network.send("b", deaf=("a",))

    network.advance(2 * HEARTBEAT)

    assert set(network.events["a"]) == {Evicted("b", counted_dead=False)}


def test_a_worker_that_was_called_unknown_is_evicted_when_it_turns_up() -> None:
    """Rule `dead-are-told-again`."""
    network = Network("a")
    call_unknown(network)

    network.advance(HEARTBEAT)

    assert network.evicted() == {"b"}


def test_the_number_of_ruled_out_names_is_bounded() -> None:
    """Rule `dead-are-told-again`."""
    network = Network("a")
    network.advance(SETTLING)

    rule_out_many(network)

    assert not network.nodes["a"].is_ruled_out("unmet0")
    assert network.nodes["a"].is_ruled_out(f"unmet{MAX_RULED_OUT}")


def test_a_worker_whose_ruled_out_name_may_be_forgotten_is_evicted() -> None:
    """Rule `dead-are-told-again`."""
    network = Network()
    network.add("a", WIDE)
    call_unknown(network)
    rule_out_many(network)
    assert not network.nodes["a"].is_ruled_out("b")

    network.advance(HEARTBEAT)

    assert network.evicted() == {"b"}


def test_copies_of_what_a_forgotten_worker_sent_are_not_applied() -> None:
    """Rule `copies-revive-no-worker`: none of them shows that it has heard a present heartbeat."""
    network = Network("a", "b")
    network.nodes["b"].submit(Emit("/", ("x",), ("room",), (), 0))
    network.exchange()
    network.advance(HEARTBEAT)
    network.nodes["b"].submit(Emit("/", ("x",), ("room",), (), 0))
    network.exchange()
    network.nodes["b"].submit(Goodbye())
    network.exchange()
    del network.nodes["b"]
    recorded = [frame for frame in network.frames if frame.sender == "b"]
    assert [number for _, number in network.applied("a")] == [1, 2]
    let_many_leave(network, MAX_DEAD)
    network.advance(HEARTBEAT)
    assert not network.nodes["a"].is_ruled_out("b")

    for frame in recorded * 2:
        network.deliver("a", frame)

    assert [number for _, number in network.applied("a")] == [1, 2]
    network.advance(SETTLING + HEARTBEAT)
    assert network.nodes["a"].is_ruled_out("b")


def test_a_worker_that_was_counted_as_dead_and_forgotten_is_told_when_it_is_heard() -> None:
    """Rule `dead-are-told-again`: its age tells that it may be one of the forgotten ones."""
    network = Network("a", "b")
    network.advance(SETTLING + HEARTBEAT, mute=("b",), deaf=("b",))
    let_many_leave(network, MAX_DEAD)
    network.advance(HEARTBEAT, mute=("b",), deaf=("b",))
    assert not network.nodes["a"].is_ruled_out("b")

    network.advance(HEARTBEAT)

    assert network.evicted() == {"b"}


@pytest.mark.slow
def test_what_is_kept_of_workers_that_have_ended_does_not_grow() -> None:
    """Rule `copies-revive-no-worker`: ten thousand workers start and end, well or badly."""
    network = Network("a")
    sizes = []
    for batch in range(10):
        let_many_leave(network, 600, f"guest{batch}.")
        meet_many(network, 400, f"victim{batch}.")
        network.advance(SETTLING + HEARTBEAT)
        network.nodes["a"].take_met()
        assert not network.nodes["a"].peers
        sizes.append(len(pickle.dumps(network.nodes["a"])))

    assert max(sizes[4:]) < 1.01 * sizes[3]


@pytest.mark.slow
def test_a_worker_born_after_the_forgotten_names_were_ruled_out_is_met() -> None:
    """Rule `dead-are-told-again`: even if its hello is lost."""
    network = Network("a")
    network.advance(2 * HEARTBEAT)
    rule_out_many(network)
    network.advance(2 * HEARTBEAT)
    network.add("b")
    network.send("b", deaf=("a",))

    network.advance(HEARTBEAT)

    assert network.nodes["a"].peers == {"b"}
    assert network.evicted() == set()


def test_a_worker_that_a_confirmed_call_for_all_has_overlooked_is_evicted() -> None:
    """Rule `dead-are-told-again`."""
    network = Network("a")
    network.advance(SETTLING)
    network.add("b")
    network.exchange(mute=("b",))
    number = network.call_all("a")
    network.exchange(mute=("b",))
    assert network.outcome("a") == Completed(number, 0, 0, ())

    network.advance(HEARTBEAT)

    assert network.evicted() == {"b"}


def test_a_call_for_all_is_not_confirmed_when_a_worker_turns_up_that_has_to_start_over() -> None:
    """Rule `dead-are-told-again`: an earlier call has overlooked "c", which "b" does not know."""
    network = Network("a", "b")
    network.advance(SETTLING)
    network.add("c")
    network.exchange(mute=("c",))
    network.call_all("a")
    network.exchange(mute=("c",))
    assert network.has_completed("a")
    network.events["a"].clear()

    number = network.call_all("a")
    network.exchange(mute=("b", "c"))
    network.advance(HEARTBEAT, mute=("b",))
    assert not network.has_completed("a")
    network.advance(HEARTBEAT)

    assert network.outcome("a") == TimedOut(number, ("c",))
    assert network.evicted() == {"c"}


@pytest.mark.slow
def test_a_socket_of_a_worker_that_turns_up_and_has_to_start_over_is_not_called_unknown() -> None:
    """Rule `dead-are-told-again`: "a" knows it by name, and has forgotten others."""
    network = Network()
    network.add("a", WIDE)
    network.add("b")
    network.exchange()
    network.advance(SETTLING)
    network.add("c")
    for name in ("c", "a", "b", "c"):  # "a" hears nothing of "c", and "b" does
        network.send(name, deaf=("a",) if name == "c" else ())
    number = network.call("a", "c")
    let_many_leave(network, MAX_DEAD + 1)
    network.advance(HEARTBEAT, mute=("c",))
    assert not network.has_completed("a")

    network.advance(HEARTBEAT)

    assert network.outcome("a") == TimedOut(number, ("c",))
    assert network.evicted() == {"c"}


def test_a_worker_that_was_away_applies_nothing_until_it_knows_how_it_is_counted() -> None:
    """Rule `quarantine-after-absence`."""
    network = Network("a", "b", "c")
    network.advance(2 * HEARTBEAT, deaf=("c",), mute=("c",))

    network.nodes["c"].on_reconnect(network.now)
    number = network.call("b", "c")
    network.send("b")
    assert network.applied("c") == []
    network.advance(HEARTBEAT)

    assert network.applied("c") == [("b", number)]
    assert network.outcome("b") == Completed(number, 1, 0, ())


def test_a_worker_that_was_away_for_a_moment_gives_unmet_workers_time_to_name_it() -> None:
    """Rule `quarantine-after-absence`: it was not counted, and may have been called unknown."""
    network = Network("a", "owner")
    newcomer = network.add("newcomer")
    network.deliver("newcomer", network.take("newcomer"))
    newcomer.note_audience(1, network.now)
    network.call("newcomer", "owner")
    network.deliver("newcomer", network.take("newcomer"))
    newcomer.tick(network.now)
    network.nodes["owner"].on_reconnect(network.now)

    network.call("a", "owner")
    network.send("a")
    network.advance(HEARTBEAT)

    assert network.events["owner"][0] == Evicted("newcomer", counted_dead=True)


def test_a_quarantine_ends_when_live_workers_have_had_the_time_to_answer() -> None:
    """Rule `quarantine-after-absence`."""
    network = Network("a", "b", "c")
    del network.nodes["a"]
    network.advance(2 * HEARTBEAT, deaf=("c",), mute=("c",))

    network.nodes["c"].on_reconnect(network.now)
    network.exchange()
    number = network.call("b", "c")
    network.advance(2 * HEARTBEAT)

    assert network.applied("c") == [("b", number)]


def test_a_worker_that_an_unmet_one_calls_awaits_its_heartbeat() -> None:
    """Rule `quarantine-for-unmet`: the caller may have called its socket unknown."""
    network = Network("a", "owner")
    network.add("newcomer")
    hello = network.take("newcomer")
    network.deliver("newcomer", hello)
    alone = {"deaf": ("a", "owner"), "mute": ("a", "owner")}
    network.advance(SETTLING, **alone)
    number = network.call("newcomer", "owner")
    call = network.take("newcomer")
    network.deliver("newcomer", call)
    assert network.outcome("newcomer") == Completed(number, 0, 0, ("owner_s",))

    network.call("a", "owner")
    network.deliver("owner", hello)
    network.deliver("owner", call)
    network.send("a")
    assert network.applied("owner") == []
    network.exchange()

    assert any(isinstance(event, Evicted) for event in network.events["owner"])
    assert network.applied("owner") == []


def test_a_worker_that_a_newcomer_calls_goes_on_once_it_is_named() -> None:
    """Rule `quarantine-for-unmet`."""
    network = Network("a", "owner")
    network.add("newcomer")
    hello = network.take("newcomer")
    first = network.call("newcomer", "owner")
    call = network.take("newcomer")

    for frame in (hello, call):
        for name in ("newcomer", "owner"):
            network.deliver(name, frame)
    second = network.call("a", "owner")
    network.exchange()

    assert set(network.applied("owner")) == {("newcomer", first), ("a", second)}


def test_an_unmet_worker_that_receives_nothing_holds_up_no_other_for_long() -> None:
    """Rule `quarantine-for-unmet`."""
    network = Network("a", "owner")
    network.add("newcomer")
    for _ in range(3):
        network.call("newcomer", "owner")
        network.advance(HEARTBEAT, deaf=("newcomer",))
        number = network.call("a", "owner")

    network.advance(HEARTBEAT, deaf=("newcomer",))

    assert ("a", number) in network.applied("owner")


def test_a_quarantine_does_not_end_while_nothing_comes_back() -> None:
    """Rule `quarantine-for-unmet`: a publish that hangs tells the other worker nothing."""
    network = Network("a", "b")
    network.advance(SETTLING)
    newcomer = network.add("c")
    newcomer.call(Change("leave", "/", ("b_s",), ("room",)), {"b": ("b_s",)}, network.now)
    network.deliver("b", network.take("c"))

    network.now += 2 * HEARTBEAT
    network.nodes["b"].tick(network.now)
    network.broadcast("a")
    while (frame := network.nodes["a"].take(network.now)) is not None:
        network.deliver("b", frame)
    assert network.applied("b") == []

    network.exchange()
    assert ("a", 1) in network.applied("b")


# -- newcomers that have come and gone while a worker was stopped -----------------------------

#: Seconds after which a newcomer knows every other worker, with its first heartbeat.
SETTLED = SETTLING + HEARTBEAT


def live_beside_a_stopped_worker(network: Network, seconds: float) -> list[Frame]:
    """Let a newcomer live for so long, and return what it leaves in the queue of "owner"."""
    network.add("newcomer")
    network.advance(seconds, deaf=("owner",), mute=("owner",))
    network.call("newcomer", "owner")
    network.exchange(deaf=("owner",), mute=("owner",))
    left = [frame for frame in network.frames if frame.sender == "newcomer"]
    goodbye = encode_operation(Goodbye())
    return [*left, Frame("newcomer", left[-1].first + len(left[-1].operations), (goodbye,))]


def test_a_worker_that_was_stopped_starts_over_after_a_newcomer_that_came_and_went() -> None:
    """Rule `gone-newcomers-evict`: it was called unknown, and nothing else will tell it."""
    network = Network("owner")
    network.advance(SETTLING)
    queued = live_beside_a_stopped_worker(network, SETTLED)
    assert isinstance(network.outcome("newcomer"), Completed)

    events = [event for frame in queued for event in network.deliver("owner", frame)]

    assert events == [Evicted("newcomer", counted_dead=True)]


def test_a_worker_that_was_stopped_goes_on_beside_a_newcomer_that_stays() -> None:
    """Rule `gone-newcomers-evict`: it was not called unknown, or would be told so."""
    network = Network("owner")
    network.advance(SETTLING)
    network.add("newcomer")
    network.advance(SETTLING, deaf=("owner",), mute=("owner",))
    for frame in [frame for frame in network.frames if frame.sender == "newcomer"]:
        network.deliver("owner", frame)

    network.advance(SETTLING)

    assert network.evicted() == set()
    assert network.nodes["owner"].peers == {"newcomer"}


def test_it_goes_on_after_one_that_was_gone_too_soon_to_call_it_unknown() -> None:
    """Rule `gone-newcomers-evict`: it has not heard four of its own heartbeats."""
    network = Network("owner")
    network.advance(SETTLING)
    queued = live_beside_a_stopped_worker(network, HEARTBEAT)
    for frame in queued:
        network.deliver("owner", frame)

    network.advance(SETTLING)

    assert network.evicted() == set()


def test_copies_of_one_that_came_and_went_evict_no_worker() -> None:
    """Rule `gone-newcomers-evict`: they come while the worker hears itself."""
    network = Network("guest")
    network.advance(SETTLING)
    recorded = live_beside_a_stopped_worker(network, SETTLED)
    network = Network("owner")
    network.advance(SETTLING)

    for frame in recorded:
        network.deliver("owner", frame)
    network.advance(SETTLING)

    assert network.evicted() == set()
