"""What would end a thread ends none of ours and no caller, and without threads work goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from textwrap import dedent
from typing import Any

import flask_socketio
import pytest
import socketio
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from greenlet import GreenletExit

from flask_rooms import Outcome, Refused, signals
from flask_rooms.backends import logs
from flask_rooms.globals import parts_of
from flask_rooms.server import kept_threads, tasks
from flask_rooms.server.tasks import Tasks
from tests.support.apps import PATIENCE, LocalCluster, Worker, eventually, fence, in_thread
from tests.support.polling import PollingClient

errors = pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GreenletExit])


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="there")
def _there(cluster: LocalCluster) -> Worker:
    """The worker that has the sockets."""
    return cluster.worker()


@pytest.fixture(name="here", params=["the owner", "another worker"])
def _here(cluster: LocalCluster, there: Worker, request: pytest.FixtureRequest) -> Worker:
    """The worker of the caller."""
    return there if request.param == "the owner" else cluster.worker()


def ends_its_thread(error: type[BaseException], also: Callable[..., Any] = print) -> Any:
    """Return a function of an application that raises what ends a thread."""

    def end(*args: Any, **about: Any) -> None:
        also()
        raise error

    return end


# -- what ends a thread ---------------------------------------------------------------------------


@errors
def test_a_guard_that_ends_its_thread_refuses(
    here: Worker, there: Worker, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    there.rooms.guard("team:<name>")(ends_its_thread(error))
    client = there.connect()

    with pytest.raises(Refused):
        here.sockets.join(client.sid, "team:red").result(PATIENCE)

    assert error.__name__ in caplog.text
    assert here.sockets.join(client.sid, "open").result(PATIENCE) == Outcome(1)


@errors
def test_a_receiver_that_ends_its_thread_harms_no_other(
    here: Worker, there: Worker, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    client = there.connect()
    seen: list[str] = []
    end = ends_its_thread(error)

    def see(app: Any, room: str, **about: Any) -> None:
        seen.append(room)

    with (
        signals.joined.connected_to(end, there.app),
        signals.joined.connected_to(see, there.app),
    ):
        for room in ("red", "blue"):
            assert here.sockets.join(client.sid, room).result(PATIENCE) == Outcome(1)
        eventually(there, lambda: seen == ["red", "blue"])

    assert caplog.text.count("A receiver of the signal") == 2
    assert error.__name__ in caplog.text


@errors
@pytest.mark.parametrize("function", ["before_connect", "user_loader"])
def test_a_hook_that_ends_its_thread_refuses(
    there: Worker, error: type[BaseException], function: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(there.rooms, function)(ends_its_thread(error))

    assert not there.connect().is_connected()

    assert error.__name__ in caplog.text


@errors
@pytest.mark.parametrize("way", ["sockets", "flask_socketio", "the client"])
@pytest.mark.parametrize("place", ["disconnect", "after_disconnect", "left"])
def test_the_end_of_a_socket_ends_no_thread(
    here: Worker, there: Worker, error: type[BaseException], way: str, place: str
) -> None:
    """A caller that waits for the disconnect handler is told by an error; the hooks run."""
    called: list[str] = []
    end = ends_its_thread(error, lambda: called.append(place))
    if place == "disconnect":
        there.socketio.on("disconnect")(end)
    elif place == "left":
        signals.left.connect(end, there.app)
    else:
        there.rooms.after_disconnect(end)
    there.rooms.after_disconnect(lambda reason, rooms: called.append("last"))

    for _ in range(2):
        called.clear()
        client = there.connect()
        with suppress(RuntimeError):
            if way == "sockets":
                assert here.sockets.disconnect(client.sid).result(PATIENCE) == Outcome(1)
            elif way == "flask_socketio":
                with here.app.app_context():
                    flask_socketio.disconnect(client.sid, "/")
            else:
                client.disconnect()
        eventually(there, lambda: {place, "last"} <= set(called))  # another thread may tell signals
        eventually(there, lambda: not there.socketio.server.manager.rooms.get("/"))


@errors
def test_a_store_of_sessions_that_ends_the_thread_of_a_hook_keeps_no_connection(
    there: Worker, error: type[BaseException]
) -> None:
    """A hook is given the session, which is loaded for it."""

    class Store(SecureCookieSessionInterface):
        fails = False

        def open_session(self, *args: Any) -> SecureCookieSession | None:
            if self.fails:
                raise error
            return super().open_session(*args)

    there.app.session_interface = store = Store()
    there.rooms.after_disconnect(lambda reason, rooms: None)
    client = there.connect()
    store.fails = True

    client.disconnect()

    assert parts_of(there.app).disconnects.are_done


def test_the_caller_of_a_handler_that_ends_its_thread_is_told(there: Worker) -> None:
    """By an error that no server takes for a reason to end."""
    there.socketio.on("disconnect")(ends_its_thread(SystemExit))
    client = there.connect()

    with there.app.app_context(), pytest.raises(RuntimeError, match="SystemExit"):
        flask_socketio.disconnect(client.sid, "/")


@pytest.mark.parametrize("place", ["handler", "callback"])
def test_what_a_client_has_run_ends_no_worker(
    there: Worker, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a thread SystemExit is silent, and in a green one it ends the process."""
    client = PollingClient(there.app).connect()
    if place == "handler":
        there.socketio.on("end")(ends_its_thread(SystemExit))
        client.send('42["end"]')
    else:
        there.socketio.emit("ask", to=client.sid, callback=ends_its_thread(SystemExit))
        number = client.receive().removeprefix("42").partition("[")[0]
        client.send(f"43{number}[]")

    eventually(there, lambda: "SystemExit" in caplog.text)

    assert there.sockets.join(client.sid, "open").result(PATIENCE) == Outcome(1)


