"""What was said meanwhile: clients that come back, to any worker, get what they have missed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, jsonify

from flask_rooms import ConfigurationError, InvalidArgument, Rooms, request, sockets
from flask_rooms.client.history import Positions
from flask_rooms.errors import BackendError, BackendUnavailable, InvalidRoom, InvalidSocket, Refused
from flask_rooms.globals import parts_of
from flask_rooms.history import Bounds, Kept, MemoryHistory
from flask_rooms.results import Missed
from flask_rooms.testing import Client, LocalCluster, Worker, cluster
from tests.support.apps import PATIENCE

pytestmark = pytest.mark.every_python

NEWS = "news:1"
#: How many numbers a client keeps, besides the last one before the first gap.
LATEST = 999


def create_app() -> Flask:
    app = Flask("application")
    app.config["SECRET_KEY"] = "of the tests"
    rooms = Rooms(app)
    rooms.history("news:<int:id>", messages=10)
    rooms.history("small:<id>", max_bytes=600)

    @rooms.user_loader
    def load(auth: Any) -> Any:
        return auth

    @rooms.guard("news:13")
    def nobody() -> bool:
        return False

    @app.errorhandler(InvalidArgument)
    def invalid(error: InvalidArgument) -> Any:
        return {"message": str(error)}, 400

    @app.put("/<room>")
    def enter(room: str) -> Any:
        missed = sockets.catch_up(request, room, request.get_json()["since"])
        return jsonify(sent=missed.sent, gone=missed.gone)

    return app


class Page:
    """A client, with what its page remembers while it has no socket."""

    def __init__(self, user: str | None = None) -> None:
        self.user = user
        self.had: dict[str, Any] = {}
        self.client: Client | None = None
        self.answer: Any = None
        self.has_number = True  # of the latest event

    def connected(self, worker: Worker) -> str:
        """Return the ID of its socket, which it gets now if it has none."""
        if self.client is None:
            self.client = worker.connect(auth=self.user)
        return self.client.sid

    def come(self, worker: Worker, room: str = NEWS) -> list[tuple[str, Any]]:
        """Enter a room on a worker, and return what it gets by that."""
        self.connected(worker)
        assert self.client is not None
        self.answer = self.client.request("put", f"/{room}", {"since": self.had.get(room)}).body
        return self.get()

    def get(self) -> list[tuple[str, Any]]:
        """Take in what has arrived, as a page would, and return the application's events."""
        assert self.client is not None
        events = []
        for event, data in self.client.received():
            self.has_number = event == "history_offset"
            if self.has_number:
                self._note(data)
            else:
                events.append((event, data))
        return events

    def get_whole(self) -> list[tuple[str, Any]]:
        """Do so until the latest event has its number; without it, the event would come again."""
        events = self.get()
        deadline = time.monotonic() + PATIENCE
        while not self.has_number:
            assert time.monotonic() < deadline, "the number does not come"
            events += self.get()
        return events

    def _note(self, told: dict[str, Any]) -> None:
        room, epoch, offset = told["room"], told["epoch"], told["offset"]
        before = self.had.get(room)
        is_next = before is not None and before["epoch"] == epoch
        if before is not None and not is_next and "gone" not in told:
            return
        goes_on = before is not None and is_next and not told.get("gone")
        first, *rest = before["offsets"] if before is not None and goes_on else [offset]
        if offset > first:
            rest = sorted({*rest, offset})
        while rest and rest[0] == first + 1:
            first = rest.pop(0)
        self.had[room] = {"epoch": epoch, "offsets": [first, *rest[-LATEST:]]}

    def go(self) -> None:
        assert self.client is not None
        self.client.disconnect()
        self.client = None


@pytest.fixture(name="workers")
def _workers() -> Iterator[LocalCluster]:
    with cluster(create_app, 2) as workers:
        yield workers


