"""A wrong argument raises its own error, which says what to do, and then nothing has changed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import current_app, request

from flask_rooms import (
    InvalidArgument,
    InvalidRoom,
    InvalidSocket,
    NotASocketRequest,
    RoomsError,
)
from flask_rooms.api.sockets import Sockets
from flask_rooms.errors import InvalidData
from flask_rooms.membership.names import ROOM_LENGTH
from flask_rooms.protocol.ids import new_sid
from flask_rooms.protocol.messages import Emit
from tests.support.apps import PATIENCE, Client, LocalCluster, in_thread

pytestmark = [pytest.mark.mode_independent, pytest.mark.every_python]

#: What the message of each error has to tell the caller to do.
REMEDY: dict[type[Exception], str] = {
    InvalidSocket: r"pass `request`|pass the socket ID|A socket is `request`|call once for each"
    r"|`older_than=` is a socket",
    NotASocketRequest: r"check `request.is_socket`",
    InvalidRoom: r"string|empty|has at most \d+|UTF-8|use another room's name|Give a room",
    InvalidArgument: r"pass none|is a string|is named by|name yours|Give the data"
    r"|is a number of seconds|split the call|A user's ID is|give `user=`, too|is True or False",
    InvalidData: r"cannot be sent",
}


class Boom(Exception):
    """Of the caller's own making."""


class UntouchedWorkers:
    """Two workers with a member of the room "red" on each, and a tap on what they publish."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.here, self.there = cluster.worker(), cluster.worker()
        self.mine, self.other = self.here.connect(), self.there.connect()
        self.sockets: Sockets = self.here.sockets
        self.sockets.join([self.mine.sid, self.other.sid], "red").result(PATIENCE)
        self.wire = cluster.listen()

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Assert that nothing changes, no event arrives and nothing is published meanwhile."""
        self.wire.published_by(self.here)
        before = self._state()
        yield
        assert self.wire.published_by(self.here) == []
        assert self._state() == before

    def refuses(self, error: type[Exception], call: Callable[[], object]) -> None:
        with self.untouched(), pytest.raises(error, match=REMEDY.get(error)) as caught:
            call()
        assert type(caught.value) is error

    def _state(self) -> object:
        return (
            self.here.rooms_of(self.mine),
            self.there.rooms_of(self.other),
            self.mine.received(),
            self.other.received(),
        )


@pytest.fixture(scope="module")
def network() -> Iterator[UntouchedWorkers]:
    with LocalCluster() as cluster:
        yield UntouchedWorkers(cluster)


def midway(*values: Any) -> Iterator[Any]:
    yield from values
    raise Boom


#: What is no socket, made from a socket that is one.
BAD_SOCKETS: dict[str, Callable[[str], Any]] = {
    "None": lambda good: None,
    "number": lambda good: 42,
    "float": lambda good: 1.5,
    "bool": lambda good: True,
    "bytes": lambda good: good.encode(),
    "dict": lambda good: {good: "red"},
    "object": lambda good: object(),
    "function": lambda good: print,
    "current_app": lambda good: current_app,
    "unbound request": lambda good: request,
    "empty ID": lambda good: "",
    "room": lambda good: "red",
    "owner alone": lambda good: good.partition("_")[0],
    "too short": lambda good: good[:-1],
    "too long": lambda good: good + "x",
    "space before": lambda good: " " + good,
    "line break after": lambda good: good + "\n",
    "slash inside": lambda good: good[:-1] + "/",
    "not ASCII": lambda good: good[:-1] + "é",
    "list with None": lambda good: [good, None],
    "list with a room": lambda good: [good, "red"],
    "list with bytes": lambda good: [good, good.encode()],
    "nested list": lambda good: [good, [good]],
    "set with a number": lambda good: {good, 42},
    "generator": lambda good: iter([good, ""]),
}

BAD_ROOMS: dict[str, Any] = {
    "None": None,
    "number": 42,
    "float": 1.5,
    "bool": True,
    "bytes": b"red",
    "dict": {"red": 1},
    "object": object(),
    "request": request,
    "empty": "",
    "a space": " ",
    "white space": "\t\r\n\u2003",
    "too long": "r" * (ROOM_LENGTH + 1),
    "lone surrogate": "\ud800",
    "list with None": ["red", None],
    "list with an empty name": ["red", ""],
    "tuple with a number": ("red", 42),
    "list with bytes": ["red", b"blue"],
    "nested list": ["red", ["blue"]],
}

BAD_EVENTS = ["", None, 42, b"event", ["event"], "connect", "disconnect", "connect_error"]

