"""Guards: the owner decides who may join, by every way in, and who may stay."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask, abort, redirect, request, session
from flask_socketio import join_room
from werkzeug.exceptions import Unauthorized

from flask_rooms import ConfigurationError, InvalidRoom, Outcome, Refused, Rooms, sockets
from flask_rooms.membership.guarded import MAX_ROUNDS
from flask_rooms.membership.names import ROOM_LENGTH
from flask_rooms.protocol.messages import Change
from flask_rooms.server.tasks import MAX_NESTED
from tests.support.apps import HEARTBEAT, PATIENCE, Client, LocalCluster, Worker, make_app

pytestmark = pytest.mark.every_python


class Teams:
    """The teams of each socket, by its ID; read by the guard."""

    def __init__(self) -> None:
        self.of: dict[str, set[int]] = {}
        self.asked: list[tuple[str, int]] = []
        self.slow = False
        self.asking, self.may_answer = threading.Event(), threading.Event()

    def guard(self, id: int) -> bool:
        sid = request.sid  # type: ignore[attr-defined]  # set in the context of a socket
        self.asked.append((sid, id))
        allowed = id in self.of.get(sid, ())
        if self.slow:
            self.asking.set()
            assert self.may_answer.wait(PATIENCE)
        return allowed

    def put(self, client: Client, *ids: int) -> None:
        self.of[client.sid] = set(ids)


@pytest.fixture(name="cluster")
def _cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


@pytest.fixture(name="teams")
def _teams() -> Teams:
    return Teams()


@pytest.fixture(name="there")
def _there(cluster: LocalCluster, teams: Teams) -> Worker:
    """The worker with the sockets and the guard."""
    app = make_app()

    @app.put("/join/<room>")
    def join(room: str) -> tuple[str, int]:
        try:
            sockets.join(request, room).result(0)
        except Refused:
            return "refused", 403
        return "done", 200

    rooms = Rooms(app, backend_url=cluster.hub, heartbeat_interval=HEARTBEAT)
    rooms.guard("team:<int:id>")(teams.guard)
    rooms.user_loader(lambda auth: auth)
    rooms.socketio.on_event("flask-socketio", join_room)
    return cluster.adopt(app, rooms)


@pytest.fixture(name="here")
def _here(cluster: LocalCluster) -> Worker:
    """A worker without guards."""
    return cluster.worker()


@pytest.mark.parametrize("caller", ["here", "there"])
def test_sockets_join_if_the_guard_allows_it_and_others_do_not(
    caller: str, teams: Teams, there: Worker, request: pytest.FixtureRequest
) -> None:
    worker: Worker = request.getfixturevalue(caller)
    ann, bob = there.connect(), there.connect()
    teams.put(ann, 7)

    assert worker.sockets.join(ann.sid, "team:7").result(PATIENCE) == Outcome(1)
    for room in ("team:8", ["team:7", "team:8"], ["red", "team:9"]):
        with pytest.raises(Refused, match=ann.sid) as error:
            worker.sockets.join(ann.sid, room).result(PATIENCE)
        rooms = (room,) if isinstance(room, str) else tuple(room)
        assert error.value.rooms == rooms
        assert f"refused {ann.sid} in {', '.join(map(repr, rooms))}:" in str(error.value)
    with pytest.raises(Refused) as caught:
        worker.sockets.join([ann.sid, bob.sid], "team:7").result(PATIENCE)

    assert caught.value.sids == (bob.sid,)
    assert there.rooms_of(ann) == {"team:7"}
    assert there.rooms_of(bob) == set()


def test_rooms_that_no_rule_matches_are_open(there: Worker, here: Worker, teams: Teams) -> None:
    ann = there.connect()

    rooms = ["team:x", "team:", "team:7/", "/team:7", "teams", "team:7?", "Team:7"]
    assert here.sockets.join(ann.sid, rooms).result(PATIENCE) == Outcome(len(rooms))
    assert teams.asked == []


def test_a_name_may_begin_with_a_slash(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)
    rooms.guard("/admin/<path:name>")(lambda name: False)

    with pytest.raises(Refused):
        worker.sockets.join(worker.connect().sid, "/admin/a//b").result(PATIENCE)


@pytest.mark.parametrize("room", ["team:7", "team:07", "team:\N{ARABIC-INDIC DIGIT SEVEN}"])
def test_no_other_spelling_gets_around_a_rule(there: Worker, room: str) -> None:
    with pytest.raises(Refused):
        there.sockets.join(there.connect().sid, room).result(PATIENCE)


def test_every_way_in_is_guarded(
    cluster: LocalCluster, there: Worker, here: Worker, teams: Teams
) -> None:
    ann = there.connect(auth="ann")
    here.sockets.join(ann.sid, "red").result(PATIENCE)
    failing = there.socketio.default_exception_handler
    errors: list[Any] = []
    there.socketio.default_exception_handler = errors.append

    assert ann.ask("put", "/join/team:7")["statusCode"] == 403
    ann.emit("flask-socketio", "team:7")
    with pytest.raises(Refused):
        here.sockets.add_room_members_to_rooms("red", "team:7").result(PATIENCE)
    with pytest.raises(Refused):
        here.sockets.join(user="ann", room="team:7").result(PATIENCE)
    with pytest.raises(Refused):
        here.cluster.calls.change(Change("join", "/", (ann.sid,), ("team:7",))).result(PATIENCE)

    there.socketio.default_exception_handler = failing
    assert [type(error) for error in errors] == [Refused]
    assert there.rooms_of(ann) == {"red"}


def test_leaving_is_not_guarded(there: Worker, here: Worker, teams: Teams) -> None:
    ann = there.connect()
    teams.put(ann, 7)
    here.sockets.join(ann.sid, "team:7").result(PATIENCE)
    teams.put(ann)

    assert here.sockets.leave(ann.sid, "team:7").result(PATIENCE) == Outcome(1)


def test_a_guard_that_raises_refuses(
    cluster: LocalCluster, here: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    there = cluster.adopt(app, rooms)
    rooms.socketio.default_exception_handler = lambda error: "an answer that looks like a yes"

    @rooms.guard("<name>")
    def fail(name: str) -> bool:
        raise ZeroDivisionError

    with pytest.raises(Refused):
        here.sockets.join(there.connect().sid, "red").result(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_a_guard_that_aborts_refuses_and_has_not_failed(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """As `roles_required` of Flask-Security does for views."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)
    rooms.guard("<name>")(lambda name: abort(403))

    with pytest.raises(Refused):
        worker.sockets.join(worker.connect().sid, "red").result(PATIENCE)
    assert caplog.records == []