@pytest.fixture
def small_switch_interval() -> Iterator[None]:
    """Threads interrupt each other often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(name="page")
def _page(workers: LocalCluster) -> Page:
    """A page that has been in the room on the first worker, and is away."""
    page = Page("ann")
    assert page.come(workers[0]) == []
    assert page.answer == {"sent": 0, "gone": False}
    page.go()
    return page


def test_a_page_that_comes_back_gets_what_it_has_missed_once_and_in_order(
    workers: LocalCluster, page: Page
) -> None:
    here, there = workers
    for number in range(4):
        workers[number % 2].sockets.broadcast(NEWS, "said", number)

    assert page.come(there) == [("said", number) for number in range(4)]
    assert page.answer == {"sent": 4, "gone": False}
    there.sockets.broadcast(NEWS, "said", 4)
    here.sockets.broadcast(NEWS, "said", 5)
    assert sorted(page.get()) == [("said", 4), ("said", 5)]
    page.go()
    here.sockets.broadcast(NEWS, "said", 6)
    assert page.come(here) == [("said", 6)]
    page.go()
    assert page.come(there) == []
    assert page.answer == {"sent": 0, "gone": False}


def test_what_comes_while_it_catches_up_waits_and_is_not_doubled(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = workers
    there.sockets.broadcast(NEWS, "said", "before")
    read = MemoryHistory.read

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        # It is in the room by now: these are live events of this worker, and of the other.
        here.sockets.broadcast(NEWS, "said", "meanwhile")
        kept = read(store, *about)
        here.sockets.broadcast(NEWS, "said", "after the look")
        here.sockets.broadcast("another", "said", "elsewhere")
        return kept

    monkeypatch.setattr(MemoryHistory, "read", slow)
    got = page.come(here)

    assert got == [("said", "before"), ("said", "meanwhile"), ("said", "after the look")]
    assert parts_of(here.app).history.counts["sent"] == 2


def test_what_is_gone_is_told_and_the_rest_is_sent(workers: LocalCluster, page: Page) -> None:
    here, there = workers
    for number in range(11):  # one more than are kept
        there.sockets.broadcast(NEWS, "said", number)

    assert page.come(here) == [("said", number) for number in range(1, 11)]
    assert page.answer == {"sent": 10, "gone": True}
    page.go()
    assert page.come(there) == []
    assert page.answer == {"sent": 0, "gone": False}  # it has been told


@pytest.mark.parametrize(
    "position",
    [
        {"epoch": "of another store", "offsets": [0]},
        {"offsets": [10**15]},
        {"offsets": [0, 10**15]},
    ],
    ids=["epoch", "future", "some of the future"],
)
def test_a_position_that_the_store_does_not_know_is_gone(
    workers: LocalCluster, page: Page, position: dict[str, Any]
) -> None:
    workers[0].sockets.broadcast(NEWS, "said", 1)
    page.had[NEWS].update(position)

    assert page.come(workers[1]) == []
    assert page.answer == {"sent": 0, "gone": True}
    page.go()
    workers[0].sockets.broadcast(NEWS, "said", 2)
    assert page.come(workers[1]) == [("said", 2)]


@pytest.mark.parametrize(
    "since",
    [
        "x", 1, [], {}, True,
        {"epoch": "x"}, {"epoch": 1, "offsets": [1]}, {"epoch": "x" * 65, "offsets": [1]},
        {"epoch": "x", "offsets": []}, {"epoch": "x", "offsets": [-1]},
        {"epoch": "x", "offsets": [True]}, {"epoch": "x", "offsets": ["1"]},
        {"epoch": "x", "offsets": [1.5]}, {"epoch": "x", "offsets": [2**60]},
        {"epoch": "x", "offsets": [1] * 1001}, {"epoch": "x", "offsets": {"0": 1}},
    ],
)  # fmt: skip
@pytest.mark.mode_independent
def test_what_is_no_position_is_an_error_and_changes_nothing(
    workers: LocalCluster, since: Any
) -> None:
    client = workers[0].connect()

    answer = client.request("put", f"/{NEWS}", {"since": since})
    assert answer.status_code == 400
    assert "history_offset" in answer.body["message"]
    assert client.rooms == frozenset()
    assert client.received() == []


def test_a_socket_that_a_guard_refuses_gets_nothing(workers: LocalCluster) -> None:
    here = workers[0]
    client = here.connect()
    here.sockets.broadcast("news:13", "said", "secret")
    known = {"epoch": "x", "offsets": [0]}

    with pytest.raises(Refused):
        here.sockets.catch_up(client.sid, "news:13", known)
    assert client.received() == []


def test_a_socket_that_has_left_meanwhile_gets_nothing(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workers[0]
    here.sockets.broadcast(NEWS, "said", "secret")
    read = MemoryHistory.read

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        here.sockets.leave_all(NEWS).result(PATIENCE)
        return read(store, *about)

    monkeypatch.setattr(MemoryHistory, "read", slow)
    assert page.come(here) == []


def test_a_member_that_catches_up_again_gets_nothing_twice(
    workers: LocalCluster, page: Page
) -> None:
    here, there = workers
    there.sockets.broadcast(NEWS, "said", 0)
    before = page.had[NEWS]  # as in a request that it has sent, with this event on its way
    assert page.come(here) == [("said", 0)]
    here.sockets.broadcast(NEWS, "said", 1)
    assert here.sockets.catch_up(page.connected(here), NEWS, before) == Missed(0, gone=False)
    assert page.get() == [("said", 1)]

    here.sockets.leave_all(NEWS).result(PATIENCE)
    here.sockets.broadcast(NEWS, "said", 2)
    here.sockets.join(page.connected(here), NEWS).result(PATIENCE)
    assert page.come(here) == [("said", 2)]


def test_calls_for_the_same_room_at_once_double_nothing_and_hold_until_the_last(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = workers
    there.sockets.broadcast(NEWS, "said", 0)
    sid, since, read = page.connected(here), page.had[NEWS], MemoryHistory.read
    missed = []

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        monkeypatch.setattr(MemoryHistory, "read", read)
        missed.append(here.sockets.catch_up(sid, NEWS, since))
        here.sockets.broadcast(NEWS, "said", 1)
        return read(store, *about)

    monkeypatch.setattr(MemoryHistory, "read", slow)
    missed.append(here.sockets.catch_up(sid, NEWS, since))

    assert page.get() == [("said", 0), ("said", 1)]
    assert missed == [Missed(1, gone=False), Missed(0, gone=False)]


def test_a_socket_that_has_left_and_joined_meanwhile_is_to_catch_up_again(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workers[0]
    sid, since, read = page.connected(here), page.had[NEWS], MemoryHistory.read

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        kept = read(store, *about)
        here.sockets.leave(sid, NEWS).result(PATIENCE)
        here.sockets.broadcast(NEWS, "said", 1)
        here.sockets.join(sid, NEWS).result(PATIENCE)
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(MemoryHistory, "read", slow)
        here.sockets.catch_up(sid, NEWS, since)
    assert page.get() == []
    assert page.come(here) == [("said", 1)]


def test_nothing_is_kept_of_members_that_have_gone(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workers[0]
    holds = here.app.extensions["rooms"].sockets._catching_up._delivery.holds
    staying, leaving = here.connect(), here.connect()
    for number in range(3):
        here.sockets.catch_up(staying.sid, f"news:{number}", None)
        here.sockets.leave(staying.sid, f"news:{number}").result(PATIENCE)
    read = MemoryHistory.read

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        leaving.disconnect()
        return read(store, *about)

    monkeypatch.setattr(MemoryHistory, "read", slow)
    here.sockets.catch_up(leaving.sid, NEWS, None)

    assert (holds._holds, holds._floors) == ({}, {})


def test_an_event_that_is_to_be_acknowledged_does_not_wait(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = workers[0]
    emit, read = parts_of(here.app).socketio.emit, MemoryHistory.read
    client = here.connect()

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        emit("asked", to=NEWS, callback=lambda: None)
        return read(store, *about)

    monkeypatch.setattr(MemoryHistory, "read", slow)
    here.sockets.catch_up(client.sid, NEWS, None)
    assert [*parts_of(here.app).acknowledgements.local] == [client.sid]


def test_the_event_that_tells_the_number_is_not_of_the_application(
    workers: LocalCluster, page: Page
) -> None:
    here, there = workers
    page.come(here)
    for send in (here.sockets.broadcast, there.sockets.broadcast):
        with pytest.raises(InvalidArgument, match="history_offset"):
            send(NEWS, "history_offset", "x")
    with pytest.raises(InvalidArgument, match="history_offset"):
        parts_of(here.app).socketio.emit("history_offset", to=NEWS)


def test_catch_up_is_for_one_socket_of_this_worker_and_a_room_with_a_rule(
    workers: LocalCluster,
) -> None:
    here, there = workers
    mine, other = here.connect(), there.connect()

    with pytest.raises(InvalidSocket, match="this worker"):
        here.sockets.catch_up(other.sid, NEWS, None)
    with pytest.raises(InvalidSocket, match="one socket"):
        here.sockets.catch_up([mine.sid, other.sid], NEWS, None)  # type: ignore[arg-type]
    for room in ("chat:1", mine.sid):
        with pytest.raises(InvalidRoom, match="No rule"):
            here.sockets.catch_up(mine.sid, room, None)
    assert mine.rooms == frozenset()


def test_omitted_users_and_rooms_are_left_out_later_too_and_miss_nothing_else(
    workers: LocalCluster,
) -> None:
    here, there = workers
    pages = {name: Page(name) for name in ("ann", "bob", "tom")}
    for page in pages.values():
        page.come(here)
    here.sockets.join(user="tom", room="quiet").result(PATIENCE)
    here.sockets.broadcast(NEWS, "said", 1, omit_user="bob", omit="quiet")
    assert [page.get() for page in pages.values()] == [[("said", 1)], [], []]
    # Their numbers have no gap that would be filled later.
    offsets = [page.had[NEWS]["offsets"][-1] for page in pages.values()]
    assert offsets == [1, 1, 1]

    for page in pages.values():
        page.go()
    there.sockets.broadcast(NEWS, "said", 2, omit_user="bob", omit="quiet")
    there.sockets.broadcast(NEWS, "said", 3)
    there.sockets.join(pages["tom"].connected(there), "quiet").result(PATIENCE)
    expected = [[2, 3], [3], [3]]
    assert [[data for _, data in page.come(there)] for page in pages.values()] == expected
    assert pages["bob"].answer == {"sent": 1, "gone": False}
    for page in pages.values():
        page.go()
    assert [page.come(here) for page in pages.values()] == [[], [], []]


def test_an_omitted_socket_does_not_get_it_when_it_comes_back(workers: LocalCluster) -> None:
    here, there = workers
    page = Page()
    page.come(here)
    assert page.client is not None
    here.sockets.broadcast(NEWS, "said", "by itself", omit=page.client.sid)
    assert page.get() == []
    page.go()

    assert page.come(there) == []


def test_an_event_to_several_rooms_has_a_number_in_each_that_has_a_rule(
    workers: LocalCluster, page: Page
) -> None:
    here, there = workers
    page.come(here)
    page.come(here, "news:2")
    here.sockets.broadcast([NEWS, "news:2", "chat:1"], "said", 1)
    assert page.get() == [("said", 1)]
    page.go()

    assert [page.come(there), page.come(there, "news:2")] == [[], []]
    page.go()
    there.sockets.broadcast([NEWS, "news:2"], "said", 2)
    assert [page.come(here), page.come(here, "news:2")] == [[("said", 2)], [("said", 2)]]


def test_what_is_not_for_the_room_alone_is_not_kept(workers: LocalCluster, page: Page) -> None:
    here, there = workers
    here.sockets.blast("said", "to all")
    here.sockets.broadcast("said", "to a user", user="ann")
    here.sockets.broadcast(NEWS, "said", "volatile", volatile=True)
    here.sockets.broadcast("chat:1", "said", "in a room without a rule")
    there.connect().received()  # or what is still on its way would be live

    assert page.come(there) == []
    assert page.answer == {"sent": 0, "gone": False}
    assert parts_of(here.app).history.counts["kept"] == 0


def test_emit_of_flask_socketio_is_kept_too(workers: LocalCluster, page: Page) -> None:
    here, there = workers
    parts_of(here.app).socketio.emit("said", {"by": "emit"}, to=NEWS)

    assert page.come(there) == [("said", {"by": "emit"})]


def test_the_room_of_flask_socketio_with_a_number_is_not_the_one_with_its_name(
    workers: LocalCluster,
) -> None:
    here = workers[0]
    here.app.extensions["rooms"].history("<int:id>")
    parts_of(here.app).socketio.emit("said", to=1)

    assert parts_of(here.app).history.counts["kept"] == 0


@pytest.mark.parametrize(
    "data", [None, (1, "two"), b"bytes", {"deep": [b"bytes", b"more"]}, "\N{SNOWMAN}"]
)
def test_events_are_sent_as_they_were(workers: LocalCluster, page: Page, data: Any) -> None:
    here, there = workers
    live = Page()
    live.come(here)
    here.sockets.broadcast(NEWS, "said", data)
    expected = list(data) if isinstance(data, tuple) else data

    assert page.come(there) == live.get() == [("said", expected)]
    known = [(one.had[NEWS]["epoch"], {*one.had[NEWS]["offsets"]}) for one in (page, live)]
    assert known[0] == known[1]


def test_an_event_that_is_larger_than_the_bound_is_gone(workers: LocalCluster) -> None:
    here, there = workers
    page = Page()
    page.come(here, "small:1")
    page.go()
    here.sockets.broadcast("small:1", "said", 1)
    here.sockets.broadcast("small:1", "said", "x" * 600)

    assert page.come(there, "small:1") == []
    assert page.answer == {"sent": 0, "gone": True}


def test_an_event_that_is_refused_has_not_been_kept() -> None:
    with cluster(create_app, 2, message_bytes=2000) as workers:
        page = Page()
        page.come(workers[0])
        page.go()
        with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
            workers[0].sockets.broadcast(NEWS, "said", "x" * 1950)
        workers[0].sockets.broadcast(NEWS, "said", "x" * 1000)

        assert page.come(workers[1]) == [("said", "x" * 1000)]


def test_a_lone_worker_keeps_large_events() -> None:
    with cluster(create_app, 1, message_bytes=2000) as workers:
        page = Page()
        page.come(workers[0])
        page.go()
        workers[0].sockets.broadcast(NEWS, "said", "x" * 3000)

        assert page.come(workers[0]) == [("said", "x" * 3000)]


def test_namespaces_have_their_own_history(workers: LocalCluster, page: Page) -> None:
    workers[0].sockets.broadcast(NEWS, "said", 1, namespace="/other")

    assert page.come(workers[1]) == []


def test_without_the_store_nothing_is_sent_and_the_caller_knows(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = workers
    live = Page()
    live.come(here)

    def fail(*about: Any) -> Any:
        raise BackendError("down, with a secret host")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryHistory, "append", fail)
        patch.setattr(MemoryHistory, "read", fail)
        patch.setattr(MemoryHistory, "ping", fail)
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="ROOMS_HISTORY_URL") as caught:
                here.sockets.broadcast(NEWS, "said", "lost")
            assert "secret" not in str(caught.value)
        assert live.get() == []
        here.sockets.broadcast(NEWS, "said", "volatile", volatile=True)
        here.sockets.broadcast("chat:1", "said", "elsewhere")
        assert live.get() == [("said", "volatile")]
        client = there.connect()
        with pytest.raises(BackendUnavailable, match="what was missed"):
            there.sockets.catch_up(client.sid, NEWS, None)
        assert client.rooms == {NEWS}
        assert parts_of(here.app).history.problem == "down, with a secret host"
    assert parts_of(here.app).history.problem is None
    assert parts_of(here.app).history.counts["unavailable"] == 2
    assert len([one for one in caplog.records if one.name == "flask_rooms.history"]) == 2
    here.sockets.broadcast(NEWS, "said", "again")
    assert live.get() == [("said", "again")]


def test_an_event_of_which_one_room_is_refused_is_sent_to_nobody_who_is_there(
    workers: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = workers
    live = Page()
    live.come(here)
    append = MemoryHistory.append

    def fail_for_small(store: MemoryHistory, room: str, *about: Any) -> Any:
        if "small" in room:
            raise BackendError("full")
        return append(store, room, *about)

    monkeypatch.setattr(MemoryHistory, "append", fail_for_small)
    with pytest.raises(BackendUnavailable, match="except perhaps to clients that come back"):
        here.sockets.broadcast([NEWS, "small:1"], "said", "half")
    assert live.get() == []
    live.go()

    assert live.come(here) == [("said", "half")]


def test_what_was_sent_and_not_what_was_found_is_counted(workers: LocalCluster, page: Page) -> None:
    """A member that catches up again gets nothing."""
    here, _ = workers
    page.come(here)
    page.go()
    here.sockets.broadcast(NEWS, "said", 1)
    page.come(here)
    counts = parts_of(here.app).history.counts
    assert counts["sent"] == 1

    since = {**page.had[NEWS], "offsets": [0]}
    assert page.client is not None
    again = page.client.request("put", f"/{NEWS}", {"since": since})

    assert again.body == {"sent": 0, "gone": False}
    assert counts["sent"] == 1


def test_a_release_that_is_interrupted_goes_on(
    workers: LocalCluster, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the Timeout of a green caller: the hold would last for ever."""
    here, _ = workers
    read, internals = MemoryHistory.read, parts_of(here.app).serving._internals
    send = internals.send

    class Interrupted(BaseException):
        pass

    def interrupt(sockets: Any, packets: Any) -> None:
        monkeypatch.setattr(internals, "send", send)
        send(sockets, packets)
        raise Interrupted

    def slow(store: MemoryHistory, *about: Any) -> Kept:
        kept = read(store, *about)
        for number in range(3):
            here.sockets.broadcast(NEWS, "said", number)
        monkeypatch.setattr(internals, "send", interrupt)
        return kept

    sid = page.connected(here)
    with monkeypatch.context() as patch:
        patch.setattr(MemoryHistory, "read", slow)
        with pytest.raises(Interrupted), here.app.app_context():
            here.sockets.catch_up(sid, NEWS, None)

    holds = parts_of(here.app).sockets._catching_up._delivery.holds
    deadline = time.monotonic() + PATIENCE
    while holds._holds:
        assert time.monotonic() < deadline, "the hold lasts"
        time.sleep(0.005)
    here.sockets.broadcast(NEWS, "said", "after")
    assert page.get() == [("said", 0), ("said", 1), ("said", 2), ("said", "after")]


