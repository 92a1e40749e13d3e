"""The store in Redis: a stream for each room, and a hash of its epoch and numbers."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from hashlib import sha1
from queue import Empty, LifoQueue
from typing import Any
from urllib.parse import quote

from flask_rooms.backends.kombu import DEFAULT_OPTIONS, check_url
from flask_rooms.backends.sessions import TIMEOUT, RedisSession, connect
from flask_rooms.backends.tls import check_together
from flask_rooms.errors import BackendError
from flask_rooms.history.base import NUMBERS_KEPT, Bounds, HistoryStore, Kept

#: How many threads may use Redis at once; the others wait, for no longer than TIMEOUT.
CONNECTIONS = 8
#: Seconds after a failed connect in which calls fail at once, so that callers do not all wait.
RETRY_AFTER = 1.0

# The keys of a room.
_KINDS = ("numbers", "messages")

# Another run of the server may have lost messages: after a restart, or as another master.
_EPOCH = """
local numbers, messages = KEYS[1], KEYS[2]
if redis.call('HGET', numbers, 'run') ~= ARGV[1] then
  redis.call('DEL', numbers, messages)
  redis.call('HSET', numbers, 'run', ARGV[1], 'epoch', ARGV[2], 'last', 0, 'size', 0)
end
local epoch, seconds = redis.call('HGET', numbers, 'epoch'), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
"""
_APPEND = (
    _EPOCH
    + """
-- Each message has the time at which it expires.
local count, size = redis.call('XLEN', messages), 0
if count > 0 then size = tonumber(redis.call('HGET', numbers, 'size')) end
local number = redis.call('HINCRBY', numbers, 'last', 1)
redis.call('XADD', messages, number .. '-1', 'm', ARGV[5],
  't', string.format('%.3f', now + seconds))
count, size = count + 1, size + #ARGV[5]
while count > 0 do
  local first = redis.call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
  if count <= tonumber(ARGV[6]) and size <= tonumber(ARGV[7])
    and tonumber(first[2][4]) > now then break end
  redis.call('XDEL', messages, first[1])
  count, size = count - 1, size - #first[2][2]
end
redis.call('HSET', numbers, 'size', size)
redis.call('EXPIRE', numbers, ARGV[3])
redis.call('PEXPIRE', messages, math.ceil(seconds * 1000))
return {epoch, number}
"""
)
_READ = (
    _EPOCH
    + """
-- Clients may choose the names: one to which nothing was ever sent is forgotten sooner.
local last = tonumber(redis.call('HGET', numbers, 'last'))
redis.call('EXPIRE', numbers, last > 0 and ARGV[3] or math.ceil(seconds))
local found = {}
for _, entry in ipairs(redis.call('XRANGE', messages, ARGV[5] .. '-2', '+')) do
  if tonumber(entry[2][4]) > now then
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][2]
  end
