"""
The messages between workers, as immutable data.

An *operation* has a number in its sender's stream. A *frame* is what one publish carries:
consecutive operations of one sender, and its heartbeat when one is due.

The annotations are what the codec checks: it decodes nothing that differs from them.
"""

from __future__ import annotations

import sys
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

#: The highest number: no stream reaches it, and the sum of two can be encoded.
HIGHEST = 2**63 - 1
Number: TypeAlias = Annotated[int, Meta(ge=0, le=HIGHEST)]
#: Neither infinite nor a NaN.
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=sys.float_info.max)]


class Message(Struct, frozen=True, gc=False):
    """
    Immutable data. It holds nothing but such data, so the garbage collector need not look at it.

    Each call makes several of these, and a frozen dataclass takes ten times as long to make.
    """


class User(Message, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All sockets of one user: a room that is not joined or left, and that no name stands for."""

    id: str


#: `sockets` takes names only. Integers are for Flask-SocketIO's `join_room(42)`.
Room: TypeAlias = str | int
#: The recipients of a message.
Audience: TypeAlias = str | int | User
#: A packet of Socket.IO: its text, and its attachments.
Packet: TypeAlias = tuple[str | bytes, ...]


Action: TypeAlias = Literal["join", "leave", "leave_all", "disconnect", "recheck", "set_data"]
#: The actions that take sockets out of rooms.
REMOVALS = ("leave", "leave_all", "disconnect", "recheck")
QueryKind: TypeAlias = Literal[
    "members", "users", "rooms", "rooms_of", "describe", "count", "statistics"
]
#: When a socket connected, by the clock that its worker keeps in step with those of the others, and
#: its ID, so that no two sockets of the cluster have the same.
ConnectTime: TypeAlias = tuple[Number, str]


class Options(Message, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """
    What else a change depends on. A worker that does not know one of these does nothing.

    Args:
        omit: Sockets, rooms and users whose sockets are left out.
        older_than: Only the sockets that connected before this.
        reconnect: Whether the clients of disconnected sockets may connect again by themselves.
        expires: With "join": seconds after which the memberships end; None for never.
        data: With "set_data": what the sockets are described with, as JSON.
    """

    omit: tuple[Audience, ...] = ()
    older_than: ConnectTime | None = None
    reconnect: bool = False
    data: str = ""
    expires: Seconds | None = None


#: Of nearly all changes.
NO_OPTIONS = Options()


class Change(Message, frozen=True):
    """
    Sockets join or leave rooms, leave all rooms, or disconnect. Each owner answers with Done.

    Args:
        action: What is done. With "leave_all" each socket keeps the room of its own ID; with
            "recheck" those leave that the rooms' guards no longer admit.
        namespace: The namespace of the sockets.
        sids: The sockets, if there is no *source*.
        rooms: The rooms to join or leave; empty for the other actions.
        source: In place of *sids*: all members of this room, on every worker.
        by: The socket in whose request the call was made, or empty.
        options: What else it depends on.
        trace: What the sender's tracing calls the call by, or empty.
    """

    action: Action
    namespace: str
    sids: tuple[str, ...]
    rooms: tuple[Room, ...]
    source: Audience | None = None
    by: str = ""
    options: Options = NO_OPTIONS
    trace: str = ""


class Done(Message, frozen=True):
    """
    The sender has carried out its part of operation *number* of *worker*.

    Or it has done nothing, because a guard has refused the sockets in *refused*. *newer* is the
    latest connect time of a socket that has outlasted the others itself, or 0; see
    Rule `newest-stays`.
    """

    worker: str
    number: Number
    changed: Number
    unchanged: Number
    unknown: tuple[str, ...]
    refused: tuple[str, ...] = ()
    newer: Number = 0


class Query(Message, frozen=True):
    """
    A query, which workers answer with Replies, each from one look at its registry.

    Args:
        kind: "members" of a room, or the "users" among them; "rooms" that begin with a prefix,
            with the number of their members; "rooms_of" a socket, or all of its description; the
            "count" of a room; "statistics", the numbers of each worker, after its name.
        namespace: The namespace that it is about.
        about: The room, prefix or socket ID; None for all sockets of the namespace.
    """

    kind: QueryKind
    namespace: str
    about: Audience | None


#: A query that costs next to nothing: a worker that answers it lives, and has what came before.
FENCE = Query("count", "/", "")
#: The kinds of queries about one socket, which its owner answers alone.
OF_A_SOCKET = ("rooms_of", "describe")


class Reply(Message, frozen=True):
    """
    Part of the sender's answer to Query *number* of *worker*: names, and counts of them.

    Args:
        worker: The worker that has asked.
        number: The number of its query.
        names: Rooms, or the IDs of sockets or users.
        counts: One for each name, or one for all, if the query asks for counts.
        last: Whether it is the last part.
        whole: False if the answer is left out because it would be too long.
    """

    worker: str
    number: Number
    names: tuple[Room, ...]
    counts: tuple[Number, ...]
    last: bool
    whole: bool = True


class Emit(Message, frozen=True):
    """
    An event for the members of these rooms, or for all sockets when *rooms* is None.

    It carries the Socket.IO packet that clients get, so it is encoded once for the cluster, by
    the sender's JSON module or serializer. *ack* is the number under which the sender expects
    the client's acknowledgement, or 0. *skip* are sockets to leave out, and *omit* rooms and users
    whose sockets are. A *volatile* event is not kept for a client that has not read everything.
    *trace* is as in Change.
    """

    namespace: str
    packet: Packet
    rooms: tuple[Audience, ...] | None
    skip: tuple[str, ...]
    ack: Number
    omit: tuple[Audience, ...] = ()
    volatile: bool = False
    trace: str = ""


class Acknowledged(Message, frozen=True):
    """A client's acknowledgement for *worker*, as a Socket.IO packet; empty when none will come."""

    worker: str
    ack: Number
    packet: Packet


class Ask(Message, frozen=True):
    """
    An event that its recipients are to answer within a time.

    Each worker answers with Replies that name the sockets which it has asked, and then with
    Answered until all of them have answered or left, or the time is over.

    Args:
        ask: The number under which the sender expects the answers.
        namespace: The namespace of the sockets.
        packet: As in Emit.
        rooms: The recipients, or None for all sockets of the namespace.
        omit: Sockets, rooms and users whose sockets are left out.
        timeout: Seconds for which answers are awaited.
        trace: As in Change.
    """

    ask: Number
    namespace: str
    packet: Packet
    rooms: tuple[Audience, ...] | None
    omit: tuple[Audience, ...]
    timeout: Seconds
    trace: str = ""


class Answered(Message, frozen=True):
    """
    What became of some of the sockets that the sender has asked.

    Args:
        worker: The worker that has asked.
        ask: Its number for that.
        answers: Socket ID and acknowledgement, a packet of Socket.IO.
        left: Sockets that have left without an answer.
        failed: Sockets whose answers cannot be passed on, or that could not be asked.
    """

    worker: str
    ask: Number
    answers: tuple[tuple[str, Packet], ...]
    left: tuple[str, ...]
    failed: tuple[str, ...]


class Tell(Message, frozen=True):
    """
    A message of the application for every worker, which answers with its name once it has it.

    Args:
        event: What the message is about.
        packet: Its data, in a packet of Socket.IO as in Emit.
        trace: As in Change.
    """

    event: str
    packet: Packet
    trace: str = ""

    @property
    def action(self) -> str:
        """Under which name it is counted, beside the actions of changes."""
        return "tell"


class Present(Message, frozen=True):
    """
    A socket of the sender is in a room whose presence is tracked, or its data have changed.

    Args:
        version: The number of this change of the sender's list.
        namespace: The namespace of the socket.
        room: The room.
        sid: The socket.
        user: The ID of its user, or None.
        since: When its user came into the room, in seconds since 1970.
        data: What others are to know of it, as JSON.
    """

    version: Number
    namespace: str
    room: Room
    sid: str
    user: str | None
    since: Seconds
    data: str


class Absent(Message, frozen=True):
    """A socket of the sender is no longer in a room; *version* numbers it as in Present."""

    version: Number
    namespace: str
    room: Room
    sid: str


class Listed(Message, frozen=True):
    """What the sender is, of the roles in `leading`; *version* numbers it as in Present."""

    version: Number
    role: Number


class Wanted(Message, frozen=True):
    """
    The sender wants the list of *worker*.

    Args:
        worker: Whose list.
        version: The number of the latest change in the parts that it has.
        first: How many entries it has of them; 0 for a new list.
    """

    worker: str
    version: Number
    first: Number


class ListPart(Message, frozen=True):
    """
    Part of the sender's list, for *worker*, which wants it.

    Args:
        worker: The worker that has asked.
        version: The number of the latest change in the list.
        first: The number of the first entry here.
        entries: What the sender has announced, and its members: Announced and Present, each
            encoded by encode_operation().
        ends: Whether these are the last ones.
        role: As in Listed.
    """

    worker: str
    version: Number
    first: Number
    entries: tuple[bytes, ...]
    ends: bool
    role: Number


class Announced(Message, frozen=True):
    """
    The sender has told the application that a person has joined or left.

    Args:
        namespace: The namespace of the room.
        room: The room.
        user: The user, or None.
        sid: The socket of a person that is no user, else empty.
        joined: Whether it has joined, and not left.
        number: The number of its visit.
    """

    namespace: str
    room: Room
    user: str | None
    sid: str
    joined: bool
    number: Number


class Succeeds(Message, frozen=True):
    """
    The sender had another name before it was evicted, of which nothing more is to be applied.

    Args:
        former: That name.
        changes: Those that may not have been carried out: the number of each in the stream of
            *former*, and the change as encode_operation() has encoded it. They are carried out by
            those who have not done so.
    """

    former: str
    changes: tuple[tuple[Number, bytes], ...]


class Goodbye(Message, frozen=True):
    """The sender leaves the cluster in good order, and its sockets are gone."""


Answer: TypeAlias = Done | Reply | Acknowledged | Answered | Wanted | ListPart
#: The kinds of operations that go to one worker: what it has asked for, or what asks it for a list.
ANSWERS = (Done, Reply, Acknowledged, Answered, Wanted, ListPart)
#: What keeps the lists of who is present.
Presence: TypeAlias = Present | Absent | Listed | Announced | Wanted | ListPart
PRESENCE = (Present, Absent, Listed, Announced, Wanted, ListPart)
Operation: TypeAlias = Change | Query | Emit | Ask | Tell | Succeeds | Goodbye | Answer | Presence


class About(Message, frozen=True, array_like=True):
    """
    Where a worker runs, for those who have to find it, and how often it sends heartbeats.

    Args:
        host: The name of its machine.
        pid: Its process ID there.
        version: Its version of Flask-Rooms.
        interval: Seconds between its heartbeats.
    """

    host: str
    pid: Number
    version: str
    interval: Seconds


class Heartbeat(Message, frozen=True, array_like=True):
    """
    The sender is alive; and how it counts the others.

    In a frame for a single worker it introduces the sender, and repeats its latest heartbeat.

    Args:
        beat: The number of this heartbeat, which tells a late copy from a new one.
        oldest: The sender's first operation that it can still retransmit.
        age: Seconds since the sender was born.
        view: A digest of the workers that the sender counts as alive.
        asks: Whether the sender does not know every live worker yet.
        dead: The workers that it tells that it counts them as dead.
        about: Where the sender runs; told to those that have not met it, else None.
    """

    beat: Number
    oldest: Number
    age: Seconds
    view: Number
    asks: bool = False
    dead: tuple[str, ...] = ()
    about: About | None = None


class Direct(Message, frozen=True, array_like=True):
    """
    What only a frame for a single worker carries.

    Args:
        serial: Rises with each such frame to the same worker.
        oldest: The first answer to that worker that the sender can still repeat.
        first: The number of the first answer here, or of the next one if there are none.
        answers: Consecutive answers to that worker, each encoded by encode_operation().
        expects: The number of that worker's next answer.
        start: The sender's first operation that is meant for that worker.
        view: As in Heartbeat.
        reports: Whether that worker is to repeat its answers from that one on, if it has them.
        probes: Whether that worker is to report in turn.
        nack: The operations that it is to repeat, from a number up to another one; or None.
        vouches_for: The heartbeat of that worker in which it has asked, if the sender knows every
            live worker; otherwise 0.
        wants_names: Whether that worker is to name those that it counts as alive, if its view is
            another one.
        names: The workers in *view*, for one that has asked; or None.
        heard: The latest heartbeat of that worker that the sender has received.
    """

    serial: Number
    oldest: Number
    first: Number
    answers: tuple[bytes, ...]
    expects: Number
    start: Number
    view: Number
    reports: bool = False
    probes: bool = False
    nack: tuple[Number, Number] | None = None
    vouches_for: Number = 0
    wants_names: bool = False
    names: tuple[str, ...] | None = None
    heard: Number = 0


class Frame(Message, frozen=True):
    """
    What one publish carries.

    Args:
        sender: The name of the worker that sends it.
        first: The number of its first operation, or of the next one if it has none.
        operations: Consecutive operations, each encoded by encode_operation().
        heartbeat: The sender's heartbeat, if one was due.
        to: The only worker that it is for; empty for all.
        direct: What is for that worker; None for all.
    """

    sender: str
    first: Number
    operations: tuple[bytes, ...] = ()
    heartbeat: Heartbeat | None = None
    to: str = ""
    direct: Direct | None = None
