"""Socket IDs: `owner.secret`, so that anybody can tell which worker to ask."""

from __future__ import annotations

import re
import secrets

# 9 and 16 random bytes in URL-safe base64: a name that is never used twice in a cluster, and
# 128 bits that nobody guesses.
_NAME_BYTES = 9
_SECRET_BYTES = 16
_SHAPE = re.compile(r"[A-Za-z0-9_-]{12}\.[A-Za-z0-9_-]{22}", re.ASCII)


def new_worker_name() -> str:
    """Return a name for a worker that has just come to life."""
    return secrets.token_urlsafe(_NAME_BYTES)


def new_sid(worker: str) -> str:
    """Return an ID for a socket that *worker* has just accepted."""
    return f"{worker}.{secrets.token_urlsafe(_SECRET_BYTES)}"


def is_sid(value: str) -> bool:
    """Whether *value* has the shape of a socket ID, live or not."""
    return _SHAPE.fullmatch(value) is not None


def owner_of(sid: str) -> str:
    """Return the name of the worker that issued *sid*."""
    return sid.partition(".")[0]


def is_sid_room(room: object, sid: str) -> bool:
    """Whether *room* is some other socket's own, where *sid* has no business."""
    return isinstance(room, str) and room != sid and is_sid(room)
