"""Workers of one application, on Flask-Rooms and for comparison on plain Flask-SocketIO."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import pytest
import redis

from tests.support.clients import Client
from tests.support.workers import Worker, cluster

#: Flask-Rooms on each broker, and Flask-SocketIO's own message queue, which is Redis here.
KINDS = ("redis_broker", "amqp_broker", "message queue")

#: Before it, several arguments became one list on their way through python-socketio's queue.
SOUND_QUEUE = (5, 15, 1)


@contextlib.contextmanager
def comparable_workers(request: pytest.FixtureRequest, count: int) -> Iterator[list[Worker]]:
    """Run *count* workers of the kind that is the parameter of the fixture."""
    plain = request.param == "message queue"
    if plain and tuple(map(int, version("python-socketio").split(".")[:3])) < SOUND_QUEUE:
        pytest.skip("The message queue of this python-socketio is nothing to compare with.")
    url = request.getfixturevalue("redis_broker" if plain else request.param).url
    application = "message_queue_app" if plain else "socketio_app"
    with cluster(url, count, f"tests.support.{application}") as workers:
        if plain:
            _let_listen(url, workers)
        yield workers


def are_plain(workers: list[Worker]) -> bool:
    """Whether these are workers of plain Flask-SocketIO, which have no names."""
    return not workers[0].name


@contextlib.contextmanager
def connected(*workers: Worker) -> Iterator[list[Client]]:
    """Connect one client to each worker, in two namespaces each, that answers questions."""
    with ExitStack() as stack:
        clients = []
        for worker in workers:
            client = Client(worker.url, "/", "/chat", answer=answer)
            stack.callback(client.disconnect)
            clients.append(client)
        yield clients


def answer(event: str, *args: Any) -> Any:
    """Acknowledge a question with two values."""
    return ("answered", list(args)) if event == "question" else None


def say(client: Client, *data: Any, **options: Any) -> None:
    """Have the client's worker call emit(..., **options)."""
    assert client.call("say", options, *data) == "done"


def fence(speaker: Client, *clients: Client) -> None:
    """Assert that each client receives nothing before what *speaker* now sends to it alone."""
    for client in clients:
        say(speaker, "fence", to=client.sid)
        assert client.receive() == ["said", "fence"]


def _let_listen(url: str, workers: list[Worker]) -> None:
    """Return when plain workers receive each other: each subscribes after its first client."""
    for worker in workers:
        Client(worker.url).disconnect()
    with redis.Redis.from_url(url) as connection:
        channel = workers[0].channel
        while connection.pubsub_numsub(channel) != [(channel.encode(), len(workers))]:
            time.sleep(0.01)
