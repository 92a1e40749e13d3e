"""Which asynchronous mode to use: the one that this process has been patched for."""

from __future__ import annotations

import sys

from flask_rooms.errors import ConfigurationError

#: Library -> what patches a process for it.
PATCH = {
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "gevent": "from gevent import monkey; monkey.patch_all()",
}


def choose_mode(asked: str | None = None) -> str:
    """
    Return the asynchronous mode for Flask-SocketIO.

    Args:
        asked: What the application asked for; None takes eventlet or gevent where the
            process is patched for it, and threading elsewhere.

    Raises:
        ConfigurationError: It is one that the process has not been patched for.
    """
    patched = patched_for()
    if patched is not None and not _threads_patched(patched):
        raise ConfigurationError(
            f"{patched} has patched the sockets of this process and not its threads, so that "
            f"waiting would stop everything: let `{PATCH[patched]}` be its first line."
        )
    if asked is None:
        return patched or "threading"
    library = asked.partition("_")[0]  # gevent_uwsgi is gevent
    if library in PATCH and library != patched:
        raise ConfigurationError(
            f"async_mode={asked!r} needs a patched standard library: let `{PATCH[library]}` be "
            "the first line of the program, before any other import, or leave async_mode out."
        )
    return asked


def patched_for() -> str | None:
    """Return "eventlet" or "gevent" where one has patched the sockets of this process."""
    # Only what the application has imported itself counts, so nothing is imported here.
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("socket"):
        return "eventlet"
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("socket"):
        return "gevent"
    return None


def _threads_patched(library: str) -> bool:
    if library == "eventlet":
        return bool(sys.modules["eventlet.patcher"].is_monkey_patched("thread"))
    return bool(sys.modules["gevent.monkey"].is_module_patched("threading"))