# -- what takes long ------------------------------------------------------------------------------


def test_a_caller_that_waits_for_long_is_warned_of_and_one_that_does_not_is_not(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The guard may wait for what its caller holds, and then it would do so for ever."""
    said = "has run for"
    worker = cluster.worker()
    may_answer = threading.Event()
    worker.rooms.guard("quick")(lambda: True)
    worker.rooms.guard("slow")(lambda: may_answer.wait(PATIENCE))
    client = worker.connect()
    assert worker.sockets.join(client.sid, "quick").result(PATIENCE) == Outcome(1)
    assert said not in caplog.text

    monkeypatch.setattr(tasks, "SLOW", 0.1)
    joining = in_thread(lambda: worker.rooms.sockets.join(client.sid, "slow").result(PATIENCE))
    eventually(worker, lambda: said in caplog.text)
    may_answer.set()

    assert joining.result(PATIENCE) == Outcome(1)
    assert caplog.text.count(said) == 1


@pytest.mark.mode_independent
def test_callers_that_wait_for_long_are_warned_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client may have many handlers wait, and is not to fill the log."""
    monkeypatch.setattr(tasks, "SLOW", 0.0)
    apart = Tasks()
    apart.server = socketio.Server(async_mode="threading")

    for _ in range(3):
        apart.run_apart(lambda: time.sleep(0.1))
    monkeypatch.setattr(logs, "WARN_EVERY", 0.0)
    apart.run_apart(lambda: time.sleep(0.1))

    said = [line for line in caplog.messages if "has run for" in line]
    assert [line.partition("(")[2] for line in said] == [
        f"{count} so far on this worker)" for count in (1, 4)
    ]


# -- without threads ------------------------------------------------------------------------------


@contextmanager
def no_threads() -> Iterator[None]:
    """Have the system refuse to start any thread: none has room for so large a stack."""
    threading.stack_size(2**46)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        yield
    finally:
        threading.stack_size(0)


@pytest.mark.mode_independent
def test_without_threads_all_is_done_in_place(
    here: Worker,
    there: Worker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket that nobody tells of its end, or a receiver that is not called, were worse."""
    monkeypatch.setattr(kept_threads, "MAX_WAITING", 0)
    called: list[str] = []
    there.rooms.guard("team:<name>")(lambda name: name == "red")
    there.socketio.on("disconnect")(lambda reason: called.append(reason))
    receiver: Callable[..., None] = lambda app, room, **about: called.append(room)  # noqa: E731
    there.app.put("/who")(lambda: "me")
    client, fenced = there.connect(), there.connect()
    fence(here, fenced)

    with no_threads(), signals.joined.connected_to(receiver, there.app):
        assert here.sockets.join(client.sid, "team:red").result(PATIENCE) == Outcome(1)
        with pytest.raises(Refused):
            here.sockets.join(client.sid, "team:blue").result(PATIENCE)
        assert client.ask("put", "/who")["body"] == "me"
        assert here.sockets.disconnect(client.sid).result(PATIENCE) == Outcome(1)
        eventually(there, lambda: called == ["team:red", "server disconnect"])

    said = "Running in place what should run in the background"
    assert caplog.text.count(said) == 1
    assert there.sockets.join(fenced.sid, "team:red").result(PATIENCE) == Outcome(1)
    with no_threads():
        assert here.sockets.leave(fenced.sid, "team:red").result(PATIENCE) == Outcome(1)
        assert there.sockets.join(fenced.sid, "team:red").result(PATIENCE) == Outcome(1)
    assert caplog.text.count(said) == 2
    assert there.connect().is_connected()


@pytest.mark.mode_independent
def test_what_waits_again_and_again_is_late_without_threads_and_holds_up_nothing(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In place it would wait for ever, perhaps in the thread that receives."""
    monkeypatch.setattr(kept_threads, "MAX_WAITING", 0)
    here, there = cluster.worker(presence_grace=0.05), cluster.worker()
    for worker in (here, there):
        worker.rooms.presence("team")(dict)
        worker.cluster.start()
    ann, bob = here.connect(), here.connect()
    here.sockets.join([ann.sid, bob.sid], "team").result(PATIENCE)

    with no_threads():
        here.sockets.join(ann.sid, "short", expires=0.05).result(PATIENCE)
        ann.disconnect()  # its person stays for the grace, and a loop is to end that
        assert there.sockets.join(bob.sid, "red").result(PATIENCE) == Outcome(1)
    assert "is late" in caplog.text

    here.sockets.join(bob.sid, "short", expires=0.05).result(PATIENCE)
    here.sockets.presence.update(bob.sid, "team", {"here": True})
    eventually(here, lambda: here.rooms_of(bob) == {"team", "red"})
    eventually(there, lambda: len(there.sockets.presence("team").value) == 1)


@pytest.mark.mode_independent
@errors
def test_what_fails_in_place_ends_no_thread_that_receives(
    cluster: LocalCluster,
    there: Worker,
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a callback for the answer of a client of another worker."""
    monkeypatch.setattr(kept_threads, "MAX_WAITING", 0)
    here = cluster.worker()
    called: list[str] = []
    client = PollingClient(there.app).connect()
    assert here.sockets.join(client.sid, "blue").result(PATIENCE) == Outcome(1)
    callback = ends_its_thread(error, lambda: called.append("called"))

    here.socketio.emit("ask", to=client.sid, callback=callback)
    number = client.receive().removeprefix("42").partition("[")[0]
    with no_threads():
        client.send(f"43{number}[]")
        eventually(here, lambda: called)

        assert here.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)


@pytest.mark.mode_independent
@pytest.mark.every_python
def test_the_exit_of_the_interpreter_is_no_lack_of_threads() -> None:
    """As in a thread of gunicorn's pool, for which the interpreter waits."""
    program = """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        from flask_socketio import SocketIO
        from flask import Flask
        from flask_rooms.server.tasks import Tasks

        def work():
            ends.wait()
            tasks.spawn(print, "done", kind=None)

        pool, ends, tasks = ThreadPoolExecutor(1), threading.Event(), Tasks()
        tasks.server = SocketIO(Flask("application"), async_mode="threading").server
        threading._register_atexit(ends.set)  # called before the interpreter waits for the pool
        pool.submit(work)
    """
    command = [sys.executable, "-c", dedent(program)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)

    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.mode_independent
def test_without_a_thread_that_receives_a_worker_does_not_start(cluster: LocalCluster) -> None:
    """It would hang for ever, or be deaf; it starts as soon as there is one."""
    worker = cluster.worker()
    other = cluster.worker()
    client = other.connect()

    with no_threads(), pytest.raises(RuntimeError, match="can't start new thread"):
        worker.cluster.start()

    assert worker.sockets.join(client.sid, "red").result(PATIENCE) == Outcome(1)
    assert worker.connect().is_connected()