end
return {epoch, last, found}
"""
)


class RedisHistory(HistoryStore):
    """
    Keeps the messages in Redis 7, for all workers that have the same channel.

    Args:
        urls: URLs of Redis, tried in turn on every connect.
        channel: Only workers of the same channel share the messages.
        options: Kombu's transport options.

    Raises:
        ConfigurationError: A URL is not valid, or a library is not installed.
    """

    def __init__(
        self, urls: Sequence[str], *, channel: str, options: Mapping[str, Any] | None = None
    ) -> None:
        self._options = {**DEFAULT_OPTIONS, **(options or {})}
        self._where = " or ".join(check_url(url, self._options) for url in urls)
        check_together(urls)
        self._urls = urls
        self._name = quote(channel, safe="")
        self._down_until = 0.0
        self._make_slots()

    def __repr__(self) -> str:
        return f"<RedisHistory on {self._where}>"

    def _make_slots(self) -> None:
        self._process = os.getpid()
        # Each use takes one: a connection that is idle, or None for one that is still to be made.
        self._slots: LifoQueue[_Connection | None] = LifoQueue()
        for _ in range(CONNECTIONS):
            self._slots.put(None)

    def append(self, room: str, message: bytes, bounds: Bounds) -> tuple[str, int]:
        """Keep a message, and forget what is beyond the bounds."""
        limits = (message, bounds.messages, bounds.size)
        epoch, number = self._run(_APPEND, room, bounds.seconds, *limits)
        return epoch.decode(), int(number)

    def read(self, room: str, after: int, bounds: Bounds) -> Kept:
        """Return the messages of a room with numbers above *after*."""
        epoch, last, found = self._run(_READ, room, bounds.seconds, after)
        numbers = [int(name.partition(b"-")[0]) for name in found[::2]]
        return Kept(epoch.decode(), int(last), list(zip(numbers, found[1::2], strict=True)))

    def ping(self) -> None:
        """Return if Redis lets this user keep messages."""
        self.append("", b"", Bounds(1, 1, 1))  # no room has this name

    def close(self) -> None:
        """Disconnect; a later call connects again."""
        slots, process = self._slots, self._process
        self._make_slots()
        if process == os.getpid():  # else the connections are those of the parent
            while not slots.empty():
                connection = slots.get_nowait()
                if connection is not None:
                    connection.close()

    def _run(self, script: str, room: str, seconds: float, *arguments: Any) -> Any:
        # No name may make two rooms share a key.
        keys = (2, *(f"{self._name}/history/{kind}/{room}".encode() for kind in _KINDS))
        rest = (secrets.token_hex(8), NUMBERS_KEPT + math.ceil(seconds), seconds, *arguments)
        return self._use(lambda one: one.evaluate(script, *keys, one.run, *rest))

    def _use(self, work: Any) -> Any:
        if self._process != os.getpid():
            self._make_slots()
        self._fail_if_down()
        slots = self._slots
        try:
            connection = slots.get(timeout=TIMEOUT)
        except Empty:
            raise BackendError(f"All connections to {self._where} are in use.") from None
        try:
            if connection is None or connection.is_stale:
                self._fail_if_down()  # it may be so since this thread waits
                connection = self._connect(connection)
            answer = work(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            slots.put(None)
            if isinstance(error, BackendError) or not isinstance(error, Exception):
                raise
            reason = f"{type(error).__name__}: {error}"
            if _is_refusal(error):  # perhaps of this room alone
                raise BackendError(f"{self._where} has refused: {reason}") from error
            self._down_until = time.monotonic() + RETRY_AFTER
            raise BackendError(f"No connection to {self._where}: {reason}") from error
        slots.put(connection)
        return answer

    def _fail_if_down(self) -> None:
        if time.monotonic() < self._down_until:
            raise BackendError(f"No connection to {self._where}, as a moment ago.")

    def _connect(self, stale: _Connection | None) -> _Connection:
        if stale is not None:
            stale.close()
        session = connect(self._urls, self._options, self._name)
        assert isinstance(session, RedisSession)
        return _Connection(session)


def _is_refusal(error: Exception) -> bool:
    """Return whether Redis has answered, with an error."""
    from redis.exceptions import ResponseError  # an extra

    return isinstance(error, ResponseError)


class _Connection:
    """
    A connection to Redis for one thread at a time.

    Attributes:
        run: The name of this run of the server.
    """

    def __init__(self, session: RedisSession) -> None:
        self._session = session
        info = self.call("INFO", "server").decode()
        self.run = dict(line.split(":", 1) for line in info.split() if ":" in line)["run_id"]

    @property
    def is_stale(self) -> bool:
        """Whether the connection has ended: nothing else makes an idle one readable."""
        return self._session.is_readable

    def call(self, *command: Any) -> Any:
        """Return what Redis answers."""
        return self._session.call(*command)

    def evaluate(self, script: str, *arguments: Any) -> Any:
        """Run a script, which Redis may have already."""
        from redis.exceptions import NoScriptError  # an extra

        digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return self.call("EVALSHA", digest, *arguments)
        except NoScriptError:
            return self.call("EVAL", script, *arguments)

    def close(self) -> None:
        """Disconnect."""
        self._session.discard()
