"""What runs for a socket has a context of its own, and leaves that of its caller alone."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import flask_socketio
import pytest
from cachelib.file import FileSystemCache
from flask import Flask, g, has_app_context, has_request_context, request, session
from flask.sessions import SecureCookieSessionInterface
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_session import Session
from flask_socketio import SocketIO
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, Integer, String, create_engine, func, select
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker

from flask_rooms import Outcome, Refused, Rooms, signals, sockets
from tests.support.apps import (
    HEARTBEAT,
    PATIENCE,
    Client,
    LocalCluster,
    Worker,
    eventually,
    make_app,
)

HERS = "the caller's"
OWN = "its own"


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


# -- whatever runs --------------------------------------------------------------------------------


class Witness:
    """
    An application's functions of every kind; each says what it finds in `g`, and leaves something.

    Args:
        app: The application, which has Rooms.
    """

    def __init__(self, app: Flask) -> None:
        rooms: Rooms = app.extensions["rooms"]
        self.seen: queue.Queue[tuple[str, Any]] = queue.Queue()
        #: Called by each function.
        self.also: Callable[[], object] = lambda: None
        rooms.guard("team:<name>")(self.function("guard"))
        rooms.presence("tracked:<name>")(self.function("presence", {}))
        rooms.before_connect(self.function("before_connect"))
        rooms.user_loader(self.function("user_loader", None))
        rooms.after_disconnect(self.function("after_disconnect"))
        for event in ("connect", "disconnect", "event"):
            rooms.socketio.on(event)(self.function(event))
        for signal in (signals.joined, signals.left):
            receiver = self.function(signal.name)
            signal.connect(receiver, app)
            setattr(self, signal.name, receiver)  # they are held weakly

    def function(self, name: str, result: Any = True) -> Callable[..., Any]:
        """Return a function of the application."""

        def look(*_: Any, **__: Any) -> Any:
            self.seen.put((name, g.get("whose")))
            g.whose = OWN
            self.also()
            return result

        return look

    def saw(self, *names: str) -> dict[str, Any]:
        """Return what those functions have found since the last call, once all of them have run."""
        found: dict[str, Any] = {}
        while not found.keys() >= set(names):
            name, whose = self.seen.get(timeout=PATIENCE)
            found[name] = found.get(name) or whose
        return found


#: What a caller does, and which functions that runs. The last argument is a socket in "team:old".
Deed = Callable[[Rooms, Worker, Client], object]

DEEDS: dict[str, tuple[Deed, tuple[str, ...]]] = {
    "join": (
        lambda rooms, there, client: sockets.join(client.sid, "team:new").result(PATIENCE),
        ("guard", "joined"),
    ),
    "tracked join": (
        lambda rooms, there, client: sockets.join(client.sid, "tracked:new").result(PATIENCE),
        ("presence", "joined"),
    ),
    "leave": (
        lambda rooms, there, client: sockets.leave(client.sid, "team:old").result(PATIENCE),
        ("left",),
    ),
    "whole room": (
        lambda rooms, there, client: sockets.add_room_members_to_rooms(
            "team:old", "team:new"
        ).result(PATIENCE),
        ("guard", "joined"),
    ),
    "recheck": (
        lambda rooms, there, client: rooms.recheck("team:old").result(PATIENCE),
        ("guard",),
    ),
    "disconnect": (
        lambda rooms, there, client: sockets.disconnect(client.sid).result(PATIENCE),
        ("disconnect", "left", "after_disconnect"),
    ),
    "Flask-SocketIO's disconnect": (
        lambda rooms, there, client: flask_socketio.disconnect(client.sid, "/"),
        ("disconnect", "left", "after_disconnect"),
    ),
    "the client leaves": (
        lambda rooms, there, client: client.disconnect(),
        ("disconnect", "left", "after_disconnect"),
    ),
    "a client comes": (
        lambda rooms, there, client: there.connect(),
        ("before_connect", "user_loader", "connect"),
    ),
    "the client speaks": (
        lambda rooms, there, client: client.emit("event"),
        ("event",),
    ),
}


@contextmanager
def a_request(app: Flask) -> Iterator[None]:
    """Be in a request."""
    with app.test_request_context():
        yield


@contextmanager
def a_script(app: Flask) -> Iterator[None]:
    """Be in the context of an application alone."""
    with app.app_context():
        yield


@contextmanager
def a_test_client(app: Flask) -> Iterator[None]:
    """Be where Flask's test client keeps the context of its last request."""
    with app.test_client() as browser:
        browser.get("/")
        yield


