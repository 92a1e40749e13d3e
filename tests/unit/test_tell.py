"""Messages between workers: each reaches all of them, in order with everything else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest
from flask import Flask, current_app, g, has_request_context

from flask_rooms import ConfigurationError, InvalidArgument, Outcome, Rooms, Unconfirmed
from flask_rooms.errors import BackendUnavailable, InvalidData
from flask_rooms.globals import parts_of, sockets
from flask_rooms.membership import notifications
from flask_rooms.protocol.messages import Tell
from flask_rooms.results import Told
from flask_rooms.testing import LocalCluster, Worker, cluster
from tests.support.apps import PATIENCE, as_a_function
from tests.unit.api.test_arguments import UntouchedWorkers
from tests.unit.api.test_arguments import network as network

pytestmark = pytest.mark.every_python

#: What a worker has been told: its name, and the data.
Heard = Queue[tuple[str, Any]]


def create_app() -> Flask:
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    rooms = Rooms(app)
    heard: Heard = Queue()
    app.extensions["heard"] = heard

    @rooms.on_tell("news")
    def hear(data: Any) -> None:
        assert not has_request_context()
        assert current_app._get_current_object() is app  # type: ignore[attr-defined]
        heard.put((g.setdefault("nothing of another call", "nothing"), data))

    return app


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 2) as workers:
        yield workers


def rooms_of(worker: Worker) -> Rooms:
    rooms: Rooms = worker.app.extensions["rooms"]
    return rooms


def heard(worker: Worker, count: int = 1) -> list[Any]:
    """Return the next data that a worker has been told."""
    queue: Heard = worker.app.extensions["heard"]
    return [queue.get(timeout=PATIENCE)[1] for _ in range(count)]


def test_every_worker_gets_a_message_the_sender_included(workers: LocalCluster) -> None:
    for data in (None, 1, "x", [1, {"y": None}], b"bytes", {"deep": [b"bytes"]}):
        outcome = rooms_of(workers[0]).tell("news", data).result(PATIENCE)

        assert outcome == Told(workers=tuple(sorted(one.name for one in workers)))
        assert heard(workers[0]) + heard(workers[1]) == [data, data]
    assert all(one.pid for one in outcome.workers)  # type: ignore[attr-defined]  # WorkerInfo


@pytest.mark.mode_independent
def test_the_sender_alone_gets_it_at_once() -> None:
    with cluster(create_app, 1) as workers:
        told = rooms_of(workers[0]).tell("news", (1, 2))

        assert workers[0].app.extensions["heard"].get_nowait()[1] == [1, 2]
        assert told.result(PATIENCE).workers == (workers[0].name,)


@pytest.mark.mode_independent
def test_the_callback_is_called_with_the_error_or_none(workers: LocalCluster) -> None:
    errors: Queue[BaseException | None] = Queue()

    rooms_of(workers[0]).tell("news", 1, errors.put)

    assert errors.get(timeout=PATIENCE) is None


@pytest.mark.mode_independent
def test_messages_of_a_worker_arrive_in_its_order_everywhere(workers: LocalCluster) -> None:
    tell = rooms_of(workers[0]).tell
    threads = [
        threading.Thread(target=lambda name=name: [tell("news", [name, n]) for n in range(50)])
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    here, there = heard(workers[0], 100), heard(workers[1], 100)
    assert here == there
    assert [n for name, n in here if name == "a"] == list(range(50))


@pytest.mark.mode_independent
def test_a_handler_finds_what_its_sender_has_done_before() -> None:
    may_decide = threading.Event()

    def create() -> Flask:
        app = create_app()
        rooms: Rooms = app.extensions["rooms"]
        rooms.guard("vip")(lambda: may_decide.wait(PATIENCE))
        rooms.on_tell("look")(
            lambda data: app.extensions["heard"].put(("", sorted(sockets.members("vip").value)))
        )
        return app

    with cluster(create, 2) as workers:
        client = workers[1].connect()
        joined = workers[0].sockets.join(client.sid, "vip")
        told = rooms_of(workers[0]).tell("look")
        may_decide.set()

        assert joined.result(PATIENCE) == Outcome(1)
        assert len(told.result(PATIENCE).workers) == 2
        assert heard(workers[1]) == [[client.sid]]


@pytest.mark.slow
@pytest.mark.mode_independent
def test_a_worker_that_does_not_confirm_is_named_and_one_that_is_gone_is_not() -> None:
    with cluster(create_app, 2, confirm_timeout=0.2, heartbeat_interval=0.1) as workers:
        workers[1].cut()
        with pytest.raises(Unconfirmed) as caught:
            rooms_of(workers[0]).tell("news").result()
        assert caught.value.workers == (workers[1].name,)

    with cluster(create_app, 2) as workers:
        workers[1].stop()
        told = rooms_of(workers[0]).tell("news").result(PATIENCE)
        assert told.workers == (workers[0].name,)


@pytest.mark.mode_independent
def test_a_handler_that_fails_is_logged_and_changes_nothing_for_others(
    workers: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    for worker in workers:

        @rooms_of(worker).on_tell("news")
        def fail(data: dict[str, int]) -> None:
            data.clear()
            raise SystemExit

        rooms_of(worker).on_tell("news")(worker.app.extensions["heard"].put)

    told = rooms_of(workers[0]).tell("news", {"a": 1}).result(PATIENCE)

    assert len(told.workers) == 2
    for worker in workers:
        queue = worker.app.extensions["heard"]
        assert [queue.get(timeout=PATIENCE) for _ in range(2)] == [("nothing", {"a": 1}), {"a": 1}]
        assert parts_of(worker.app).signals.failures == 1
    assert caplog.text.count("A handler of the message 'news' has failed.") == 2


def test_an_async_handler_is_run(workers: LocalCluster) -> None:
    """By the function that runs async views."""
    app, heard = workers[0].app, Queue[Any]()
    app.async_to_sync = as_a_function  # type: ignore[assignment,method-assign]

    @rooms_of(workers[0]).on_tell("news")
    async def hear(data: Any) -> None:
        heard.put(data)

    rooms_of(workers[0]).tell("news", 1).result(PATIENCE)

    assert heard.get(timeout=PATIENCE) == 1


@pytest.mark.mode_independent
def test_a_handler_that_hangs_holds_up_neither_workers_nor_other_handlers(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "PATIENCE", 0.05)
    may_go_on = threading.Event()
    slow: Queue[Any] = Queue()

    def hang(data: Any) -> None:
        slow.put(data)
        assert may_go_on.wait(PATIENCE)

    parts_of(workers[1].app).tells._handlers["news"].insert(0, hang)
    client = workers[1].connect()
    for data in range(3):
        assert len(rooms_of(workers[0]).tell("news", data).result(PATIENCE).workers) == 2

    assert heard(workers[1], 3) == [0, 1, 2]
    assert workers[0].sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert [slow.get(timeout=PATIENCE), slow.qsize()] == [0, 0]
    may_go_on.set()
    assert [slow.get(timeout=PATIENCE) for _ in range(2)] == [1, 2]


@pytest.mark.mode_independent
def test_a_worker_without_a_place_for_a_message_does_not_say_that_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with cluster(create_app, 2, confirm_timeout=0.5) as workers:
        monkeypatch.setattr(notifications, "WAITING", 0)
        with pytest.raises(Unconfirmed) as caught:
            rooms_of(workers[0]).tell("news").result()
        assert caught.value.workers == (workers[0].name,)
        assert "functions of on_tell() that do not return" in str(caught.value)
        assert "within 0 seconds" not in str(caught.value)

        parts_of(workers[0].app).tells._handlers.clear()
        with pytest.raises(Unconfirmed) as caught:
            rooms_of(workers[0]).tell("news").result()
        assert caught.value.workers == (workers[1].name,)


@pytest.mark.mode_independent
def test_a_handler_may_tell_and_wait(workers: LocalCluster) -> None:
    told: Queue[Told] = Queue()
    rooms = rooms_of(workers[1])
    rooms.on_tell("ask")(lambda data: told.put(rooms.tell("news", "an answer").result(PATIENCE)))

    rooms_of(workers[0]).tell("ask")

    assert len(told.get(timeout=PATIENCE).workers) == 2
    assert heard(workers[0]) == ["an answer"]


@pytest.mark.mode_independent
def test_what_nothing_is_registered_for_is_no_error(workers: LocalCluster) -> None:
    assert len(rooms_of(workers[0]).tell("other").result(PATIENCE).workers) == 2


@pytest.mark.mode_independent
@pytest.mark.parametrize("bad", [None, "", 7, b"news", ["news"], "x" * 1025, "\ud800"])
def test_a_message_has_a_name(network: UntouchedWorkers, bad: Any) -> None:
    network.refuses(InvalidArgument, lambda: rooms_of(network.here).tell(bad))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="is named by"):
        Rooms().on_tell(bad)


@pytest.mark.mode_independent
@pytest.mark.parametrize("bad", [object(), {1, 2}, float("nan"), [[object()]], [b"x"] * 1001])
def test_its_data_are_what_can_be_sent(network: UntouchedWorkers, bad: Any) -> None:
    network.refuses(InvalidData, lambda: rooms_of(network.here).tell("news", bad))  # type: ignore[arg-type]


@pytest.mark.mode_independent
def test_what_is_too_large_or_has_no_place_in_the_outbox_is_not_sent(
    workers: LocalCluster,
) -> None:
    with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
        rooms_of(workers[0]).tell("news", "x" * 2**21)

    with cluster(create_app, 2, outbox_bytes=2000) as small:
        small.down()
        with pytest.raises(BackendUnavailable):
            deque((rooms_of(small[0]).tell("other", "x" * 500) for _ in range(10)), maxlen=0)
        small.up()
    assert workers[0].app.extensions["heard"].empty()


@pytest.mark.mode_independent
def test_what_is_registered_is_a_function_and_what_is_called_back_too(
    network: UntouchedWorkers,
) -> None:
    with pytest.raises(ConfigurationError, match="on_tell takes a function"):
        Rooms().on_tell("news")(1)  # type: ignore[type-var]
    network.refuses(InvalidArgument, lambda: rooms_of(network.here).tell("news", 1, 2))  # type: ignore[arg-type]


@pytest.mark.mode_independent
@pytest.mark.parametrize(
    "packet",
    [(), ("",), (b"\xff",), ("2",), ('2["news"',), ('2["news"]',), ("51-2[]",), ("9" * 50,)],
)
def test_a_message_whose_data_cannot_be_read_is_logged_and_ignored(
    workers: LocalCluster, packet: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """A compromised worker may send it."""
    parts = parts_of(workers[0].app)

    parts.cluster.calls.tell(Tell("news", packet), lambda: True).result(PATIENCE)
    rooms_of(workers[0]).tell("news", "after").result(PATIENCE)

    assert heard(workers[1]) == ["after"]
    assert "A handler of the message 'news' has failed." in caplog.text
