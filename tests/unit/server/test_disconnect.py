"""sockets.disconnect: the client gets a packet, the handler runs once, no membership stays."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import flask_socketio
import pytest
from flask import Flask, request
from socketio.packet import DISCONNECT, Packet

from flask_rooms import Outcome, Unconfirmed, signals, sockets
from flask_rooms.globals import parts_of
from flask_rooms.protocol.ids import new_sid, new_worker_name
from tests.support.apps import PATIENCE, Client, LocalCluster, Worker, eventually, fence, in_thread
from tests.support.faults import FaultyBackend

MODE = os.environ.get("ROOMS_TEST_MODE", "threading")

Logged = queue.Queue[logging.LogRecord]

#: Seconds that a handler hangs, which is longer than any test waits for anything.
HANGING = 10 * PATIENCE

callers = pytest.mark.parametrize("caller", [0, 1, 2], ids=["here", "there", "third"])


class WorkersThatDisconnect:
    """Three workers whose disconnect handlers record what they see; the second has the sockets."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.workers = [cluster.worker() for _ in range(3)]
        self.here, self.there, self.third = self.workers
        self.gone: queue.Queue[tuple[str, list[str], str]] = queue.Queue()
        for worker in self.workers:
            for namespace in ("/", "/chat"):
                worker.socketio.on("disconnect", namespace=namespace)(self.see)
        self.bob, self.ann = self.there.connect(), self.there.connect()
        self.join("red", "blue")
        fence(self.here, self.bob)

    def see(self, reason: str) -> None:
        """Handle a disconnect."""
        self.gone.put((sockets.get_id(request), sorted(flask_socketio.rooms()), reason))

    def join(self, *rooms: str) -> None:
        self.third.sockets.join([self.bob.sid, self.ann.sid], rooms).result(PATIENCE)

    def next_gone(self) -> tuple[str, list[str], str]:
        """Return the socket, rooms and reason that the next disconnect handler has seen."""
        return self.gone.get(timeout=PATIENCE)

    def assert_no_more(self) -> None:
        """Assert that no handler has run, up to one that is made to run now."""
        last = self.there.connect()
        self.there.sockets.disconnect(last.sid).result(PATIENCE)
        assert self.next_gone()[0] == last.sid
        assert self.gone.empty()


@pytest.fixture
def network() -> Iterator[WorkersThatDisconnect]:
    with LocalCluster() as cluster:
        yield WorkersThatDisconnect(cluster)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What a handler that hangs waits for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def logged() -> Iterator[Logged]:
    """What Flask-Rooms logs, as it comes."""
    records: Logged = queue.Queue()
    handler = logging.Handler()
    handler.emit = lambda record: records.put(record)  # type: ignore[method-assign]
    logger = logging.getLogger("flask_rooms")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def members(worker: Worker, namespace: str = "/") -> list[str]:
    """Return the sockets that a worker holds."""
    manager = worker.socketio.server.manager
    return [sid for sid, _ in manager.get_participants(namespace, None)]


# -- what the outcome says ------------------------------------------------------------------------


@callers
def test_a_socket_is_disconnected_from_any_worker(
    network: WorkersThatDisconnect, caller: int
) -> None:
    calls = network.workers[caller].sockets

    outcome = calls.disconnect(network.bob.sid).result(PATIENCE)

    assert outcome == Outcome(changed=1)
    rooms = sorted([network.bob.sid, "red", "blue"])
    assert network.next_gone() == (network.bob.sid, rooms, "server disconnect")
    assert not network.bob.is_connected()
    assert network.ann.is_connected()
    network.assert_no_more()


@callers
def test_several_are_counted_as_sockets(network: WorkersThatDisconnect, caller: int) -> None:
    calls = network.workers[caller].sockets
    own = network.here.connect()
    unknown = new_sid(new_worker_name())

    outcome = calls.disconnect([network.bob.sid, network.ann.sid, own.sid, unknown]).result(
        PATIENCE
    )

    assert outcome == Outcome(changed=3, unknown=(unknown,))
    gone = {network.next_gone()[0] for _ in range(3)}
    assert gone == {network.bob.sid, network.ann.sid, own.sid}
    network.assert_no_more()


