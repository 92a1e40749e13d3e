"""History: what was said in rooms is kept for a while, and sent to clients that come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_rooms.backends import split_urls
from flask_rooms.errors import ConfigurationError
from flask_rooms.history.base import Bounds, HistoryStore, Kept
from flask_rooms.history.memory import MemoryHistory, memory_history

#: The schemes of the URLs that from_url() takes.
SCHEMES = ("memory", "redis", "rediss", "redis+socket", "sentinel")

__all__ = ["Bounds", "HistoryStore", "Kept", "MemoryHistory", "from_url"]


def from_url(url: str | Sequence[str], *, channel: str, options: Mapping[str, Any]) -> HistoryStore:
    """
    Return the store for a URL, not connected yet.

    `memory://` is of one worker alone; `memory://name` is shared by those of this process that name
    it; `redis://`, `rediss://`, `redis+socket://` and `sentinel://` are shared by all.

    Args:
        url: A URL; or several to try in turn, as a list or separated by semicolons.
        channel: Only workers of the same channel share a store.
        options: Kombu's transport options; `memory://` ignores them.

    Raises:
        ConfigurationError: The URL is malformed or of something else, or a library is missing.
    """
    urls = split_urls(url)
    if len(urls) == 1 and urls[0].startswith("memory://"):
        return memory_history(urls[0].removeprefix("memory://").strip("/"), channel)
    if not all(one.partition("://")[0] in SCHEMES[1:] for one in urls):
        raise ConfigurationError(
            "The history of rooms is kept in Redis, or in the memory of one process: set "
            "ROOMS_HISTORY_URL to a redis:// URL that all workers reach."
        )
    from flask_rooms.history.redis import RedisHistory  # its library is an extra

    return RedisHistory(urls, channel=channel, options=options)
