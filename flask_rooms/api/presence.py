"""Presence, the API of `sockets.presence`: who is in a room, answered by this worker at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask_rooms.api.arguments import OneSocket, namespace_of_call, socket_ids
from flask_rooms.errors import InvalidSocket
from flask_rooms.membership.names import room_name
from flask_rooms.presence.tracker import Tracker
from flask_rooms.results import Answer, Person


class Presence:
    """
    Who is present in the rooms that `@rooms.presence()` tracks.

    Args:
        tracker: Knows it.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def __call__(self, room: str, *, namespace: str | None = None) -> Answer[tuple[Person, ...]]:
        """
        Return the people who are present in a room, on all workers; no other worker is asked.

        Args:
            room: A name.
            namespace: The namespace of the room.

        Returns:
            An Answer whose value has each person once, those first that came first. `missing`
            names the workers whose people are not known yet.

        Raises:
            InvalidRoom: *room* is not a name, or no rule of `@rooms.presence()` matches it.
            InvalidArgument: *namespace* is not valid.
        """
        return self._tracker.people(namespace_of_call(namespace), room_name(room))

    def update(
        self,
        socket: OneSocket,
        room: str,
        data: Mapping[str, Any],
        *,
        namespace: str | None = None,
    ) -> bool:
        """
        Change what others are to know of a socket of this worker in a room.

        Args:
            socket: A socket request, or the ID of a socket of this worker.
            room: A name.
            data: The keys to set; a value of None removes a key.
            namespace: The namespace of the socket.

        Returns:
            Whether the socket is present in the room.

        Raises:
            InvalidSocket: *socket* is not one socket.
            NotASocketRequest: *socket* is an HTTP request.
            InvalidRoom: *room* is not a name, or no rule of `@rooms.presence()` matches it.
            InvalidArgument: *data* are no dictionary of JSON, or take more than
                ROOMS_PRESENCE_BYTES.
        """
        space, sids = socket_ids(socket, namespace)
        if len(sids) != 1:
            raise InvalidSocket("presence.update() changes the data of one socket: call it again.")
        return self._tracker.update(space, sids[0], room_name(room), data)
