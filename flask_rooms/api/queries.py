"""The calls that ask the whole cluster who is where."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from flask_rooms.api.arguments import (
    NOT_GIVEN,
    NotGiven,
    OneSocket,
    namespace_of_call,
    room_or_user,
    seconds,
    socket_ids,
)
from flask_rooms.cluster.calls import Gathered
from flask_rooms.cluster.driver import FENCE, Cluster
from flask_rooms.errors import InvalidArgument
from flask_rooms.membership.names import room_prefix
from flask_rooms.protocol.messages import Query, Room, User
from flask_rooms.results import Answer

By: TypeAlias = Literal["socket", "user"]


class Queries:
    """
    What can be asked of the cluster.

    Each worker answers from one look at its own sockets, so an answer is exact for each worker,
    and of slightly different moments for different ones. No call raises because a worker is
    mute, or its answer would fill half of the outbox: the answer then holds what the others say,
    and says so.

    Every call waits for at most *timeout* seconds, and never longer than
    `ROOMS_CONFIRM_TIMEOUT`, which is also the default.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def workers(self, *, timeout: float | None = None) -> Answer[frozenset[str]]:
        """
        Return the names of the workers that have answered, this one's included.

        An answer that is not complete means that some are mute, or the broker is away. A worker
        that has just started knows only after a heartbeat interval that it has heard everybody.

        Args:
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidArgument: *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        answers = self._cluster.calls.query(FENCE, seconds(timeout))
        names = {self._cluster.name, *self._cluster.peers}
        return _answer(frozenset(names.difference(answers.missing)), answers)

    def members(
        self,
        room: str | NotGiven = NOT_GIVEN,
        *,
        user: str | int | None = None,
        by: By = "socket",
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> Answer[frozenset[str]]:
        """
        Return the socket IDs of everybody in a room, on every worker, or their user IDs.

        Args:
            room: A name.
            user: In place of *room*: the ID of a user, for the sockets of that user.
            by: "socket" for socket IDs; "user" for the IDs of the users, in which somebody with
                several tabs is one, and sockets without a user are left out.
            namespace: Where.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        about = room_or_user(room, user)
        answers = self._ask(_kind(by), about, namespace, timeout)
        return _answer(frozenset(map(str, answers.names())), answers)

    def count(
        self,
        room: str | NotGiven = NOT_GIVEN,
        *,
        user: str | int | None = None,
        by: By = "socket",
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> Answer[int]:
        """
        Return how many sockets are in a room, on all workers together, or how many users.

        Args:
            room: A name.
            user: In place of *room*: the ID of a user, for the sockets of that user.
            by: "socket" to count sockets; "user" to count users, whatever tabs they have open.
            namespace: Where.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name.
            InvalidArgument: *namespace* or *timeout* cannot be one.
            BackendUnavailable: The outbox for the other workers is full.
        """
        about = room_or_user(room, user)
        if _kind(by) == "users":  # who is on two workers is one
            answers = self._ask("users", about, namespace, timeout)
            return _answer(len(answers.names()), answers)
        answers = self._ask("count", about, namespace, timeout)
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
        answers = self._ask("rooms", room_prefix(prefix), namespace, timeout)
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
        space, (sid,) = socket_ids((socket,), namespace)
        answers = self._ask("rooms_of", sid, space, timeout)
        return _answer(answers.names(), answers)

    def _ask(
        self,
        kind: Literal["members", "users", "rooms", "rooms_of", "count"],
        about: str | User,
        namespace: Any,
        timeout: Any,
    ) -> Gathered:
        question = Query(kind, namespace_of_call(namespace), about)
        return self._cluster.calls.query(question, seconds(timeout))


def _kind(by: Any) -> Literal["members", "users"]:
    if by not in ("socket", "user"):
        raise InvalidArgument('`by` is "socket" or "user".')
    return "users" if by == "user" else "members"


def _answer(value: Any, gathered: Gathered) -> Answer[Any]:
    return Answer(value, gathered.complete, gathered.missing)
