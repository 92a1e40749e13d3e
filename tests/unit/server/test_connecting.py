"""Sockets that come and go in ways that an application does not expect leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import flask_socketio
import pytest
from flask import request

from flask_rooms import Outcome, signals, sockets
from flask_rooms.globals import parts_of
from flask_rooms.protocol.ids import new_sid
from tests.support.apps import PATIENCE, LocalCluster, Worker, eventually, fence, in_thread
from tests.support.polling import PollingClient

pytestmark = pytest.mark.every_python


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="worker")
def _worker(cluster: LocalCluster) -> Worker:
    return cluster.worker()


def _members(worker: Worker, room: str | None, namespace: str = "/") -> list[str]:
    manager = worker.socketio.server.manager
    return [sid for sid, _ in manager.get_participants(namespace, room)]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_connect_handler_that_fails_leaves_no_member(
    worker: Worker, error: type[BaseException]
) -> None:
    @worker.socketio.on("connect")
    def connect() -> None:
        sockets.join(request, "red")
        raise error

    with pytest.raises(error):
        worker.connect()

    assert _members(worker, "red") == _members(worker, None) == []


@pytest.mark.parametrize("whose", ["its own", "a caller's", "another worker's"])
def test_a_socket_that_is_disconnected_while_it_connects_is_disconnected(
    cluster: LocalCluster, worker: Worker, whose: str
) -> None:
    """Flask-SocketIO's call does what ours does, and on each worker the same."""
    caller = cluster.worker() if whose == "another worker's" else worker
    reasons: list[Any] = []
    worker.socketio.on("disconnect")(reasons.append)

    @worker.socketio.on("connect")
    def connect() -> None:
        sockets.join(request, "red")
        if whose == "its own":
            flask_socketio.disconnect()
            return
        sid = sockets.get_id(request)
        in_thread(lambda: caller.socketio.server.disconnect(sid)).result(PATIENCE)
        eventually(worker, lambda: _members(worker, "red") == [])

    client = worker.connect()

    eventually(worker, lambda: reasons and not _members(worker, None))
    assert reasons == ["server disconnect"]
    assert not client.is_connected()


def test_a_disconnect_handler_that_fails_leaves_no_member(worker: Worker) -> None:
    @worker.socketio.on("disconnect")
    def disconnect(*_: Any) -> None:
        raise ZeroDivisionError

    worker.socketio.on("event", namespace="/chat")(print)
    client = worker.connect()
    client.connect("/chat")
    worker.sockets.join(client.sid, "red").result(0)
    assert len(_members(worker, None, "/chat")) == 1

    with pytest.raises(ZeroDivisionError):
        parts_of(worker.app).disconnects.on_session_end(client.eio_sid, "transport close")

    assert _members(worker, "red") == _members(worker, None) == []
    assert _members(worker, None, "/chat") == []


def test_a_client_that_leaves_while_it_connects_leaves_no_ghost(worker: Worker) -> None:
    """Nothing is kept of it while its connect handler goes on, which may take its time."""
    connecting, go_on = threading.Event(), threading.Event()

    @worker.socketio.on("connect")
    def connect() -> None:
        sockets.join(request, "red")
        connecting.set()
        assert go_on.wait(PATIENCE)

    connection = in_thread(lambda: worker.connect())
    assert connecting.wait(PATIENCE)
    (eio_sid,) = worker.socketio.server.environ
    parts_of(worker.app).disconnects.on_session_end(eio_sid, "transport close")
    kept = list(parts_of(worker.app).registry.namespaces())
    go_on.set()

    connection.result(PATIENCE)
    assert kept == _members(worker, "red") == _members(worker, None) == []


def test_the_rooms_of_a_client_that_leaves_while_it_connects_are_left_at_once(
    worker: Worker,
) -> None:
    """Not only when the handler decides, which may take its time."""
    client = PollingClient(worker.app)
    left: list[str] = []
    seen: list[bool] = []

    def on_left(app: Any, *, room: str, **more: Any) -> None:
        left.append(room)

    signals.left.connect(on_left, worker.app)

    @worker.socketio.on("connect")
    def connect() -> None:
        sockets.join(request, "red")
        client.send("41")
        seen.append("red" in left)

    client.send("40")

    assert seen == [True]


def test_of_a_client_that_hangs_up_while_its_first_joins_are_told_of_no_connect_handler_hears(
    worker: Worker,
) -> None:
    """They are of rooms that its user was put into while it was connecting."""
    told: list[str] = []
    worker.socketio.on("connect")(lambda: told.append("connected"))

    @worker.rooms.user_loader
    def load(auth: Any) -> str:
        worker.sockets.join(user="ann", room="red")
        return "ann"

    def hang_up(app: Any, *, room: str, **about: Any) -> None:
        (eio_sid,) = worker.socketio.server.environ
        parts_of(worker.app).disconnects.on_session_end(eio_sid, "transport close")
        told.append(room)

    with signals.joined.connected_to(hang_up, worker.app):
        worker.connect()

    assert told == ["red"]
    assert not parts_of(worker.app).registry.namespaces()


