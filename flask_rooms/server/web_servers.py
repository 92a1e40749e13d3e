"""
Begins to serve where a web server does: run(), `flask run`, gunicorn and uWSGI.

Each of them tells at which moment a process serves the application, after all forks. Other
servers do not: there the application calls `rooms.start()`, or the worker joins with the first
request.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from typing import Any

import click
from flask.cli import run_command
from flask.helpers import get_debug_flag
from werkzeug.serving import is_running_from_reloader

from flask_rooms.backends.logs import safe_logging
from flask_rooms.cluster.shutdown import handle_signals
from flask_rooms.server.async_mode import patched_for
from flask_rooms.server.notices import Needs, Patch, of_gunicorn, of_uwsgi
from flask_rooms.server.serving import Serving

logger = logging.getLogger("flask_rooms.server")

#: Seconds between two looks at whether gunicorn has asked a worker to end, for whatever reason.
WATCH_INTERVAL = 0.25
#: After which part of its time a worker of gunicorn says goodbye although a request is running.
GRACE = 0.9


class _Attached:
    """One application, to be served by the server under which it is loaded, or that it runs."""

    def __init__(self, serving: Serving, needs: Needs, patch: Patch) -> None:
        self.serving = serving
        self.needs = needs
        self.patch = patch

    def begin(self) -> None:
        """Begin to serve; no server fails because of it."""
        log_notices(self.patch.notices())
        try:
            self.serving.begin()
        except Exception:
            with safe_logging():
                logger.exception("The worker joins the cluster only with its first request.")

    def run(self, socketio: Any, app: Any, *args: Any, **options: Any) -> None:
        """Serve, as `SocketIO.run` does."""
        if _serves(app, options):
            self.begin()
        try:
            type(socketio).run(socketio, app, *args, **options)
        finally:
            self.serving.move_clients()

    def begin_in_gunicorn(self, worker: Any) -> None:
        """Begin in a worker of gunicorn, and move the clients when that ends, for any reason."""
        log_notices(of_gunicorn(worker.cfg, self.needs))
        self.begin()
        self.serving.start_loop(self._watch, worker)

    def _watch(self, worker: Any) -> None:
        while worker.alive:  # not after --max-requests either, of which no signal tells
            time.sleep(WATCH_INTERVAL)  # by its name, or it would be none of gevent's
        ends_at = time.monotonic() + GRACE * worker.cfg.graceful_timeout
        self.serving.move_clients()
        time.sleep(max(0.0, ends_at - time.monotonic()))
        self.serving.stop()  # a request has not ended in time, and the worker will be killed


#: The applications that are loaded in the main process of a server, or in a worker of it.
_in_gunicorn: weakref.WeakSet[_Attached] = weakref.WeakSet()
_in_uwsgi: weakref.WeakSet[_Attached] = weakref.WeakSet()
#: What uWSGI's main process sends to workers that have to end at once. A worker that may end its
#: requests first gets SIGHUP, and runs its exit hooks.
_ENDS_UWSGI = {signal.SIGINT, signal.SIGTERM}


def attach(socketio: Any, serving: Serving, patch: Patch) -> None:
    """Have every server that this process can be run by begin to serve an application."""
    polling = "polling" in socketio.server.eio.transports
    attached = _Attached(serving, Needs(serving.in_process, polling), patch)
    socketio.run = partial(attached.run, socketio)
    if (config := sys.modules.get("gunicorn.config")) is not None:
        _attach_to_gunicorn(config.PostWorkerInit, attached)
    if (uwsgi := sys.modules.get("uwsgi")) is not None:
        _attach_to_uwsgi(uwsgi, attached)
    if _is_flask_run():
        handle_signals()
        serving.spawn(attached.begin)


def log_notices(notices: Iterable[str]) -> None:
    """Log what cannot work; the server starts all the same, for what else it serves."""
    for notice in notices:
        with safe_logging():
            logger.error("%s", notice)


def _serves(app: Any, options: dict[str, Any]) -> bool:
    """Whether run() serves in this process, and not in one that the reloader starts."""
    reloads = options.get("use_reloader", options.get("debug", app.debug))
    return not reloads or is_running_from_reloader()


def _is_flask_run() -> bool:
    """Whether the application is being loaded by the command `flask run`, which then serves it."""
    context = click.get_current_context(silent=True)
    if context is None or context.command is not run_command:
        return False
    reloads = context.params.get("reload")
    return not (get_debug_flag() if reloads is None else reloads) or is_running_from_reloader()


# -- gunicorn ---------------------------------------------------------------------------------


def _attach_to_gunicorn(setting: Any, attached: _Attached) -> None:
    """Begin where gunicorn calls the hook `post_worker_init` of its configuration."""
    if not _in_gunicorn:
        get = setting.get

        def get_with_ours(self: Any) -> Callable[[Any], None]:
            return partial(_post_worker_init, get(self))

        setting.get = get_with_ours
    _in_gunicorn.add(attached)


def _post_worker_init(of_the_configuration: Callable[[Any], object], worker: Any) -> None:
    of_the_configuration(worker)
    for attached in list(_in_gunicorn):
        attached.begin_in_gunicorn(worker)


# -- uWSGI ------------------------------------------------------------------------------------


def _attach_to_uwsgi(uwsgi: Any, attached: _Attached) -> None:
    """Begin in the workers of uWSGI after the fork, and end with them."""
    is_first = not _in_uwsgi
    _in_uwsgi.add(attached)
    uwsgi.atexit = _in_turn(getattr(uwsgi, "atexit", None), attached.serving.stop)
    if not is_first:
        return
    if uwsgi.worker_id():  # with lazy-apps: the fork is over
        _begin_in_uwsgi(uwsgi)
        return
    begin = partial(_begin_in_uwsgi, uwsgi)
    try:
        postfork = import_module("uwsgidecorators").postfork
    except Exception:  # noqa: BLE001 - it raises one of no class without a master process
        uwsgi.post_fork_hook = _in_turn(getattr(uwsgi, "post_fork_hook", None), begin)
    else:
        postfork(begin)


def _begin_in_uwsgi(uwsgi: Any) -> None:
    # uWSGI handles signals outside of Python, and runs no exit hook in a worker that is in a
    # request, as it always is for a client that polls. So a thread takes the signals.
    if patched_for() is None:  # else it would stop all green threads
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS_UWSGI)
        threading.Thread(target=_end_on_signal, args=(uwsgi,), daemon=True).start()
    for attached in list(_in_uwsgi):
        log_notices(of_uwsgi(uwsgi.opt, uwsgi.numproc, attached.needs))
        attached.serving.spawn(attached.begin)


def _end_on_signal(uwsgi: Any) -> None:
    signal.sigwait(_ENDS_UWSGI)
    for attached in list(_in_uwsgi):
        attached.serving.move_clients()
    # No other thread can let uWSGI do what it does now, which is this:
    uwsgi.atexit()
    atexit._run_exitfuncs()
    os._exit(0)


def _in_turn(*functions: Callable[[], object] | None) -> Callable[[], None]:
    def call() -> None:
        for function in functions:
            if function is not None:
                function()

    return call
