"""Socket IDs of the form `owner.secret`: every worker can tell which worker owns a socket."""

from __future__ import annotations

import re
import secrets

#: Random bytes of a worker's name, which must never be used twice in a cluster.
_NAME_BYTES = 9
#: Random bytes of a socket's secret, which must not be guessed.
_SECRET_BYTES = 16
#: Both in URL-safe base64.
_SHAPE = re.compile(r"[A-Za-z0-9_-]{12}\.[A-Za-z0-9_-]{22}", re.ASCII)


def new_worker_name() -> str:
    """Return a name for a new worker, or for a new life of one."""
    name = secrets.token_urlsafe(_NAME_BYTES)
    # Else a shell would take the socket IDs of this worker for options.
    return new_worker_name() if name.startswith("-") else name


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
    """Whether *room* is another socket's own room, which *sid* may not join."""
    return isinstance(room, str) and room != sid and is_sid(room)