@callers
def test_a_socket_that_is_disconnected_already_is_unknown(
    network: WorkersThatDisconnect, caller: int
) -> None:
    calls = network.workers[caller].sockets

    first, second = (calls.disconnect(network.bob.sid) for _ in range(2))

    assert first.result(PATIENCE) == Outcome(changed=1)
    assert second.result(PATIENCE) == Outcome(unknown=(network.bob.sid,))
    for call in (calls.leave_all, calls.disconnect):
        assert call(network.bob.sid).result(PATIENCE).unknown == (network.bob.sid,)
    assert calls.join(network.bob.sid, "red").result(PATIENCE).unknown == (network.bob.sid,)
    assert network.next_gone()[0] == network.bob.sid
    network.assert_no_more()


def test_disconnecting_no_sockets_is_done_at_once(network: WorkersThatDisconnect) -> None:
    assert network.here.sockets.disconnect(iter([])).result(0) == Outcome()


@callers
def test_a_callback_is_called_once(network: WorkersThatDisconnect, caller: int) -> None:
    calls = network.workers[caller].sockets
    called: queue.Queue[BaseException | None] = queue.Queue()

    calls.disconnect([network.bob.sid, network.ann.sid], called.put).result(PATIENCE)
    assert called.get(timeout=PATIENCE) is None

    fence: queue.Queue[BaseException | None] = queue.Queue()
    calls.disconnect(network.bob.sid, fence.put).result(PATIENCE)
    assert fence.get(timeout=PATIENCE) is None
    assert called.empty()


def test_a_worker_that_is_mute_is_named() -> None:
    with LocalCluster() as cluster:
        backend = FaultyBackend(cluster.hub)
        here = cluster.worker(heartbeat_interval=0.5, confirm_timeout=0.3)
        there = cluster.worker(backend=backend, heartbeat_interval=0.5)
        mine, other = here.connect(), there.connect()
        fence(here, other)
        backend.mute = True

        with pytest.raises(Unconfirmed) as caught:
            here.sockets.disconnect([mine.sid, other.sid]).result()

        assert caught.value.workers == (there.name,)
        assert members(here) == []


# -- nothing more reaches it ----------------------------------------------------------------------


@callers
@pytest.mark.parametrize("speaker", [0, 1, 2], ids=["here", "there", "third"])
def test_nothing_reaches_it_after_the_outcome(
    network: WorkersThatDisconnect, caller: int, speaker: int
) -> None:
    network.workers[caller].sockets.disconnect(network.bob.sid).result(PATIENCE)

    calls = network.workers[speaker].sockets
    calls.broadcast("red", "event", "red")
    calls.broadcast(network.bob.sid, "event", "for you")
    calls.blast("event", "all")

    fence(network.workers[speaker], network.ann)
    assert network.ann.inbox() == [("event", ["red"]), ("event", ["all"])]
    assert network.bob.inbox() == []


@callers
def test_what_one_caller_says_comes_before_or_not_at_all(
    network: WorkersThatDisconnect, caller: int
) -> None:
    """In program order no caller has to wait."""
    calls = network.workers[caller].sockets
    clients = [network.there.connect() for _ in range(20)]

    for number, client in enumerate(clients):
        calls.join(client.sid, "late")
        calls.broadcast("late", "event", number)
        calls.disconnect(client.sid)
        calls.broadcast(["late", client.sid], "event", "too late")
        calls.blast("event", f"after {number}")

    fence(network.workers[caller], network.ann)
    said = [("event", [f"after {number}"]) for number in range(20)]
    for number, client in enumerate(clients):
        assert client.inbox() == [*said[:number], ("event", [number])]


def test_its_own_request_is_the_last_one(network: WorkersThatDisconnect) -> None:
    @network.there.app.delete("/me")
    def go() -> dict[str, int]:
        return {"changed": sockets.disconnect(request).result(0).changed}

    network.bob.send("delete", {"url": "/me"})

    assert network.next_gone()[0] == network.bob.sid
    assert not network.bob.is_connected()
    network.bob.send("delete", {"url": "/me"})
    network.assert_no_more()


