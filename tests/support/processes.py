"""
How the tests start workers: most are forked from a process that has imported everything.

To import Flask, Flask-SocketIO and the libraries of the brokers is most of what a worker needs to
start, and the tests start hundreds. A process that is patched for eventlet or gevent is not to be
forked, so in these modes each worker starts from nothing, and so it does outside of pytest.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.documents import ROOT
from tests.support.forking import FORKS

COMMAND = [sys.executable, "-m", "tests.support.worker"]


class Spawned(subprocess.Popen[str]):
    """
    A worker that starts from nothing.

    Args:
        arguments: Its command line.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            [*COMMAND, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pause(self) -> None:
        """Stop it, and return when all of its threads have."""
        os.killpg(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)


class Forked:
    """
    A worker that is forked, with what is used of Spawned.

    Args:
        server: The connection to the process that forks.
        arguments: Its command line.
    """

    def __init__(self, server: socket.socket, arguments: Sequence[str]) -> None:
        pipes = [os.pipe() for _ in range(3)]
        (read_input, write_input), (read_output, write_output), (read_events, write_events) = pipes
        given = [read_input, write_output, 2, write_events]
        socket.send_fds(server, [b"+"], given)
        server.sendall(json.dumps([arguments, dict(os.environ)]).encode() + b"\n")
        for fd in (read_input, write_output, write_events):
            os.close(fd)
        self.stdin = os.fdopen(write_input, "w")
        self.stdout = os.fdopen(read_output)
        self.returncode: int | None = None
        self._events = os.fdopen(read_events, buffering=1)
        self.pid = int(server.recv(20))

    def pause(self) -> None:
        """Stop it, and return when all of its threads have."""
        os.killpg(self.pid, signal.SIGSTOP)
        self._events.readline()

    def wait(self, timeout: float | None = None) -> int:
        """Return how it has ended; raise subprocess.TimeoutExpired if it has not."""
        if self.returncode is None:
            if not select.select([self._events], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(COMMAND, timeout or 0.0)
            self.returncode = int(self._events.readline())
            self._events.close()
        return self.returncode

    def terminate(self) -> None:
        """Send it SIGTERM, unless it is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)


class ForkServer:
    """The process that is forked; it starts with the first worker. Close it in the end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection, self._its_end = socket.socketpair()

    def fork(self, arguments: Sequence[str]) -> Forked:
        """Return a new worker with this command line."""
        if self._process is None:
            command = [*COMMAND, FORKS]
            # Ctrl-C is for the tests.
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=self._its_end.fileno(), start_new_session=True
            )
        return Forked(self._connection, arguments)

    def close(self) -> None:
        """End it. Workers end with their standard input, not with this."""
        self._connection.close()
        self._its_end.close()
        if self._process is not None:
            self._process.wait()


_server: ForkServer | None = None


def start(arguments: Sequence[str]) -> Spawned | Forked:
    """Start a worker with this command line, in the fastest way that there is."""
    if _server is None or os.environ.get("ROOMS_TEST_MODE", "threading") != "threading":
        return Spawned(arguments)
    return _server.fork(arguments)


@contextmanager
def forking() -> Iterator[None]:
    """Have workers forked until the end of the block."""
    global _server
    _server = ForkServer()
    try:
        yield
    finally:
        _server.close()
        _server = None
