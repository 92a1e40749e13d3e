"""`socketio.server.instrument()`: an admin sees and moves the sockets of every worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from socketio.exceptions import ConnectionError as Refused

from tests.support.admin_app import LOGIN, MESSAGE_BYTES
from tests.support.brokers import Broker
from tests.support.clients import TIMEOUT, Client
from tests.support.comparison import connected, fence, say
from tests.support.workers import Worker, cluster

ADMIN = "/admin"


@pytest.fixture(scope="module")
def workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    """Two instrumented workers of one cluster."""
    with cluster(redis_broker.url, 2, "tests.support.admin_app") as workers:
        yield workers


@pytest.fixture
def clients(workers: list[Worker]) -> Iterator[list[Client]]:
    """One client on each worker, in two namespaces each."""
    with connected(*workers) as clients:
        yield clients


@pytest.fixture
def admin(workers: list[Worker], clients: list[Client]) -> Iterator[Client]:
    """An admin on the first worker, connected after the clients."""
    admin = Client(workers[0].url, ADMIN, auth=LOGIN)
    yield admin
    admin.disconnect()


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room {uuid4().hex}"


def heard(admin: Client) -> Iterator[list[Any]]:
    """Yield what the admin receives, which has no end, for as long as a test may wait."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        yield admin.receive()
    pytest.fail("The admin has not been told.")


def wait_for(admin: Client, event: str, fits: Callable[..., object]) -> list[Any]:
    """Return the arguments of the first *event* that fits."""
    return next(args for name, *args in heard(admin) if name == event and fits(*args))


def listed(admin: Client, *sids: str) -> dict[str, Any]:
    """Return what the Admin UI would show as sockets, once these are among them."""
    shown: dict[str, Any] = {}
    for event, *args in heard(admin):
        if event == "all_sockets":
            shown = {socket["id"]: socket for socket in args[0]}
        elif event == "socket_connected":
            shown[args[0]["id"]] = args[0]
        if shown.keys() >= set(sids):
            break
    return shown


# -- what an admin sees ---------------------------------------------------------------------------


def test_an_admin_sees_the_sockets_of_every_worker(
    workers: list[Worker], clients: list[Client], room: str
) -> None:
    """Sockets that were there before are listed, with their rooms, also for a second admin."""
    one, two = clients
    two.call("join", room)
    expected = {client.sid_in(space): space for client in clients for space in ("/", "/chat")}

    for worker in (*workers, *workers):
        admin = Client(worker.url, ADMIN, auth=LOGIN)
        sockets = listed(admin, admin.sid, *expected)
        admin.disconnect()

        assert {sid: sockets[sid]["nsp"] for sid in expected} == expected
        assert set(sockets[two.sid]["rooms"]) == {two.sid, room}
        assert sockets[one.sid]["clientId"] != sockets[two.sid]["clientId"]
        assert sockets[two.sid]["transport"] == "websocket"


def test_an_admin_sees_them_when_another_one_was_there_first(workers: list[Worker]) -> None:
    """python-socketio sends the list to the socket that it has listed last."""
    first = Client(workers[0].url, ADMIN, auth=LOGIN)
    with connected(*workers) as clients:
        second = Client(workers[0].url, ADMIN, auth=LOGIN)

        assert listed(second, *(client.sid for client in clients))

        for admin in (first, second):
            admin.disconnect()


def test_an_admin_receives_what_happens_on_every_worker(
    workers: list[Worker], clients: list[Client], admin: Client, room: str
) -> None:
    """Who connects, joins, leaves and disconnects, by whatever call and worker."""
    one, _ = clients
    with connected(workers[1]) as (client,):
        wait_for(admin, "socket_connected", lambda socket, _: socket["id"] == client.sid)
        for caller, sids in ((client, ()), (one, [client.sid])):
            caller.call("join", room, *sids)
            wait_for(admin, "room_joined", lambda *args: args[:3] == ("/", room, client.sid))
            caller.call("leave", room, *sids)
            wait_for(admin, "room_left", lambda *args: args[:3] == ("/", room, client.sid))
        one.call("kick", client.sid)
        wait_for(admin, "socket_disconnected", lambda *args: args[:2] == ("/", client.sid))


