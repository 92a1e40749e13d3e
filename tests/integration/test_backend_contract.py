"""The contract passes a sound backend and catches those that are broken on purpose."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from flask_rooms.backends.base import Backend
from flask_rooms.errors import BackendError
from flask_rooms.testing import (
    BackendContract,
    BreakConnection,
    MakeBackend,
    ReconnectContract,
    Workers,
)
from flask_rooms.testing.contract import PAYLOADS, RENAMES

pytestmark = pytest.mark.mode_independent


class Hub:
    """The broker of one test."""

    def __init__(self) -> None:
        self.members: list[Sound] = []
        self.history: list[bytes] = []
        self.lock = threading.Lock()


class Sound(Backend):
    """Keeps the contract, in steps small enough to break one at a time."""

    def __init__(self, hub: Hub, channel: str) -> None:
        self.hub = hub
        self.channel = channel
        self.inbox: queue.Queue[bytes | None] | None = None

    def open(self) -> None:
        self.inbox = queue.Queue()
        self.hub.members.append(self)

    def publish(self, payload: bytes) -> None:
        if self.inbox is None:
            raise BackendError("closed")
        with self.hub.lock:
            self.hub.history.append(payload)
            for member in self.listeners():
                member.deliver(payload)

    def listeners(self) -> list[Sound]:
        return [member for member in self.hub.members if member.channel == self.channel]

    def audience(self) -> int | None:
        return None if self.inbox is None else len(self.listeners())

    def deliver(self, payload: bytes) -> None:
        assert self.inbox is not None
        self.inbox.put(payload)

    def receive(self, timeout: float) -> bytes | None:
        if self.inbox is None:
            return None
        try:
            return self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        inbox, self.inbox = self.inbox, None
        if inbox is not None:
            self.hub.members.remove(self)
            inbox.put(None)


class Mute(Sound):
    """Reaches no other worker."""

    def listeners(self) -> list[Sound]:
        return [self]


class WorkQueue(Sound):
    """Hands each payload to one worker, in turn."""

    def listeners(self) -> list[Sound]:
        everyone = super().listeners()
        return [everyone[len(self.hub.history) % len(everyone)]]


class Pair(Sound):
    """Reaches itself and one other worker."""

    def listeners(self) -> list[Sound]:
        return [self, *[member for member in super().listeners() if member is not self][:1]]


class DeafToItself(Sound):
    """Does not receive what it publishes."""

    def listeners(self) -> list[Sound]:
        return [member for member in super().listeners() if member is not self]


class SharedChannel(Sound):
    """Hears every channel."""

    def listeners(self) -> list[Sound]:
        return self.hub.members


class PatternChannel(Sound):
    """Takes a channel's name for the beginning of one."""

    def listeners(self) -> list[Sound]:
        members = self.hub.members
        return [member for member in members if self.channel.startswith(member.channel)]


class CarelessOfCase(Sound):
    """Does not tell capital letters from small ones."""

    def listeners(self) -> list[Sound]:
        ours = self.channel.lower()
        return [member for member in self.hub.members if member.channel.lower() == ours]


class Replays(Sound):
    """Gives a newcomer what was published before it came."""

    def open(self) -> None:
        super().open()
        for payload in self.hub.history:
            self.deliver(payload)


class KeepsTheUnread(Sound):
    """Gives on reopening what was unread at the last close."""

    unread: queue.Queue[bytes | None] | None = None

    def open(self) -> None:
        super().open()
        self.inbox = self.unread or self.inbox

    def close(self) -> None:
        self.unread = self.inbox
        super().close()


class OpensOnce(Sound):
    """Stays closed."""

    opened = False

    def open(self) -> None:
        if not self.opened:
            self.opened = True
            super().open()


class LazySubscribe(Sound):
    """Subscribes at the first receive, as Redis does by itself."""

    def open(self) -> None:
        self.inbox = queue.Queue()

    def receive(self, timeout: float) -> bytes | None:
        if self.inbox is not None and self not in self.hub.members:
            self.hub.members.append(self)
        return super().receive(timeout)

    def close(self) -> None:
        if self not in self.hub.members:
            self.inbox = None
        super().close()


class Reorders(Sound):
    """Lets every third payload wait for the next one."""

    waiting: bytes | None = None
    count = 0

    def deliver(self, payload: bytes) -> None:
        self.count += 1
        if self.count % 3 == 2:
            self.waiting = payload
            return
        super().deliver(payload)
        if self.waiting is not None:
            super().deliver(self.waiting)
            self.waiting = None