# -- other namespaces of the connection -----------------------------------------------------------


def in_both_namespaces(worker: Worker) -> tuple[Client, str]:
    """Return a client that is connected twice, and the ID of its second socket."""
    client = worker.connect()
    client.connect("/chat")
    return client, client.sid_in("/chat")


@callers
def test_the_other_namespaces_of_a_connection_stay(
    network: WorkersThatDisconnect, caller: int
) -> None:
    calls = network.workers[caller].sockets
    client, chatting = in_both_namespaces(network.there)
    calls.join(chatting, "red", namespace="/chat").result(PATIENCE)

    assert calls.disconnect(client.sid, namespace="/chat").result(PATIENCE).changed == 0
    assert calls.disconnect(client.sid).result(PATIENCE) == Outcome(1)

    assert network.next_gone() == (client.sid, [client.sid], "server disconnect")
    connected = [client.is_connected(namespace) for namespace in ("/", "/chat")]
    assert connected == [False, True]
    calls.broadcast("red", "event", 1, namespace="/chat")
    assert calls.leave(chatting, "red", namespace="/chat").result(PATIENCE) == Outcome(1)
    assert client.inbox() == [("event", [1])]


def test_a_packet_that_is_half_received_in_another_namespace_stays(
    network: WorkersThatDisconnect,
) -> None:
    heard: queue.Queue[Any] = queue.Queue()
    network.there.socketio.on("event", namespace="/chat")(heard.put)
    client, _ = in_both_namespaces(network.there)
    packet = Packet(data=["event", b"bytes"], namespace="/chat")
    text, attachment = packet.encode()
    handle = network.there.socketio.server.eio.handlers["message"]

    handle(client.eio_sid, text)
    network.here.sockets.disconnect(client.sid).result(PATIENCE)
    network.next_gone()
    handle(client.eio_sid, attachment)

    assert heard.get(timeout=PATIENCE) == b"bytes"


def test_the_client_may_come_back_over_the_same_connection(
    network: WorkersThatDisconnect, go_on: threading.Event
) -> None:
    """At once, while the handler for its first socket may still be running."""
    running = threading.Event()

    @network.there.socketio.on("disconnect")
    def hang(reason: str) -> None:
        running.set()
        go_on.wait(HANGING)

    client, _ = in_both_namespaces(network.there)
    network.here.sockets.disconnect(client.sid).result(PATIENCE)
    assert running.wait(PATIENCE)  # so the client has its packet
    before = set(members(network.there))

    client.connect("/")

    (sid,) = set(members(network.there)) - before
    assert sid == client.sid_in("/") != client.sid
    go_on.set()
    network.here.sockets.broadcast(sid, "event", "welcome back")
    assert network.here.sockets.leave(sid, "nowhere").result(PATIENCE) == Outcome(unchanged=1)
    assert ("event", ["welcome back"]) in client.inbox()


# -- the application's handler --------------------------------------------------------------------


def test_the_handler_runs_in_the_background(
    network: WorkersThatDisconnect, go_on: threading.Event
) -> None:
    """Neither the caller nor the worker that holds the socket waits for it."""
    running: queue.Queue[str] = queue.Queue()

    def hang(reason: str) -> None:
        running.put(sockets.get_id(request))
        go_on.wait(HANGING)

    for worker in (network.here, network.there):
        worker.socketio.on("disconnect")(hang)
    own = network.here.connect()

    for caller in (network.here, network.third):
        for client in (own, network.bob) if caller is network.here else (network.ann,):
            assert caller.sockets.disconnect(client.sid).result(PATIENCE) == Outcome(1)
            assert running.get(timeout=PATIENCE) == client.sid
    assert not go_on.is_set()
    go_on.set()