callers = pytest.mark.parametrize(
    "context", [a_request, a_script, a_test_client], ids=lambda one: str(one.__name__)
)
workers = pytest.mark.parametrize("where", ["same worker", "another worker"])
deeds = pytest.mark.parametrize("deed", DEEDS)


class Scene:
    """A caller's application, and the worker whose functions are asked, with a socket."""

    def __init__(self, cluster: LocalCluster, where: str, app: Flask) -> None:
        self.here = self.there = self._worker(cluster, app)
        if where == "another worker":
            self.there = self._worker(cluster, make_app("there"))
        self.witness = Witness(self.there.app)
        self.client = self.there.connect()
        self.there.sockets.join(self.client.sid, "team:old").result(PATIENCE)
        self.witness.saw("connect", "guard", "joined")

    def _worker(self, cluster: LocalCluster, app: Flask) -> Worker:
        rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
        return cluster.adopt(app, rooms)

    def do(self, deed: str) -> dict[str, Any]:
        """Do something in the context that there is; return what the functions have found."""
        act, names = DEEDS[deed]
        act(self.here.rooms, self.there, self.client)
        return self.witness.saw(*names)


@deeds
@callers
@workers
def test_a_context_for_a_socket_and_that_of_its_caller_share_no_g(
    cluster: LocalCluster,
    where: str,
    context: Callable[[Flask], AbstractContextManager[None]],
    deed: str,
) -> None:
    """Who is logged in is there, with Flask-Login, and much else that is about the caller."""
    app = make_app()
    scene = Scene(cluster, where, app)

    with context(app):
        g.whose = HERS
        found = scene.do(deed)

        assert g.whose == HERS
    assert set(found.values()) == {None}


@deeds
@workers
def test_the_callers_context_is_torn_down_once_and_at_its_own_end(
    cluster: LocalCluster, where: str, deed: str
) -> None:
    """What functions are run in has an end of its own."""
    app, torn = make_app(), []
    scene = Scene(cluster, where, app)
    app.teardown_appcontext(lambda error: torn.append(g.get("whose")))
    app.teardown_request(lambda error: torn.append(("request", g.get("whose"))))
    if where == "another worker":
        scene.there.app.teardown_appcontext(lambda error: torn.append(g.get("whose")))

    with app.test_request_context():
        g.whose = HERS
        scene.do(deed)
        assert HERS not in torn
        assert ("request", HERS) not in torn
        eventually(scene.there, lambda: OWN in torn)
        torn.clear()

    assert [whose for whose in torn if HERS in (whose or "")] == [("request", HERS), HERS]


def test_what_a_receiver_leaves_in_g_is_not_there_for_the_next_change(
    cluster: LocalCluster,
) -> None:
    """The next one may be about another socket, though both are told in one go."""
    worker = cluster.worker()
    seen: list[Any] = []

    @signals.left.connect_via(worker.app)
    def left(app: Flask, sid: str, **about: Any) -> None:
        seen.append((sid, g.get("whose")))
        g.whose = sid

    clients = [worker.connect() for _ in range(3)]
    sids = [client.sid for client in clients]
    worker.sockets.join(sids, "red").result(PATIENCE)
    worker.sockets.remove_room_members_from_rooms("red", "red").result(PATIENCE)

    assert sorted(seen) == [(sid, None) for sid in sorted(sids)]


