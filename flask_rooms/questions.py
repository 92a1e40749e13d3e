"""The calls that ask the whole cluster who is where."""

from __future__ import annotations

from typing import Any, Literal

from flask_rooms import arguments
from flask_rooms.answers import Answer, Gathered
from flask_rooms.arguments import OneSocket
from flask_rooms.cluster import Cluster
from flask_rooms.messages import Question, Room


class Questions:
    """
    What can be asked of the cluster.

    Each worker answers from one look at its own sockets, so an answer is exact for each worker,
    and of slightly different moments for different ones. No call raises because a worker is
    mute: the answer then holds what the others say, and says so.

    Every call waits for at most *timeout* seconds, and never longer than
    `ROOMS_CONFIRM_TIMEOUT`, which is also the default.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def members(
        self, room: str, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[frozenset[str]]:
        """
        Return the socket IDs of everybody in a room, on every worker.

        Args:
            room: A name.
            namespace: Where the room is.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        answers = self._ask("members", arguments.room_name(room), namespace, timeout)
        return _answer(frozenset(map(str, answers.names())), answers)

    def count(
        self, room: str, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[int]:
        """
        Return how many sockets are in a room, on all workers together.

        Args:
            room: A name.
            namespace: Where the room is.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        answers = self._ask("count", arguments.room_name(room), namespace, timeout)
        return _answer(answers.total(), answers)

    def rooms(
        self, prefix: str = "", *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[dict[Room, int]]:
        """
        Return the rooms that have members, with the number of them.

        The rooms of the sockets' own IDs are not among them.

        Args:
            prefix: Only rooms whose names begin so.
            namespace: Where.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *prefix* is not a string.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        answers = self._ask("rooms", arguments.room_prefix(prefix), namespace, timeout)
        return _answer(answers.counts(), answers)

    def rooms_of(
        self, socket: OneSocket, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[frozenset[Room]]:
        """
        Return the rooms of a socket, less that of its own ID; none if no worker holds it.

        Args:
            socket: A socket.
            namespace: The namespace of the socket.
            timeout: Seconds to wait for its owner.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, (sid,) = arguments.socket_ids((socket,), namespace)
        answers = self._ask("rooms_of", sid, space, timeout)
        return _answer(answers.names(), answers)

    def _ask(
        self,
        kind: Literal["members", "users", "rooms", "rooms_of", "count"],
        about: str,
        namespace: Any,
        timeout: Any,
    ) -> Gathered:
        question = Question(kind, arguments.namespace_of_call(namespace), about)
        return self._cluster.inquire(question, arguments.seconds(timeout))


def _answer(value: Any, gathered: Gathered) -> Answer[Any]:
    return Answer(value, gathered.complete, gathered.missing)
