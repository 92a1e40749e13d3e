"""Counts how often clients have reached a limit, and warns of each limit once a minute at most."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from flask_rooms.backends.logs import Throttle, safe_logging

logger = logging.getLogger("flask_rooms.membership")

#: What a client may reach: an option in lower case without `ROOMS_`, where there is one.
Limit: TypeAlias = Literal[
    "before_connect_bytes",
    "concurrent_events",
    "connect_timeout",
    "connections",
    "connections_per_user",
    "login_expired",
    "malformed_packets",
    "max_http_buffer_size",
    "overlapping_requests",
    "packets_per_second",
    "presence_members",
    "rooms_per_socket",
    "sockets_per_connection",
    "unanswered_callbacks",
    "unread_bytes",
    "waiting_requests",
]

#: Limits of which each connection is warned of on its own, so that all clients that misbehave can
#: be found.
FOR_EACH_CONNECTION: frozenset[Limit] = frozenset({"malformed_packets"})
#: How many connections may be warned of in a minute. It bounds the lines, too: a client may
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
        self._limits, self._connections = Throttle(), Throttle(MAX_CONNECTIONS)
        self.counts: Mapping[str, int] = MappingProxyType(self._counts)

    @property
    def total(self) -> int:
        """How often any limit was reached."""
        return sum(list(self._counts.values()))

    def count(self, limit: Limit, connection: str = "", address: str = "") -> None:
        """
        Count that a client has reached a limit.

        Args:
            limit: Its name.
            connection: The connection, if it is known; it is not logged.
            address: The address of its client.
        """
        self._counts[limit] += 1
        if limit in FOR_EACH_CONNECTION and connection:
            is_due = self._connections.is_due((limit, connection))
        else:
            address, is_due = "", self._limits.is_due(limit)
        if is_due:
            with safe_logging():  # what the limit is for is still to be done
                logger.warning(
                    "A client%s has reached the limit %s (%d so far on this worker).",
                    f" at {address!a}" if address else "",
                    limit,
                    self._counts[limit],
                )