BAD_NAMESPACES = ["", "chat", 42, True, b"/", ["/"], "/\ud800", "/a,b", "/" * 1025]


def circular() -> list[Any]:
    data: list[Any] = []
    data.append({"again": data})
    return data


def nested(depth: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(depth):
        data = [data]
    return data


BAD_DATA: dict[str, Any] = {
    "object": object(),
    "set": {1, 2},
    "function": print,
    "tuple for a key": {("a",): 1},
    "circular": circular(),
    "deep": nested(100_000),
    "set inside": {"a": [{1}]},
    "set beside bytes": [b"bytes", {1}],
    "set as an argument": ("a", {1}),
}


@pytest.mark.parametrize("bad", BAD_SOCKETS)
@pytest.mark.parametrize("action", ["join", "leave"])
def test_what_is_no_socket_neither_joins_nor_leaves(
    network: UntouchedWorkers, action: str, bad: str
) -> None:
    value = BAD_SOCKETS[bad](network.mine.sid)

    network.refuses(InvalidSocket, lambda: getattr(network.sockets, action)(value, "red"))


#: What is neither a socket nor the name of a room.
BAD_OMISSIONS: dict[str, tuple[Any, type[Exception]]] = {
    "number": (42, InvalidSocket),
    "bytes": (b"red", InvalidSocket),
    "dict": ({"red": 1}, InvalidSocket),
    "object": (object(), InvalidSocket),
    "unbound request": (request, InvalidSocket),
    "list with None": (["red", None], InvalidSocket),
    "nested list": (["red", ["blue"]], InvalidSocket),
    "empty": ("", InvalidRoom),
    "lone surrogate": ("\ud800", InvalidRoom),
    "list with an empty name": (["red", " "], InvalidRoom),
}

#: The calls that can leave something out.
OMITTING: dict[str, Callable[..., object]] = {
    "broadcast": lambda calls, **omit: calls.broadcast("red", "event", 1, **omit),
    "blast": lambda calls, **omit: calls.blast("event", 1, **omit),
    "leave": lambda calls, **omit: calls.leave(user="ann", room="red", **omit),
    "disconnect": lambda calls, **omit: calls.disconnect(user="ann", **omit),
}


@pytest.mark.parametrize("bad", BAD_OMISSIONS)
@pytest.mark.parametrize("call", OMITTING)
def test_what_is_neither_a_socket_nor_a_room_cannot_be_left_out(
    network: UntouchedWorkers, call: str, bad: str
) -> None:
    value, error = BAD_OMISSIONS[bad]

    network.refuses(error, lambda: OMITTING[call](network.sockets, omit=value))


@pytest.mark.parametrize("bad", ["", [None], 1.5, ["ann", ""], {"ann": 1}])
def test_what_is_no_user_cannot_be_left_out(network: UntouchedWorkers, bad: Any) -> None:
    network.refuses(
        InvalidArgument, lambda: network.sockets.broadcast("red", "event", 1, omit_user=bad)
    )


def test_what_older_sockets_are_older_than_is_a_socket_of_the_user_here(
    network: UntouchedWorkers,
) -> None:
    sockets, mine, other = network.sockets, network.mine.sid, network.other.sid

    network.refuses(InvalidArgument, lambda: sockets.disconnect(mine, older_than=mine))
    for bad in (42, "red", [mine], mine, other):
        network.refuses(InvalidSocket, lambda bad=bad: sockets.disconnect(user=1, older_than=bad))  # type: ignore[misc]


@pytest.mark.parametrize("bad", [None, 1, "yes"])
def test_whether_clients_reconnect_is_a_bool(network: UntouchedWorkers, bad: Any) -> None:
    network.refuses(
        InvalidArgument, lambda: network.sockets.disconnect(network.mine.sid, reconnect=bad)
    )


@pytest.mark.parametrize("bad", BAD_SOCKETS)
def test_what_is_no_socket_has_no_id(network: UntouchedWorkers, bad: str) -> None:
    value = BAD_SOCKETS[bad](network.mine.sid)

    network.refuses(InvalidSocket, lambda: network.sockets.get_id(value))


@pytest.mark.parametrize("several", [[], ["good"], ("good",), {"good"}])
def test_get_id_takes_one_socket_only(network: UntouchedWorkers, several: Any) -> None:
    value = type(several)(network.mine.sid for _ in several)

    network.refuses(InvalidSocket, lambda: network.sockets.get_id(value))


@pytest.mark.parametrize("in_a_list", [False, True])
def test_an_http_request_is_no_socket(network: UntouchedWorkers, in_a_list: bool) -> None:
    sockets = network.sockets
    with network.here.app.test_request_context("/"):
        given: Any = [network.mine.sid, request] if in_a_list else request

        for call in (
            lambda: sockets.join(given, "red"),
            lambda: sockets.leave(given, "red"),
            lambda: sockets.broadcast("red", "event", 1, omit=given),
            lambda: sockets.blast("event", 1, omit=given),
            lambda: sockets.get_id(request),
        ):
            network.refuses(NotASocketRequest, call)


def test_the_request_of_another_thread_is_not_there(network: UntouchedWorkers) -> None:
    with network.here.app.test_request_context("/"):
        leaving = in_thread(lambda: network.sockets.leave(request, "red"))

        network.refuses(InvalidSocket, lambda: leaving.result(PATIENCE))


@pytest.mark.parametrize("bad", BAD_ROOMS)
@pytest.mark.parametrize("action", ["join", "leave"])
def test_what_is_no_room_is_neither_joined_nor_left(
    network: UntouchedWorkers, action: str, bad: str
) -> None:
    both = [network.mine.sid, network.other.sid]

    network.refuses(InvalidRoom, lambda: getattr(network.sockets, action)(both, BAD_ROOMS[bad]))


@pytest.mark.parametrize("call", ["join", "leave", "broadcast", "members", "count"])
def test_a_room_that_was_forgotten_is_asked_for(network: UntouchedWorkers, call: str) -> None:
    given = [network.mine.sid] if call in ("join", "leave") else []

    with network.untouched(), pytest.raises(InvalidRoom, match=r"^Give a room"):
        getattr(network.sockets, call)(*given)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [("leave_all", "Give a room, a socket, or `user=`"), ("disconnect", "Give a socket, or")],
)
def test_whoever_was_forgotten_is_asked_for(
    network: UntouchedWorkers, call: str, wanted: str
) -> None:
    with network.untouched(), pytest.raises(InvalidSocket, match=f"^{wanted}"):
        getattr(network.sockets, call)()


