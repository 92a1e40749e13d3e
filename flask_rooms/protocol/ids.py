"""Socket IDs of the form `owner_secret`: every worker can tell which worker owns a socket."""

from __future__ import annotations

import base64
import re
import secrets

# Lower-case letters and digits, with a separator that is part of a word, too: a double click
# selects a whole ID, and no shell takes one for an option.
_SEPARATOR = "_"
#: Random bytes of a worker's name, which must never be used twice in a cluster.
_NAME_BYTES = 10
#: Random bytes of a socket's secret, which must not be guessed.
_SECRET_BYTES = 15
#: Both in base32, which needs no padding for these sizes.
_SHAPE = re.compile(r"[a-z2-7]{16}_[a-z2-7]{24}", re.ASCII)


def new_worker_name() -> str:
    """Return a name for a new worker, or for a new life of one."""
    return _random(_NAME_BYTES)


def new_sid(worker: str) -> str:
    """Return an ID for a socket that *worker* has just accepted."""
    return f"{worker}{_SEPARATOR}{_random(_SECRET_BYTES)}"


def is_sid(value: str) -> bool:
    """Whether *value* has the shape of a socket ID, live or not."""
    return _SHAPE.fullmatch(value) is not None


def owner_of(sid: str) -> str:
    """Return the name of the worker that issued *sid*."""
    return sid.partition(_SEPARATOR)[0]


def is_sid_room(room: object, sid: str) -> bool:
    """Whether *room* is another socket's own room, which *sid* may not join."""
    return isinstance(room, str) and room != sid and is_sid(room)


def _random(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().lower()
