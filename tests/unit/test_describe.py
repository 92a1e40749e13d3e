"""What is known of sockets on every worker: users, rooms, clients, and data of the application."""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest

from flask_rooms import Answer, InvalidArgument, InvalidSocket, Outcome
from flask_rooms.errors import InvalidData
from flask_rooms.protocol.ids import new_sid
from flask_rooms.testing import LocalCluster, cluster
from tests.support.apps import PATIENCE
from tests.support.polling import PollingClient
from tests.unit.api.test_arguments import UntouchedWorkers
from tests.unit.api.test_arguments import network as network
from tests.unit.test_ask import create_app

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 2) as workers:
        yield workers


def test_the_users_of_all_workers_are_there_once(workers: LocalCluster) -> None:
    for worker, user in ((0, "ann"), (1, "ann"), (1, "bob"), (1, None)):
        workers[worker].connect(auth=user)

    assert workers[0].sockets.users() == Answer(frozenset({"ann", "bob"}), complete=True)
    assert workers[0].sockets.users(namespace="/other").value == frozenset()


@pytest.mark.parametrize("holder", [0, 1])
def test_a_socket_is_described_on_every_worker(workers: LocalCluster, holder: int) -> None:
    began = time.time()
    client = workers[holder].connect(auth="ann", headers={"User-Agent": "Netscape"})
    sockets = workers[0].sockets
    sockets.join(client.sid, ["red", "blue"]).result(PATIENCE)

    info = sockets.describe(client.sid).value

    assert info is not None
    assert (info.sid, info.user, info.client, info.data) == (
        client.sid,
        "ann",
        "Netscape",
        None,
    )
    assert info.rooms == {"red", "blue"}
    assert info.worker == workers[holder].name
    assert info.worker.pid is not None
    assert began <= info.since.timestamp() <= time.time()


@pytest.mark.parametrize(
    ("handshake", "address", "client"),
    [
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_USER_AGENT": "N" * 600}, "10.0.0.1", "N" * 500),
        ({}, None, None),  # a server that listens on a Unix socket knows no address
    ],
)
def test_a_client_is_described_as_far_as_its_handshake_tells(
    workers: LocalCluster, handshake: dict[str, str], address: str | None, client: str | None
) -> None:
    sid = PollingClient(workers[0].app, environ_base=handshake).connect().sid

    for worker in workers:
        info = worker.sockets.describe(sid).value
        assert info is not None
        assert (info.address, info.client) == (address, client)


def test_a_socket_that_no_worker_holds_is_described_by_none(workers: LocalCluster) -> None:
    gone = workers[1].connect()
    gone.disconnect()

    for sid in (gone.sid, new_sid(workers[0].name)):
        assert workers[0].sockets.describe(sid) == Answer(None, complete=True)


def test_a_socket_that_is_disconnected_is_described_by_none_at_once(workers: LocalCluster) -> None:
    """Also in its own disconnect handler, for which its rooms are kept."""
    client, seen = workers[0].connect(), Queue[Any]()

    @workers[0].app.extensions["socketio"].on("disconnect")
    def disconnect(reason: str) -> None:
        seen.put(workers[1].sockets.describe(client.sid).value)

    workers[1].sockets.disconnect(client.sid).result(PATIENCE)

    assert seen.get(timeout=PATIENCE) is None


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_missing(workers: LocalCluster) -> None:
    client = workers[1].connect()
    workers[1].cut()

    answer = workers[0].sockets.describe(client.sid, timeout=0)

    assert answer == Answer(None, complete=False, missing=(workers[1].name,))


def test_the_data_of_sockets_is_set_and_read_on_every_worker(workers: LocalCluster) -> None:
    sockets = workers[0].sockets
    clients = [worker.connect() for worker in workers]
    sids = [client.sid for client in clients]

    def data() -> list[Any]:
        infos = [workers[1].sockets.describe(sid).value for sid in sids]
        return [info and info.data for info in infos]

    assert sockets.set_data(sids, {"name": "Änn"}).result(PATIENCE) == Outcome(2)
    assert data() == [{"name": "Änn"}] * 2
    assert sockets.set_data(sids[1], [1, None]).result(PATIENCE) == Outcome(1)
    assert data() == [{"name": "Änn"}, [1, None]]
    assert sockets.set_data(sids, None).result(PATIENCE) == Outcome(2)
    assert data() == [None, None]
    clients[1].disconnect()
    assert sockets.set_data(sids[1], 1).result(PATIENCE) == Outcome(unknown=(sids[1],))


def test_bad_input_changes_nothing(network: UntouchedWorkers) -> None:
    sockets, mine = network.sockets, network.mine.sid
    for data in ({1, 2}, float("nan"), object(), "x" * 16_400):
        with network.untouched(), pytest.raises(InvalidData):
            sockets.set_data(mine, data)
    network.refuses(InvalidSocket, lambda: sockets.set_data("red", 1))
    network.refuses(InvalidSocket, lambda: sockets.describe("red"))
    network.refuses(InvalidArgument, lambda: sockets.users(namespace="chat"))
    network.refuses(InvalidArgument, lambda: sockets.broadcast("red", 1, volatile=1))  # type: ignore[arg-type]
