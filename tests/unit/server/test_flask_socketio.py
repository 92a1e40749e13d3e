"""
An application written with Flask-SocketIO's calls, on two workers and in its test client.

What it does on two workers is checked on plain Flask-SocketIO with `message_queue=`, too: it is
that behaviour which is expected of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask import Flask
from flask_socketio import SocketIOTestClient

from flask_rooms.api.sockets import Sockets
from flask_rooms.backends import Backend, from_url
from flask_rooms.backends.kombu import KombuBackend
from tests.support.clients import Client
from tests.support.comparison import (
    KINDS,
    are_plain,
    comparable_workers,
    connected,
    fence,
    say,
)
from tests.support.socketio_app import create_app, watchers
from tests.support.workers import Worker

pytestmark = pytest.mark.oldest_dependencies


@pytest.fixture(scope="module", params=KINDS)
def workers(request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """Two workers of one cluster."""
    with comparable_workers(request, 2) as workers:
        yield workers


@pytest.fixture
def clients(workers: list[Worker]) -> Iterator[tuple[Client, Client]]:
    """Two clients on different workers, in two namespaces each, that answer questions."""
    with connected(*workers) as (one, two):
        yield one, two


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room {uuid4().hex}"


# -- on two workers -------------------------------------------------------------------------------


def test_emit_reaches_the_members_of_a_room_on_every_worker(
    clients: tuple[Client, Client], room: str
) -> None:
    """join_room() and emit(to=room) are all that it takes."""
    one, two = clients
    for client in clients:
        client.call("join", room)

    say(one, "hello", to=room)

    assert [client.receive() for client in clients] == [["said", "hello"]] * 2
    fence(one, *clients)
    assert set(two.call("rooms")) == {two.sid, room}


def test_join_and_leave_for_a_socket_of_another_worker(
    clients: tuple[Client, Client], room: str
) -> None:
    """join_room(sid=...) and leave_room(sid=...) reach it before what is emitted afterwards."""
    one, two = clients

    one.call("join", room, two.sid)
    say(one, "in", to=room)
    one.call("leave", room, two.sid)
    say(one, "late", to=room)

    assert two.receive() == ["said", "in"]
    fence(one, two)
    assert two.call("rooms") == [two.sid]


def test_close_room_empties_it_on_every_worker(clients: tuple[Client, Client], room: str) -> None:
    """A closed room has no members, until a socket joins again."""
    one, two = clients
    for client in clients:
        client.call("join", room)

    one.call("close", room)
    say(one, "late", to=room)

    fence(one, *clients)
    assert [client.call("rooms") for client in clients] == [[one.sid], [two.sid]]
    two.call("join", room)
    say(one, "again", to=room)
    assert two.receive() == ["said", "again"]
    fence(one, *clients)


def test_emit_to_several_rooms_arrives_once(clients: tuple[Client, Client], room: str) -> None:
    """A member of two of them gets one copy."""
    one, two = clients
    other = f"{room}, other"
    two.call("join", room)
    two.call("join", other)
    one.call("join", other)

    say(one, "hello", to=[room, other])

    assert [client.receive() for client in clients] == [["said", "hello"]] * 2
    fence(one, *clients)


def test_emit_leaves_out_the_sockets_to_skip(clients: tuple[Client, Client], room: str) -> None:
    """skip_sid= takes one or a list, of any worker; include_self=False is the asking socket."""
    one, two = clients
    for client in clients:
        client.call("join", room)

    say(one, "to none", to=room, skip_sid=[one.sid, two.sid])
    say(one, "one", to=room, skip_sid=two.sid)
    say(one, "two", to=room, include_self=False)

    assert [client.receive() for client in clients] == [["said", "one"], ["said", "two"]]
    fence(one, *clients)


def test_emit_to_every_client(clients: tuple[Client, Client]) -> None:
    """broadcast=True reaches the namespace on every worker, and no other namespace."""
    one, two = clients

    say(one, "to all", broadcast=True)
    say(one, "the others", broadcast=True, include_self=False)
    say(one, "chat", broadcast=True, namespace="/chat")

    assert one.receive() == ["said", "to all"]
    assert [two.receive(), two.receive()] == [["said", "to all"], ["said", "the others"]]
    assert [client.receive("/chat") for client in clients] == [["said", "chat"]] * 2
    fence(one, *clients)


def test_a_callback_gets_the_answer_of_another_workers_socket(
    clients: tuple[Client, Client],
) -> None:
    """emit(callback=...) is called once with what the client acknowledges."""
    one, two = clients

    one.call("ask", two.sid, "How", {"are": "you"})

    assert two.receive() == ["question", "How", {"are": "you"}]
    assert one.receive() == ["answer", "answered", ["How", {"are": "you"}]]
    fence(two, one)
    one.call("ask", one.sid, "And I?")
    assert [one.receive(), one.receive()] == [
        ["question", "And I?"],
        ["answer", "answered", ["And I?"]],
    ]


def test_call_returns_the_answer_of_another_workers_socket(clients: tuple[Client, Client]) -> None:
    """socketio.call() waits for it, wherever the socket is."""
    for asking in clients:
        for asked in clients:
            assert asking.call("call", asked.sid, 1, "two") == ("answered", [1, "two"])
            assert asked.receive() == ["question", 1, "two"]


def test_an_answer_of_bytes_comes_back_too(
    workers: list[Worker], clients: tuple[Client, Client]
) -> None:
    """So it does on one worker of Flask-SocketIO, but not through its message queue."""
    one, two = clients
    if are_plain(workers):
        pytest.skip("A message queue loses an answer that is not JSON, and call() times out.")

    assert one.call("call", two.sid, b"\x00") == ("answered", [b"\x00"])
    assert two.receive() == ["question", b"\x00"]


def test_disconnect_of_another_workers_socket(
    workers: list[Worker], clients: tuple[Client, Client], room: str
) -> None:
    """disconnect(sid) ends it, and its worker's handler still knows its rooms."""
    one, two = clients
    one.call("join", watchers(two.sid))
    two.call("join", room)

    one.call("kick", two.sid)

    assert two.receive() == ["disconnect"]
    assert one.receive() == ["gone", two.sid, sorted([two.sid, room])]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((b"\x00\xff", {"nested": [b"", b"bytes"]}), id="binary"),
        pytest.param((1, "two", {"three": 3}, [4], None, True), id="several arguments"),
        pytest.param((), id="no argument"),
        pytest.param(("\N{SNOWMAN} \x00",), id="any text"),
    ],
)
def test_data_arrives_as_it_was_sent(
    clients: tuple[Client, Client], room: str, data: tuple[Any, ...]
) -> None:
    """Bytes, several arguments and none take the way through the broker unchanged."""
    for client in clients:
        client.call("join", room)

    say(clients[0], *data, to=room)

    for client in clients:
        assert client.receive() == ["said", *data]


