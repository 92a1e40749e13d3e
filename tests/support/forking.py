"""The process that is forked for each worker: see processes.py."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from importlib import import_module

#: The one argument of this process, where workers have theirs.
FORKS = "--forks"
#: What a worker imports, whatever its application and its broker are.
IMPORTED = (
    *("flask_rooms", "flask_rooms.backends", "tests.support.serving", "werkzeug.serving"),
    *("kombu.transport.pyamqp", "kombu.transport.redis"),
)


def serve() -> None:
    """Fork whenever the standard input asks for it; return in each child, and exit in the end."""
    for module in IMPORTED:
        import_module(module)
    server = _Server()
    while not server.is_child():
        pass
    server.close()


class _Server:
    def __init__(self) -> None:
        self._requests = socket.socket(fileno=os.dup(0))
        self._events: dict[int, int] = {}  # process ID -> where to tell how it is
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def is_child(self) -> bool:
        """Do what is next, and return whether this process is a child then."""
        requests = self._requests.fileno()
        ready, _, _ = select.select([requests, self._woken], [], [])
        if self._woken in ready:
            os.read(self._woken, 4096)
            self._report()
        return requests in ready and self._fork()

    def close(self) -> None:
        """Forget, in a child, what the server has open."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._requests.close()
        for fd in (self._woken, self._wake, *self._events.values()):
            os.close(fd)

    def _fork(self) -> bool:
        _, given, _, _ = socket.recv_fds(self._requests, 1, 4)
        if not given:
            sys.exit()
        with self._requests.makefile("rb") as lines:
            arguments, environment = json.loads(lines.readline())
        *standard, events = given
        pid = os.fork()
        if pid:
            self._events[pid] = events
        else:
            os.close(events)
            os.setsid()
            for target, fd in enumerate(standard):
                os.dup2(fd, target)
            os.environ.clear()
            os.environ.update(environment)
            sys.argv[1:] = arguments
            # Not before: its session is killed as a whole.
            self._requests.sendall(str(os.getpid()).encode())
        for fd in standard:
            os.close(fd)
        return not pid

    def _report(self) -> None:
        """Tell of each child that has stopped or ended."""
        for pid, events in list(self._events.items()):
            done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if not done:
                continue
            stopped = os.WIFSTOPPED(status)
            said = "stopped" if stopped else str(os.waitstatus_to_exitcode(status))
            with contextlib.suppress(BrokenPipeError):  # the test has given it up
                os.write(events, f"{said}\n".encode())
            if not stopped:
                os.close(self._events.pop(pid))