def test_an_async_guard_is_not_taken_for_a_yes(cluster: LocalCluster) -> None:
    """Its coroutine would be one. Without asgiref, Flask cannot run it, and that refuses, too."""
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)

    @rooms.guard("team:<name>")
    async def guard(name: str) -> bool:
        return False

    with pytest.raises(Refused):
        worker.sockets.join(worker.connect().sid, "team:7").result(PATIENCE)


def test_a_generator_is_not_taken_for_a_yes(cluster: LocalCluster) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)

    @rooms.guard("team:<name>")
    def guard(name: str) -> Iterator[bool]:
        yield False

    with pytest.raises(Refused):
        worker.sockets.join(worker.connect().sid, "team:7").result(PATIENCE)


RESPONSES = pytest.mark.parametrize(
    "response",
    [redirect("/login"), ("Forbidden", 403), ({"message": "no"}, 403, {}), Unauthorized()],
    ids=str,
)


@RESPONSES
def test_a_response_is_not_taken_for_a_yes(
    cluster: LocalCluster, response: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Decorators for views, such as login_required, refuse with one."""
    worker = cluster.worker()
    worker.rooms.guard("team:<name>")(lambda name: response)

    with pytest.raises(Refused):
        worker.sockets.join(worker.connect().sid, "team:7").result(PATIENCE)
    assert f"not a {type(response).__name__}" in caplog.text


class Row(NamedTuple):
    """As SQLAlchemy's rows are tuples, too."""

    id: int


def test_whatever_else_is_true_is_a_yes(cluster: LocalCluster) -> None:
    """A user, the row of a database, or a dictionary; a guard answers a question."""
    worker = cluster.worker()
    answers = iter([Row(7), {"id": 7}, "ann", object()])
    worker.rooms.guard("<app>:<int:args>")(lambda app, args: next(answers))
    client = worker.connect()

    for room in ("team:1", "team:2", "team:3", "team:4"):
        assert worker.sockets.join(client.sid, room).result(PATIENCE) == Outcome(1)


def test_a_guard_that_asks_itself_without_end_refuses(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    rooms = Rooms(app, backend_url=cluster.hub)
    worker = cluster.adopt(app, rooms)
    sid, asked = worker.connect().sid, []

    @rooms.guard("team:<name>")
    def guard(name: str) -> bool:
        asked.append(name)
        return rooms.sockets.join(sid, f"team:{name}").result(PATIENCE).changed > 0

    with pytest.raises(Refused):
        worker.sockets.join(sid, "team:7").result(PATIENCE)
    assert len(asked) == MAX_NESTED
    assert "RecursionError" in caplog.text
    # None of its joins is still waiting: it would count as a member that has to go.
    left = worker.sockets.remove_room_members_from_rooms("team:7", "lounge")
    assert left.result(PATIENCE) == Outcome()


def test_a_guard_sees_the_session_of_the_socket(cluster: LocalCluster, here: Worker) -> None:
    app = make_app()

    @app.post("/login/<name>")
    def login(name: str) -> str:
        session["user"] = name
        return ""

    rooms = Rooms(app, backend_url=cluster.hub)
    there = cluster.adopt(app, rooms)
    rooms.guard("of/<name>")(lambda name: session.get("user") == name)
    browser = app.test_client()
    browser.post("/login/ann")
    client = there.connect(flask_test_client=browser)

    assert here.sockets.join(client.sid, "of/ann").result(PATIENCE) == Outcome(1)
    with pytest.raises(Refused):
        here.sockets.join(client.sid, "of/bob").result(PATIENCE)


# -- the guard of everything else -----------------------------------------------------------------

#: Names of which a rule with a converter for one part of a path knows nothing.
STRANGE = [
    *[
        "R&D/Ops",
        "ops",
        "a\nb",
        "team:7\n",
        "team:7/",
        "/",
        "//",
        "team:7/x",
        "team:7?x",
        "team:7#x",
    ],
    *[
        "*",
        "team:*",
        "<name>",
        "t\u00e9am",
        "team:7\u2028",
        "..",
        ".",
        " team:7",
        "team:7 ",
        "1",
        "0",
    ],
    *["%2F", "team%3A7", "\t", "a\rb", "x" * ROOM_LENGTH],
]


@pytest.fixture(name="closed")
def _closed(there: Worker) -> list[str]:
    """What the guard of everything else was asked about; it lets nobody in."""
    asked: list[str] = []
    there.rooms.guard("*")(lambda room: asked.append(room))
    return asked


@pytest.mark.parametrize("room", [room for room in STRANGE if room.strip()])
@pytest.mark.parametrize("caller", ["here", "there"])
def test_the_guard_of_everything_else_decides_about_what_no_rule_matches(
    caller: str, room: str, there: Worker, closed: list[str], request: pytest.FixtureRequest
) -> None:
    """Whatever characters a name has, and whoever asks."""
    worker: Worker = request.getfixturevalue(caller)
    ann = there.connect()

    with pytest.raises(Refused, match=ann.sid):
        worker.sockets.join(ann.sid, room).result(PATIENCE)

    assert closed == [room]
    assert there.rooms_of(ann) == set()


def test_it_is_not_asked_about_what_a_rule_matches(
    there: Worker, teams: Teams, closed: list[str]
) -> None:
    """Also if it was registered before: it is the last one in any case."""
    ann = there.connect()
    teams.put(ann, 7)
    there.rooms.guard("open:<name>")(lambda name: True)

    assert there.sockets.join(ann.sid, ["team:7", "open:x"]).result(PATIENCE) == Outcome(2)
    with pytest.raises(Refused):
        there.sockets.join(ann.sid, ["team:7", "team:x"]).result(PATIENCE)

    assert closed == ["team:x"]
    assert teams.asked


@pytest.mark.parametrize("number", [1, 0, -1])
def test_a_room_with_a_number_for_a_name_is_guarded_as_its_text(
    there: Worker, closed: list[str], number: int
) -> None:
    """Flask-SocketIO knows such rooms, which are other ones than those of the texts."""
    there.socketio.default_exception_handler = lambda error: type(error).__name__
    ann = there.connect()

    assert ann.emit("flask-socketio", number) == "Refused"
    assert ann.emit("flask-socketio", str(number)) == "Refused"

    assert closed == [str(number)] * 2
    assert there.rooms_of(ann) == set()


def test_a_rule_for_a_number_guards_both_rooms(there: Worker, teams: Teams) -> None:
    """A guard is told the value of the rule."""
    asked: list[int] = []
    there.rooms.guard("<int:id>")(lambda id: asked.append(id))
    there.socketio.default_exception_handler = lambda error: type(error).__name__
    ann = there.connect()

    for room in (1, "1", "01"):
        assert ann.emit("flask-socketio", room) == "Refused"

    assert asked == [1, 1, 1]


def test_a_recheck_asks_the_guard_of_everything_else(there: Worker) -> None:
    allowed = ["R&D/Ops"]
    there.rooms.guard("*")(lambda room: room in allowed)
    ann = there.connect()
    there.sockets.join(ann.sid, "R&D/Ops").result(PATIENCE)
    allowed.clear()

    assert there.rooms.recheck("R&D/Ops").result(PATIENCE) == Outcome(1)

    assert there.rooms_of(ann) == set()


def test_every_socket_is_in_the_room_of_its_id_nevertheless(
    there: Worker, closed: list[str]
) -> None:
    """It is not joined, so no guard is asked."""
    ann = there.connect()

    there.sockets.broadcast(ann.sid, "hello")

    assert ann.received() == [("message", "hello")]
    assert closed == []


# -- while a guard is asked -----------------------------------------------------------------------


@pytest.fixture(name="joining")
def _joining(there: Worker, here: Worker, teams: Teams) -> tuple[Client, Any]:
    """A socket whose join waits for the guard, and the future of that join."""
    ann = there.connect(auth="ann")
    teams.put(ann, 7)
    here.sockets.leave(ann.sid, "red").result(PATIENCE)
    teams.slow = True
    join = here.sockets.join(ann.sid, "team:7")
    assert teams.asking.wait(PATIENCE)
    return ann, join


@pytest.mark.parametrize(
    "undo",
    [
        lambda sockets, sid: sockets.leave(sid, "team:7"),
        lambda sockets, sid: sockets.leave(user="ann", room="team:7"),
        lambda sockets, sid: sockets.leave_all(sid),
        lambda sockets, sid: sockets.leave_all("team:7"),
        lambda sockets, sid: sockets.remove_room_members_from_rooms("team:7", "team:7"),
    ],
)
def test_what_comes_after_a_join_undoes_it_though_the_guard_is_slow(
    joining: Any, there: Worker, here: Worker, teams: Teams, undo: Any
) -> None:
    ann, join = joining

    undone = undo(here.sockets, ann.sid)
    undone.result(PATIENCE)
    teams.may_answer.set()

    assert join.result(PATIENCE) == Outcome()  # nothing has changed, and nothing was so already
    assert there.rooms_of(ann) == set()


def test_a_join_that_comes_again_stands(
    joining: Any, there: Worker, here: Worker, teams: Teams
) -> None:
    ann, join = joining

    here.sockets.leave(ann.sid, "team:7").result(PATIENCE)
    again = here.sockets.join(ann.sid, "team:7")
    teams.may_answer.set()

    assert join.result(PATIENCE) == Outcome()
    assert again.result(PATIENCE) == Outcome(1)
    assert there.rooms_of(ann) == {"team:7"}


@pytest.mark.parametrize("second", [True, False])
def test_of_two_joins_each_has_the_answer_of_its_own_guard(
    cluster: LocalCluster, here: Worker, second: bool
) -> None:
    """The first one lets the socket in, whatever becomes of the second."""
    there = cluster.worker()
    asked = [(threading.Event(), threading.Event()) for _ in range(2)]
    answers = [True, second]

    @there.rooms.guard("vip")
    def guard() -> bool:
        number = next(n for n, (asking, _) in enumerate(asked) if not asking.is_set())
        asked[number][0].set()
        assert asked[number][1].wait(PATIENCE)
        return answers[number]

    client = there.connect()
    joins = []
    for asking, _ in asked:
        joins.append(here.sockets.join(client.sid, "vip"))
        assert asking.wait(PATIENCE)

    asked[0][1].set()
    assert joins[0].result(PATIENCE) == Outcome(1)
    assert there.rooms_of(client) == {"vip"}
    asked[1][1].set()
    if second:
        assert joins[1].result(PATIENCE) == Outcome(unchanged=1)
    else:
        with pytest.raises(Refused):
            joins[1].result(PATIENCE)
    assert there.rooms_of(client) == {"vip"}


@pytest.mark.parametrize("undo", ["leave", "leave_all", "disconnect"])
@pytest.mark.parametrize("caller", ["here", "there"])
@pytest.mark.parametrize("is_member", [True, False])
def test_a_guard_may_undo_the_join_that_it_is_asked_about(
    cluster: LocalCluster, here: Worker, undo: str, caller: str, is_member: bool
) -> None:
    """The outcome says that nothing has changed, and not that the socket was a member."""
    there = cluster.worker()
    client = there.connect()
    undoes = not is_member
    left: list[Outcome] = []

    @there.rooms.guard("<name>")
    def guard(name: str) -> bool:
        if undoes:
            target = [request] if undo != "leave" else [request, name]
            left.append(getattr(sockets, undo)(*target).result(PATIENCE))
        return True

    if is_member:
        there.sockets.join(client.sid, "red").result(PATIENCE)
        undoes = True
    calls = there.sockets if caller == "there" else here.sockets

    joined = calls.join(client.sid, "red").result(PATIENCE)

    assert joined == Outcome(unknown=(client.sid,) if undo == "disconnect" else ())
    if undo == "disconnect":
        assert left == [Outcome(1)]
    else:
        assert left[0].changed == is_member
        assert there.rooms_of(client) == set()
    assert there.sockets.count("red").value == 0


def test_a_socket_that_goes_while_its_guard_is_asked_is_unknown(
    joining: Any, there: Worker, teams: Teams
) -> None:
    ann, join = joining

    ann.disconnect()
    teams.may_answer.set()

    assert join.result(PATIENCE) == Outcome(unknown=(ann.sid,))
    assert there.sockets.count("team:7").value == 0


def test_a_socket_that_goes_before_a_guard_is_asked_is_unknown(
    there: Worker, here: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not said to be refused, since that guard has decided nothing."""
    asked: list[str] = []
    client = there.connect()

    @there.rooms.guard("first")
    def first() -> bool:
        asked.append("first")
        client.disconnect()
        return True

    @there.rooms.guard("second")
    def second() -> bool:
        asked.append("second")
        return True

    outcome = here.sockets.join(client.sid, ["first", "second"]).result(PATIENCE)

    assert outcome == Outcome(unknown=(client.sid,))
    assert asked == ["first"]
    assert not caplog.messages


def test_a_slow_guard_holds_up_no_other_call(
    joining: Any, there: Worker, here: Worker, teams: Teams
) -> None:
    other = there.connect()

    assert here.sockets.join(other.sid, "red").result(PATIENCE) == Outcome(1)
    teams.may_answer.set()
    joining[1].result(PATIENCE)


def test_a_recheck_while_a_guard_is_asked_has_it_asked_again(
    joining: Any, there: Worker, teams: Teams
) -> None:
    """The answer may be from before what the recheck is for."""
    ann, join = joining

    teams.put(ann)
    there.rooms.recheck("team:7").result(PATIENCE)
    teams.may_answer.set()

    with pytest.raises(Refused):
        join.result(PATIENCE)
    assert there.rooms_of(ann) == set()


@pytest.mark.parametrize("caller", ["here", "there"])
@pytest.mark.parametrize("rechecks", [MAX_ROUNDS - 1, MAX_ROUNDS])
def test_rechecks_that_come_faster_than_the_guard_answers_end_in_a_refusal(
    caller: str, rechecks: int, there: Worker, request: pytest.FixtureRequest
) -> None:
    worker: Worker = request.getfixturevalue(caller)
    ann = there.connect()
    asking, may_answer = threading.Semaphore(0), threading.Semaphore(0)
    asked: list[str] = []

    @there.rooms.guard("club")
    def guard() -> bool:
        asked.append("")
        asking.release()
        return may_answer.acquire(timeout=PATIENCE)

    def recheck() -> None:
        for _ in range(rechecks):
            assert asking.acquire(timeout=PATIENCE)
            there.rooms.recheck("club").result(PATIENCE)
            may_answer.release()
        may_answer.release()

    rechecking = threading.Thread(target=recheck)
    rechecking.start()
    join = worker.sockets.join(ann.sid, "club")

    if rechecks < MAX_ROUNDS:
        assert join.result(PATIENCE) == Outcome(changed=1)
    else:
        with pytest.raises(Refused, match=ann.sid):
            join.result(PATIENCE)
        assert there.rooms_of(ann) == set()
    rechecking.join(PATIENCE)
    assert len(asked) == MAX_ROUNDS


def test_a_guard_that_rechecks_its_own_room_refuses(
    there: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    ann, room = there.connect(), "club\n"  # clients may choose the names

    @there.rooms.guard("<room>")
    def guard(room: str) -> bool:
        return there.rooms.recheck(room).result(PATIENCE) == Outcome()

    with pytest.raises(Refused, match=ann.sid):
        there.sockets.join(ann.sid, room).result(PATIENCE)

    assert [message for message in caplog.messages if f"join of {room!r} was refused" in message]


# -- recheck --------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["here", "there"])
def test_a_recheck_removes_members_that_no_longer_may_join(
    caller: str, there: Worker, teams: Teams, request: pytest.FixtureRequest
) -> None:
    worker: Worker = request.getfixturevalue(caller)
    ann, bob, cid = (there.connect() for _ in range(3))
    for client in (ann, bob, cid):
        teams.put(client, 7)
    worker.sockets.join([ann.sid, bob.sid, cid.sid], ["team:7", "red"]).result(PATIENCE)
    teams.put(bob)

    assert worker.rooms.recheck("team:7").result(PATIENCE) == Outcome(changed=1, unchanged=2)

    assert there.rooms_of(ann) == {"team:7", "red"}
    assert there.rooms_of(bob) == {"red"}


def test_a_recheck_of_a_room_without_a_guard_removes_no_member(there: Worker) -> None:
    ann = there.connect()
    there.sockets.join(ann.sid, "red")

    assert there.rooms.recheck("red").result(PATIENCE) == Outcome(unchanged=1)


def test_a_recheck_says_of_no_member_that_it_is_unknown(there: Worker) -> None:
    """Also not of one that ends while its guard is asked: nobody has named it."""
    ends, handled = threading.Event(), threading.Event()
    there.socketio.on("disconnect")(lambda *_: handled.wait(PATIENCE))  # and it is still known

    @there.rooms.guard("club")
    def guard() -> bool:
        if ends.is_set():
            sockets.disconnect(request).result(PATIENCE)
        return not ends.is_set()

    there.sockets.join(there.connect().sid, "club").result(PATIENCE)
    ends.set()
    try:
        assert there.rooms.recheck("club").result(PATIENCE) == Outcome(unchanged=1)
    finally:
        handled.set()


def test_a_recheck_takes_a_room() -> None:
    rooms = Rooms(Flask("application"))

    for room in (None, "", 7, ["team:7"]):
        with pytest.raises(InvalidRoom):
            rooms.recheck(room)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["<", "<nonsense:id>", "a<b", 7, None, "<int:a><int:a>"])
def test_what_is_no_rule_is_an_error(rule: Any) -> None:
    with pytest.raises(ConfigurationError, match="rule"):
        Rooms(Flask("application")).guard(rule)(lambda **_: True)


def test_a_guard_without_its_rule_is_an_error() -> None:
    """It would guard nothing."""

    def may_join() -> bool:
        return False

    with pytest.raises(ConfigurationError, match="rule"):
        Rooms(Flask("application")).guard(may_join)  # type: ignore[arg-type]


@pytest.mark.parametrize("rules", [("team", "team"), ("<a>:<int:b>", "<c>:<int:d>"), ("*", "*")])
def test_a_second_guard_of_a_rule_is_an_error(rules: tuple[str, str]) -> None:
    """It would never be asked."""
    rooms = Rooms(Flask("application"))
    rooms.guard(rules[0])(lambda **_: True)

    with pytest.raises(ConfigurationError, match="registered already"):
        rooms.guard(rules[1])(lambda **_: False)


def test_a_factory_may_register_its_guard_again(there: Worker) -> None:
    """As where each test makes an application, of one Rooms."""

    def create(answer: bool) -> None:
        @there.rooms.guard("team:<name>")
        def may_join(name: str) -> bool:
            return answer

    create(True)
    create(False)

    with pytest.raises(Refused):
        there.sockets.join(there.connect().sid, "team:red").result(PATIENCE)


def test_a_guard_is_a_function() -> None:
    with pytest.raises(ConfigurationError, match="function"):
        Rooms(Flask("application")).guard("team")("yes")  # type: ignore[type-var]
