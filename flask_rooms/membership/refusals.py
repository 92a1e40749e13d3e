"""Counts how often clients have reached a limit, and warns of each limit once a minute at most."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from flask_rooms.backends.logs import safe_logging

logger = logging.getLogger("flask_rooms.membership")

#: Seconds between two warnings about the same limit.
WARN_EVERY = 60.0
#: Limits of which each connection is warned of on its own, so that all clients that misbehave can
#: be found.
FOR_EACH_CONNECTION = frozenset({"malformed_packets"})
#: How many connections may be warned of within that time. It bounds the lines, too: a client may
#: connect again and again.
MAX_CONNECTIONS = 100


class Refusals:
    """
    The limits of one worker that clients have reached.

    count() may be called from any thread, and takes no lock: it is called on behalf of clients
    that send too much.

    Attributes:
        counts: How often each limit was reached, by its name; read-only.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._warned: dict[tuple[str, str], float] = {}  # limit and connection -> when
        self.counts: Mapping[str, int] = MappingProxyType(self._counts)

    @property
    def total(self) -> int:
        """How often any limit was reached."""
        return sum(list(self._counts.values()))

    def count(self, limit: str, connection: str = "", address: str = "") -> None:
        """
        Count that a client has reached a limit.

        Args:
            limit: The name: that of the option in lower case without `ROOMS_`, where there is
                one. Never anything that a client chooses, since each name is kept.
            connection: The connection, if it is known; it is not logged.
            address: The address of its client.
        """
        self._counts[limit] += 1
        if limit not in FOR_EACH_CONNECTION:
            connection = address = ""
        if self._is_due(limit, connection):
            with safe_logging():  # what the limit is for is still to be done
                logger.warning(
                    "A client%s has reached the limit %s (%d so far on this worker).",
                    f" at {address!a}" if address else "",
                    limit,
                    self._counts[limit],
                )

    def _is_due(self, limit: str, connection: str) -> bool:
        key, now = (limit, connection), time.monotonic()
        if now - self._warned.get(key, float("-inf")) < WARN_EVERY:
            return False
        if connection and len(self._warned) >= MAX_CONNECTIONS:
            warned = self._warned.copy()  # in one step, as another thread may add to it
            self._warned = {one: at for one, at in warned.items() if now - at < WARN_EVERY}
            if len(self._warned) >= MAX_CONNECTIONS:
                return False
        self._warned[key] = now
        return True
