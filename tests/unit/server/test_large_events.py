"""An event that is too large for a message: whole to one worker alone, and else not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from flask_rooms import InvalidArgument
from flask_rooms.protocol.messages import Emit
from tests.support.apps import LocalCluster, Worker, fence
from tests.support.brokers import Broker

pytestmark = pytest.mark.mode_independent

#: Bytes; small, so that nothing takes long.
MESSAGE_BYTES = 2000
LARGE = "x" * (3 * MESSAGE_BYTES)

CALLS: dict[str, Callable[[Worker, Any], object]] = {
    "broadcast": lambda worker, data: worker.sockets.broadcast("red", "said", data),
    "blast": lambda worker, data: worker.sockets.blast("said", data),
    "broadcast to a user": lambda worker, data: worker.sockets.broadcast("said", data, user="ann"),
    "emit": lambda worker, data: worker.socketio.emit("said", data, to="red"),
    "emit to all": lambda worker, data: worker.socketio.emit("said", data),
    "emit with a callback": lambda worker, data: worker.socketio.emit(
        "said", data, to="red", callback=print
    ),
}

calls = pytest.mark.parametrize("call", CALLS)


@pytest.fixture(params=["memory", "memory alone", "redis", "amqp"])
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    """What workers of this process are connected by; "memory alone" never connects any."""
    with LocalCluster() as cluster:
        if request.param == "memory alone":
            cluster.hub = "memory://"
        elif request.param in ("redis", "amqp"):
            broker: Broker = request.getfixturevalue(f"{request.param}_broker")
            cluster.hub = broker.url
        yield cluster


@pytest.fixture
def new_worker(cluster: LocalCluster) -> Callable[[], Worker]:
    """A function that makes a worker of the cluster."""
    channel = f"tests-{uuid4().hex}"

    def make() -> Worker:
        worker = cluster.worker(message_bytes=MESSAGE_BYTES, channel=channel)
        worker.rooms.user_loader(lambda auth: "ann")
        return worker

    return make


@calls
def test_alone_a_worker_delivers_it(new_worker: Callable[[], Worker], call: str) -> None:
    """A message to others is what has a limit, and nobody else is there."""
    worker = new_worker()
    client = worker.connect()
    worker.sockets.join(client.sid, "red").result()

    CALLS[call](worker, LARGE)
    CALLS[call](worker, {"binary": LARGE.encode()})

    assert client.received() == [("said", [LARGE]), ("said", [{"binary": LARGE.encode()}])]


@pytest.mark.parametrize("cluster", ["memory", "redis", "amqp"], indirect=True)
@pytest.mark.parametrize("when", ["long ago", "just now"])
@calls
def test_with_another_worker_nobody_gets_it(
    new_worker: Callable[[], Worker], call: str, when: str
) -> None:
    """Neither here nor there, and the caller is told; also where the other has only just come."""
    here = new_worker()
    client = here.connect()
    here.sockets.join(client.sid, "red").result()
    assert here.cluster.hears_itself
    there = new_worker()
    there.cluster.start()
    if when == "long ago":
        fence(there, client)

    with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
        CALLS[call](here, LARGE)

    fence(there, client)
    assert client.received() == []
    CALLS[call](here, "small")
    assert client.received() == [("said", ["small"])]


@pytest.mark.parametrize("cluster", ["memory", "redis", "amqp"], indirect=True)
def test_to_its_own_socket_any_worker_delivers_it(new_worker: Callable[[], Worker]) -> None:
    """By its ID, which says whose it is: no message is needed."""
    here, there = new_worker(), new_worker()
    client = here.connect()
    fence(there, client)

    here.socketio.emit("said", LARGE, to=client.sid)

    assert client.received() == [("said", [LARGE])]


@pytest.mark.parametrize("cluster", ["memory"], indirect=True)
@calls
def test_nothing_of_it_is_published(cluster: LocalCluster, call: str) -> None:
    """What is refused is refused before anything is done."""
    wire = cluster.listen()
    here = cluster.worker(message_bytes=MESSAGE_BYTES)
    there = cluster.worker(message_bytes=MESSAGE_BYTES)
    here.rooms.user_loader(lambda auth: "ann")
    clients = here.connect(), there.connect()
    fence(here, clients[1])

    with pytest.raises(InvalidArgument):
        CALLS[call](here, LARGE)

    assert not [one for one in wire.published_by(here) if isinstance(one, Emit)]
    assert [client.received() for client in clients] == [[], []]