@pytest.mark.parametrize("bad", BAD_ROOMS)
def test_what_is_no_room_gets_no_broadcast(network: UntouchedWorkers, bad: str) -> None:
    network.refuses(InvalidRoom, lambda: network.sockets.broadcast(BAD_ROOMS[bad], "event", 1))


@pytest.mark.parametrize("rooms", ["other", ["blue", "other"], "unknown"])
def test_the_room_of_an_id_is_joined_by_no_other_socket(
    network: UntouchedWorkers, rooms: Any
) -> None:
    ids = {"other": network.other.sid, "unknown": new_sid(network.there.name)}
    given = ids[rooms] if isinstance(rooms, str) else [ids.get(room, room) for room in rooms]

    network.refuses(InvalidRoom, lambda: network.sockets.join(network.mine.sid, given))


@pytest.mark.parametrize("argument", ["socket", "room", "omit"])
def test_what_an_iterable_raises_reaches_the_caller(
    network: UntouchedWorkers, argument: str
) -> None:
    sockets, mine = network.sockets, network.mine.sid
    calls: dict[str, Callable[[], object]] = {
        "socket": lambda: sockets.leave(midway(mine, network.other.sid), "red"),
        "room": lambda: sockets.leave(mine, midway("red")),
        "omit": lambda: sockets.broadcast("red", "event", 1, omit=midway(mine)),
    }

    network.refuses(Boom, calls[argument])


async def called_back(error: object) -> None:
    """Would not run when it is called."""


@pytest.mark.parametrize("callback", [42, "callback", [print], {}, True, called_back])
@pytest.mark.parametrize("action", ["join", "leave"])
def test_a_callback_has_to_be_callable(
    network: UntouchedWorkers, action: str, callback: Any
) -> None:
    call = getattr(network.sockets, action)

    network.refuses(InvalidArgument, lambda: call(network.mine.sid, "red", callback))


@pytest.mark.parametrize("namespace", BAD_NAMESPACES)
def test_a_namespace_has_to_be_one(network: UntouchedWorkers, namespace: Any) -> None:
    sockets, both = network.sockets, [network.mine.sid, network.other.sid]

    for call in (
        lambda: sockets.join(both, "blue", namespace=namespace),
        lambda: sockets.leave(both, "red", namespace=namespace),
        lambda: sockets.broadcast("red", "event", 1, namespace=namespace),
        lambda: sockets.blast("event", 1, namespace=namespace),
    ):
        network.refuses(InvalidArgument, call)