def test_what_others_have_written_into_the_store_is_not_sent(
    workers: LocalCluster, page: Page
) -> None:
    here, there = workers
    keeper: Any = parts_of(here.app).history
    bounds = Bounds(10, 300, 10_000)
    here.sockets.broadcast("news:2", "said", "of another room")
    (_, signed), *_ = keeper._store.read("/,news:2", 0, bounds).messages
    for message in (b"", b"forged", signed):
        keeper._store.append("/,news:1", message, bounds)
    here.sockets.broadcast(NEWS, "said", "signed")

    assert page.come(there) == [("said", "signed")]
    assert page.answer == {"sent": 1, "gone": True}
    assert parts_of(there.app).history.counts["unsigned"] == 3


@pytest.mark.slow
def test_threads_on_both_workers_lose_and_double_nothing(workers: LocalCluster, page: Page) -> None:
    for worker in workers:
        worker.app.extensions["rooms"].history("long:<id>", messages=1000)
    got = page.come(workers[0], "long:1")

    def speak(worker: Worker, name: str) -> None:
        for number in range(25):
            worker.sockets.broadcast("long:1", "said", f"{name} {number}")

    threads = [
        threading.Thread(target=speak, args=[workers[i % 2], f"thread {i}"]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    turn = 0
    while any(thread.is_alive() for thread in threads):
        got += page.get_whole()
        page.go()
        turn += 1
        got += page.come(workers[turn % 2], "long:1")
        assert page.answer["gone"] is False
    for thread in threads:
        thread.join()
    got += page.get()
    page.go()
    got += page.come(workers[0], "long:1")

    said = sorted(str(data) for _, data in got)
    assert said == sorted(f"thread {i} {number}" for i in range(4) for number in range(25))


@pytest.mark.mode_independent
@pytest.mark.parametrize(
    "bounds",
    [
        {"messages": 0}, {"messages": 1.5}, {"messages": True}, {"seconds": 0}, {"seconds": "1"},
        {"seconds": float("inf")}, {"seconds": float("nan")}, {"max_bytes": -1},
        {"max_bytes": None}, {"seconds": 1e300}, {"messages": 10**400}, {"max_bytes": 2**31 + 1},
    ],
)  # fmt: skip
def test_bounds_are_numbers_above_0(bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="greater than 0"):
        Rooms().history("news:<id>", **bounds)


@pytest.mark.mode_independent
def test_rabbitmq_needs_a_store_that_is_named() -> None:
    rooms = Rooms()
    rooms.history("news:<id>")
    app = Flask("application")
    app.config.update(SECRET_KEY="x", ROOMS_BACKEND_URL="amqp://localhost")
    with pytest.raises(ConfigurationError, match="ROOMS_HISTORY_URL"):
        rooms.init_app(app)

    late = Flask("application")
    late.config.update(SECRET_KEY="x", ROOMS_BACKEND_URL="amqp://localhost")
    without = Rooms(late)
    with pytest.raises(ConfigurationError, match="ROOMS_HISTORY_URL"):
        without.history("news:<id>")

    for options in ({"history_url": "memory://x"}, {"history_store": MemoryHistory()}):
        named = Flask("application")
        named.config.update(SECRET_KEY="x", ROOMS_BACKEND_URL="amqp://localhost")
        Rooms(named, **options).history("news:<id>")


@pytest.mark.mode_independent
def test_the_store_is_where_the_backend_is() -> None:
    for url, expected in [
        ("memory://", MemoryHistory()),
        ("redis://user:secret@localhost:1/2", "<RedisHistory on redis://localhost:1/2>"),
        (["redis://a", "redis://b"], "<RedisHistory on redis://a or redis://b>"),
        ("redis+socket:///run/redis.sock", "<RedisHistory on redis+socket:///run/redis.sock>"),
    ]:
        app = Flask("application")
        app.config.update(SECRET_KEY="x", ROOMS_BACKEND_URL=url)
        Rooms(app)
        store = vars(parts_of(app).history)["_store"]
        assert type(store) is type(expected) or repr(store) == expected


@pytest.mark.mode_independent
def test_a_client_sends_the_numbers_from_the_first_gap_on() -> None:
    positions = Positions()
    for offset in (10, 12, 13, 11, 9, 15, 15):
        positions.note({"room": NEWS, "epoch": "x", "offset": offset})
    assert positions.of(NEWS) == {"epoch": "x", "offsets": [13, 15]}

    for offset in range(17, 2017):
        positions.note({"room": NEWS, "epoch": "x", "offset": offset})
    latest = range(2017 - 999, 2017)
    assert positions.of(NEWS) == {"epoch": "x", "offsets": [13, *latest]}  # and the gap before
    for offset in (16, 14):
        positions.note({"room": NEWS, "epoch": "x", "offset": offset})
    assert positions.of(NEWS) == {"epoch": "x", "offsets": [2016]}
    positions.note({"room": NEWS, "epoch": "x", "offset": 7, "gone": True})
    assert positions.of(NEWS) == {"epoch": "x", "offsets": [7]}


@pytest.mark.mode_independent
def test_many_gaps_are_bounded_and_the_first_one_stays() -> None:
    positions = Positions()
    for offset in range(0, 20_000, 2):
        positions.note({"room": NEWS, "epoch": "x", "offset": offset})

    position = positions.of(NEWS)

    assert position == {"epoch": "x", "offsets": [0, *range(20_000 - 2 * 999, 20_000, 2)]}


@pytest.mark.mode_independent
def test_an_event_of_another_epoch_is_no_position_until_that_was_told() -> None:
    """It comes where catching up has failed: what was missed of the former epoch is not had."""
    positions = Positions()
    positions.note({"room": NEWS, "epoch": "former", "offset": 3})

    positions.note({"room": NEWS, "epoch": "present", "offset": 1})
    assert positions.of(NEWS) == {"epoch": "former", "offsets": [3]}

    positions.note({"room": NEWS, "epoch": "present", "offset": 1, "gone": True})
    positions.note({"room": NEWS, "epoch": "present", "offset": 2})
    assert positions.of(NEWS) == {"epoch": "present", "offsets": [2]}


@pytest.mark.mode_independent
def test_a_client_may_note_numbers_in_several_threads(small_switch_interval: None) -> None:
    positions, count = Positions(), 8

    def note(first: int) -> None:
        for offset in range(first, 4000, count):
            positions.note({"room": NEWS, "epoch": "x", "offset": offset})

    positions.note({"room": NEWS, "epoch": "x", "offset": 0})
    threads = [threading.Thread(target=note, args=[first]) for first in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert positions.of(NEWS) == {"epoch": "x", "offsets": [3999]}


def test_missed_is_what_catch_up_returns(workers: LocalCluster) -> None:
    client = workers[0].connect()

    assert workers[0].sockets.catch_up(client.sid, NEWS, None) == Missed(0, gone=False)