def test_a_teardown_that_fails_after_a_signal_harms_nobody(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The change has happened, and the receivers of the next ones are called."""
    worker = cluster.worker()
    seen: list[str] = []

    @signals.joined.connect_via(worker.app)
    def joined(app: Flask, room: str, **about: Any) -> None:
        seen.append(room)

    client = worker.connect()
    sockets_ = worker.sockets

    @worker.app.teardown_appcontext
    def fail(error: BaseException | None) -> None:
        raise ZeroDivisionError

    assert sockets_.join(client.sid, ["red", "blue"]).result(PATIENCE) == Outcome(2)

    assert seen == ["red", "blue"]
    assert "ZeroDivisionError" in caplog.text


# -- a context that cannot be entered -------------------------------------------------------------


class Closed(SecureCookieSessionInterface):
    """Sessions whose store is down."""

    def open_session(self, *_: Any) -> Any:
        raise ConnectionError("The store is down.")


def connect_by_a_hook(worker: Worker) -> None:
    worker.rooms.before_connect(lambda auth: True)
    worker.connect()


def connect_by_a_loader(worker: Worker) -> None:
    worker.rooms.user_loader(lambda auth: None)
    worker.connect()


def connect_by_a_handler(worker: Worker) -> None:
    worker.socketio.on("connect")(lambda: None)
    with suppress(ConnectionError):
        worker.connect()


@pytest.mark.oldest_dependencies
@pytest.mark.parametrize("connect", [connect_by_a_hook, connect_by_a_loader, connect_by_a_handler])
def test_a_session_that_cannot_be_opened_leaves_no_context_in_the_thread(
    cluster: LocalCluster, connect: Callable[[Worker], None]
) -> None:
    """Else each request that the server handles in it afterwards would have the same `g`."""
    worker = cluster.worker()
    worker.app.session_interface = Closed()

    connect(worker)

    assert not has_app_context()
    assert not has_request_context()


@pytest.mark.parametrize("connect", [connect_by_a_hook, connect_by_a_loader])
def test_what_opening_a_session_has_begun_is_torn_down_where_it_fails(
    cluster: LocalCluster, connect: Callable[[Worker], None]
) -> None:
    """As over HTTP: a connection of a database may be checked out by then."""
    worker = cluster.worker()
    torn: list[Any] = []
    worker.app.session_interface = Closed()
    worker.app.teardown_request(lambda error: torn.append(("request", type(error))))
    worker.app.teardown_appcontext(lambda error: torn.append(type(error)))

    connect(worker)

    assert torn == [("request", ConnectionError), ConnectionError]


def test_so_is_what_a_guard_would_have_needed(cluster: LocalCluster) -> None:
    worker = cluster.worker()
    torn: list[Any] = []
    worker.rooms.guard("<name>")(lambda name: True)
    client = worker.connect()
    worker.app.session_interface = Closed()
    worker.app.teardown_appcontext(lambda error: torn.append(type(error)))

    with pytest.raises(Refused):
        worker.sockets.join(client.sid, "red").result(PATIENCE)

    assert ConnectionError in torn


# -- the session of a database --------------------------------------------------------------------

Base: Any = declarative_base()


class Person(Base):
    """Somebody."""

    __tablename__ = "people"

    id = Column(Integer, primary_key=True)
    name = Column(String)


class Database:
    """An application's database: its session, and the class of rows."""

    def __init__(self, session: Any, row: Any) -> None:
        self.session = session
        self.row = row

    def count(self) -> int:
        """Return how many rows there are, as a function of the application may ask."""
        return int(self.session.scalar(select(func.count()).select_from(self.row)))


@pytest.fixture
def app() -> Flask:
    return make_app()


@pytest.fixture(params=["scoped session", "Flask-SQLAlchemy"])
def database(request: pytest.FixtureRequest, app: Flask, tmp_path: Path) -> Iterator[Database]:
    """The two ways in which Flask's documentation and its readers have a session."""
    url = f"sqlite:///{tmp_path}/people.db"
    if request.param == "scoped session":
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        own = scoped_session(sessionmaker(bind=engine))
        app.teardown_appcontext(lambda error: own.remove())
        yield Database(own, Person)
        engine.dispose()
        return
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    db = SQLAlchemy(app)

    class Human(db.Model):  # type: ignore[name-defined]  # made by Flask-SQLAlchemy
        id = Column(Integer, primary_key=True)
        name = Column(String)

    with app.app_context():
        db.create_all()
    yield Database(db.session, Human)
    with app.app_context():
        db.engine.dispose()


@deeds
def test_a_row_that_the_caller_has_not_committed_is_not_lost(
    cluster: LocalCluster, app: Flask, database: Database, deed: str
) -> None:
    """A teardown removes the session of whoever has the context, with all that is in it."""
    scene = Scene(cluster, "same worker", app)
    scene.witness.also = database.count

    with app.test_request_context():
        ann = database.row(name="Ann")
        database.session.add(ann)
        scene.do(deed)

        assert ann in database.session
        database.session.commit()
        assert ann.name == "Ann"
        assert database.count() == 1


@deeds
def test_what_a_function_has_read_is_given_back(
    cluster: LocalCluster, app: Flask, database: Database, deed: str
) -> None:
    """Its own teardown removes its own session, so that no connection stays checked out."""
    scene = Scene(cluster, "same worker", app)
    scene.witness.also = database.count
    pool = database.session.get_bind().pool if database.row is Person else None
    with app.app_context():
        pool = pool or database.session.get_bind().pool
        database.session.remove()

        scene.do(deed)

        eventually(scene.there, lambda: pool.checkedout() == 0)


# -- who is logged in -----------------------------------------------------------------------------


class User(UserMixin):
    """Somebody who has logged in."""

    def __init__(self, id: str) -> None:
        self.id = id


class Club:
    """
    Two workers of an application with Flask-Login; the second has the sockets.

    Attributes:
        said: Who was asked about, by the guard and at the end of a socket.
        refused: Whom the guard does not let in, beside those who are not logged in.
    """

    def __init__(self, cluster: LocalCluster, where: str, **options: Any) -> None:
        self.said: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.there = self._worker(cluster, **options)
        self.here = self.there if where == "same worker" else self._worker(cluster, **options)

    def _worker(self, cluster: LocalCluster, **options: Any) -> Worker:
        app = make_app()
        app.config.update(options.pop("config", {}))
        if "SESSION_TYPE" in app.config:
            Session(app)
        LoginManager(app).user_loader(User)
        rooms = Rooms(
            app, SocketIO(**options), backend_url=cluster.hub, heartbeat_interval=HEARTBEAT
        )
        rooms.guard("team")(self.guard)
        rooms.after_disconnect(lambda reason, rooms: self.say("after_disconnect"))
        rooms.socketio.on("disconnect")(lambda reason: self.say("disconnect"))
        self._add_routes(app, rooms)
        return cluster.adopt(app, rooms)

    def guard(self) -> bool:
        """Let in who is logged in."""
        return bool(current_user.is_authenticated)

    def say(self, where: str) -> None:
        """Tell who it is about."""
        self.said.put((where, current_user.get_id()))

    def _add_routes(self, app: Flask, rooms: Rooms) -> None:
        @app.post("/login/<name>")
        def login(name: str) -> str:
            login_user(User(name))
            return ""

        @app.post("/logout")
        def logout() -> str:
            logout_user()
            session.clear()
            return ""

        @app.post("/invite/<sid>/<when>")
        def invite(sid: str, when: str) -> dict[str, Any]:
            before = current_user.get_id() if when == "asked before" else None
            try:
                changed = sockets.join(sid, "team").result(PATIENCE).changed
            except Refused:
                changed = -1
            return {"changed": changed, "before": before, "caller": current_user.get_id()}

        @app.post("/recheck")
        def recheck() -> dict[str, Any]:
            caller = current_user.get_id()
            return {"changed": rooms.recheck("team").result(PATIENCE).changed, "caller": caller}

        @app.post("/kick/<sid>/<way>")
        def kick(sid: str, way: str) -> dict[str, Any]:
            before = current_user.get_id()
            if way == "flask_socketio":
                flask_socketio.disconnect(sid, "/")
            else:
                sockets.disconnect(sid).result(PATIENCE)
            return {"before": before, "caller": current_user.get_id()}

    def browser(self, *names: str, worker: Worker | None = None) -> Any:
        """Return a browser, logged in as somebody or not, at the caller's worker."""
        browser = (worker or self.here).app.test_client()
        for name in names:
            browser.post(f"/login/{name}")
        return browser

    def connect(self, *names: str) -> Client:
        """Return a socket of somebody who is logged in, or not."""
        return self.there.connect(flask_test_client=self.browser(*names, worker=self.there))


@workers
@pytest.mark.parametrize("when", ["asked before", "not asked before"])
def test_a_guard_asks_about_the_user_of_the_socket_and_not_of_the_caller(
    cluster: LocalCluster, where: str, when: str
) -> None:
    """An admin's call lets nobody in who may not, and makes nobody of the caller an admin."""
    club = Club(cluster, where)
    admin, nobody = club.browser("admin"), club.browser()
    hers, stranger = club.connect("admin"), club.connect()
    asked = when == "asked before"

    invited = admin.post(f"/invite/{stranger.sid}/{when}").json
    assert invited == {"changed": -1, "before": "admin" if asked else None, "caller": "admin"}
    assert club.there.rooms_of(stranger) == set()
    invited = nobody.post(f"/invite/{hers.sid}/{when}").json
    assert invited == {"changed": 1, "before": None, "caller": None}
    assert club.there.rooms_of(hers) == {"team"}


@workers
def test_a_recheck_asks_about_each_member(cluster: LocalCluster, where: str) -> None:
    """Called by somebody who may be in the room, or by nobody at all."""
    club = Club(cluster, where)
    ann, bob = club.connect("ann"), club.connect("bob")
    club.there.sockets.join([ann.sid, bob.sid], "team").result(PATIENCE)
    assert bob.ask("post", "/logout")["statusCode"] == 200

    assert club.browser("admin").post("/recheck").json == {"changed": 1, "caller": "admin"}
    assert club.browser().post("/recheck").json == {"changed": 0, "caller": None}

    assert club.there.rooms_of(ann) == {"team"}
    assert club.there.rooms_of(bob) == set()


@workers
@pytest.mark.parametrize("way", ["sockets", "flask_socketio"])
@pytest.mark.parametrize("name", ["bob", None])
def test_the_end_of_a_socket_is_about_its_user(
    cluster: LocalCluster, where: str, way: str, name: str | None
) -> None:
    """Whoever disconnects it stays who she is, and is not taken for the one who has gone."""
    club = Club(cluster, where)
    client = club.connect(*filter(None, [name]))

    kicked = club.browser("admin").post(f"/kick/{client.sid}/{way}").json

    assert kicked == {"before": "admin", "caller": "admin"}
    said = [club.said.get(timeout=PATIENCE) for _ in range(2)]
    assert said == [("disconnect", name), ("after_disconnect", name)]


# -- the session ----------------------------------------------------------------------------------


@workers
@pytest.mark.parametrize("manage_session", [True, False])
def test_after_a_logout_over_http_a_guard_sees_nobody(
    cluster: LocalCluster, where: str, manage_session: bool, tmp_path: Path
) -> None:
    """Sessions on the server are one for both, whoever manages those of event handlers."""
    config = {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": FileSystemCache(str(tmp_path))}
    club = Club(cluster, where, config=config, manage_session=manage_session)
    club.there.socketio.on("event")(lambda: session.get("_user_id"))
    browser = club.browser("ann", worker=club.there)
    client = club.there.connect(flask_test_client=browser)
    assert client.emit("event") == "ann"  # a copy may be kept from here on
    joined = club.here.sockets.join(client.sid, "team")
    assert joined.result(PATIENCE) == Outcome(1)

    browser.post("/logout")

    assert club.here.rooms.recheck("team").result(PATIENCE) == Outcome(1)
    with pytest.raises(Refused):
        club.here.sockets.join(client.sid, "team").result(PATIENCE)
    client.disconnect()
    said = dict(club.said.get(timeout=PATIENCE) for _ in range(2))
    assert said["after_disconnect"] is None


@workers
@pytest.mark.parametrize("manage_session", [True, False])
def test_a_guard_sees_a_login_over_the_socket(
    cluster: LocalCluster, where: str, manage_session: bool
) -> None:
    """It is what the next request of the socket would see, and not what a handler has."""
    club = Club(cluster, where, manage_session=manage_session)
    client = club.connect()
    with pytest.raises(Refused):
        club.here.sockets.join(client.sid, "team").result(PATIENCE)

    client.ask("post", "/login/ann")
    assert club.here.sockets.join(client.sid, "team").result(PATIENCE) == Outcome(1)
    client.ask("post", "/logout")

    assert club.here.rooms.recheck("team").result(PATIENCE) == Outcome(1)


def test_a_socket_may_join_by_its_own_request_as_who_it_is(cluster: LocalCluster) -> None:
    """The guard is asked in a context of its own there, too, and about the same socket."""
    club = Club(cluster, "same worker")
    asked: list[Any] = []

    def guard(name: str) -> bool:
        asked.append((request.sid, current_user.get_id()))  # type: ignore[attr-defined]
        return True

    club.there.rooms.guard("of/<name>")(guard)
    club.there.app.post("/join")(lambda: [sockets.join(request, "of/ann").result(0).changed])
    client = club.connect("ann")

    assert client.ask("post", "/join")["body"] == [1]
    assert asked == [(client.sid, "ann")]


@workers
def test_a_guard_may_call_what_loads_the_user_before_each_request(
    cluster: LocalCluster, where: str
) -> None:
    """As `load_logged_in_user()` of Flask's tutorial, which sets `g.user`."""
    club = Club(cluster, where)

    def load_logged_in_user() -> None:
        g.user = session.get("_user_id")  # where Flask-Login has it

    def guard() -> bool:
        load_logged_in_user()
        return bool(g.user == "ann")

    club.there.app.before_request(load_logged_in_user)
    club.there.rooms.guard("anns")(guard)
    ann, bob = club.connect("ann"), club.connect("bob")

    with club.here.app.test_request_context():
        g.user = "ann"
        assert sockets.join(ann.sid, "anns").result(PATIENCE) == Outcome(1)
        with pytest.raises(Refused):
            sockets.join(bob.sid, "anns").result(PATIENCE)