class NewestFirst(Sound):
    """Is a stack."""

    def open(self) -> None:
        super().open()
        self.inbox = queue.LifoQueue()


class Doubles(Sound):
    """Delivers everything twice."""

    def deliver(self, payload: bytes) -> None:
        super().deliver(payload)
        super().deliver(payload)


class Merges(Sound):
    """Takes a payload for a repetition when it equals the last one."""

    last: bytes | None = None

    def deliver(self, payload: bytes) -> None:
        if payload != self.last:
            super().deliver(payload)
        self.last = payload


class DropsEmpty(Sound):
    """Takes an empty payload for none."""

    def deliver(self, payload: bytes) -> None:
        if payload:
            super().deliver(payload)


class DecodesText(Sound):
    """Takes payloads for text."""

    def deliver(self, payload: bytes) -> None:
        super().deliver(payload.decode(errors="replace").encode())


class GivesText(Sound):
    """Returns a string where it can."""

    def deliver(self, payload: Any) -> None:
        try:
            super().deliver(payload.decode())
        except UnicodeDecodeError:
            super().deliver(payload)


class Truncates(Sound):
    """Knows payloads of up to 64 KiB."""

    def deliver(self, payload: bytes) -> None:
        super().deliver(payload[: 64 * 1024])


class TimeoutRaises(Sound):
    """Lets its driver's timeout out."""

    def receive(self, timeout: float) -> bytes | None:
        payload = super().receive(timeout)
        if payload is None and self.inbox is not None:
            raise TimeoutError
        return payload


class WaitsForEver(Sound):
    """Ignores the timeout."""

    def receive(self, timeout: float) -> bytes | None:
        return self.inbox.get() if self.inbox is not None else None


class OneLock(Sound):
    """Publishes only while no thread receives."""

    def open(self) -> None:
        super().open()
        self.busy = threading.Lock()

    def receive(self, timeout: float) -> bytes | None:
        with self.busy:
            return super().receive(timeout)

    def publish(self, payload: bytes) -> None:
        with self.busy:
            super().publish(payload)


class ForgetsThreads(Sound):
    """Publishes for the thread that opened it."""

    def open(self) -> None:
        super().open()
        self.owner = threading.get_ident()

    def publish(self, payload: bytes) -> None:
        if threading.get_ident() == self.owner:
            super().publish(payload)


class OwnOrders(Sound):
    """Hands what threads publish together to every second worker thread by thread, last first."""

    held: list[bytes] | None = None

    def deliver(self, payload: bytes) -> None:
        if self.hub.members.index(self) % 2 == 0:
            super().deliver(payload)
            return
        self.held = [*(self.held or []), payload]
        if len(self.held) == 200:
            for one in sorted(self.held, key=lambda one: -int(one.split(b",")[0])):
                super().deliver(one)


class SleepsThroughClose(Sound):
    """Leaves a blocked receive() waiting."""

    def close(self) -> None:
        if self.inbox is not None:
            self.inbox = None
            self.hub.members.remove(self)


class ReceivesWhenClosed(Sound):
    """Still hands out what had arrived."""

    last: queue.Queue[bytes | None] | None = None

    def close(self) -> None:
        self.last = self.inbox or self.last
        super().close()

    def receive(self, timeout: float) -> bytes | None:
        return super().receive(timeout) if self.last is None else self.last.get_nowait()


class ClosesOnce(Sound):
    """Fails at the second close()."""

    def close(self) -> None:
        self.hub.members.remove(self)
        assert self.inbox is not None
        self.inbox.put(None)
        self.inbox = None


class SilentWhenClosed(Sound):
    """Swallows what is published after close()."""

    def publish(self, payload: bytes) -> None:
        if self.inbox is not None:
            super().publish(payload)


class PublishesWhenClosed(Sound):
    """Does not care whether it is open."""

    def publish(self, payload: bytes) -> None:
        for member in self.listeners():
            member.deliver(payload)


class WrongError(Sound):
    """Raises an error that is no BackendError."""

    def publish(self, payload: bytes) -> None:
        if self.inbox is None:
            raise OSError("Bad file descriptor")
        super().publish(payload)


class ClosesForAll(Sound):
    """Takes the connection that it shares with it."""

    def close(self) -> None:
        for member in self.hub.members:
            if member is not self:
                member.deliver = lambda payload: None  # type: ignore[method-assign]
        super().close()