@pytest.mark.parametrize("event", BAD_EVENTS)
def test_an_event_has_to_be_one(network: UntouchedWorkers, event: Any) -> None:
    network.refuses(InvalidArgument, lambda: network.sockets.broadcast("red", event, 1))
    network.refuses(InvalidArgument, lambda: network.sockets.blast(event, 1))


@pytest.mark.parametrize("data", BAD_DATA)
def test_data_has_to_be_json_or_bytes(network: UntouchedWorkers, data: str) -> None:
    value = BAD_DATA[data]

    network.refuses(InvalidData, lambda: network.sockets.broadcast("red", "event", value))
    network.refuses(InvalidData, lambda: network.sockets.blast("event", value))


@pytest.mark.parametrize("given", [(), ("event", 1, 2)])
def test_a_broadcast_takes_an_event_and_its_data(
    network: UntouchedWorkers, given: tuple[Any, ...]
) -> None:
    network.refuses(InvalidArgument, lambda: network.sockets.broadcast("red", *given))
    network.refuses(InvalidArgument, lambda: network.sockets.blast(*given))


def test_data_that_is_too_large_for_a_message_reaches_no_socket() -> None:
    with LocalCluster() as cluster:
        here, there = cluster.worker(message_bytes=1000), cluster.worker()
        mine, wire = here.connect(), cluster.listen()
        there.connect()

        with pytest.raises(InvalidArgument, match="ROOMS_MESSAGE_BYTES"):
            here.sockets.blast("event", "x" * 2000)

        assert not [one for one in wire.published_by(here) if isinstance(one, Emit)]
        assert mine.received() == []


def test_ids_that_are_too_many_for_a_message_change_nothing() -> None:
    with LocalCluster() as cluster:
        here, there = cluster.worker(message_bytes=1000), cluster.worker()
        mine, wire = here.connect(), cluster.listen()

        with pytest.raises(InvalidArgument, match="split the call"):
            here.sockets.join([mine.sid, *(new_sid(there.name) for _ in range(100))], "red")

        assert wire.published_by(here) == []
        assert here.rooms_of(mine) == set()


def test_the_message_does_not_repeat_what_a_client_sent(network: UntouchedWorkers) -> None:
    """It may end in a log or on a page, and what is no ID may be a password."""
    with pytest.raises(InvalidSocket) as caught:
        network.sockets.leave("<secret>", "red")

    assert "<secret>" not in str(caught.value)


def test_every_argument_error_is_a_value_error_and_a_rooms_error() -> None:
    for error in (InvalidRoom, InvalidSocket, NotASocketRequest, InvalidArgument):
        assert issubclass(error, ValueError)
        assert issubclass(error, RoomsError)


class Color(str, enum.Enum):
    RED = "crimson"


@pytest.mark.parametrize(
    "room",
    [
        pytest.param("r", id="one character"),
        pytest.param("r" * ROOM_LENGTH, id="longest"),
        pytest.param("Grüße, 世界 \N{PARTY POPPER}", id="unicode"),
        pytest.param("fun room", id="a space inside"),
        pytest.param("/", id="slash"),
        pytest.param("*", id="star"),
        pytest.param("None", id="None"),
        pytest.param("a.b", id="dotted"),
        pytest.param(Color.RED, id="enumeration"),
    ],
)
def test_a_room_may_have_any_other_name(network: UntouchedWorkers, room: str) -> None:
    sids = [network.mine.sid, network.other.sid]
    plain = room.value if isinstance(room, Color) else room

    assert network.sockets.join(sids, room).result(PATIENCE).changed == 2
    assert plain in network.here.rooms_of(network.mine) & network.there.rooms_of(network.other)
    assert network.sockets.leave(sids, plain).result(PATIENCE).changed == 2


@pytest.mark.parametrize(
    "data", [None, False, 0, "", [], {}, b"", "é", {"a": [b"bytes", 1.5]}, 2**53, ["a", "b"]]
)
def test_whatever_json_and_bytes_can_express_is_data(network: UntouchedWorkers, data: Any) -> None:
    fresh: list[Client] = [network.here.connect(), network.there.connect()]
    sids = [client.sid for client in fresh]
    network.sockets.join(sids, "data").result(PATIENCE)

    network.sockets.broadcast("data", "event", data)

    network.sockets.leave(sids, "data").result(PATIENCE)
    arguments = [] if data is None else [data]
    assert [client.received() for client in fresh] == [[("event", arguments)]] * 2
