"""The store in the memory of one process."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakValueDictionary

from flask_rooms.history.base import NUMBERS_KEPT, Bounds, HistoryStore, Kept


class _Message(NamedTuple):
    number: int
    body: bytes
    expires: float


@dataclass
class _Room:
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    last: int = 0
    size: int = 0
    used: float = 0.0
    messages: deque[_Message] = field(default_factory=deque)

    def trim(self, bounds: Bounds, now: float) -> None:
        messages = self.messages
        while messages and (
            len(messages) > bounds.messages or self.size > bounds.size or messages[0].expires <= now
        ):
            self.size -= len(messages.popleft().body)


class MemoryHistory(HistoryStore):
    """Keeps the messages in the memory of this process, for the workers that share the object."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In the order of their last use, so that a look at the first few finds what has expired.
        self._rooms: OrderedDict[str, _Room] = OrderedDict()  # with messages
        self._numbers: OrderedDict[str, _Room] = OrderedDict()  # without

    def append(self, room: str, message: bytes, bounds: Bounds) -> tuple[str, int]:
        """Keep a message, and forget what is beyond the bounds."""
        now = time.monotonic()
        with self._lock:
            found = self._find(room, now)
            found.last += 1
            found.size += len(message)
            found.messages.append(_Message(found.last, message, now + bounds.seconds))
            found.trim(bounds, now)
            self._numbers.pop(room)
            self._rooms[room] = found
            return found.epoch, found.last

    def read(self, room: str, after: int, bounds: Bounds) -> Kept:
        """Return the messages of a room with numbers above *after*."""
        now = time.monotonic()
        with self._lock:
            found = self._find(room, now)
            found.trim(bounds, now)
            if found.messages:
                self._numbers.pop(room)
                self._rooms[room] = found
            messages = [(one.number, one.body) for one in found.messages if one.number > after]
            return Kept(found.epoch, found.last, messages)

    def _find(self, room: str, now: float) -> _Room:
        """Return a room, as the last one of those without messages."""
        self._forget(now)
        found = self._rooms.pop(room, None) or self._numbers.pop(room, None) or _Room()
        found.used = now
        self._numbers[room] = found
        return found

    def _forget(self, now: float) -> None:
        while self._rooms:
            name, first = next(iter(self._rooms.items()))
            if first.messages and first.messages[-1].expires > now:
                break
            first.messages.clear()
            first.size = 0
            self._numbers[name] = self._rooms.pop(name)
        while self._numbers:
            name, first = next(iter(self._numbers.items()))
            if first.used + NUMBERS_KEPT > now:
                break
            del self._numbers[name]


# (process ID, hub, channel) -> the store that is shared under this name, while anything has it.
_shared: WeakValueDictionary[tuple[int, str, str], MemoryHistory] = WeakValueDictionary()


def memory_history(hub: str, channel: str) -> MemoryHistory:
    """Return the store of a hub in this process; without a name a new one."""
    if not hub:
        return MemoryHistory()
    return _shared.setdefault((os.getpid(), hub, channel), MemoryHistory())