@pytest.mark.parametrize("stage", ["before_connect", "user_loader", "connect"])
@pytest.mark.parametrize("namespace", ["/", "/chat"])
def test_a_client_that_leaves_while_it_is_decided_about_is_not_connected(
    worker: Worker, stage: str, namespace: str
) -> None:
    """Its DISCONNECT counts, though there is nothing yet to disconnect."""
    deciding, go_on = threading.Event(), threading.Event()
    gone: list[str] = []

    def decide(*_: Any) -> None:
        if not deciding.is_set():
            deciding.set()
            assert go_on.wait(PATIENCE)
            if stage == "connect":
                assert sockets.join(request, "red").result(0) == Outcome(unknown=(sid_of(),))

    def sid_of() -> str:
        return sockets.get_id(request)

    worker.socketio.on("connect", namespace=namespace)(lambda: None)
    worker.socketio.on("disconnect", namespace=namespace)(gone.append)
    worker.rooms.after_disconnect(lambda reason, rooms: gone.append(reason))
    if stage == "connect":
        worker.socketio.on("connect", namespace=namespace)(decide)
    else:
        getattr(worker.rooms, stage)(decide)
    client = PollingClient(worker.app)
    suffix = "" if namespace == "/" else f"{namespace},"
    connecting = in_thread(lambda: client.send(f"40{suffix}"))
    assert deciding.wait(PATIENCE)

    client.send(f"41{suffix}")
    go_on.set()
    connecting.result(PATIENCE)

    if stage == "connect":  # the handler has accepted it, and its end is that of any other
        assert client.receive().startswith(f'40{suffix}{{"sid"')
        assert client.receive() == f"41{suffix}"
        eventually(worker, lambda: gone == ["client disconnect"] * 2)
    else:
        assert client.receive().startswith(f"44{suffix}")
        assert gone == []
    eventually(worker, lambda: _members(worker, None, namespace) == [])
    client.send(f"40{suffix}")
    assert client.receive().startswith(f'40{suffix}{{"sid"')
    assert len(_members(worker, None, namespace)) == 1


def test_nor_is_one_that_hangs_up_while_the_handler_of_another_namespace_runs(
    worker: Worker,
) -> None:
    """That handler keeps its handshake, as if the connection had not ended."""
    loading, handling = threading.Event(), threading.Event()
    load_on, handle_on = threading.Event(), threading.Event()
    connected: list[str] = []
    worker.socketio.on("connect", namespace="/chat")(lambda: connected.append("/chat"))

    @worker.socketio.on("disconnect")
    def disconnect(*_: Any) -> None:
        handling.set()
        assert handle_on.wait(PATIENCE)

    @worker.rooms.user_loader
    def load(auth: Any) -> None:
        if auth == {"waits": True}:
            loading.set()
            assert load_on.wait(PATIENCE)

    client = PollingClient(worker.app).connect()
    connecting = in_thread(lambda: client.send('40/chat,{"waits": true}'))
    assert loading.wait(PATIENCE)
    end = parts_of(worker.app).disconnects.on_session_end
    ending = in_thread(lambda: end(client.eio_sid, "transport close"))
    assert handling.wait(PATIENCE)
    load_on.set()
    connecting.result(PATIENCE)

    assert (connected, _members(worker, None, "/chat")) == ([], [])
    handle_on.set()
    ending.result(PATIENCE)


def test_nor_is_one_that_leaves_and_is_refused(worker: Worker) -> None:
    """It never was there, so its disconnect handler does not run."""
    gone: list[str] = []
    client = PollingClient(worker.app)

    @worker.socketio.on("connect")
    def connect() -> bool:
        client.send("41")
        return False

    worker.socketio.on("disconnect")(gone.append)

    client.send("40")

    assert client.receive().startswith("44")
    assert (gone, _members(worker, None)) == ([], [])


@pytest.mark.parametrize("end", ["accepted", "refused"])
def test_the_rooms_that_it_has_joined_meanwhile_end_with_signals(worker: Worker, end: str) -> None:
    left: list[str] = []
    client = PollingClient(worker.app)

    @worker.socketio.on("connect")
    def connect() -> bool:
        assert sockets.join(request, "red").result(0) == Outcome(1)
        client.send("41")
        assert _members(worker, "red") == []
        return end == "accepted"

    def hear(app: Any, room: str, reason: str, **about: Any) -> None:
        left.append(f"{room}: {reason}")

    with signals.left.connected_to(hear, worker.app):
        client.send("40")
        eventually(worker, lambda: _members(worker, None) == [])
        eventually(worker, lambda: "red: disconnect" in left)

    assert left.count("red: disconnect") == 1


def test_a_worker_that_restarts_has_no_members_from_that_moment_on(
    cluster: LocalCluster, worker: Worker
) -> None:
    client, other = worker.connect(), cluster.worker()
    worker.sockets.join(client.sid, "red").result(0)
    name = worker.name

    worker.cluster.restart("a test says so")

    assert _members(worker, "red") == []
    assert worker.name != name
    worker.sockets.count("red")  # until it has heard itself, its sockets have to go once more
    again = worker.connect()
    assert other.sockets.join(again.sid, "red").result(PATIENCE) == Outcome(1)
    assert other.sockets.leave(client.sid, "red").result(PATIENCE).changed == 0


def test_a_callback_that_no_client_will_answer_is_not_kept(
    cluster: LocalCluster, worker: Worker
) -> None:
    there = cluster.worker()
    own, elsewhere = worker.connect(), there.connect()
    fence(worker, elsewhere)
    kept = parts_of(worker.app).acknowledgements.remote

    worker.socketio.emit("asked", to=own.sid, callback=print)
    worker.socketio.emit("asked", to=elsewhere.sid, callback=print)
    worker.socketio.emit("asked", to=new_sid(there.name), callback=print)
    fence(worker, elsewhere)
    assert len(kept) == 1
    elsewhere.disconnect()
    fence(worker, there.connect())

    assert kept == {}
