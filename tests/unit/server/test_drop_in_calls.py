"""
The rest of Flask-SocketIO's and python-socketio's calls, for sockets of other workers.

As in test_flask_socketio.py, they are expected to do what they do with `message_queue=`, which is
checked, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import socketio

from tests.support.clients import TIMEOUT, Client
from tests.support.comparison import KINDS, are_plain, comparable_workers, connected, fence, say
from tests.support.workers import Worker


@pytest.fixture(scope="module", params=KINDS)
def workers(request: pytest.FixtureRequest) -> Iterator[list[Worker]]:
    """Three workers of one cluster."""
    with comparable_workers(request, 3) as workers:
        yield workers


@pytest.fixture
def clients(workers: list[Worker]) -> Iterator[list[Client]]:
    """One client on each worker, in two namespaces each, that answer questions."""
    with connected(*workers) as clients:
        yield clients


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room {uuid4().hex}"


def server(client: Client, method: str, *args: Any, **options: Any) -> Any:
    """Have the client's worker call a method of python-socketio's server."""
    return client.call("server", method, *args, options)


def extension(client: Client, method: str, *args: Any, **options: Any) -> Any:
    """Have the client's worker call a method of Flask-SocketIO's extension."""
    return client.call("socketio", method, *args, options)


# -- sending --------------------------------------------------------------------------------------


def test_send_reaches_the_members_on_every_worker(clients: list[Client], room: str) -> None:
    """send() is emit() of a message, or of JSON."""
    one, *_ = clients
    for client in clients:
        client.call("join", room)

    one.call("send", {"to": room}, "hello")
    one.call("send", {"to": room, "json": True, "include_self": False}, {"to": "the others"})
    one.call("send", {"broadcast": True, "skip_sid": [one.sid]}, "all others")

    for client in clients:
        assert client.receive() == ["message", "hello"]
        if client is not one:
            assert client.receive() == ["json", {"to": "the others"}]
            assert client.receive() == ["message", "all others"]
    fence(one, *clients)


def test_the_extension_and_the_server_emit_and_send(clients: list[Client], room: str) -> None:
    """They need no request, so they leave out only the sockets that they name."""
    one, two, three = clients
    for client in clients:
        client.call("join", room)

    for call in (extension, server):
        call(one, "emit", "event", {"an": "object"}, to=room, skip_sid=two.sid)
        call(one, "send", "message", to=[room], skip_sid=[one.sid, three.sid])

    assert [two.receive() for _ in range(2)] == [["message", "message"]] * 2
    for client in (one, three):
        assert [client.receive() for _ in range(2)] == [["event", {"an": "object"}]] * 2
    fence(one, *clients)


def test_ignore_queue_leaves_out_the_other_workers(clients: list[Client], room: str) -> None:
    """It sends to the sockets of this worker only."""
    one, two, three = clients
    for client in clients:
        client.call("join", room)

    say(one, "here", to=room, ignore_queue=True)
    one.call("send", {"to": room, "ignore_queue": True}, "here, too")
    extension(two, "emit", "said", "there", ignore_queue=True)

    assert [one.receive(), one.receive()] == [["said", "here"], ["message", "here, too"]]
    assert two.receive() == ["said", "there"]
    fence(one, one, three)
    fence(two, one, two)


def test_a_background_task_sends_to_every_client(clients: list[Client]) -> None:
    """It has no request and no application context."""
    clients[0].call("in background", "hello")

    assert [client.receive() for client in clients] == [["said", "hello"]] * 3


# -- asking ---------------------------------------------------------------------------------------


def test_call_waits_for_the_answer_of_another_workers_socket(clients: list[Client]) -> None:
    """So do the function, the extension's method and the server's."""
    one, two, _ = clients

    assert one.call("ask and wait", "You?", {"to": two.sid}) == ("answered", ["You?"])
    assert two.receive() == ["question", "You?"]
    for call in (extension, server):
        assert call(one, "call", "question", "You?", to=two.sid) == ("answered", ["You?"])
        assert two.receive() == ["question", "You?"]
    assert one.call("ask and wait", "I?", {"ignore_queue": True}) == ("answered", ["I?"])
    assert one.receive() == ["question", "I?"]


def test_call_gives_up_on_a_socket_that_is_gone(workers: list[Worker]) -> None:
    """It raises TimeoutError in its time, whichever worker had the socket."""
    with connected(*workers) as (one, two, _), connected(workers[0]) as (other,):
        for gone in (two, other):
            gone.disconnect()
            failed = extension(one, "call", "question", to=gone.sid, timeout=0.01)
            assert failed == ["failed", ""]


def test_a_callback_with_a_room_is_called_for_every_member(
    workers: list[Worker], clients: list[Client], room: str
) -> None:
    """On every worker, as plain Flask-SocketIO does on one; its message queue takes the first."""
    if are_plain(workers):
        pytest.skip("A message queue hands over the first answer alone.")
    one, two, three = clients
    with connected(workers[0]) as (neighbour,):
        asked = (one, two, three, neighbour)
        for client in asked:
            client.call("join", room)

        one.call("ask", room, "Who?")

        for client in asked[1:]:
            assert client.receive() == ["question", "Who?"]
        heard = [one.receive() for _ in range(5)]
        answer = ["answer", "answered", ["Who?"]]
        assert sorted(heard) == [answer, answer, answer, answer, ["question", "Who?"]]
        for client in asked:
            fence(client, one)  # what it has answered has arrived before


def test_a_callback_with_several_recipients_is_called_for_each(
    workers: list[Worker], clients: list[Client], room: str
) -> None:
    """Socket IDs of one worker and of several, one that is gone, and a room, in any order."""
    if are_plain(workers):
        pytest.skip("A message queue hands over the first answer alone.")
    one, two, three = clients
    with connected(workers[1]) as (gone,):
        gone_sid = gone.sid
    with connected(workers[1]) as (neighbour,):
        one.call("join", room)
        for to in (
            [two.sid, neighbour.sid],
            [two.sid, three.sid],
            [gone_sid, two.sid, three.sid],
            [one.sid, two.sid, three.sid],
            [two.sid, room],
        ):
            asked = [c for c in (*clients, neighbour) if c.sid in to or (c is one and room in to)]

            one.call("ask", to, "Who?")

            for client in asked:
                if client is not one:
                    assert client.receive() == ["question", "Who?"]
            heard = [one.receive() for _ in range(len(asked) + (one in asked))]
            answers = [event for event in heard if event[0] == "answer"]
            assert answers == [["answer", "answered", ["Who?"]]] * len(asked)
            for client in asked:
                fence(client, one)


# -- memberships ----------------------------------------------------------------------------------


def test_the_server_moves_sockets_of_every_worker(clients: list[Client], room: str) -> None:
    """enter_room(), leave_room(), close_room() and rooms(), by socket ID."""
    one, two, three = clients
    for client in clients:
        server(one, "enter_room", client.sid, room)
    say(one, "all", to=room)
    assert [client.receive() for client in clients] == [["said", "all"]] * 3

    server(one, "leave_room", two.sid, room)
    say(one, "but two", to=room)
    assert [client.receive() for client in (one, three)] == [["said", "but two"]] * 2
    fence(one, two)
    assert set(server(three, "rooms", three.sid)) == {three.sid, room}
    assert server(one, "rooms", three.sid) == []  # it answers for the sockets of its own worker

    server(one, "close_room", room)
    say(one, "to none", to=room)
    fence(one, *clients)


def test_the_own_room_is_the_first_and_the_others_are_in_the_order_joined(
    clients: list[Client], room: str
) -> None:
    """Applications take `rooms()[0]` for the socket, and `rooms()[1]` for the room it is in."""
    one, two, _ = clients
    joined = [f"{room}, {number}" for number in range(20)]
    for name in joined:
        server(one, "enter_room", two.sid, name)
    fence(one, two)

    one_sid, *others = two.call("rooms")
    assert [one_sid, *others] == [two.sid, *joined]
    two.call("leave", joined[0])
    two.call("join", joined[0])
    assert server(two, "rooms", two.sid) == [two.sid, *joined[1:], joined[0]]


def test_the_extension_closes_a_room_on_every_worker(clients: list[Client], room: str) -> None:
    """socketio.close_room() needs no request."""
    for client in clients:
        client.call("join", room)

    extension(clients[0], "close_room", room)
    say(clients[0], "to none", to=room)

    fence(clients[0], *clients)


def test_a_class_based_namespace_has_the_same_calls(clients: list[Client], room: str) -> None:
    """Its emit(), send() and close_room() are for its own namespace, on every worker."""
    one, two, three = clients
    for client in clients:
        client.call("join", room, namespace="/chat")
        client.call("join", room)

    one.call("send", room, "the others", namespace="/chat")
    one.call("ask", two.sid_in("/chat"), "You?", namespace="/chat")
    assert two.receive("/chat") == ["message", "the others"]
    assert two.receive("/chat") == ["question", "You?"]
    assert three.receive("/chat") == ["message", "the others"]
    assert one.receive("/chat") == ["answer", "answered", ["You?"]]

    one.call("close", room, namespace="/chat")
    one.call("say", room, "to none", namespace="/chat")
    say(one, "still here", to=room)
    assert [client.receive() for client in clients] == [["said", "still here"]] * 3
    for client in clients:
        one.call("say", client.sid_in("/chat"), "fence", namespace="/chat")
        assert client.receive("/chat") == ["said", "fence"]


@pytest.mark.parametrize("sid", ["unknown", "no.such-socket", "AAAAAAAAAAAA." + 22 * "A"])
def test_a_socket_that_no_worker_has_is_no_error(
    clients: list[Client], room: str, sid: str
) -> None:
    """join_room(), leave_room(), disconnect() and emit() of such an ID do nothing."""
    one, *_ = clients

    for call in ("join", "leave"):
        assert one.call(call, room, sid) == "done"
    assert one.call("kick", sid) == "done"
    say(one, "to none", to=sid)

    say(one, "to none", to=room)
    fence(one, *clients)


# -- connecting and disconnecting -----------------------------------------------------------------


def test_disconnect_ends_one_namespace_of_another_workers_client(clients: list[Client]) -> None:
    """Its other socket stays, and is still spoken to."""
    one, two, _ = clients

    server(one, "disconnect", two.sid_in("/chat"), namespace="/chat")

    assert two.receive("/chat") == ["disconnect"]
    say(one, "still here", to=two.sid)
    assert two.receive() == ["said", "still here"]


def test_disconnect_with_ignore_queue_is_for_this_worker(workers: list[Worker]) -> None:
    """A socket of another worker is not disconnected."""
    with connected(*workers) as (one, two, _), connected(workers[0]) as (other,):
        server(one, "disconnect", two.sid, ignore_queue=True)
        server(one, "disconnect", other.sid, ignore_queue=True)

        assert other.receive() == ["disconnect"]
        fence(one, two)


@pytest.mark.parametrize("refusal", ["with a reason", "without"])
def test_a_connect_handler_may_refuse(workers: list[Worker], refusal: str) -> None:
    """The client gets the refusal, and is no socket: it receives no event, not even for all."""
    client = socketio.Client(handle_sigint=False, reconnection=False)
    refused: list[Any] = []
    client.on("connect_error", refused.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            workers[1].url,
            auth={"refuse": refusal},
            transports=["websocket"],
            wait_timeout=TIMEOUT,
        )
    client.disconnect()

    expected = {"message": "The reason.", "data": 42}
    if refusal == "without":
        expected = {"message": "Connection rejected by server"}
    assert refused[0] == expected
    with connected(*workers) as clients:
        say(clients[0], "to all", broadcast=True)
        assert [one.receive() for one in clients] == [["said", "to all"]] * 3


# -- the rest -------------------------------------------------------------------------------------


def test_an_error_handler_answers_for_a_handler_that_fails(clients: list[Client]) -> None:
    """on_error() of a namespace, and on_error_default() of the others."""
    one, *_ = clients

    assert one.call("fail", "on purpose") == ["failed", "on purpose"]
    assert one.call("fail", "on purpose", namespace="/chat") == ["failed in chat", "on purpose"]


def test_what_belongs_to_a_connection_is_with_its_worker(clients: list[Client]) -> None:
    """Its session and transport are for the sockets of the worker that is asked."""
    one, two, _ = clients

    server(one, "save_session", one.sid, {"name": "one"})
    server(one, "save_session", one.sid_in("/chat"), {"name": "chat"}, namespace="/chat")

    assert server(one, "get_session", one.sid) == {"name": "one"}
    assert server(one, "get_session", one.sid_in("/chat"), namespace="/chat") == {"name": "chat"}
    assert server(one, "transport", one.sid) == "websocket"
    assert server(one, "get_environ", two.sid) is None
    for method in ("get_session", "transport"):
        assert server(one, method, two.sid)[0] == "failed"
