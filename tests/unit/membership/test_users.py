"""Sockets by their user: several tabs, several workers, and one that is just connecting."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request, session
from flask_socketio import ConnectionRefusedError as Refusal

from flask_rooms import (
    ConfigurationError,
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    Outcome,
    Refused,
    Rooms,
    sockets,
)
from flask_rooms.protocol.ids import new_sid
from tests.support.apps import (
    HEARTBEAT,
    PATIENCE,
    Client,
    LocalCluster,
    Worker,
    fence,
    in_thread,
    make_app,
)

pytestmark = pytest.mark.every_python


class UsersOnThreeWorkers:
    """Three workers; Ann has tabs on two of them, Bob on one, and one client has no user."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.workers = [self.worker() for _ in range(3)]
        one, two, self.third = self.workers
        self.ann = [one.connect(auth="ann"), two.connect(auth="ann")]
        self.bob = two.connect(auth="bob")
        self.without_user = one.connect()
        self.clients = [*self.ann, self.bob, self.without_user]
        sids = [client.sid for client in self.clients]
        assert self.third.sockets.join(sids, "red").result(PATIENCE) == Outcome(4)

    def worker(self) -> Worker:
        app = make_app()
        rooms = Rooms(app, backend_url=self.cluster.hub, heartbeat_interval=HEARTBEAT)
        rooms.user_loader(lambda auth: auth)
        return self.cluster.adopt(app, rooms)

    def received(self, speaker: Worker) -> list[Any]:
        """Return what each client has received of what *speaker* has sent so far."""
        for client in self.clients:
            fence(speaker, client)
        return [client.received() for client in self.clients]


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="network")
def _network(cluster: LocalCluster) -> UsersOnThreeWorkers:
    return UsersOnThreeWorkers(cluster)


@pytest.mark.parametrize("caller", [0, 1, 2])
def test_all_sockets_of_a_user_leave_on_every_worker(
    network: UsersOnThreeWorkers, caller: int
) -> None:
    worker = network.workers[caller]

    left = worker.sockets.leave(user="ann", room="red")
    worker.sockets.broadcast("red", "without Ann")

    assert left.result(PATIENCE) == Outcome(2)
    event = [("message", "without Ann")]
    assert network.received(worker) == [[], [], event, event]


def test_all_sockets_of_a_user_join_on_every_worker(network: UsersOnThreeWorkers) -> None:
    assert network.third.sockets.join(user="ann", room=["red", "blue"]).result(PATIENCE) == Outcome(
        changed=2, unchanged=2
    )

    found = network.third.sockets.members("blue")
    assert found.value == {client.sid for client in network.ann}
    assert found.complete


def test_all_sockets_of_a_user_leave_all_rooms(network: UsersOnThreeWorkers) -> None:
    assert network.third.sockets.leave_all(user="ann").result(PATIENCE) == Outcome(2)

    assert network.third.sockets.count("red").value == 2
    network.third.sockets.broadcast(network.ann[1].sid, "still there")
    assert network.received(network.third)[1] == [("message", "still there")]


def test_a_user_is_spoken_to_in_all_tabs(network: UsersOnThreeWorkers) -> None:
    network.third.sockets.broadcast("dear Ann", user="ann")
    network.third.sockets.broadcast("mail", {"from": "Bob"}, user="ann", omit=network.ann[1].sid)

    one, other = [("message", "dear Ann"), ("mail", [{"from": "Bob"}])], [("message", "dear Ann")]
    assert network.received(network.third) == [one, other, [], []]


def test_a_user_is_disconnected_in_all_tabs(network: UsersOnThreeWorkers) -> None:
    assert network.third.sockets.disconnect(user="ann").result(PATIENCE) == Outcome(2)

    assert network.third.sockets.members("red", by="user").value == {"bob"}
    assert network.third.sockets.count(user="ann").value == 0
    assert network.third.sockets.count("red").value == 2


def test_a_user_with_several_tabs_is_counted_once(network: UsersOnThreeWorkers) -> None:
    sockets = network.third.sockets

    assert sockets.members("red", by="user").value == {"ann", "bob"}
    assert sockets.count("red", by="user").value == 2
    assert sockets.count("red").value == 4
    assert sockets.members(user="ann").value == {client.sid for client in network.ann}
    assert sockets.count(user="ann").value == 2


def test_a_user_without_sockets_is_no_error(network: UsersOnThreeWorkers) -> None:
    assert network.third.sockets.leave(user="cem", room="red").result(PATIENCE) == Outcome()
    assert network.third.sockets.members(user="cem").value == frozenset()


