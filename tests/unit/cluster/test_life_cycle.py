"""How a worker ends and how it is copied: SIGTERM, and forks at the wrong moment."""

from __future__ import annotations

import signal
from textwrap import dedent

import pytest

from tests.support.clients import Client
from tests.support.workers import ROOMS_APP, cluster
from tests.unit.server.test_async_mode import PATCH, needs, run

pytestmark = pytest.mark.mode_independent


@pytest.mark.parametrize("broker", ["redis_broker", "amqp_broker"])
def test_sigterm_says_goodbye_and_then_ends_the_process_as_ever(
    broker: str, request: pytest.FixtureRequest
) -> None:
    """By its heartbeats the other worker would notice only after minutes."""
    url = request.getfixturevalue(broker).url
    with cluster(url, 2, ROOMS_APP, "", "--heartbeat", "60") as (here, there):
        client = Client(there.url)
        assert here.post("/join", sids=client.sid, rooms="red")["changed"] == 1

        assert there.terminate() == -signal.SIGTERM

        assert here.post("/leave", sids=client.sid, rooms="red") == {
            "changed": 0,
            "unchanged": 0,
            "unknown": [client.sid],
        }
        client.disconnect()


SIGTERM = """
    import os, signal, threading
    from flask import Flask
    from flask_rooms import Rooms
    from flask_rooms.backends import MemoryBackend
    from flask_rooms.protocol.codec import Codec, decode_operation

    codec = Codec(["key"], "flask-rooms", 2**24)

    class Telling(MemoryBackend):
        slow = False
        sending = threading.Event()

        def publish(self, payload):
            for data in codec.decode(payload).operations:
                print(type(decode_operation(data)).__name__, flush=True)
            if self.slow:
                self.slow = False
                self.sending.set()
                while not leaving.is_set():
                    threading.Event().wait(0.01)
            super().publish(payload)

    backend = Telling("flask-rooms")
    app = Flask("application")
    rooms = Rooms(app, backend=backend, heartbeat_interval=60, secret_keys=["key"])
    cluster = app.extensions["rooms_parts"].cluster
    cluster.start()
    leaving = threading.Event()
    stop = cluster.stop

    def note_and_stop(*args):
        leaving.set()
        stop(*args)

    cluster.stop = note_and_stop
"""


@pytest.mark.parametrize("library", PATCH)
def test_sigterm_sends_what_waits_and_the_goodbye_last(library: str) -> None:
    """The signal comes while another thread is sending, and more has come to wait meanwhile."""
    needs(library)
    program = (
        PATCH[library]
        + dedent(SIGTERM)
        + dedent("""
            backend.slow = True
            rooms.socketio.start_background_task(rooms.sockets.broadcast, "red", 1)
            backend.sending.wait(20)
            rooms.sockets.broadcast("red", 2)
            rooms.sockets.broadcast("red", 3)
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(20)
        """)
    )

    assert run(program, returns=-signal.SIGTERM) == ["Emit", "Emit", "Emit", "Goodbye"]


def test_a_handler_that_the_application_has_for_sigterm_stays() -> None:
    program = """
        import signal

        def mine(*args):
            pass

        signal.signal(signal.SIGTERM, mine)
        from flask import Flask
        from flask_rooms import Rooms

        Rooms(Flask("application"))
        print(signal.getsignal(signal.SIGTERM) is mine)
    """

    assert run(program) == ["True"]


def test_handlers_that_call_each_other_all_run_and_the_process_ends() -> None:
    """An application's handler may have called ours, which then calls that one."""
    program = dedent(SIGTERM) + dedent("""
        ours = signal.getsignal(signal.SIGTERM)

        def theirs(*args):
            print("theirs", flush=True)
            ours(*args)

        signal.signal(signal.SIGTERM, theirs)
        rooms.start()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(20)
    """)

    lines = run(program, returns=-signal.SIGTERM)

    assert sorted(lines) == ["Goodbye", "theirs"]


def test_a_signal_handler_is_not_set_outside_of_the_main_thread() -> None:
    program = """
        import signal, threading
        from flask import Flask
        from flask_rooms import Rooms

        rooms = Rooms()
        def work():
            rooms.init_app(Flask("application"))
            rooms.start()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    """

    assert run(program) == ["True"]


def test_sigterm_ends_a_process_that_has_not_joined_at_once() -> None:
    program = """
        import os, signal
        from flask import Flask
        from flask_rooms import Rooms

        rooms = Rooms(Flask("application"))
        os.kill(os.getpid(), signal.SIGTERM)
        print("still here")
    """

    assert run(program, returns=-signal.SIGTERM) == []


def test_a_second_sigterm_does_not_wait_for_the_goodbye() -> None:
    program = dedent(SIGTERM) + dedent("""
        hanging = threading.Event()
        cluster.stop = lambda *_: hanging.wait(20)
        os.kill(os.getpid(), signal.SIGTERM)
        print("leaving", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("still here", flush=True)
    """)

    assert run(program, returns=-signal.SIGTERM) == ["leaving"]


FORK = """
    import os, threading
    from flask import Flask
    from flask_rooms import Rooms
    from flask_rooms.backends import MemoryBackend

    class Waiting(MemoryBackend):
        opening, may_open = threading.Event(), threading.Event()

        def open(self):
            self.opening.set()
            assert self.may_open.wait(20)
            super().open()

    app = Flask("application")
    backend = Waiting("flask-rooms")
    rooms = Rooms(app, backend=backend, secret_keys=["key"])
    parts = app.extensions["rooms_parts"]

    def in_child(work):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, str(work()).encode())
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status == 0, status
        return os.read(read, 1000).decode()
"""

