"""Counts how often clients have reached a limit, and warns of each limit once a minute at most."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

logger = logging.getLogger("flask_rooms.membership")

#: Seconds between two warnings about the same limit.
WARN_EVERY = 60.0


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
        self._warned: dict[str, float] = {}
        self.counts: Mapping[str, int] = MappingProxyType(self._counts)

    def count(self, limit: str) -> None:
        """
        Count that a client has reached a limit.

        Args:
            limit: The name: that of the option in lower case without `ROOMS_`, where there is
                one. Never anything that a client chooses, since each name is kept.
        """
        self._counts[limit] += 1
        now = time.monotonic()
        if now - self._warned.get(limit, float("-inf")) >= WARN_EVERY:
            self._warned[limit] = now
            logger.warning(
                "A client has reached the limit %s (%d so far on this worker).",
                limit,
                self._counts[limit],
            )