def test_rooms_may_be_named_by_numbers(clients: tuple[Client, Client]) -> None:
    """Flask-SocketIO's users may use any number, which is not the room of its text."""
    one, two = clients
    number = uuid4().int % 10**9
    one.call("join", number)
    one.call("join", number, two.sid)
    say(one, "number", to=number)
    say(one, "text", to=str(number))

    one.call("leave", number, two.sid)
    say(one, "for one", to=[number])

    assert two.receive() == ["said", "number"]
    fence(one, two)
    assert [one.receive(), one.receive()] == [["said", "number"], ["said", "for one"]]
    fence(one, one)


def test_namespaces_of_one_connection_have_their_own_rooms(
    clients: tuple[Client, Client], room: str
) -> None:
    """A class-based namespace works across workers, and does not meddle with the other one."""
    one, two = clients
    in_chat = two.sid_in("/chat")
    two.call("join", room)
    assert set(two.call("join", room, namespace="/chat")) == {in_chat, room}

    one.call("say", room, "hello", namespace="/chat")
    one.call("leave", room, in_chat, namespace="/chat")
    one.call("say", room, "late", namespace="/chat")
    one.call("say", in_chat, "fence", namespace="/chat")

    received = [two.receive("/chat"), two.receive("/chat")]
    assert received == [["said", "hello"], ["said", "fence"]]
    say(one, "still here", to=room)
    assert two.receive() == ["said", "still here"]


