"""
The messages between workers, as data.

An *operation* changes or tells something and has a number in its sender's stream. A *frame*
is what travels: some consecutive operations of one sender, and its heartbeat when one is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class User:
    """All sockets of one user: a room that nobody joins or leaves, and no name can be taken for."""

    id: str


#: `sockets` takes names only; integers are here for Flask-SocketIO's `join_room(42)`.
Room: TypeAlias = "str | int"
#: Where a message goes to.
Audience: TypeAlias = "Room | User"


Action: TypeAlias = Literal["join", "leave", "leave_all", "disconnect", "recheck"]


@dataclass(frozen=True)
class Change:
    """
    Sockets join or leave rooms, leave all, or end; each worker concerned answers with Done.

    Args:
        action: What is done; with "leave_all" each keeps the room of its own ID, with "recheck"
            those leave whom the rooms' guards no longer let in.
        namespace: Where.
        sids: Whose memberships change, where there is no *source*.
        rooms: What they join or leave; none for the other actions.
        source: In place of *sids*: all members of this room, on every worker.
        by: The socket in whose request the call was made, or empty.
    """

    action: Action
    namespace: str
    sids: tuple[str, ...]
    rooms: tuple[Room, ...]
    source: Audience | None = None
    by: str = ""


@dataclass(frozen=True)
class Done:
    """
    The sender has carried out its part of operation *number* of *worker*.

    Or it has done nothing, because a guard has refused those in *refused*.
    """

    worker: str
    number: int
    changed: int
    unchanged: int
    unknown: tuple[str, ...]
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Query:
    """
    What every worker concerned answers with Replies from one look at its registry.

    Args:
        kind: "members" of a room, or the "users" among them; "rooms" that begin with a prefix,
            with the number of their members; "rooms_of" a socket; the "count" of a room.
        namespace: Where.
        about: The room, prefix or socket ID; None for all sockets of the namespace.
    """

    kind: Literal["members", "users", "rooms", "rooms_of", "count"]
    namespace: str
    about: Audience | None


@dataclass(frozen=True)
class Reply:
    """
    Part of the sender's answer to Query *number* of *worker*: names, and counts of them.

    Args:
        worker: Who has asked.
        number: With which operation.
        names: Rooms, or the IDs of sockets or users.
        counts: Of each name, where that was asked for, or of all.
        last: Whether nothing comes after it.
        whole: Whether it is all that there is to say; not where that would have been too much.
    """

    worker: str
    number: int
    names: tuple[Room, ...]
    counts: tuple[int, ...]
    last: bool
    whole: bool = True


@dataclass(frozen=True)
class Emit:
    """
    An event for the members of these rooms, or for all when *rooms* is None.

    It travels as the Socket.IO packet that clients will get, so it is encoded once in the
    cluster, by the sender's own JSON module or serializer. *ack* is the number under which
    the sender wants to hear what the client acknowledged, or 0.
    """

    namespace: str
    packet: tuple[str | bytes, ...]
    rooms: tuple[Audience, ...] | None
    skip: tuple[str, ...]
    ack: int


@dataclass(frozen=True)
class Acknowledged:
    """A client's answer, as a Socket.IO packet, to *worker*; empty when none will come."""

    worker: str
    ack: int
    packet: tuple[str | bytes, ...]


@dataclass(frozen=True)
class Goodbye:
    """The sender leaves the cluster in good order; its sockets are gone."""


Operation: TypeAlias = "Change | Done | Query | Reply | Emit | Acknowledged | Goodbye"


@dataclass(frozen=True)
class Heartbeat:
    """
    The sender is alive and knows these workers.

    Args:
        beat: Counts the sender's heartbeats, so that a late copy is told from a new one.
        age: Seconds that the sender has lived, by which the older of two is known.
        oldest: The sender's first operation that it can still repeat.
        fresh: The sender's first operation that it had not sent before this frame.
        stream_starts: Worker that it counts as alive -> the sender's first operation that is
            meant for it; 0 for one that it counts as dead, and has heard all the same.
    """

    beat: int
    age: float
    oldest: int
    fresh: int
    stream_starts: Mapping[str, int]


@dataclass(frozen=True)
class Frame:
    """
    What one publish carries.

    Args:
        sender: The worker's name.
        first: Number of the first operation in here, or of the next one when there is none.
        operations: Consecutive operations, each encoded by encode_operation().
        heartbeat: Present when one was due.
        nacks: Workers asked to repeat their stream from a number on.
    """

    sender: str
    first: int
    operations: tuple[bytes, ...] = ()
    heartbeat: Heartbeat | None = None
    nacks: Mapping[str, int] = field(default_factory=dict)
