"""A worker's own numbered stream: what waits for the broker, and what it can still repeat."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from flask_rooms.errors import BackendUnavailable, InvalidArgument
from flask_rooms.protocol.codec import NOTHING


@dataclass(frozen=True)
class Limits:
    """
    The bounds of a stream.

    Args:
        outbox: Bytes that may wait for the broker.
        log: Bytes kept of what was sent, for repetition.
        frame: Bytes that one frame may carry.
    """

    outbox: int
    log: int
    frame: int

    @property
    def pages(self) -> int:
        """How many messages an answer may take: it is not to crowd out what else is said."""
        return max(1, self.outbox // (2 * self.frame))


class Stream:
    """
    Numbered operations from `oldest` to `next`, with a cursor that says what is sent next.

    Whatever is before `fresh` was handed over once and is only kept for repetition: a
    request for one moves the cursor back, and whoever had it already drops the double.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._entries: deque[bytes] = deque()
        self._sent_bytes = 0
        self._waiting_bytes = 0
        self._cursor = 1
        self._was_fresh = 1  # what was fresh before the last take()
        self._untried = 1  # the first that take() has never returned
        self.next = 1
        self.fresh = 1

    @property
    def oldest(self) -> int:
        """The first number that can still be repeated; `next` when there is none."""
        return self.next - len(self._entries)

    @property
    def has_unsent(self) -> bool:
        """Whether take() would return an operation."""
        return self._cursor < self.next

    def append(self, data: bytes, spare: int = 0, *, bounded: bool = True) -> int:
        """
        Number *data* and let it wait to be sent.

        Args:
            data: An encoded operation.
            spare: Bytes by which this one may be larger than a frame.
            bounded: Whether a full outbox refuses it.

        Returns:
            The number.

        Raises:
            InvalidArgument: It is larger than that.
            BackendUnavailable: The outbox is full.
        """
        if len(data) > self._limits.frame + spare:
            raise InvalidArgument(
                f"One message to the other workers would take {len(data)} bytes, and "
                f"{self._limits.frame} are allowed: split the call, or raise "
                "ROOMS_MESSAGE_BYTES on every worker."
            )
        if bounded and self._waiting_bytes + len(data) > self._limits.outbox:
            raise BackendUnavailable(
                f"{self._waiting_bytes} bytes wait for the broker and ROOMS_OUTBOX_BYTES allows "
                f"{self._limits.outbox}: find out why the broker is away, and try again later."
            )
        number = self.next
        self.next += 1
        self._entries.append(data)
        self._waiting_bytes += len(data)
        return number

    def take(self) -> tuple[int, tuple[bytes, ...]]:
        """
        Return the number of the next operation to send, and as many as one frame holds.

        What was taken before counts as sent from now on, unless give_back() was called.
        """
        self._trim()
        self._was_fresh = self.fresh
        first = self._cursor
        taken: list[bytes] = []
        room = self._limits.frame
        while self._cursor < self.next:
            data = self._entries[self._cursor - self.oldest]
            room -= len(data)
            if taken and room < 0:
                break
            taken.append(data)
            self._advance(len(data))
        self._untried = max(self._untried, self._cursor)
        return first, tuple(taken)

    def give_back(self, number: int) -> None:
        """Let what was taken last, from *number* on, wait again, as it could not be sent."""
        while self.fresh > self._was_fresh:  # what it only repeated has been sent all the same
            self.fresh -= 1
            size = len(self._entries[self.fresh - self.oldest])
            self._waiting_bytes += size
            self._sent_bytes -= size
        self.repeat(number)

    def repeat(self, number: int) -> bool:
        """Send again from *number* on; False when that is no longer possible."""
        known = number >= self.oldest
        self._cursor = min(self._cursor, max(number, self.oldest))
        return known

    def forget(self, number: int) -> None:
        """Keep nothing before *number* for repetition, unless it is being repeated now."""
        while self.oldest < min(number, self._cursor):
            self._sent_bytes -= len(self._entries.popleft())

    def blank(self, number: int) -> None:
        """Let there be nothing to do under a number that has been sent, should it be repeated."""
        if self.oldest <= number < self.fresh:
            index = number - self.oldest
            self._sent_bytes += len(NOTHING) - len(self._entries[index])
            self._entries[index] = NOTHING

    def waiting(self) -> list[bytes]:
        """Return what nobody can have received, in order, not even by a publish that failed."""
        return [self._entries[n - self.oldest] for n in range(self._untried, self.next)]

    def _advance(self, size: int) -> None:
        if self._cursor == self.fresh:
            self.fresh += 1
            self._waiting_bytes -= size
            self._sent_bytes += size
        self._cursor += 1

    def _trim(self) -> None:
        while self._sent_bytes > self._limits.log and self.oldest < self._cursor:
            self._sent_bytes -= len(self._entries.popleft())