class Addressed(Sound):
    """Has addresses, and keeps the contract."""

    its_address = ""

    def open(self) -> None:
        super().open()
        self.its_address = self.address

    def publish_to(self, address: str, payload: bytes) -> None:
        for member in self.listeners():
            if isinstance(member, Addressed) and member.its_address == address:
                member.deliver(payload)


class ReachesNoAddress(Addressed):
    """Loses what is for one worker."""

    def publish_to(self, address: str, payload: bytes) -> None:
        pass


class SendsToOneLater(Addressed):
    """Keeps what is for one worker until there is something else for it."""

    held: bytes | None = None

    def publish_to(self, address: str, payload: bytes) -> None:
        held, self.held = self.held, payload
        if held is not None:
            super().publish_to(address, held)


class RefusesTheUnknown(Addressed):
    """Raises an error when nobody has the address."""

    def publish_to(self, address: str, payload: bytes) -> None:
        if address not in [getattr(member, "its_address", "") for member in self.hub.members]:
            raise BackendError("nobody there")
        super().publish_to(address, payload)


class CountsAllChannels(Sound):
    """Counts the subscribers of the whole broker."""

    def audience(self) -> int | None:
        return None if self.inbox is None else len(self.hub.members)


class CountsTheClosed(Sound):
    """Counts everyone who was ever there."""

    def open(self) -> None:
        super().open()
        self.hub.history.append(b"")

    def audience(self) -> int | None:
        return None if self.inbox is None else len(self.hub.history)


class CountsWhenClosed(Sound):
    """Counts the others after close()."""

    def audience(self) -> int | None:
        return len(self.listeners())


BROKEN: dict[type[Sound], str] = {
    Mute: "message_reaches_another_worker",
    WorkQueue: "message_reaches_every_worker",
    Pair: "message_reaches_every_worker",
    DeafToItself: "message_reaches_every_worker",
    SharedChannel: "channels_do_not_mix",
    PatternChannel: "channels_do_not_mix",
    CarelessOfCase: "channels_do_not_mix",
    Replays: "nothing_published_before_open_is_replayed",
    KeepsTheUnread: "opening_again_starts_afresh",
    OpensOnce: "opening_again_starts_afresh",
    LazySubscribe: "nothing_published_after_open_is_lost",
    Reorders: "payloads_arrive_in_order",
    NewestFirst: "payloads_arrive_in_order",
    Doubles: "one_publish_is_one_message",
    Merges: "one_publish_is_one_message",
    DropsEmpty: "payload_arrives_unchanged",
    DecodesText: "payload_arrives_unchanged",
    GivesText: "payload_arrives_unchanged",
    Truncates: "payload_arrives_unchanged",
    TimeoutRaises: "receive_returns_none_after_timeout",
    WaitsForEver: "receive_returns_none_after_timeout",
    OneLock: "a_worker_publishes_while_it_waits",
    ForgetsThreads: "threads_may_publish_together",
    OwnOrders: "threads_may_publish_together",
    SleepsThroughClose: "close_wakes_a_blocked_receive",
    ReceivesWhenClosed: "closed_backend_receives_nothing",
    ClosesOnce: "close_twice_is_harmless",
    SilentWhenClosed: "closed_backend_refuses_to_publish",
    PublishesWhenClosed: "closed_backend_refuses_to_publish",
    WrongError: "closed_backend_refuses_to_publish",
    ClosesForAll: "a_closed_worker_leaves_the_others_connected",
    ReachesNoAddress: "payload_for_one_worker_reaches_it",
    SendsToOneLater: "payloads_for_one_and_for_all_are_in_order",
    RefusesTheUnknown: "payload_for_an_unknown_address_is_lost",
    CountsAllChannels: "audience_counts_the_open_backends",
    CountsWhenClosed: "audience_counts_the_open_backends",
    CountsTheClosed: "audience_shrinks_when_a_backend_closes",
}


class Reconnects(Sound):
    """Says when its connection was lost, and connects again at the next call."""

    def reconnect(self) -> None:
        if self.inbox is not None and self not in self.hub.members:
            self.hub.members.append(self)
            raise BackendError("connection lost")

    def publish(self, payload: bytes) -> None:
        self.reconnect()
        super().publish(payload)

    def receive(self, timeout: float) -> bytes | None:
        self.reconnect()
        return super().receive(timeout)

    def close(self) -> None:
        if self.inbox is not None and self not in self.hub.members:
            self.inbox = None
        super().close()


