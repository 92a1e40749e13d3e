"""HistoryStore, the interface of what keeps the messages of rooms for a while."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

#: Seconds for which a store remembers the numbers of a room that is not used, beyond its messages.
#: A client that has been away for longer is told that it may have missed something.
NUMBERS_KEPT = 86_400


class Bounds(NamedTuple):
    """
    How much of a room is kept; what comes first applies.

    Args:
        messages: How many messages.
        seconds: For how many seconds each of them.
        size: How many bytes, of all messages together.
    """

    messages: int
    seconds: float
    size: int


class Kept(NamedTuple):
    """
    What a store has of a room.

    Args:
        epoch: The name of the sequence of numbers. A store that has lost numbers begins another.
        last: The number of the latest message; 0 if there was none.
        messages: Those that are kept of the messages asked for, with their numbers, in order.
    """

    epoch: str
    last: int
    messages: list[tuple[int, bytes]]


class HistoryStore(ABC):
    """
    Keeps the latest messages of rooms, numbered, for all workers of a cluster.

    Each message of a room gets the next number, beginning with 1. Numbers are compared only
    within one epoch: a store that may have lost a number begins a new epoch, with another name.
    `flask_rooms.testing.HistoryContract` tests a store for this.

    All methods may be called from several threads at once, and return in a bounded time.
    """

    @abstractmethod
    def append(self, room: str, message: bytes, bounds: Bounds) -> tuple[str, int]:
        """
        Keep a message, and forget what is beyond the bounds, perhaps the message itself.

        Args:
            room: A name; any text.
            message: Any bytes.
            bounds: How much of the room is kept.

        Returns:
            The epoch and the number of the message.

        Raises:
            BackendError: The store cannot be reached; the message may have been kept.
        """

    @abstractmethod
    def read(self, room: str, after: int, bounds: Bounds) -> Kept:
        """
        Return the messages of a room with numbers above *after*, as far as they are kept.

        The epoch of a room without messages stands from here on, too, for as long as a message
        would be kept.

        Raises:
            BackendError: The store cannot be reached.
        """

    def ping(self) -> None:  # noqa: B027 - a store in this process has nothing to do
        """
        Return if the store can be reached.

        Raises:
            BackendError: It cannot.
        """

    def close(self) -> None:  # noqa: B027 - as above
        """Disconnect; closing twice has no effect, and a later call connects again."""
