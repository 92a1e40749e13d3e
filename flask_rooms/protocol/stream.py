"""A worker's own numbered stream: outbox and repair log in one list, in order and bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from flask_rooms.errors import BackendUnavailable, InvalidArgument
from flask_rooms.protocol.codec import NOTHING


@dataclass(frozen=True)
class Limits:
    """
    The bounds of a stream.

    Args:
        outbox: Bytes that may wait to be sent.
        log: Bytes of sent operations that are kept for retransmission.
        frame: Bytes of operations that one frame may carry.
    """

    outbox: int
    log: int
    frame: int

    @property
    def pages(self) -> int:
        """How many messages an answer may take, so that it leaves half of the outbox free."""
        return max(1, self.outbox // (2 * self.frame))


class Stream:
    """
    Numbered operations from `oldest` up to `next`, and a cursor at the one to send next.

    Rule `one-outbox-and-log`: what lies before `fresh` has been sent, and is kept for
    retransmission; the rest waits. A nack moves the cursor back, and receivers that have had an
    operation drop the duplicate.

    Args:
        limits: The bounds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._log = limits.log
        self._entries: deque[bytes] = deque()
        self._sent_bytes = 0
        self._waiting_bytes = 0
        self._cursor = 1
        self._fresh_before_take = 1
        self.first_untried = 1  # the first that take() has never returned
        self.next = 1  # the number that append() gives next
        self.fresh = 1  # the first that has not been sent

    @property
    def oldest(self) -> int:
        """The first number that can still be retransmitted; `next` when there is none."""
        return self.next - len(self._entries)

    @property
    def unsent(self) -> tuple[int, int]:
        """How many operations have not been sent, and their size in bytes."""
        return self.next - self.fresh, self._waiting_bytes

    @property
    def has_unsent(self) -> bool:
        """Whether take() would return an operation."""
        return self._cursor < self.next

    def append(self, data: bytes, allowance: int = 0, *, bounded: bool = True) -> int:
        """
        Put *data* at the end of the outbox.

        Args:
            data: An encoded operation.
            allowance: By how many bytes it may exceed the limit of a frame.
            bounded: Whether a full outbox refuses it.

        Returns:
            Its number.

        Raises:
            InvalidArgument: It is larger than a frame may be.
            BackendUnavailable: The outbox is full.
        """
        if len(data) > self._limits.frame + allowance:
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
        Return the number of the next operation to send, and as many operations as a frame holds.

        They count as sent, unless give_back() follows.
        """
        self._trim()
        self._fresh_before_take = self.fresh
        first = self._cursor
        taken: list[bytes] = []
        space = self._limits.frame
        while self._cursor < self.next:
            data = self._entries[self._cursor - self.oldest]
            space -= len(data)
            if taken and space < 0:
                break
            taken.append(data)
            self._advance(len(data))
        self.first_untried = max(self.first_untried, self._cursor)
        return first, tuple(taken)

    def give_back(self, number: int) -> None:
        """
        Undo the last take(), which returned *number* first: it could not be published.

        It may have been, all the same. What its receivers have confirmed meanwhile stays sent.
        """
        fresh = max(self._fresh_before_take, self.oldest)
        while self.fresh > fresh:  # retransmissions count as sent all the same
            self.fresh -= 1
            size = len(self._entries[self.fresh - self.oldest])
            self._waiting_bytes += size
            self._sent_bytes -= size
        self.rewind(number)

    def rewind(self, number: int) -> bool:
        """Retransmit from *number* on; False when the log does not reach back so far."""
        is_kept = number >= self.oldest
        self._cursor = min(self._cursor, max(number, self.oldest))
        return is_kept

    def read(self, first: int, end: int) -> tuple[bytes, ...]:
        """Return sent operations from *first* up to *end*, as many as a frame holds."""
        taken: list[bytes] = []
        space = self._limits.frame
        start = max(first, self.oldest) - self.oldest
        for data in islice(self._entries, start, min(end, self.fresh) - self.oldest):
            space -= len(data)
            if taken and space < 0:
                break
            taken.append(data)
        return tuple(taken)

    def discard_before(self, number: int) -> None:
        """Discard what lies before *number*, as far as the cursor has passed it."""
        while self.oldest < min(number, self._cursor):
            self._sent_bytes -= len(self._entries.popleft())

    def blank(self, number: int) -> None:
        """Replace a sent operation by one that receivers skip, in case it is retransmitted."""
        if self.oldest <= number < self.fresh:
            index = number - self.oldest
            self._sent_bytes += len(NOTHING) - len(self._entries[index])
            self._entries[index] = NOTHING

    def keep_all(self) -> None:
        """Let the log hold what waits now: it may be sent before any worker can ask for it."""
        self._log = max(self._log, self._waiting_bytes)

    def untried(self) -> list[bytes]:
        """Return what take() has never returned, in order: no worker can have received it."""
        return self._from(self.first_untried)

    def waiting(self) -> list[bytes]:
        """Return what was not sent as far as is known, in order: also what was given back."""
        return self._from(self.fresh)

    def _from(self, number: int) -> list[bytes]:
        return [self._entries[n - self.oldest] for n in range(number, self.next)]

    def _advance(self, size: int) -> None:
        if self._cursor == self.fresh:
            self.fresh += 1
            self._waiting_bytes -= size
            self._sent_bytes += size
        self._cursor += 1

    def _trim(self) -> None:
        while self._sent_bytes > self._log and self.oldest < self._cursor:
            self._sent_bytes -= len(self._entries.popleft())