def test_every_worker_reports_under_its_own_name(
    workers: list[Worker], clients: list[Client], admin: Client
) -> None:
    """The Admin UI tells them apart by that; and they count the sockets that they hold."""
    names = [worker.name for worker in workers]
    counts = {}
    for name in names:
        (stats,) = wait_for(admin, "server_stats", lambda stats, of=name: stats["serverId"] == of)
        counts[name] = {one["name"]: one["socketsCount"] for one in stats["namespaces"]}

    assert [counts[name]["/"] for name in names] == [1, 1]
    assert [counts[name][ADMIN] for name in names] == [1, 0]


def test_a_client_without_the_password_is_no_admin(workers: list[Worker]) -> None:
    """As on one worker of Flask-SocketIO."""
    with pytest.raises(Refused):
        Client(workers[0].url, ADMIN, auth={**LOGIN, "password": "guessed"})


# -- what an admin does ---------------------------------------------------------------------------


def test_the_join_button_works_for_a_socket_of_another_worker(
    clients: list[Client], admin: Client, room: str
) -> None:
    """It is a member when the admin's worker next sends to the room."""
    one, two = clients

    admin.call("join", "/", room, two.sid)
    say(one, "welcome", to=room)

    assert two.receive() == ["said", "welcome"]
    fence(one, one)


def test_the_leave_button_works_for_a_socket_of_another_worker(
    clients: list[Client], admin: Client, room: str
) -> None:
    """It is no longer a member when the admin's worker next sends to the room."""
    one, two = clients
    for client in clients:
        client.call("join", room)

    admin.call("leave", "/", room, two.sid)
    say(one, "late", to=room)

    assert one.receive() == ["said", "late"]
    fence(one, two)
    assert two.call("rooms") == [two.sid]


def test_the_disconnect_button_works_for_a_socket_of_another_worker(
    clients: list[Client], admin: Client
) -> None:
    """In the one namespace only."""
    one, two = clients

    admin.call("_disconnect", "/chat", False, two.sid_in("/chat"))

    assert two.receive("/chat") == ["disconnect"]
    fence(one, *clients)


def test_the_buttons_of_a_room_work_for_its_members_on_every_worker(
    clients: list[Client], admin: Client, room: str
) -> None:
    """All members of one room join and leave another, and are disconnected."""
    one, _ = clients
    other = f"{room}, other"
    for client in clients:
        client.call("join", room)

    admin.call("join", "/", other, room)
    say(one, "welcome", to=other)
    admin.call("leave", "/", room, room)
    say(one, "late", to=room)
    assert [client.receive() for client in clients] == [["said", "welcome"]] * 2
    fence(one, *clients)

    admin.call("_disconnect", "/", False, other)
    assert [client.receive() for client in clients] == [["disconnect"]] * 2


def test_the_buttons_of_a_namespace_work_on_every_worker(
    clients: list[Client], admin: Client, room: str
) -> None:
    """All sockets join a room, and an event is for all sockets."""
    one, _ = clients

    admin.call("join", "/", room)
    say(one, "all", to=room)
    admin.call("emit", "/", None, "said", "to all")

    assert [client.receive() for client in clients] == [["said", "all"]] * 2
    assert [client.receive() for client in clients] == [["said", "to all"]] * 2


def test_a_report_that_cannot_be_sent_does_not_fail_the_application(
    clients: list[Client], admin: Client
) -> None:
    """An event that is too large to be reported to other workers' admins is handled."""
    one, _ = clients
    large = "x" * (2 * MESSAGE_BYTES)

    say(one, large, to=one.sid)

    assert one.receive() == ["said", large]
