"""Queries: the calls that return members, rooms and workers of the whole cluster."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

from flask_rooms.api.arguments import (
    OneSocket,
    namespace_of_call,
    room_or_user,
    seconds,
    socket_ids,
)
from flask_rooms.cluster.calls import Gathered
from flask_rooms.cluster.driver import Cluster
from flask_rooms.cluster.tracing import query_span
from flask_rooms.errors import InvalidArgument
from flask_rooms.membership.names import NOT_GIVEN, NotGiven, room_prefix
from flask_rooms.protocol.ids import owner_of
from flask_rooms.protocol.messages import FENCE, Query, Room, User
from flask_rooms.results import Answer, SocketInfo, WorkerInfo

By: TypeAlias = Literal["socket", "user"]


class Queries:
    """
    The queries to the cluster.

    Each worker answers from a consistent snapshot of its own sockets; the snapshots of different
    workers are of slightly different moments. No query raises because a worker does not respond,
    or because its answer would fill half of the outbox: the `Answer` then has the values of the
    other workers and is not complete.

    Each query waits for at most *timeout* seconds, and never longer than
    `ROOMS_CONFIRM_TIMEOUT`, which is also the default.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def workers(self, *, timeout: float | None = None) -> Answer[frozenset[WorkerInfo]]:
        """
        Return the names of the workers that have answered, including this one.

        Each name is a string that also has `host`, `pid`, `version`, `age` (seconds) and
        `heartbeat_interval` (seconds).

        An answer that is not complete means that a worker does not respond, or that the broker
        is unreachable. In the first heartbeat interval of this worker no answer is complete,
        because it may not have discovered every other worker.

        Args:
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidArgument: *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        gathered = self._gather("workers", FENCE, timeout)
        names = {self._cluster.name, *self._cluster.peers}.difference(gathered.missing)
        return _answer(frozenset(map(self._cluster.info, names)), gathered)

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
        Return the socket IDs of the members of a room, on every worker, or their user IDs.

        Args:
            room: A name.
            user: In place of *room*: the ID of a user, for the sockets of that user.
            by: "socket" for socket IDs; "user" for user IDs, without duplicates and without the
                sockets that have no user.
            namespace: The namespace of the room.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name, or is given together with *user*.
            InvalidArgument: *user*, *by*, *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        about = room_or_user(room, user)
        gathered = self._query("members", _kind(by), about, namespace, timeout)
        return _answer(frozenset(map(str, gathered.names())), gathered)

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
        Return the number of sockets in a room, on every worker, or the number of users.

        Args:
            room: A name.
            user: In place of *room*: the ID of a user, for the sockets of that user.
            by: "socket" to count sockets; "user" to count users, each once.
            namespace: The namespace of the room.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *room* is not a name, or is given together with *user*.
            InvalidArgument: *user*, *by*, *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        about = room_or_user(room, user)
        if _kind(by) == "users":  # not the sum of counts: a user may be on several workers
            gathered = self._query("count", "users", about, namespace, timeout)
            return _answer(len(gathered.names()), gathered)
        gathered = self._query("count", "count", about, namespace, timeout)
        return _answer(gathered.total(), gathered)

    def rooms(
        self, prefix: str = "", *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[dict[Room, int]]:
        """
        Return the rooms that have members, with the number of their members.

        The rooms named by socket IDs are left out.

        Args:
            prefix: Only rooms whose names start with it.
            namespace: The namespace of the rooms.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidRoom: *prefix* is not a string.
            InvalidArgument: *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        gathered = self._query("rooms", "rooms", room_prefix(prefix), namespace, timeout)
        return _answer(gathered.counts(), gathered)

    def rooms_of(
        self, socket: OneSocket, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[frozenset[Room]]:
        """
        Return the rooms of a socket, without the room of its ID; none if no worker holds it.

        Args:
            socket: A socket.
            namespace: The namespace of the socket.
            timeout: Seconds to wait for its owner.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidArgument: *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, (sid,) = socket_ids((socket,), namespace)
        gathered = self._query("rooms_of", "rooms_of", sid, space, timeout)
        return _answer(gathered.names(), gathered)

    def users(
        self, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[frozenset[str]]:
        """
        Return the IDs of all users that have a socket, on any worker, without duplicates.

        Args:
            namespace: The namespace of the sockets.
            timeout: Seconds to wait for the other workers.

        Raises:
            InvalidArgument: *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        gathered = self._query("users", "users", None, namespace, timeout)
        return _answer(frozenset(map(str, gathered.names())), gathered)

    def describe(
        self, socket: OneSocket, *, namespace: str | None = None, timeout: float | None = None
    ) -> Answer[SocketInfo | None]:
        """
        Return what is known of a socket, wherever it is; None if no worker holds it.

        Args:
            socket: A socket.
            namespace: The namespace of the socket.
            timeout: Seconds to wait for its owner.

        Raises:
            InvalidSocket: *socket* is neither a socket request nor a socket ID.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidArgument: *namespace* or *timeout* is not valid.
            BackendUnavailable: The outbox for the other workers is full.
        """
        space, (sid,) = socket_ids((socket,), namespace)
        gathered = self._query("describe", "describe", sid, space, timeout)
        names = [name for names, _ in gathered.parts for name in names]
        info = _described(sid, self._cluster.info(owner_of(sid)), names) if names else None
        return _answer(info, gathered)

    def _query(
        self,
        call: str,
        kind: Literal["members", "users", "rooms", "rooms_of", "describe", "count"],
        about: str | User | None,
        namespace: Any,
        timeout: Any,
    ) -> Gathered:
        query = Query(kind, namespace_of_call(namespace), about)
        return self._gather(call, query, timeout)

    def _gather(self, call: str, query: Query, timeout: Any) -> Gathered:
        wait = seconds(timeout)
        with query_span(f"sockets.{call}") as span:
            gathered = self._cluster.calls.query(query, wait)
            span.end(complete=gathered.complete, missing=len(gathered.missing))
        return gathered


def _kind(by: Any) -> Literal["members", "users"]:
    if by not in ("socket", "user"):
        raise InvalidArgument('`by` is "socket" or "user".')
    return "users" if by == "user" else "members"


def _answer(value: Any, gathered: Gathered) -> Answer[Any]:
    return Answer(value, gathered.complete, gathered.missing)


def _described(sid: str, worker: WorkerInfo, names: list[Room]) -> SocketInfo:
    """Return the description that LocalWorker has given as names."""
    user, since, address, client, data, *rooms = names
    return SocketInfo(
        sid,
        str(user) or None,
        frozenset(rooms),
        worker,
        datetime.fromtimestamp(int(since) / 1e6, timezone.utc),
        str(address) or None,
        str(client) or None,
        json.loads(str(data)) if data else None,
    )
