"""
A TCP proxy between workers and a broker, which breaks connections on command.

It is a process of its own, so that neither the asynchronous mode of a test nor a busy driver
holds up what it carries. It obeys JSON on its standard input, a line for each command, and ends
with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"

#: What goes to the broker, and what comes from it.
UP, DOWN = "up", "down"

#: Closing a socket with this set resets the connection, in place of ending it in peace.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """
    What a test does to the connections of those who connect to `url`; a context manager.

    Args:
        broker: The URL that is carried to.

    Attributes:
        url: The same with the proxy's address.
    """

    def __init__(self, broker: str) -> None:
        parts = urlsplit(broker)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.proxy", str(parts.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        credentials, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{credentials}{at}{HOST}:{self._answer()}").geturl()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def cut(self) -> int:
        """Reset every connection; return how many that were."""
        return int(self._do("cut"))

    def sever(self, after: int) -> None:
        """Reset each connection as soon as *after* more bytes have gone to the broker."""
        self._do("sever", after)

    def refuse(self) -> None:
        """Accept no connection any more."""
        self._do("refuse")

    def silence(self, *directions: str, newcomers: bool = True) -> None:
        """
        Carry nothing in these directions; what is sent meanwhile is late, not lost.

        Args:
            directions: UP, DOWN or both.
            newcomers: Whether this concerns connections to come, too.
        """
        self._do("silence", directions, newcomers)

    def delay(self, seconds: float) -> None:
        """Carry everything so much later."""
        self._do("delay", seconds)

    def heal(self) -> None:
        """Carry everything at once, and accept connections."""
        self._do("heal")

    def accepted(self) -> int:
        """Return how many connections were accepted so far."""
        return int(self._do("count"))

    def stop(self) -> None:
        """End, and every connection with it."""
        self._process.kill()
        self._process.communicate()

    def _do(self, command: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


class _Link:
    """One worker's connection, and the proxy's own to the broker for it."""

    def __init__(self, carrier: _Carrier, worker: asyncio.StreamWriter) -> None:
        self._carrier = carrier
        self._writers = [worker]
        self._left: int | None = None  # bytes to the broker before the end
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self.silence(carrier.silent)

    def silence(self, directions: frozenset[str]) -> None:
        for direction, gate in self._open.items():
            (gate.clear if direction in directions else gate.set)()

    def sever(self, after: int) -> None:
        self._left = after

    def reset(self) -> None:
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it has just ended by itself
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, port: int) -> None:
        """Carry until one side has ended; the other one ends with it."""
        try:
            broker_reader, broker = await asyncio.open_connection(HOST, port)
        except OSError:
            self.reset()
            return
        self._writers.append(broker)
        pumps = [
            asyncio.ensure_future(self._pump(UP, reader, broker)),
            asyncio.ensure_future(self._pump(DOWN, broker_reader, self._writers[0])),
        ]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump, writer in zip(pumps, self._writers, strict=True):
            pump.cancel()
            writer.close()

    async def _pump(
        self, direction: str, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                if self._carrier.delay:
                    await asyncio.sleep(self._carrier.delay)
                await self._open[direction].wait()
                if direction == UP and self._left is not None:
                    data, self._left = data[: self._left], self._left - len(data)
                target.write(data)
                await target.drain()
                if self._left is not None and self._left <= 0:
                    self.reset()
                    return


class _Carrier:
    """Forwards between its clients and the broker."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._port = 0
        self._links: set[_Link] = set()
        self._listener: asyncio.Server | None = None
        self._accepted = 0
        self.silent: frozenset[str] = frozenset()
        self.delay = 0.0

    async def listen(self) -> int:
        self._listener = await asyncio.start_server(self._accept, HOST, self._port)
        self._port = self._listener.sockets[0].getsockname()[1]
        return self._port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        link = _Link(self, writer)
        self._links.add(link)
        try:
            await link.carry(reader, self._to)
        finally:
            self._links.discard(link)

    async def do(self, command: str, *arguments: Any) -> Any:
        return await getattr(self, f"_{command}")(*arguments)

    async def _cut(self) -> int:
        for link in (links := list(self._links)):
            link.reset()
        return len(links)

    async def _sever(self, after: int) -> None:
        for link in self._links:
            link.sever(after)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _silence(self, directions: list[str], newcomers: bool) -> None:
        for link in self._links:
            link.silence(frozenset(directions))
        self.silent = frozenset(directions if newcomers else ())

    async def _delay(self, seconds: float) -> None:
        self.delay = seconds

    async def _heal(self) -> None:
        await self._delay(0.0)
        await self._silence([], True)
        if self._listener is None:
            await self.listen()

    async def _count(self) -> int:
        return self._accepted


async def main(port: int) -> None:
    """Carry to *port* until the standard input ends."""
    carrier = _Carrier(port)
    print(await carrier.listen(), flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while line := await commands.readline():
        print(json.dumps(await carrier.do(*json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
