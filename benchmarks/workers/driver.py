"""
What the workers in Python have in common: each does what the lines of its standard input say.

A line is a JSON object. The answer to `{"do": NAME, ...}` is `{"did": NAME, ...}`. On its own a
worker says `{"port": ...}` once it listens, `{"reached": ...}` within `leave`, and `{"left": ...}`
after `watch`. socketio_worker.js speaks the same. Times are nanoseconds of the machine's
monotonic clock, which all processes share.
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


@dataclass(frozen=True)
class Served:
    """
    An application as the users of a library write it.

    Args:
        app: The application.
        socketio: Its Flask-SocketIO.
        leave: Takes a socket out of a room, wherever it is; the future of an outcome where the
            library has one. Called inside an application context.
        on_left: Lets a function know the name of each room that a socket of this worker has left.
    """

    app: Flask
    socketio: SocketIO
    leave: Callable[[str, str], Future[Any] | None]
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
    """Yield the lines of the standard input, waiting so that green threads go on."""
    rest = b""
    while True:
        select.select([sys.stdin], [], [])  # not [0], which eventlet takes for nothing
        read = os.read(sys.stdin.fileno(), 2**16)
        if not read:
            return
        *whole, rest = (rest + read).split(b"\n")
        yield from whole


def after(owner: Any, name: str, then: Callable[..., None]) -> None:
    """Let *then* run after every call of the method *name*, with the same arguments."""
    method = getattr(owner, name)

    def both(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        then(*args, **kwargs)
        return result

    setattr(owner, name, both)


class Driver:
    """
    Does what the lines say; each method but say() is a command.

    Args:
        served: The application.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._server = served.socketio.server
        self._saying = threading.Lock()
        self._called = 0
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
        """Say in which rooms a socket of this worker is, its own among them; none if it is gone."""
        self.say(did="rooms", rooms=list(self._server.rooms(sid, namespace="/")))

    def watch(self, room: str) -> None:
        """Say when a socket of this worker has left this room."""
        if not self._watched:
            self._served.on_left(self._left)
        self._watched = room
        self.say(did="watch")

    def _left(self, room: str) -> None:
        now = time.monotonic_ns()
        if room == self._watched:
            self.say(left=room, at=now)

    def called(self) -> None:
        """Say how many leaves have been called for in all."""
        self.say(did="called", count=self._called)

    def leave(self, sid: str, rooms: list[str], interval: float, announce: int) -> None:
        """
        Call for leaves one by one, and wait for what the library says of each.

        Args:
            sid: A socket, of another worker as a rule.
            rooms: Those that it is to leave.
            interval: Seconds between a call's return and the next one.
            announce: The number of the call before which this worker says that it is `reached`.
        """
        self._served.socketio.start_background_task(self._leave, sid, rooms, interval, announce)

    def _leave(self, sid: str, rooms: list[str], interval: float, announce: int) -> None:
        futures: dict[str, Future[Any]] = {}
        told: dict[str, str] = {}
        began, longest = time.monotonic_ns(), 0
        for number, room in enumerate(rooms):
            if number == announce:
                self.say(reached=number)
            longest = max(longest, self._call(sid, room, futures, told))
            if interval:
                time.sleep(interval)
        for room, future in futures.items():
            try:
                future.result()
            except Exception as error:  # noqa: BLE001 - as above
                told[room] = type(error).__name__
        ended = time.monotonic_ns()
        self.say(did="leave", began=began, ended=ended, longest=longest, told=told)

    def _call(
        self, sid: str, room: str, futures: dict[str, Future[Any]], told: dict[str, str]
    ) -> int:
        """Call for one leave; return how long that took."""
        began = time.monotonic_ns()
        self._called += 1
        try:
            with self._served.app.app_context():
                future = self._served.leave(sid, room)
        except Exception as error:  # noqa: BLE001 - whichever it is, the caller is told
            told[room] = type(error).__name__
        else:
            if future is not None:
                futures[room] = future
        return time.monotonic_ns() - began
