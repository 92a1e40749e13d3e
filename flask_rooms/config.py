"""Config, the configuration of one application: read once, and validated."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from flask import Flask

from flask_rooms.errors import ConfigurationError

# Signs the messages of workers that are all in this process.
_PROCESS_KEY = secrets.token_bytes(32)
# The headers that no configuration lets clients set: they say who a client is, and where it is.
_OF_THE_HANDSHAKE = frozenset({"cookie", "host", "origin"})


@dataclass(frozen=True)
class Config:
    """
    The configuration: `ROOMS_...` of the application, or options of Rooms in lower case.

    Args:
        backend_url: The URL of the broker; a list is tried in order.
        backend_options: Options of the backend.
        channel: A name; applications that share a broker need different ones.
        confirm_timeout: Seconds to wait for the confirmation of another worker.
        heartbeat_interval: Seconds between two heartbeats.
        secret_keys: The keys that sign messages, newest first; None uses `SECRET_KEY` and
            `SECRET_KEY_FALLBACKS`.
        outbox_bytes: The size of the messages that may wait for the broker, in bytes.
        repair_log_bytes: The size of the sent messages kept for retransmission, in bytes.
        message_bytes: The size of the message of one call to the other workers, in bytes.
        scripts_url: The URL path of `rooms.js` and `sails-adapter.js`; None serves neither.
        cookie_url: The URL path from which sails.io.js fetches a cookie; None serves none.
        waiting_requests: How many requests of one socket may wait in its queue.
        waiting_request_bytes: The total size of these, in bytes.
        waiting_timeout: Seconds for which a connection is not read while its queue is full; a
            request that still finds no room is answered with 429.
        connect_timeout: Seconds after which a connection ends that has no socket yet.
        concurrent_events: How many event handlers of one connection may run at once.
        packets_per_second: How many packets of one connection are handled in a second; as many may
            come at once. One that sends more is read more slowly.
        sockets_per_connection: How many namespaces one connection may have a socket in.
        rooms_per_socket: How many rooms one socket may be in.
        connections_per_user: How many connections one user may have on this worker; None for any.
        connections: How many connections this worker may have; None for any.
        unread_bytes: How much one client may leave unread, in bytes; beyond it its connection is
            ended.
        answers_bytes: How much the answers of clients to one `ask` may take, in bytes; further
            ones are left out.
        drain_timeout: Seconds that a worker which ends, or is drained, waits for the disconnect
            handlers of its clients.
        presence_grace: Seconds for which a person stays present whose last socket in a room has
            disconnected, so that a page may be reloaded.
        presence_bytes: The size of the presence data of one socket in one room, in bytes of JSON.
        presence_members: How many memberships in tracked rooms one worker may have.
        history_url: The URL of what keeps the history of rooms; None uses that of the backend where
            it is Redis or memory. A list is tried in order.
        request_headers: Headers that clients may set in socket requests, besides the usual ones.
    """

    # Passwords and keys are in no representation.
    backend_url: str | Sequence[str] = field(default="memory://", repr=False)
    backend_options: Mapping[str, Any] | None = field(default=None, repr=False)
    channel: str = "flask-rooms"
    confirm_timeout: float = 5.0
    heartbeat_interval: float = 2.0
    secret_keys: Sequence[str | bytes] | None = field(default=None, repr=False)
    outbox_bytes: int = 16 * 2**20
    repair_log_bytes: int = 16 * 2**20
    message_bytes: int = 2**20
    scripts_url: str | None = None
    cookie_url: str | None = None
    waiting_requests: int = 100
    waiting_request_bytes: int = 4 * 2**20
    waiting_timeout: float = 5.0
    connect_timeout: float = 20.0
    concurrent_events: int = 32
    packets_per_second: int = 1000
    sockets_per_connection: int = 20
    rooms_per_socket: int = 10_000
    connections_per_user: int | None = None
    connections: int | None = None
    unread_bytes: int = 16 * 2**20
    answers_bytes: int = 16 * 2**20
    drain_timeout: float = 5.0
    presence_grace: float = 5.0
    presence_bytes: int = 1024
    presence_members: int = 100_000
    history_url: str | Sequence[str] | None = field(default=None, repr=False)
    request_headers: Sequence[str] = ()

    @classmethod
    def of(cls, app: Flask, options: Mapping[str, Any]) -> Config:
        """
        Read the configuration of an application.

        Args:
            app: The application.
            options: The options of Rooms, which take precedence.

        Raises:
            ConfigurationError: An option does not exist, or a value is not valid.
        """
        known = {one.name: one.default for one in fields(cls)}
        unknown = options.keys() - known.keys()
        if unknown:
            raise ConfigurationError(
                f"Rooms() knows no option {', '.join(sorted(unknown))}; it has "
                f"{', '.join(known)}, backend and history_store."
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
        Return the keys that sign messages, newest first.

        Args:
            app: The application, for its `SECRET_KEY`.
            in_process: Whether all workers are in this process; a random key suffices then.

        Raises:
            ConfigurationError: There is no key, or it is neither a string nor bytes.
        """
        if self.secret_keys is not None:
            return list(self.secret_keys)
        found = _keys_of(app)
        if found:
            return found
        if in_process:
            return [_PROCESS_KEY]
        raise ConfigurationError(
            "Messages between workers are signed: set SECRET_KEY (the same on every worker) "
            "before Rooms is initialised, or ROOMS_SECRET_KEYS."
        )

    def _check(self) -> None:
        self._check_seconds()
        for one in fields(self):
            value = getattr(self, one.name)
            optional = one.type == "int | None" and value is None
            is_count = str(one.type).startswith("int") and not optional
            if is_count and (type(value) is not int or value < 1):
                unit = " of bytes" if one.name.endswith("bytes") else ""
                raise _wrong(one.name, f"a whole number{unit} greater than 0", value)
        for name in ("scripts_url", "cookie_url"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.startswith("/")):
                raise _wrong(name, 'a path that starts with "/", or None', value)
        if not isinstance(self.channel, str) or not self.channel:
            raise _wrong("channel", "a string that is not empty", self.channel)
        if not _is_list(self.request_headers, str):
            raise _wrong("request_headers", "a list of names", self.request_headers)
        if not _OF_THE_HANDSHAKE.isdisjoint(name.lower() for name in self.request_headers):
            names = ", ".join(sorted(_OF_THE_HANDSHAKE))
            wanted = f"a list of names without those that are the handshake's own ({names})"
            raise _wrong("request_headers", wanted, self.request_headers)
        self._check_secrets()

    def _check_seconds(self) -> None:
        for name in ("confirm_timeout", "heartbeat_interval", "connect_timeout"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < math.inf:
                raise _wrong(name, "a number of seconds greater than 0", value)
        for name in ("waiting_timeout", "drain_timeout", "presence_grace"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < math.inf:
                raise _wrong(name, "a number of seconds, 0 or more", value)

    def _check_secrets(self) -> None:
        # Not in the error messages: these values may contain passwords.
        if self.backend_options is not None and not isinstance(self.backend_options, Mapping):
            raise _wrong("backend_options", "a dictionary", type(self.backend_options))
        keys = self.secret_keys
        if keys is not None and not (_is_list(keys, str, bytes) and keys and all(keys)):
            wanted = "a list of strings or bytes that are not empty, the newest first"
            raise _wrong("secret_keys", wanted, "what was given")


def _keys_of(app: Flask) -> list[str | bytes]:
    """Return the keys that the application has for itself, newest first."""
    key: Any = app.secret_key
    if key is not None and not isinstance(key, str | bytes):
        raise ConfigurationError(
            f"SECRET_KEY has to be a string or bytes, not a value of type {type(key).__name__}. "
            "Flask reads variables of the environment as JSON: put a key of digits into quotes, "
            """as in FLASK_SECRET_KEY='"123"'."""
        )
    former = app.config.get("SECRET_KEY_FALLBACKS") or []
    if not _is_list(former, str, bytes, type(None)):
        raise ConfigurationError("SECRET_KEY_FALLBACKS has to be a list of strings or bytes.")
    return [one for one in (key, *former) if one]


def _is_list(value: Any, *kinds: type) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, kinds) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong(name: str, wanted: str, value: Any) -> ConfigurationError:
    return ConfigurationError(f"ROOMS_{name.upper()} has to be {wanted}, not {value!r}.")