class StaysDeaf(Reconnects):
    """Never subscribes again, and says nothing."""

    def reconnect(self) -> None:
        pass


class LeaksTheDriversError(Reconnects):
    """Lets the driver's error out of receive()."""

    def receive(self, timeout: float) -> bytes | None:
        try:
            return super().receive(timeout)
        except BackendError:
            raise ConnectionResetError from None


class SubscribesTwice(Reconnects):
    """Keeps the old subscription, too."""

    def reconnect(self) -> None:
        if self.inbox is not None and self not in self.hub.members:
            self.hub.members += [self, self]
            raise BackendError("connection lost")


class LosesItsAddress(Reconnects):
    """Is reached by address until the first cut."""

    cut_off = False

    def reconnect(self) -> None:
        self.cut_off |= self.inbox is not None and self not in self.hub.members
        super().reconnect()

    def publish_to(self, address: str, payload: bytes) -> None:
        for member in self.listeners():
            if member.address == address and not getattr(member, "cut_off", False):
                member.deliver(payload)


class CountsTheCut(Reconnects):
    """Counts its old connection, too."""

    reconnects = 0

    def reconnect(self) -> None:
        if self.inbox is not None and self not in self.hub.members:
            self.reconnects += 1
        super().reconnect()

    def audience(self) -> int | None:
        return (super().audience() or 0) + self.reconnects


class CannotCloseAfterACut(Reconnects):
    """Fails to close what is gone already."""

    def close(self) -> None:
        Sound.close(self)


BROKEN_RECONNECTS: dict[type[Reconnects], str] = {
    StaysDeaf: "workers_recover_from_a_cut",
    SubscribesTwice: "workers_recover_from_a_cut",
    LeaksTheDriversError: "a_waiting_receive_survives_a_cut",
    LosesItsAddress: "address_is_kept_over_a_cut",
    CountsTheCut: "audience_is_right_after_a_cut",
    CannotCloseAfterACut: "close_after_a_cut_is_harmless",
}


# The arguments that pytest would give to a test with parameters.
ARGUMENTS: dict[str, list[Any]] = {
    "channels_do_not_mix": list(RENAMES.values()),
    "payload_arrives_unchanged": list(PAYLOADS.values()),
}


def run(suite: object, name: str, backend: type[Sound], *extra: object) -> None:
    """Run one test of the contract on *backend* as pytest would, once for each argument."""
    for argument in ARGUMENTS.get(name, [None]):
        hub = Hub()
        arguments = extra if argument is None else (*extra, argument)
        with Workers(lambda channel, hub=hub: backend(hub, channel), patience=0.2) as workers:  # type: ignore[misc]
            getattr(suite, f"test_{name}")(workers, *arguments)


def cut(backend: Any) -> None:
    """Lose the connection, as a broker's restart would have it."""
    if backend in backend.hub.members:
        backend.hub.members.remove(backend)


@pytest.mark.parametrize("backend", BROKEN, ids=lambda backend: backend.__name__)
def test_contract_catches(backend: type[Sound]) -> None:
    """Each way of being broken fails the test that is there for it."""
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(BackendContract(), BROKEN[backend], backend)


@pytest.mark.parametrize("backend", BROKEN_RECONNECTS, ids=lambda backend: backend.__name__)
def test_reconnect_contract_catches(backend: type[Reconnects]) -> None:
    """Each way of not coming back fails the test that is there for it."""
    with pytest.raises((Exception, pytest.fail.Exception)):
        run(ReconnectContract(), BROKEN_RECONNECTS[backend], backend, cut)


def test_every_test_of_the_contract_is_proven() -> None:
    """Each test of the contract has something that fails it."""
    named = {f"test_{name}" for name in [*BROKEN.values(), *BROKEN_RECONNECTS.values()]}
    tests = {
        name
        for suite in (BackendContract, ReconnectContract)
        for name in dir(suite)
        if name.startswith("test_")
    }
    assert tests == named


class TestSound(BackendContract):
    """The contract finds no fault with a sound backend."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        hub = Hub()
        return lambda channel: Sound(hub, channel)


class TestAddressed(BackendContract):
    """Nor with one that has addresses."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        hub = Hub()
        return lambda channel: Addressed(hub, channel)


class TestReconnects(ReconnectContract):
    """Nor with one that reconnects as it should."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        hub = Hub()
        return lambda channel: Reconnects(hub, channel)

    @pytest.fixture
    def break_connection(self) -> BreakConnection:
        return cut