# A fork beside threads is what Python warns of since 3.12, and what pre-fork servers do.
QUIET = ("-W", "ignore::DeprecationWarning")


def test_a_child_that_is_forked_while_the_parent_joins_can_join() -> None:
    program = dedent(FORK) + dedent("""
        joining = threading.Thread(target=parts.cluster.start)
        joining.start()
        assert backend.opening.wait(20)

        def work():
            backend.may_open = threading.Event()
            backend.may_open.set()
            return parts.cluster.name

        child = in_child(work)
        backend.may_open.set()
        joining.join()
        print(child != parts.cluster.name, len(child))
    """)

    assert run(program, *QUIET) == ["True", "16"]


def test_a_child_that_is_forked_while_the_parent_works_can_ask_whether_it_is_alone() -> None:
    program = dedent(FORK) + dedent("""
        backend.may_open.set()
        parts.cluster.start()
        with parts.cluster._shared.lock:  # which nothing releases in the child
            print(in_child(parts.cluster.confirm_alone))
    """)

    assert run(program, *QUIET) == ["True"]


def test_a_child_does_not_hold_the_sockets_of_its_parent() -> None:
    """They would be moved there, confirmed, and stay where they are."""
    program = dedent(FORK) + dedent("""
        backend.may_open.set()
        client = rooms.socketio.test_client(app)
        sid = rooms.socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/")
        rooms.sockets.join(sid, "red").result(20)

        def work():
            return rooms.sockets.leave(sid, "red").result(20)

        print(in_child(work).replace(sid, "sid"))
        print(rooms.sockets.members("red").value == {sid})
    """)

    lines = run(program, *QUIET)

    assert " ".join(lines) == "Outcome(changed=0, unchanged=0, unknown=('sid',)) True"


def test_a_child_that_serves_leaves_the_connections_of_its_parent_alone() -> None:
    """They have no socket in the child, which ended them: the TCP connection is the same."""
    program = dedent("""
        import os, socket, threading
        import socketio
        from flask import Flask
        from flask_rooms import Rooms
        from websocket import WebSocketConnectionClosedException, create_connection

        app = Flask("application")
        app.config.update(SECRET_KEY="key", ROOMS_CONNECT_TIMEOUT=5)
        rooms = Rooms(app)

        @rooms.socketio.on("number")
        def number():
            return 1

        def serve():
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            options = {"port": port, "allow_unsafe_werkzeug": True}
            threading.Thread(
                target=rooms.socketio.run, args=(app,), kwargs=options, daemon=True
            ).start()
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        return port

        client = socketio.Client(reconnection=False)
        client.connect(f"http://127.0.0.1:{serve()}", transports=["websocket"])
        child = os.fork()
        if child == 0:
            address = f"ws://127.0.0.1:{serve()}/socket.io/?EIO=4&transport=websocket"
            connection = create_connection(address, timeout=20)
            try:
                while connection.recv():
                    pass  # it ends without a socket, and by then those of the parent would have
            except WebSocketConnectionClosedException:
                pass
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("answered", client.call("number", timeout=20), flush=True)
        os._exit(0)
    """)

    assert "answered 1" in " ".join(run(program, *QUIET))


def test_what_has_not_ended_in_the_parent_holds_up_nothing_in_a_child() -> None:
    """Memberships that are to end, receivers of signals, disconnect handlers, who is present."""
    program = dedent(FORK) + dedent("""
        from flask_rooms import signals

        backend.may_open.set()
        parent, done = os.getpid(), threading.Event()
        told, handling = threading.Event(), threading.Event()

        def hang():
            if os.getpid() == parent:
                done.wait(20)

        rooms.user_loader(lambda auth: "user")
        rooms.presence("green")(lambda user: {})

        @signals.left.connect_via(app)
        def hear(app, **about):
            told.set()
            hang()

        @rooms.socketio.on("disconnect")
        def handle(*reason):
            handling.set()
            hang()

        def connect():
            client = rooms.socketio.test_client(app)
            return rooms.socketio.server.manager.sid_from_eio_sid(client.eio_sid, "/")

        member, other = connect(), connect()
        rooms.sockets.join(member, ["blue", "green"]).result(20)
        busy = [
            threading.Thread(target=rooms.sockets.leave, args=(member, "blue")),
            threading.Thread(target=rooms.sockets.disconnect, args=(other,)),
        ]
        for one in busy:
            one.start()
        assert told.wait(20) and handling.wait(20)
        assert rooms.sockets.presence("green").value

        def work():
            told.clear()
            rooms.sockets.join(connect(), "red", expires=1.1).result(20)
            assert told.wait(20)
            assert not rooms.sockets.presence("green").value
            return rooms.drain(5)

        rooms.sockets.join(member, "red", expires=1).result(20)
        print(in_child(work))
        done.set()
        for one in busy:
            one.join()
    """)

    assert run(program, *QUIET) == ["True"]


def test_a_child_that_is_forked_while_a_lock_is_held_is_not_stuck() -> None:
    program = dedent(FORK) + dedent("""
        backend.may_open.set()
        client = rooms.socketio.test_client(app)
        with parts.registry._lock:
            print(in_child(lambda: rooms.sockets.count("red").value))
    """)

    assert run(program, *QUIET) == ["0"]