def test_a_user_is_never_taken_for_a_socket_or_a_room(network: UsersOnThreeWorkers) -> None:
    """A user whose ID is that of a socket, or the name of a room, is another recipient."""
    sid = network.ann[0].sid
    impostor = network.workers[1].connect(auth=sid)
    reddish = network.workers[1].connect(auth="red")
    network.third.sockets.join([impostor.sid, reddish.sid], "blue").result(PATIENCE)

    assert network.third.sockets.leave_all(user=sid).result(PATIENCE) == Outcome(1)
    assert network.third.sockets.leave_all(user="red").result(PATIENCE) == Outcome(1)
    assert network.third.sockets.disconnect(user="blue").result(PATIENCE) == Outcome()

    assert network.third.sockets.count("red").value == 4
    assert network.third.sockets.members(user=sid).value == {impostor.sid}


def test_a_number_is_a_user_too(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    rooms.user_loader(lambda auth: 7)
    worker = cluster.adopt(app, rooms)
    client = worker.connect()

    assert worker.sockets.join(user=7, room="red").result(PATIENCE) == Outcome(1)
    assert worker.sockets.members(user="7").value == {client.sid}
    number = enum.IntEnum("number", {"SEVEN": 7})
    assert worker.sockets.members(user=number(7)).value == {client.sid}
    for bad in (True, 7.0, 10**5000):
        with pytest.raises(InvalidArgument):
            worker.sockets.members(user=bad)  # type: ignore[arg-type]


# -- connecting ---------------------------------------------------------------------------------


class SlowLoader:
    """Loads Ann, when the test lets it."""

    def __init__(self) -> None:
        self.loading, self.may_return = threading.Event(), threading.Event()

    def __call__(self, auth: Any) -> str:
        self.loading.set()
        assert self.may_return.wait(PATIENCE)
        return "ann"


@pytest.fixture(name="arrival")
def _arrival(cluster: LocalCluster) -> tuple[Worker, Worker, SlowLoader, Any]:
    """A worker on which a socket of Ann's is arriving, another worker, and the way to go on."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    loader = rooms.user_loader(SlowLoader())
    there, here = cluster.adopt(app, rooms), cluster.worker()
    here.cluster.start()
    fence(here, cluster.worker().connect())
    connecting = in_thread(there.connect)
    assert loader.loading.wait(PATIENCE)
    return here, there, loader, connecting


def test_a_socket_that_is_connecting_joins_with_its_user(arrival: Any) -> None:
    here, _, loader, connecting = arrival

    here.sockets.join(user="ann", room=["red", "blue"]).result(PATIENCE)
    here.sockets.leave(user="ann", room="blue").result(PATIENCE)
    loader.may_return.set()
    client: Client = connecting.result(PATIENCE)

    assert here.sockets.rooms_of(client.sid).value == {"red"}


def test_a_socket_that_is_connecting_joins_what_the_guards_let_it_join(arrival: Any) -> None:
    """Each guard is asked about it, and what one of them refuses keeps it out of nothing else."""
    here, there, loader, connecting = arrival
    asked: list[str] = []

    @there.rooms.guard("team:<name>")
    def guard(name: str) -> bool:
        asked.append(name)
        return name != "blue"

    join = here.sockets.join
    for room in ("open", "team:red", "team:blue", ["team:green", "team:blue"], "team:left"):
        join(user="ann", room=room).result(PATIENCE)
    here.sockets.leave(user="ann", room="team:left").result(PATIENCE)
    loader.may_return.set()
    client: Client = connecting.result(PATIENCE)

    assert here.sockets.rooms_of(client.sid).value == {"open", "team:red"}
    assert asked == ["red", "blue", "green", "blue"]


def test_a_socket_that_is_connecting_does_not_join_where_its_user_was_refused(
    arrival: Any,
) -> None:
    """A call that is refused does nothing."""
    here, there, loader, connecting = arrival
    there.rooms.user_loader(lambda auth: "ann")
    other = there.connect()
    there.rooms.guard("team")(lambda: sockets.get_id(request) != other.sid)

    with pytest.raises(Refused):
        here.sockets.join(user="ann", room="team").result(PATIENCE)
    loader.may_return.set()
    client: Client = connecting.result(PATIENCE)

    assert here.sockets.rooms_of(client.sid).value == frozenset()


def test_a_socket_that_is_connecting_is_disconnected_with_its_user(arrival: Any) -> None:
    here, there, loader, connecting = arrival

    here.sockets.disconnect(user="ann").result(PATIENCE)
    loader.may_return.set()
    client: Client = connecting.result(PATIENCE)

    assert not client.sid
    assert there.sockets.count(user="ann").value == 0


def test_what_is_done_to_others_meanwhile_does_not_concern_it(arrival: Any) -> None:
    here, _, loader, connecting = arrival

    here.sockets.disconnect(user="bob").result(PATIENCE)
    here.sockets.join(user="bob", room="red").result(PATIENCE)
    here.sockets.disconnect(user="ann", namespace="/chat").result(PATIENCE)
    loader.may_return.set()
    client: Client = connecting.result(PATIENCE)

    assert client.sid
    assert here.sockets.rooms_of(client.sid).value == frozenset()


def test_the_loader_sees_the_clients_session(cluster: LocalCluster) -> None:
    app = make_app()

    @app.post("/login/<name>")
    def login(name: str) -> str:
        session["user"] = name
        return ""

    rooms = Rooms(app, backend_url=cluster.hub)
    rooms.user_loader(lambda auth: session.get("user"))
    worker = cluster.adopt(app, rooms)
    browser = app.test_client()
    browser.post("/login/ann")

    client = worker.connect(flask_test_client=browser)
    worker.connect()

    assert worker.sockets.members(user="ann").value == {client.sid}


@pytest.mark.parametrize(
    "returned", ["", 1.5, True, b"ann", ["ann"], "x" * 2000, "\ud800", object()]
)
def test_a_loader_that_returns_nonsense_refuses_the_client(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture, returned: Any
) -> None:
    """A socket without a known user could not be disconnected by user=."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    rooms.user_loader(lambda auth: returned)
    worker = cluster.adopt(app, rooms)

    assert not worker.connect().sid
    assert "refused" in caplog.text
    assert worker.socketio.server.manager.get_namespaces() == []


def test_a_loader_that_raises_refuses_the_client(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)
    connected = []
    rooms.socketio.on("connect")(lambda: connected.append(True))

    @rooms.user_loader
    def fail(auth: Any) -> None:
        raise ZeroDivisionError

    assert not worker.connect().sid
    assert not connected
    assert "ZeroDivisionError" in caplog.text


def test_a_socket_refused_by_the_connect_handler_is_forgotten(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    rooms.user_loader(lambda auth: "ann")
    worker = cluster.adopt(app, rooms)

    @rooms.socketio.on("connect")
    def refuse() -> None:
        raise Refusal("no")

    worker.connect()

    assert worker.sockets.count(user="ann").value == 0


def test_flask_login_is_asked_where_the_application_uses_it(cluster: LocalCluster) -> None:
    flask_login: Any = pytest.importorskip("flask_login")
    app = make_app()
    login_manager = flask_login.LoginManager(app)

    class User(flask_login.UserMixin):
        def __init__(self, name: str) -> None:
            self.id = name

    login_manager.user_loader(User)
    app.post("/login/<name>")(lambda name: str(flask_login.login_user(User(name))))
    worker = cluster.worker(app)
    browser = app.test_client()
    browser.post("/login/ann")

    client = worker.connect(flask_test_client=browser)
    worker.connect()

    assert worker.sockets.members(user="ann").value == {client.sid}


# -- what callers hand in -----------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", 1.5, True, b"ann", ["ann"], "x" * 2000, "\ud800", object()])
def test_what_cannot_be_a_user_changes_nothing(cluster: LocalCluster, user: Any) -> None:
    sockets = cluster.worker().sockets

    for call in (
        lambda: sockets.leave(user=user, room="red"),
        lambda: sockets.join(user=user, room="red"),
        lambda: sockets.leave_all(user=user),
        lambda: sockets.disconnect(user=user),
        lambda: sockets.broadcast("hello", user=user),
        lambda: sockets.members(user=user),
        lambda: sockets.count(user=user),
    ):
        with pytest.raises(InvalidArgument, match="user's ID"):
            call()


def test_a_call_is_for_sockets_or_for_a_user(cluster: LocalCluster) -> None:
    sockets: Any = cluster.worker().sockets
    sid = new_sid("workerabcdefghij")

    calls: list[Callable[[], object]] = [
        lambda: sockets.leave(sid, "red", user="ann"),
        lambda: sockets.join([], "red", user="ann"),
        lambda: sockets.leave_all("red", user="ann"),
        lambda: sockets.disconnect(sid, user="ann"),
        lambda: sockets.leave(room="red"),
        lambda: sockets.disconnect(),
        lambda: sockets.leave_all(),
    ]
    for call in calls:
        with pytest.raises(InvalidSocket, match="user="):
            call()
    calls = [
        lambda: sockets.members(),
        lambda: sockets.count("red", user="ann"),
        lambda: sockets.leave(user="ann"),
        lambda: sockets.broadcast(),
    ]
    for call in calls:
        with pytest.raises((InvalidRoom, InvalidArgument)):
            call()
    with pytest.raises(InvalidArgument, match="`by`"):
        sockets.members("red", by="name")


def test_a_loader_is_a_function() -> None:
    with pytest.raises(ConfigurationError, match="user_loader"):
        Rooms(Flask("application")).user_loader("ann")  # type: ignore[type-var]
