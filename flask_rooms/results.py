"""The results of calls, such as Outcome and Answer, and WorkerInfo, the name of a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """
    What a call has changed in the whole cluster.

    Args:
        changed: The number of memberships added or removed.
        unchanged: The number of memberships that were already as requested.
        unknown: The socket IDs that no worker holds.
    """

    changed: int = 0
    unchanged: int = 0
    unknown: tuple[str, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.unknown + other.unknown,
        )


def outcome_of(changed: int, unchanged: int, unknown: tuple[str, ...] = ()) -> Outcome:
    """Return an Outcome; nearly all are equal, and none can be changed, so these are shared."""
    return Outcome(changed, unchanged, unknown) if unknown else _shared_outcome(changed, unchanged)


@lru_cache(maxsize=64)
def _shared_outcome(changed: int, unchanged: int) -> Outcome:
    return Outcome(changed, unchanged)


@dataclass(frozen=True)
class Told(Outcome):
    """
    The outcome of a message to every worker.

    Args:
        workers: The names of the workers that have the message, in order.
    """

    workers: tuple[str, ...] = ()


class Part(NamedTuple):
    """
    What a change did on one worker, or on several.

    Args:
        outcome: What was done.
        refused: Sockets that a guard has refused; a worker that names any has done nothing.
        newer: The latest connect time of a socket that outlasts the one which the others were to
            be older than; 0 if there is none.
    """

    outcome: Outcome
    refused: tuple[str, ...] = ()
    newer: int = 0

    def plus(self, other: Part) -> Part:
        """Return what both did together."""
        newer = max(self.newer, other.newer)
        return Part(self.outcome + other.outcome, self.refused + other.refused, newer)


@lru_cache(maxsize=64)
def part_of(changed: int, unchanged: int) -> Part:
    """Return the Part of a change without peculiarities; as with outcomes, these are shared."""
    return Part(Outcome(changed, unchanged))


@dataclass(frozen=True)
class Answer(Generic[T]):
    """
    The answer of the whole cluster to a query.

    Args:
        value: The combined answers of the workers that have answered.
        complete: Whether every live worker has answered.
        missing: The names of the workers that have not answered, as far as they are known, or
            whose answer would have been too long.
    """

    value: T
    complete: bool
    missing: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # to a type checker they would say that an answer can be used so

        def __bool__(self) -> NoReturn:
            """Raise: each answer would be true, also that a room is empty."""
            raise _not_the_value("has no truth value")

        def __len__(self) -> NoReturn:
            raise _not_the_value("has no length")

        def __iter__(self) -> NoReturn:
            raise _not_the_value("cannot be iterated over")

        def __contains__(self, one: object) -> NoReturn:
            raise _not_the_value("contains nothing")


def _not_the_value(what: str) -> TypeError:
    return TypeError(f"What a query returns is an Answer, which {what}: use its `.value`.")


@dataclass(frozen=True)
class Health:
    """
    Whether a worker can serve clients.

    Args:
        joined: Whether it has joined the cluster, and has not left.
        broker: Whether it receives its own messages from the broker.
        draining: Whether it refuses new clients, because it is about to end.
        problem: Why the broker could not be reached; None if it can, or if that is not known.
    """

    joined: bool
    broker: bool
    draining: bool
    problem: str | None = None

    @property
    def ready(self) -> bool:
        """Whether new clients are welcome: it has joined, reaches the broker, and stays."""
        return self.joined and self.broker and not self.draining


@dataclass(frozen=True)
class SocketInfo:
    """
    What is known of a socket.

    Args:
        sid: The socket ID.
        user: The ID of its user, or None.
        rooms: The rooms it is in, without the room of its ID.
        worker: The worker that holds it; a WorkerInfo.
        since: When it connected, by the clock of that worker, in UTC.
        address: The address that it connects from, as its server has it; None if that is unknown.
        client: What its program calls itself, the beginning of its User-Agent; None if nothing.
        data: What the application has set with `set_data`, or None.
    """

    sid: str
    user: str | None
    rooms: frozenset[str | int]
    worker: WorkerInfo
    since: datetime
    address: str | None
    client: str | None
    data: Any


@dataclass(frozen=True)
class Responses:
    """
    What clients have answered, and which of them have not.

    Each socket that was asked is in one of the first four.

    Args:
        answers: Socket ID -> what its client has answered; a tuple if it has given several values.
        silent: The sockets that have not answered in time.
        left: Those that have disconnected without an answer, or whose worker has died.
        failed: Those whose answers were too large or cannot be passed on, or that could not be
            asked because too many answers are awaited.
        complete: Whether every worker has said whom it has asked, and this one has not started
            over since, so that answers were lost.
        missing: The names of the workers that have not, that have died before, or whose answers
            were lost, as far as they are known.
    """

    answers: dict[str, Any]
    silent: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    complete: bool = True
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missed:
    """
    What a client had missed of a room.

    Args:
        sent: How many events were sent to it.
        gone: Whether there may have been others, which are kept no more.
    """

    sent: int
    gone: bool


@dataclass(frozen=True)
class Person:
    """
    Who is present in a room: a user, or a socket without a user.

    Args:
        user: The ID of the user, or None.
        since: When the user came, in seconds since 1970.
        sockets: The sockets of the user that are in the room, by ID, each with its data.
    """

    user: str | None
    since: float
    sockets: Mapping[str, Mapping[str, Any]]


class WorkerInfo(str):
    """
    The name of a worker, with what is known about it.

    Args:
        name: The name; as a string, this is all that it is.
        host: The name of its machine; None if this worker has never heard from it.
        pid: Its process ID there, or None.
        version: Its version of Flask-Rooms, or None.
        age: Seconds since it joined the cluster, when this was returned; or None.
        heartbeat_interval: Seconds between its heartbeats, or None.
    """

    host: str | None
    pid: int | None
    version: str | None
    age: float | None
    heartbeat_interval: float | None

    def __new__(
        cls,
        name: str,
        host: str | None = None,
        pid: int | None = None,
        version: str | None = None,
        age: float | None = None,
        heartbeat_interval: float | None = None,
    ) -> WorkerInfo:
        info = super().__new__(cls, name)
        info.host, info.pid, info.version = host, pid, version
        info.age, info.heartbeat_interval = age, heartbeat_interval
        return info

    @property
    def description(self) -> str:
        """The name and where to find the worker, for messages."""
        if self.host is None:
            return str(self)
        # Another worker has told it: no control character reaches a log or a terminal.
        host = self.host if self.host.isprintable() else repr(self.host)
        return f"{self} (process {self.pid} on {host})"
