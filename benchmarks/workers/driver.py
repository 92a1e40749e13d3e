"""
The driver of the workers in Python, which carries out commands from standard input.

Each line is a JSON object. The result of `{"do": NAME, ...}` is `{"did": NAME, ...}`. A worker also
prints `{"port": ...}` when it listens, `{"reached": ...}` during `leave`, and `{"left": ...}` after
`watch`. socketio_worker.js has the same protocol. Times are nanoseconds of the monotonic clock,
which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask_socketio import SocketIO

from tests.support.serving import SERVERS

#: What is broadcast.
TEXT = "x" * 100


@dataclass(frozen=True)
class Served:
    """
    An application of a library.

    Args:
        app: The application.
        socketio: Its Flask-SocketIO.
        leave: Takes a socket of any worker out of a room, and returns the future of an outcome
            if the library has one. Called inside an application context.
        broadcast: Sends an event to a room of the cluster; False if that is not possible now.
        on_left: Registers a function to be called with each room that a socket of this worker
            has left.
    """

    app: Flask
    socketio: SocketIO
    leave: Callable[[str, str], Future[Any] | None]
    broadcast: Callable[[str], bool]
    on_left: Callable[[Callable[[str], None]], None]


def serve(served: Served, mode: str) -> None:
    """Serve until the standard input ends."""
    port, run = SERVERS[mode](served.app)
    served.socketio.start_background_task(run)
    driver = Driver(served)
    driver.say(port=port)
    for line in lines():
        command = json.loads(line)
        getattr(driver, command.pop("do"))(**command)


def lines() -> Iterator[bytes]:
    """Yield the lines of standard input, without blocking green threads."""
    rest = b""
    while True:
        select.select([sys.stdin], [], [])  # not [0], which eventlet treats as no descriptor
        read = os.read(sys.stdin.fileno(), 2**16)
        if not read:
            return
        *whole, rest = (rest + read).split(b"\n")
        yield from whole


def after(owner: Any, name: str, then: Callable[..., None]) -> None:
    """Call *then* after each call of the method *name*, with the same arguments."""
    method = getattr(owner, name)

    def both(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        then(*args, **kwargs)
        return result

    setattr(owner, name, both)


class Driver:
    """
    The commands, one public method each; say() is not one.

    Args:
        served: The application.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._server = served.socketio.server
        self._saying = threading.Lock()
        self._called = self._babbled = 0
        self._babbling = False
        self._watched = ""

    def say(self, **what: Any) -> None:
        """Print one line."""
        with self._saying:
            print(json.dumps(what), flush=True)

    def join(self, sid: str, rooms: list[str]) -> None:
        """Put a socket of this worker into rooms."""
        for room in rooms:
            self._server.enter_room(sid, room, namespace="/")
        self.say(did="join")

    def rooms(self, sid: str) -> None:
        """Print the rooms of a socket of this worker, including that of its ID."""
        self.say(did="rooms", rooms=list(self._server.rooms(sid, namespace="/")))

    def watch(self, room: str) -> None:
        """Print when a socket of this worker has left a room."""
        if not self._watched:
            self._served.on_left(self._left)
        self._watched = room
        self.say(did="watch")

    def _left(self, room: str) -> None:
        now = time.monotonic_ns()
        if room == self._watched:
            self.say(left=room, at=now)

    def cpu(self) -> None:
        """Print the processor time of this worker."""
        self.say(did="cpu", spent=time.process_time_ns())

    def called(self) -> None:
        """Print the total number of leaves made."""
        self.say(did="called", count=self._called)

    def babble(self, room: str) -> None:
        """Send events to a room without a pause, until hush()."""
        self._babbling = True
        self._served.socketio.start_background_task(self._babble, room)
        self.say(did="babble")

    def hush(self) -> None:
        """Stop that, and print how many events were sent."""
        self._babbling = False
        self.say(did="hush", sent=self._babbled)

    def _babble(self, room: str) -> None:
        with self._served.app.app_context():
            while self._babbling:
                sent = self._served.broadcast(room)
                self._babbled += sent
                # Green threads take turns here, and an outbox that is full can be emptied.
                self._served.socketio.sleep(0 if sent else 0.001)

    def leave(self, sid: str, rooms: list[str], interval: float, announce: int) -> None:
        """
        Make leaves one by one, and wait for the confirmations of the library.

        Args:
            sid: A socket, usually of another worker.
            rooms: The rooms to leave.
            interval: Seconds between the return of a call and the next call.
            announce: The number of the call before which this worker prints `reached`.
        """
        self._served.socketio.start_background_task(self._leave, sid, rooms, interval, announce)

    def _leave(self, sid: str, rooms: list[str], interval: float, announce: int) -> None:
        futures: dict[str, Future[Any]] = {}
        errors: dict[str, str] = {}
        began, longest = time.monotonic_ns(), 0
        for number, room in enumerate(rooms):
            if number == announce:
                self.say(reached=number)
            longest = max(longest, self._call(sid, room, futures, errors))
            if interval:
                time.sleep(interval)
        for room, future in futures.items():
            try:
                future.result()
            except Exception as error:  # noqa: BLE001 - as in _call()
                errors[room] = type(error).__name__
        ended = time.monotonic_ns()
        self.say(did="leave", began=began, ended=ended, longest=longest, errors=errors)

    def _call(
        self, sid: str, room: str, futures: dict[str, Future[Any]], errors: dict[str, str]
    ) -> int:
        """Make one leave, and return the duration of the call."""
        began = time.monotonic_ns()
        self._called += 1
        try:
            with self._served.app.app_context():
                future = self._served.leave(sid, room)
        except Exception as error:  # noqa: BLE001 - any error is reported
            errors[room] = type(error).__name__
        else:
            if future is not None:
                futures[room] = future
        return time.monotonic_ns() - began
