"""The store in the memory of one process."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict, defaultdict, deque
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
    until: float = 0.0
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
        # By the seconds for which they are kept, in the order in which that is over: a look at the
        # first of each finds what has expired.
        self._orders: defaultdict[float, OrderedDict[str, _Room]] = defaultdict(OrderedDict)

    def append(self, room: str, message: bytes, bounds: Bounds) -> tuple[str, int]:
        """Keep a message, and forget what is beyond the bounds."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            found = self._find(room)
            found.last += 1
            found.size += len(message)
            found.messages.append(_Message(found.last, message, now + bounds.seconds))
            found.trim(bounds, now)
            self._keep(room, found, bounds, now)
            return found.epoch, found.last

    def read(self, room: str, after: int, bounds: Bounds) -> Kept:
        """Return the messages of a room with numbers above *after*."""
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            found = self._find(room)
            found.trim(bounds, now)
            if not found.messages:
                self._keep(room, found, bounds, now)
            messages = [(one.number, one.body) for one in found.messages if one.number > after]
            return Kept(found.epoch, found.last, messages)

    def _find(self, room: str) -> _Room:
        """Return a room as it is kept, or a new one."""
        for order in self._orders.values():  # one for each rule, and one for rooms without messages
            if room in order:
                return order[room]
        return _Room()

    def _keep(self, room: str, found: _Room, bounds: Bounds, now: float) -> None:
        # Clients may choose the names: one to which nothing was ever sent is forgotten sooner.
        seconds = NUMBERS_KEPT if found.last and not found.messages else bounds.seconds
        for order in self._orders.values():
            order.pop(room, None)
        found.until = now + seconds
        self._orders[seconds][room] = found

    def _forget(self, now: float) -> None:
        for order in list(self._orders.values()):
            while order:
                name, first = next(iter(order.items()))
                if first.until > now:
                    break
                del order[name]
                if first.messages:
                    first.messages.clear()
                    first.size = 0
                    first.until = now + NUMBERS_KEPT
                    self._orders[NUMBERS_KEPT][name] = first


# (process ID, hub, channel) -> the store that is shared under this name, while anything has it.
_shared: WeakValueDictionary[tuple[int, str, str], MemoryHistory] = WeakValueDictionary()


def memory_history(hub: str, channel: str) -> MemoryHistory:
    """Return the store of a hub in this process; without a name a new one."""
    if not hub:
        return MemoryHistory()
    return _shared.setdefault((os.getpid(), hub, channel), MemoryHistory())
