"""What a function leaves in its thread is seen by no function of another kind."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_rooms import signals
from flask_rooms.server import kept_threads
from tests.support.apps import PATIENCE, LocalCluster, Worker, eventually
from tests.support.polling import PollingClient

#: How often each function runs: a thread that has run another one is free by then.
ROUNDS = 20


class Witness:
    """
    Functions of an application; each says what it finds in its thread, and leaves its kind there.

    Args:
        worker: The application's.
    """

    def __init__(self, worker: Worker) -> None:
        self._left = threading.local()
        self.found: dict[str, list[str | None]] = defaultdict(list)
        worker.rooms.guard("guarded")(self.function("guard"))
        worker.rooms.presence("guarded")(self.function("presence"))
        worker.rooms.on_tell("news")(self.function("receiver"))
        worker.socketio.on("event")(self.function("event"))
        worker.socketio.on("disconnect")(self.function("disconnect"))
        worker.app.add_url_rule("/request", view_func=self.function("request"))
        self.receiver = self.function("receiver")  # signals hold it weakly
        signals.joined.connect(self.receiver, worker.app)

    def function(self, kind: str) -> Callable[..., Any]:
        """Return a function of the application."""

        def look(*_: Any, **__: Any) -> Any:
            self.found[kind].append(getattr(self._left, "by", None))
            self._left.by = kind
            return {} if kind == "presence" else kind

        return look


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(kept_threads, "STAY", PATIENCE)
    with LocalCluster() as cluster:
        yield cluster.worker()


def test_what_a_function_leaves_in_its_thread_is_for_its_own_kind(worker: Worker) -> None:
    """Such as a connection to a database, which the next one could not open again."""
    witness = Witness(worker)
    client = PollingClient(worker.app).connect()

    for _ in range(ROUNDS):
        other = PollingClient(worker.app).connect()
        worker.sockets.join(other.sid, "guarded").result(PATIENCE)
        worker.rooms.tell("news").result(PATIENCE)
        client.emit("event")
        assert client.request("get", "/request")["statusCode"] == 200
        other.send("41")

    eventually(worker, lambda: len(witness.found["receiver"]) == 2 * ROUNDS)
    for kind in ("guard", "presence", "receiver", "request"):
        assert set(witness.found[kind]) <= {None, kind}
    # These have a new thread each time, as with Flask-SocketIO.
    assert witness.found["event"] == witness.found["disconnect"] == [None] * ROUNDS