def test_flask_socketios_calls_work_in_routes(
    workers: list[Worker], clients: tuple[Client, Client], room: str
) -> None:
    """A route that a socket request reaches is a place for join_room, leave_room and emit."""
    one, two = clients
    if are_plain(workers):
        pytest.skip("Flask-SocketIO has no socket requests.")

    for client in clients:
        joined = client.request("put", f"/rooms/{room}")
        assert set(joined["rooms"]) == {client.sid, room}
        assert client.receive() == ["joined", room]
    one.request("post", f"/rooms/{room}")
    assert two.receive() == ["said", "by request"]
    fence(one, *clients)

    assert two.request("delete", f"/rooms/{room}") == {"rooms": [two.sid]}
    one.request("post", f"/rooms/{room}")

    fence(one, *clients)


# -- in Flask-SocketIO's test client --------------------------------------------------------------


@pytest.fixture(params=["memory", "kombu memory", "redis_broker", "amqp_broker"])
def make_backend(request: pytest.FixtureRequest) -> Callable[[], Backend]:
    """A function that makes a backend for one more worker in this process."""
    channel = f"tests-{uuid4().hex}"
    if request.param == "memory":
        return lambda: from_url("memory://workers", channel=channel, options={})
    if request.param == "kombu memory":
        return lambda: KombuBackend(["memory://"], channel=channel)
    url = request.getfixturevalue(request.param).url
    return lambda: from_url(url, channel=channel, options={})


@pytest.fixture
def apps(make_backend: Callable[[], Backend]) -> Iterator[tuple[Flask, Flask]]:
    """Two workers in this process."""
    one, two = (
        create_app(make_backend(), ROOMS_HEARTBEAT_INTERVAL=0.5, TESTING=True) for _ in range(2)
    )
    yield one, two
    for app in (one, two):
        app.extensions["rooms_parts"].cluster.stop()


def connect(app: Flask) -> SocketIOTestClient:
    """Return a client of Flask-SocketIO's, which has no connection but calls the server."""
    return app.extensions["socketio"].test_client(app)


def sockets_of(app: Flask) -> Sockets:
    """Return the calls of one of the applications."""
    sockets: Sockets = app.extensions["rooms_parts"].sockets
    return sockets


def received(client: SocketIOTestClient) -> list[list[Any]]:
    """Return what the client has received."""
    return [[one["name"], *one["args"]] for one in client.get_received()]


def test_the_test_client_works_with_every_backend(apps: tuple[Flask, Flask], room: str) -> None:
    """What a handler does for its own socket is done when the test client's emit() returns."""
    client = connect(apps[0])
    (sid,) = client.emit("rooms", callback=True)

    assert client.emit("join", room, callback=True) == "done"
    client.emit("say", {"to": room}, "hello")
    assert received(client) == [["said", "hello"]]
    assert set(client.emit("rooms", callback=True)) == {sid, room}

    assert client.emit("leave", room, callback=True) == "done"
    client.emit("say", {"to": room}, "late")
    assert received(client) == []
    assert client.emit("rooms", callback=True) == [sid]
    client.disconnect()


def test_the_test_client_belongs_to_a_cluster(apps: tuple[Flask, Flask], room: str) -> None:
    """Another worker sends to it, and removes it from the room."""
    client, (here, there) = connect(apps[0]), (sockets_of(app) for app in apps)
    (sid,) = client.emit("rooms", callback=True)
    client.emit("join", room)
    there.broadcast(room, "said", "hello")

    assert there.leave(sid, room).result().changed == 1

    # The outcome comes after all that was sent before, so this needs no other fence.
    assert received(client) == [["said", "hello"]]
    there.broadcast(room, "said", "late")
    assert there.leave(sid, room).result().unchanged == 1
    assert received(client) == []
    here.broadcast(sid, "said", "fence")
    assert received(client) == [["said", "fence"]]
    client.disconnect()


def test_two_test_clients_on_two_workers(apps: tuple[Flask, Flask], room: str) -> None:
    """Events of one reach the other, bytes included."""
    one, two = (connect(app) for app in apps)
    (sid,) = two.emit("rooms", callback=True)
    two.emit("join", room)
    one.emit("join", room)

    one.emit("say", {"to": room, "include_self": False}, "hello", b"\x00\xff")
    one.emit("leave", room, sid)
    assert sockets_of(apps[0]).leave(sid, room).result().unchanged == 1

    assert received(two) == [["said", "hello", b"\x00\xff"]]
    assert received(one) == []
    for client in (one, two):
        client.disconnect()
