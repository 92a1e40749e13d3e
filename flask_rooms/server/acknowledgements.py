"""The callbacks that wait for clients' acknowledgements, each called at most once."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

from flask_rooms.membership.refusals import Refusals
from flask_rooms.protocol.ids import is_sid, owner_of
from flask_rooms.protocol.messages import Audience

#: Callbacks that may wait for clients of other workers; beyond that the oldest are dropped.
MAX_REMOTE = 10_000
#: Callbacks that may wait for one client of this worker; further ones are not kept. A client need
#: not acknowledge anything.
MAX_LOCAL = 10_000

Callback: TypeAlias = "Callable[..., object]"


def only_socket(rooms: tuple[Audience, ...] | None) -> str | None:
    """Return the ID of the only socket that an event is for; None if it may be for several."""
    room = rooms[0] if rooms is not None and len(rooms) == 1 else None
    return room if isinstance(room, str) and is_sid(room) else None


class Cancellable(ABC):
    """A callback that is told when no acknowledgement will come."""

    @abstractmethod
    def __call__(self, *args: Any) -> None:
        """Take what the client has acknowledged."""

    @abstractmethod
    def cancel(self) -> None:
        """Note that nothing will come."""


class Acknowledgements:
    """
    Callbacks for clients of this worker and for clients of other workers.

    Args:
        refusals: Counts the callbacks that are not kept.

    Attributes:
        local: Socket ID -> acknowledgement ID -> callback; python-socketio's `callbacks`.
        remote: Number -> the worker of the client, where it is for one socket, and the callback.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self.local: dict[str, dict[int, Callback]] = {}
        self.remote: dict[int, tuple[str | None, Callback]] = {}
        self._ids = itertools.count(1)

    def reset_after_fork(self) -> None:
        """Forget, in a forked child, what waits in the parent."""
        self.local.clear()
        self.remote.clear()

    def add_local(self, sid: str, callback: Callback) -> int:
        """Keep the callback for a socket of this worker; return its acknowledgement ID."""
        ack = self.new_id()
        if len(self.local.get(sid, ())) < MAX_LOCAL:
            self.keep_local(sid, ack, callback)
        else:
            self._refusals.count("unanswered_callbacks")
            if isinstance(callback, Cancellable):
                callback.cancel()
        return ack

    def new_id(self) -> int:
        """Return an acknowledgement ID, which several sockets may be given."""
        return next(self._ids)

    def keep_local(self, sid: str, ack: int, callback: Callback) -> None:
        """Keep the callback for a socket of this worker, under an ID of new_id()."""
        self.local.setdefault(sid, {})[ack] = callback

    def take_local(self, sid: str, ack: Any) -> Callback | None:
        """Return and forget the callback that waits for this acknowledgement, or None."""
        return self.local.get(sid, {}).pop(ack, None) if type(ack) is int else None

    def take_all_local(self, sid: str) -> list[Callback]:
        """Return and forget all callbacks that wait for a socket of this worker."""
        return list(self.local.pop(sid, {}).values())

    def add_remote(self, rooms: tuple[Audience, ...] | None, callback: Callback) -> int:
        """
        Keep the callback for the recipients on other workers; return its number.

        That of a single socket is taken with the answer. How many others there are is not known,
        so their callback stays among the latest.
        """
        ack = next(self._ids)
        sid = only_socket(rooms)
        self.remote[ack] = (None if sid is None else owner_of(sid), callback)
        while len(self.remote) > MAX_REMOTE:
            self.remote.pop(next(iter(self.remote)), None)
        return ack

    def answered_remote(self, ack: int) -> Callback | None:
        """Return the callback with this number, or None; forget it if no other answer can come."""
        owner, callback = self.remote.get(ack, (None, None))
        if owner is not None:
            self.forget_remote(ack)
        return callback

    def forget_remote(self, ack: int) -> None:
        """Forget the callback with this number."""
        self.remote.pop(ack, None)

    def on_worker_left(self, worker: str) -> None:
        """Forget the callbacks that wait for a client of that worker."""
        for ack, (owner, _) in list(self.remote.items()):
            if owner == worker:
                self.remote.pop(ack, None)