@callers
def test_a_handler_that_hangs_harms_no_other_socket(
    network: WorkersThatDisconnect, caller: int, go_on: threading.Event
) -> None:
    """Not the other sockets of the same call, nor any other call, nor its own client."""
    calls = network.workers[caller].sockets
    clients = [network.there.connect() for _ in range(5)]
    running: queue.Queue[str] = queue.Queue()

    @network.there.socketio.on("disconnect")
    def hang(reason: str) -> None:
        running.put(sockets.get_id(request))
        go_on.wait(HANGING)

    sids = [client.sid for client in clients]
    assert calls.disconnect(sids).result(PATIENCE) == Outcome(changed=5)

    assert {running.get(timeout=PATIENCE) for _ in clients} == set(sids)
    assert [client.is_connected() for client in clients] == [False] * 5
    calls.broadcast("red", "event", 1)
    assert calls.leave(network.ann.sid, "red").result(PATIENCE) == Outcome(1)
    assert network.ann.inbox() == [("event", [1])]
    answer = calls.members("blue")
    assert answer.value == {network.bob.sid, network.ann.sid}
    assert not go_on.is_set()
    go_on.set()


def test_a_handler_that_raises_harms_no_other_socket(
    network: WorkersThatDisconnect, logged: Logged
) -> None:
    clients = [network.there.connect() for _ in range(3)]

    @network.there.socketio.on("disconnect")
    def fail(reason: str) -> None:
        network.see(reason)
        raise ZeroDivisionError

    sids = [client.sid for client in clients]
    assert network.here.sockets.disconnect(sids).result(PATIENCE) == Outcome(changed=3)

    assert {network.next_gone()[0] for _ in clients} == set(sids)
    for _ in clients:
        record = logged.get(timeout=PATIENCE)
        assert record.getMessage() == "A disconnect handler has failed."
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError
    network.assert_no_more()


# -- exactly once, whatever happens at the same time ----------------------------------------------


def on_packet(worker: Worker, victim: Client, do: Callable[[], object]) -> None:
    """Have *do* run in the moment in which *victim* is sent its DISCONNECT packet."""
    send = worker.socketio.server._send_eio_packet

    def send_and_do(eio_sid: str, packet: Any) -> None:
        send(eio_sid, packet)
        is_last = Packet(encoded_packet=packet.data).packet_type == DISCONNECT
        if is_last and eio_sid == victim.eio_sid:
            do()

    worker.socketio.server._send_eio_packet = send_and_do


def hang_up(worker: Worker, client: Client) -> None:
    """End the connection of a client, as when its browser is closed."""
    parts_of(worker.app).disconnects.on_session_end(client.eio_sid, "transport close")


def test_a_client_that_hangs_up_as_soon_as_it_is_disconnected(
    network: WorkersThatDisconnect,
) -> None:
    """Clients do so when that was their only namespace: the handler still sees all there was."""
    on_packet(network.there, network.bob, lambda: hang_up(network.there, network.bob))

    network.here.sockets.disconnect(network.bob.sid).result(PATIENCE)

    rooms = sorted([network.bob.sid, "red", "blue"])
    assert network.next_gone() == (network.bob.sid, rooms, "server disconnect")
    network.assert_no_more()
    assert network.bob.eio_sid not in network.there.socketio.server.environ


def test_a_client_that_hangs_up_while_its_handler_runs(
    network: WorkersThatDisconnect, go_on: threading.Event
) -> None:
    """Nothing is counted as running afterwards, or a worker that ends would wait for it."""
    running = threading.Event()

    @network.there.socketio.on("disconnect")
    def see_late(reason: str) -> None:
        running.set()
        go_on.wait(HANGING)
        network.see(reason)

    network.here.sockets.disconnect(network.bob.sid).result(PATIENCE)
    assert running.wait(PATIENCE)
    hang_up(network.there, network.bob)
    go_on.set()

    rooms = sorted([network.bob.sid, "red", "blue"])
    assert network.next_gone() == (network.bob.sid, rooms, "server disconnect")
    network.assert_no_more()
    assert network.bob.eio_sid not in network.there.socketio.server.environ
    disconnects = parts_of(network.there.app).disconnects
    eventually(network.there, lambda: disconnects.are_done and not disconnects._ended)


