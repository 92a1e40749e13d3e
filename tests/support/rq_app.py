"""Jobs of RQ that make calls; the environment configures the application."""

from __future__ import annotations

import os

from tests.support.outside_app import cluster, rooms


def leave(sid: str) -> tuple[int, str, int]:
    """Take a socket out of a room; return what has changed, and which worker and process did."""
    return rooms.sockets.leave(sid, "red").result().changed, cluster.name, os.getpid()


def fail(sid: str) -> None:
    """Make a call and raise."""
    leave(sid)
    raise ZeroDivisionError


def exit_now(sid: str) -> None:
    """Make a call, and end the process."""
    leave(sid)
    os._exit(0)
