"""What cannot work under the web server that serves this worker, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from traceback import walk_stack
from typing import Any

from flask_rooms.server.async_mode import PATCH, patched_for

_ALONE = (
    "%s has started %d workers, and memory:// connects no two processes: each worker has rooms of "
    "its own. Set ROOMS_BACKEND_URL to the URL of a broker, such as redis://localhost:6379."
)
_POLLING = (
    "%s has started %d workers on one port, so the requests of a client that polls reach "
    "different ones, and fail. Start each process with a port of its own behind a proxy that sends "
    "a client to the same one each time; or, if all your clients use WebSocket only, say so "
    'with Rooms(app, SocketIO(transports=["websocket"])).'
)
_ONE_AT_A_TIME = (
    "This worker of gunicorn serves one request at a time, and the first client that connects "
    "takes it whole: start gunicorn with --worker-class gthread --threads 100, or with "
    "--worker-class gevent."
)
_UWSGI_GEVENT = (
    "Requests of clients hang in uWSGI's own loop for gevent: start uWSGI with --threads, or use "
    "gunicorn with --worker-class gevent."
)
_UWSGI_THREADS = (
    "This worker of uWSGI serves one request at a time, and the first client that connects takes "
    "it whole: start uWSGI with --enable-threads and --threads 100."
)
_UWSGI_WEBSOCKET = (
    "uWSGI has no WebSocket here, and SocketIO(transports=...) leaves out polling, so no client "
    'can connect: add "polling", or use gunicorn with --worker-class gthread.'
)
_UWSGI_ENDING = (
    "uWSGI has --%s: it ends a worker when all requests have returned, and accepts none meanwhile, "
    "so the site does not answer for as long as clients that poll wait, which is half a minute. "
    "Leave it out, and end the process with SIGTERM where it has to start anew."
)
#: Options of uWSGI that have a worker end between requests.
_ENDING = ("max-requests", "max-worker-lifetime", "reload-on-as", "reload-on-rss")
_WAITRESS = (
    "waitress has few threads and no WebSocket, so a few clients that wait take them all: serve "
    "the application with gunicorn, or with rooms.socketio.run(app)."
)
_ASGI = (
    "This application is wrapped for an ASGI server (%s), which has no WebSocket for WSGI and few "
    "threads for clients that wait: serve it with gunicorn, or with rooms.socketio.run(app)."
)
_PATCHED_LATE = (
    "%s has patched this process after the application was made, whose locks and threads are not "
    "green, so the first client that connects stops the whole worker: let `%s` be the first line "
    "of the application's module, or start gunicorn without --preload."
)
#: Packages that serve a WSGI application, or wrap it for an ASGI server. (Flask has asgiref.sync.)
_SERVERS = {
    "waitress": _WAITRESS,
    **{name: _ASGI % name for name in ("a2wsgi", "hypercorn", "starlette", "uvicorn")},
    "asgiref.wsgi": _ASGI % "asgiref",
}


@dataclass(frozen=True)
class Needs:
    """
    What an application needs of a web server.

    Args:
        in_process: Whether its backend connects the workers of one process only.
        polling: Whether its clients may poll.
    """

    in_process: bool
    polling: bool

    def of_workers(self, server: str, count: int) -> list[str]:
        """Return what cannot work with so many processes on one port."""
        if count < 2:
            return []
        found = [(self.in_process, _ALONE), (self.polling, _POLLING)]
        return [text % (server, count) for applies, text in found if applies]


class Patch:
    """What a process is patched for when an application is made, to see whether that changes."""

    def __init__(self) -> None:
        self._at_first = patched_for()
        self._is_told = False

    def notices(self) -> list[str]:
        """Return what cannot work now that the process serves, once."""
        library = patched_for()
        if self._is_told or library is None or library == self._at_first:
            return []
        self._is_told = True
        return [_PATCHED_LATE % (library, PATCH[library])]


def of_gunicorn(config: Any, needs: Needs) -> list[str]:
    """Return what cannot work with a configuration of gunicorn."""
    one_at_a_time = config.worker_class_str == "sync" or (
        config.worker_class_str == "gthread" and config.threads < 2
    )
    return [_ONE_AT_A_TIME] * one_at_a_time + needs.of_workers("gunicorn", config.workers)


def of_uwsgi(options: Mapping[str, Any], processes: int, needs: Needs) -> list[str]:
    """Return what cannot work with options of uWSGI."""
    more = needs.of_workers("uWSGI", processes)
    more += [_UWSGI_ENDING % name for name in _ENDING if name in options]
    if "gevent" in options:
        return [_UWSGI_GEVENT, *more]
    one_at_a_time = int(options.get("threads", 1)) < 2
    found = [(one_at_a_time, _UWSGI_THREADS), (not needs.polling, _UWSGI_WEBSOCKET)]
    return [text for applies, text in found if applies] + more


def of_request() -> list[str]:
    """Return what cannot work under the server that makes the present request: it is the caller."""
    for frame, _ in walk_stack(None):  # not all of them say in the environment who they are
        module = frame.f_globals.get("__name__", "")
        notice = _SERVERS.get(module) or _SERVERS.get(module.partition(".")[0])
        if notice is not None:
            return [notice]
    return []
