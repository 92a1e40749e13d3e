"""Backends, which carry bytes between workers, and from_url(), which selects one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask_rooms.backends.base import Backend
from flask_rooms.backends.memory import MemoryBackend
from flask_rooms.errors import ConfigurationError

__all__ = ["Backend", "MemoryBackend", "from_url"]


def from_url(url: str | Sequence[str], *, channel: str, options: Mapping[str, Any]) -> Backend:
    """
    Return the backend for a URL, not opened yet.

    `memory://` is one worker alone; `memory://name` connects those of this process that name it.
    `redis://`, `rediss://`, `sentinel://`, `amqp://` and `amqps://` are tested through Kombu; its
    other schemes are passed to it untested.

    Args:
        url: A URL; or several to try in turn, as a list or separated by semicolons.
        channel: Only workers of the same channel are connected.
        options: Kombu's transport options; `memory://` ignores them.

    Raises:
        ConfigurationError: The URL is malformed, or a library for it is not installed.
    """
    urls = split_urls(url)
    if any(one.startswith("memory://") for one in urls):
        if len(urls) > 1:
            raise ConfigurationError("`memory://` stands alone: it has nothing to fail over to.")
        hub = urls[0].removeprefix("memory://").strip("/")
        # Without a name each worker is alone, so that applications cannot meet by accident.
        return MemoryBackend(channel, hub=hub, private=not hub)
    try:
        from flask_rooms.backends.kombu import KombuBackend
    except ImportError as error:
        raise ConfigurationError(
            f"This backend needs Kombu ({error}): pip install flask-rooms[redis] for Redis, "
            "pip install kombu for RabbitMQ."
        ) from error
    return KombuBackend(urls, channel=channel, options=options)


def split_urls(url: str | Sequence[str]) -> list[str]:
    """Return the URLs of a list, or of a string that separates them by semicolons."""
    listed: Sequence[Any] = url.split(";") if isinstance(url, str) else url
    if not isinstance(listed, (list, tuple)):
        listed = [listed]
    urls = [_with_lower_scheme(one.strip()) for one in listed if isinstance(one, str)]
    # The URL itself stays out of the message: it may hold a password.
    if len(urls) != len(listed) or not urls or not all("://" in one for one in urls):
        raise ConfigurationError(
            "A backend URL looks like memory://, redis://host:6379/0 or "
            "amqp://user:password@host:5672//; several are given as a list or separated by `;`."
        )
    return urls


def _with_lower_scheme(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme.lower() + separator + rest
