"""The configuration of one application, read once and checked."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from flask import Flask

from flask_rooms.errors import ConfigurationError

# Where everybody is in one process, so is the key.
_PROCESS_KEY = secrets.token_bytes(32)


@dataclass(frozen=True)
class Config:
    """
    What `ROOMS_...` in the Flask configuration, or the same in lower case given to Rooms, say.

    Args:
        backend_url: Where the workers meet; a list is tried in order.
        backend_options: Given to the backend.
        channel: Applications that share a broker use different ones.
        confirm_timeout: Seconds to wait for the confirmation of another worker.
        heartbeat_interval: Seconds between two signs of life.
        secret_keys: Keys for the messages, newest first; None takes `SECRET_KEY` and
            `SECRET_KEY_FALLBACKS`.
        outbox_bytes: How much may wait for the broker.
        repair_log_bytes: How much of what was sent is kept for those who missed it.
        message_bytes: How large one call's message to the other workers may be.
        waiting_requests: How many requests of one socket may wait for the one before them.
        waiting_request_bytes: How much these may take together.
        request_headers: Headers that clients may set in socket requests, besides the usual ones.
    """

    backend_url: str | Sequence[str] = "memory://"
    backend_options: Mapping[str, Any] | None = None
    channel: str = "flask-rooms"
    confirm_timeout: float = 5.0
    heartbeat_interval: float = 2.0
    secret_keys: Sequence[str | bytes] | None = None
    outbox_bytes: int = 16 * 2**20
    repair_log_bytes: int = 16 * 2**20
    message_bytes: int = 2**20
    waiting_requests: int = 100
    waiting_request_bytes: int = 4 * 2**20
    request_headers: Sequence[str] = ()

    @classmethod
    def of(cls, app: Flask, options: Mapping[str, Any]) -> Config:
        """
        Read the configuration of *app*, which *options* take precedence over.

        Raises:
            ConfigurationError: A name or a value is not known.
        """
        known = {one.name: one.default for one in fields(cls)}
        unknown = options.keys() - known.keys()
        if unknown:
            raise ConfigurationError(
                f"Rooms() knows no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(known)}, and backend."
            )
        values = {}
        for name, default in known.items():
            key = f"ROOMS_{name.upper()}"
            values[name] = options.get(name, app.config.setdefault(key, default))
        config = cls(**values)
        config._check()
        return config

    def keys(self, app: Flask, *, in_process: bool) -> list[str | bytes]:
        """
        Return the keys that messages are signed with, newest first.

        Args:
            app: Its `SECRET_KEY` is taken where there is no `ROOMS_SECRET_KEYS`.
            in_process: Whether all workers are in this process, so that it may make up a key.

        Raises:
            ConfigurationError: There is none.
        """
        if self.secret_keys is not None:
            return list(self.secret_keys)
        own = [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or [])]
        found = [key for key in own if key]
        if found:
            return found
        if in_process:
            return [_PROCESS_KEY]
        raise ConfigurationError(
            "Messages between workers are signed: set SECRET_KEY (the same on every worker) "
            "before Rooms is initialised, or ROOMS_SECRET_KEYS."
        )

    def _check(self) -> None:
        for name in ("confirm_timeout", "heartbeat_interval"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < math.inf:
                raise _wrong(name, "a number of seconds greater than 0", value)
        for name in (
            *("outbox_bytes", "repair_log_bytes", "message_bytes"),
            *("waiting_request_bytes", "waiting_requests"),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                what = "bytes" if name.endswith("bytes") else "requests"
                raise _wrong(name, f"a number of {what} greater than 0", value)
        names = self.request_headers
        if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
            raise _wrong("request_headers", "a list of names", names)
        if not isinstance(self.channel, str) or not self.channel:
            raise _wrong("channel", "a string that is not empty", self.channel)
        if self.backend_options is not None and not isinstance(self.backend_options, Mapping):
            # The value stays out of the message, as below: it may hold a password.
            raise _wrong("backend_options", "a dictionary", type(self.backend_options))
        keys = self.secret_keys
        if keys is not None and (
            not isinstance(keys, list | tuple)
            or not keys
            or not all(isinstance(key, str | bytes) and key for key in keys)
        ):
            # The value stays out of the message: it is a secret.
            raise _wrong("secret_keys", "a list of keys, newest first", "what was given")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, wanted: str, value: Any) -> ConfigurationError:
    return ConfigurationError(f"ROOMS_{name.upper()} has to be {wanted}, not {value!r}.")