@pytest.mark.parametrize("leave", ["leaves", "hangs up"])
def test_a_client_that_is_going_by_itself(
    network: WorkersThatDisconnect, leave: str, go_on: threading.Event
) -> None:
    """A call that comes while its handler runs ends its memberships, and runs it not again."""
    running = threading.Event()

    @network.there.socketio.on("disconnect")
    def see_late(reason: str) -> None:
        running.set()
        go_on.wait(HANGING)
        network.see(reason)

    go = (
        network.bob.disconnect if leave == "leaves" else lambda: hang_up(network.there, network.bob)
    )
    going = in_thread(go)
    assert running.wait(PATIENCE)
    assert network.here.sockets.disconnect(network.bob.sid).result(PATIENCE).changed == 1
    assert network.here.sockets.members("red").value == {network.ann.sid}
    go_on.set()

    going.result(PATIENCE)
    sid, rooms, reason = network.next_gone()
    assert (sid, rooms) == (network.bob.sid, sorted([network.bob.sid, "red", "blue"]))
    assert reason == ("client disconnect" if leave == "leaves" else "transport close")
    network.assert_no_more()
    eventually(network.there, lambda: parts_of(network.there.app).disconnects.are_done)


def test_many_that_go_by_themselves_and_are_disconnected_at_once(
    network: WorkersThatDisconnect,
) -> None:
    clients = [network.there.connect() for _ in range(40)]
    sids = [client.sid for client in clients]
    network.third.sockets.join(sids, "crowd").result(PATIENCE)

    def leave() -> None:
        for client in clients:
            if client.is_connected():
                client.disconnect()

    def all_hang_up() -> None:
        for client in clients[::-1]:
            hang_up(network.there, client)

    going = [in_thread(leave), in_thread(all_hang_up)]
    disconnected = network.here.sockets.disconnect(sids).result(PATIENCE)

    for each in going:
        each.exception(PATIENCE)  # it may be disconnected in this very moment, and then raises
    assert disconnected.changed + len(disconnected.unknown) == 40
    seen = [network.next_gone() for _ in clients]
    assert sorted(sid for sid, _, _ in seen) == sorted(sids)
    assert all(rooms == sorted([sid, "crowd"]) for sid, rooms, _ in seen)
    network.assert_no_more()
    assert set(members(network.there)) == {network.bob.sid, network.ann.sid}


def test_flask_socketios_disconnect_meets_ours(
    network: WorkersThatDisconnect, go_on: threading.Event
) -> None:
    running = threading.Event()

    @network.there.socketio.on("disconnect")
    def see_late(reason: str) -> None:
        running.set()
        go_on.wait(HANGING)
        network.see(reason)

    def kick() -> None:
        with network.there.app.app_context():
            flask_socketio.disconnect(network.bob.sid, namespace="/")

    kicking = in_thread(kick)
    assert running.wait(PATIENCE)
    network.here.sockets.disconnect(network.bob.sid).result(PATIENCE)
    in_thread(kick).result(PATIENCE)
    go_on.set()

    kicking.result(PATIENCE)
    assert network.next_gone()[0] == network.bob.sid
    network.assert_no_more()


def test_flask_socketios_disconnect_leaves_no_member_behind_a_handler_that_raises(
    network: WorkersThatDisconnect,
) -> None:
    @network.there.socketio.on("disconnect")
    def fail(reason: str) -> None:
        raise ZeroDivisionError

    with network.there.app.app_context(), pytest.raises(ZeroDivisionError):
        flask_socketio.disconnect(network.bob.sid, namespace="/")

    assert network.here.sockets.members("red").value == {network.ann.sid}


@pytest.mark.skipif(MODE == "threading", reason="no Timeout interrupts a thread")
def test_a_caller_that_is_timed_out_leaves_nothing_of_the_socket(go_on: threading.Event) -> None:
    """Without a handler the caller's green thread does it all, and its Timeout is raised in it."""
    timeout: Any = import_module(MODE).Timeout
    hanging = threading.Event()

    def hang(app: Flask, **about: Any) -> None:
        hanging.set()
        go_on.wait(HANGING)

    with LocalCluster() as cluster:
        here, there = cluster.worker(), cluster.worker()
        bob = there.connect()
        here.sockets.join(bob.sid, "red").result(PATIENCE)
        with signals.left.connected_to(hang, sender=there.app):
            with there.app.app_context(), pytest.raises(timeout), timeout(0.1):
                flask_socketio.disconnect(bob.sid, namespace="/")
            assert hanging.is_set()
            go_on.set()

            assert here.sockets.members("red").value == frozenset()
            assert there.rooms.drain(PATIENCE)  # which waits for disconnects that are under way


def test_a_handler_may_disconnect_its_own_socket_again(network: WorkersThatDisconnect) -> None:
    @network.there.socketio.on("disconnect")
    def again(reason: str) -> None:
        sockets.disconnect(request)
        network.see(reason)

    network.bob.disconnect()

    assert network.next_gone()[0] == network.bob.sid
    network.assert_no_more()


@pytest.mark.parametrize("namespace", ["/", "/chat"])
def test_a_client_cannot_run_the_handlers_of_connections(
    network: WorkersThatDisconnect, namespace: str
) -> None:
    """By an event of that name, which Socket.IO's own clients refuse to send."""
    connected: queue.Queue[str] = queue.Queue()
    network.there.socketio.on("connect", namespace=namespace)(lambda: connected.put("connected"))
    client = network.there.connect(namespace)
    assert connected.get(timeout=PATIENCE) == "connected"

    for event in ("connect", "disconnect"):
        for args in ((), ("transport close",), (1, 2, 3)):
            assert client.emit(event, *args)["statusCode"] == 400
            client.send(event, *args)

    assert connected.empty()
    network.assert_no_more()


# -- while it connects ----------------------------------------------------------------------------


@pytest.mark.parametrize("always_connect", [False, True])
@pytest.mark.parametrize("how", ["itself", "from another worker"])
def test_a_socket_is_disconnected_while_it_connects(
    network: WorkersThatDisconnect, how: str, always_connect: bool
) -> None:
    """It is accepted, then disconnected like any other, and can join nothing afterwards."""
    joined: queue.Queue[Outcome] = queue.Queue()
    network.there.socketio.server.always_connect = always_connect

    @network.there.socketio.on("connect")
    def connect() -> None:
        calls = sockets if how == "itself" else network.here.rooms.sockets
        ended = calls.disconnect(sockets.get_id(request)).result(PATIENCE)
        assert ended == Outcome(changed=1)
        joined.put(sockets.join(request, "red").result(0))

    network.there.connect()

    outcome = joined.get(timeout=PATIENCE)
    sid, rooms, reason = network.next_gone()
    assert outcome == Outcome(unknown=(sid,))
    assert (rooms, reason) == ([sid], "server disconnect")
    assert network.here.sockets.members("red").value == {network.bob.sid, network.ann.sid}
    assert sid not in members(network.there)


@pytest.mark.parametrize("end", ["refused", "failed", "hung up"])
def test_a_socket_that_is_disconnected_while_it_connects_and_does_not_get_in(
    network: WorkersThatDisconnect, end: str
) -> None:
    """Its handler does not run, since it was never there; and nothing of it stays."""

    @network.there.socketio.on("connect")
    def connect() -> bool:
        sockets.disconnect(request)
        if end == "failed":
            raise ZeroDivisionError
        if end == "hung up":
            eio_sid = network.there.socketio.server.manager.eio_sid_from_sid(
                sockets.get_id(request), "/"
            )
            parts_of(network.there.app).disconnects.on_session_end(eio_sid, "transport close")
        return end != "refused"

    if end == "failed":
        with pytest.raises(ZeroDivisionError):
            network.there.connect()
    else:
        network.there.connect()

    assert set(members(network.there)) == {network.bob.sid, network.ann.sid}
    network.there.socketio.on("connect")(lambda: None)
    network.assert_no_more()
