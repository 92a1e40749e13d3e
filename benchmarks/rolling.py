"""
A rolling restart under load: what clients and callers notice of it.

    python -m benchmarks.rolling [--workers 4] [--clients 40] [--rounds 1]

Workers of gunicorn run behind nginx, both as docs/deploying.md has them, and on Redis. While each
worker in turn gets SIGTERM and is started again, clients listen in a room, messages are sent to it
over HTTP, and sockets are moved and moved back. The exit status is 1 when anything is lost, and 3
when a program is missing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import socketio

from flask_rooms.client import RequestFailed, RequestTimeout, RoomsClient
from tests.support import brokers
from tests.support.brokers import free_port
from tests.support.documents import ROOT, blocks

GUIDE = "docs/deploying.md"
START, *_, ROLLING, _CHECK = blocks(GUIDE, "console")
(NGINX,) = blocks(GUIDE, "nginx")

#: Seconds that anything may take.
PATIENCE = 60.0
#: Seconds between two broadcasts.
PAUSE = 0.01
#: Seconds that nginx gets to reload its configuration, in the guide as well.
RELOADS = 1.0

#: What nginx needs around the configuration of the guide.
WHOLE = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{configuration}
}}
"""


class ProgramMissing(Exception):
    """A program is not installed; the message says which."""


@dataclass
class Result:
    """
    What clients and callers have noticed.

    Args:
        restarts: Workers that were ended and started again.
        seconds: How long that took.
        said: The worker that said a number, by the number; each was answered with 200.
        failed: HTTP requests with another answer, or none.
        slowest: Seconds of the slowest HTTP request.
        moves: What became of moves, by outcome.
        heard: Broadcasts that clients have received.
        lost: Those that were lost or doubled on a connection.
        reconnects: How often clients have connected again.
        away: Seconds without membership, of each client each time.
        unheard: Broadcasts in those times, for all clients together.
        members: Members at the end.
        complete: Whether that count is complete.
    """

    restarts: int = 0
    seconds: float = 0.0
    said: dict[int, int] = field(default_factory=dict)
    failed: int = 0
    slowest: float = 0.0
    moves: Counter[str] = field(default_factory=Counter)
    heard: int = 0
    lost: int = 0
    reconnects: int = 0
    away: list[float] = field(default_factory=list)
    unheard: int = 0
    members: int = 0
    complete: bool = False

    def is_good(self, clients: int) -> bool:
        """Whether nothing was lost, and all clients are back."""
        moves = self.moves.keys() <= {"confirmed", "unknown"}
        back = self.complete and self.members == clients
        return not (self.failed or self.lost) and moves and back

    def as_text(self) -> str:
        """Return the result as lines of a table."""
        away = sorted(self.away) or [0.0]
        requests_made = len(self.said) + sum(self.moves.values())
        rows = {
            "workers restarted": f"{self.restarts} in {self.seconds:.0f} s",
            "HTTP requests that failed": f"{self.failed} of {requests_made}",
            "slowest HTTP request": f"{1000 * self.slowest:.0f} ms",
            "leaves and joins": ", ".join(f"{n} {what}" for what, n in self.moves.most_common()),
            "broadcasts received": f"{self.heard:,}",
            "broadcasts lost or doubled on a connection": f"{self.lost}",
            "clients that connected again": f"{self.reconnects}",
            "until they were members again": f"median {away[len(away) // 2]:.2f} s, "
            f"longest {away[-1]:.2f} s",
            "broadcasts said meanwhile": f"{self.unheard:,}",
            "members at the end": f"{self.members}, {'' if self.complete else 'not '}complete",
        }
        return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


class Listener:
    """
    A client that listens in the hall, and joins it whenever it has connected.

    Args:
        url: The proxy.
        name: By which the proxy tells clients apart.
    """

    def __init__(self, url: str, name: str) -> None:
        self.heard: list[list[int]] = []  # by connection
        self.away: list[float] = []
        self.sid = ""
        self._left_at = time.monotonic()
        self._client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=1)
        self._rooms = RoomsClient(self._client)
        self._client.on("connect", lambda: self._client.start_background_task(self._join))
        self._client.on("disconnect", self._on_disconnect)
        self._client.on("said", lambda number: self.heard[-1].append(number))
        self._client.connect(url, headers={"X-Client": name}, transports=["websocket"])

    def _join(self) -> None:
        self.heard.append([])
        while True:
            try:
                self.sid = self._rooms.put("/rooms/hall").body["sid"]
            except (RequestFailed, RequestTimeout):
                continue
            self.away.append(time.monotonic() - self._left_at)
            return

    def _on_disconnect(self, reason: str = "") -> None:
        self.sid = ""
        self._left_at = time.monotonic()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()

    def lost(self, said: dict[int, int]) -> int:
        """
        Return how many numbers are doubled, or missing between two of the same worker.

        Those of different workers may overtake each other: of two that are said as a socket joins,
        the earlier one may arrive in the room and the later one before it.
        """
        lost = 0
        for heard in self.heard:
            lost += len(heard) - len(set(heard))
            for worker in set(said.values()):
                of_it = [n for n, who in said.items() if who == worker]
                got = set(of_it).intersection(heard)
                lost += sum(min(got) <= n <= max(got) for n in of_it) - len(got) if got else 0
        return lost


class Load:
    """
    Speaks to the hall and moves sockets, over HTTP, until it is stopped.

    Args:
        url: The proxy.
        listeners: The clients.
        result: Where to count.
    """

    def __init__(self, url: str, listeners: list[Listener], result: Result) -> None:
        self._url = url
        self._listeners = listeners
        self._result = result
        self._stopped = threading.Event()
        tasks = (self._speak, self._move)
        self._threads = [threading.Thread(target=self._repeat, args=(task,)) for task in tasks]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when the last request is answered."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, task: Callable[[int], None]) -> None:
        for number in itertools.count():
            task(number)
            if self._stopped.wait(PAUSE):
                return

    def _speak(self, number: int) -> None:
        answer = self._post(number, f"/said/{number}")
        if answer is not None:
            self._result.said[number] = answer["worker"]

    def _move(self, number: int) -> None:
        sid = random.choice(self._listeners).sid
        answer = self._post(number, f"/moved/{sid}") if sid else None
        if answer is not None:
            self._result.moves[answer["outcome"]] += 1

    def _post(self, number: int, path: str) -> Any:
        began = time.monotonic()
        try:
            # The name sends them to all workers in turn.
            answer = requests.post(self._url + path, headers={"X-Client": f"{number}"})
            answer.raise_for_status()
        except requests.RequestException as error:
            print(f"{path}: {error}", file=sys.stderr)
            self._result.failed += 1
            return None
        finally:
            self._result.slowest = max(self._result.slowest, time.monotonic() - began)
        return answer.json()


@contextmanager
def process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the end of the block."""
    one = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        yield one
    finally:
        one.terminate()
        one.wait(PATIENCE)


class Site:
    """
    Workers of gunicorn behind nginx; a context manager.

    Args:
        workers: How many.
        broker: The URL of a Redis.
    """

    def __init__(self, workers: int, broker: str) -> None:
        self._stack = ExitStack()
        self._ports = [free_port() for _ in range(workers)]
        self._environment = {
            **os.environ,
            "FLASK_SECRET_KEY": "of the benchmarks",
            "FLASK_ROOMS_BACKEND_URL": broker,
            "PYTHONPATH": str(ROOT),
        }
        self._workers: list[subprocess.Popen[bytes]] = []
        proxy = free_port()
        self.url = f"http://127.0.0.1:{proxy}"
        try:
            for port in self._ports:
                self._workers.append(self._start(port))
            for port in self._ports:
                wait_until_ready(port)
            directory = self._stack.enter_context(tempfile.TemporaryDirectory())
            self._directory, self._proxy = Path(directory), proxy
            self._nginx = self._stack.enter_context(process(self._command(), self._environment))
            wait_until_ready(proxy)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(PATIENCE)
        self._stack.close()

    def restart(self) -> None:
        """Do with each worker in turn what the guide says."""
        take_out, _, _, put_back = ROLLING.splitlines()
        for number, port in enumerate(self._ports):
            self._edit(take_out, port)
            self._workers[number].send_signal(signal.SIGTERM)
            self._workers[number].wait(PATIENCE)
            self._workers[number] = self._start(port)
            wait_until_ready(port)
            self._edit(put_back, port)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        line = re.search(r"^\$ (gunicorn .*) app:app$", START, re.MULTILINE)
        assert line is not None
        options = shlex.split(line[1].replace("8001", str(port)))[1:]
        command = [sys.executable, "-m", "gunicorn", "--log-level", "warning", *options]
        command.append("benchmarks.workers.rolling_app:app")
        return subprocess.Popen(command, cwd=ROOT, env=self._environment)

    def _command(self) -> list[str]:
        self._write()
        return [find_nginx(), "-c", f"{self._directory}/nginx.conf", "-p", f"{self._directory}"]

    def _edit(self, line: str, port: int) -> None:
        """Edit the configuration of nginx with a command of the guide, and reload it."""
        edit = re.match(r"\$ (sed .*) /etc/", line)
        assert edit is not None
        command = [*shlex.split(edit[1].replace("8001", str(port))), "nginx.conf"]
        subprocess.run(command, cwd=self._directory, check=True)
        self._nginx.send_signal(signal.SIGHUP)
        time.sleep(RELOADS)

    def _write(self) -> None:
        servers = "".join(f"    server 127.0.0.1:{port};\n" for port in self._ports)
        configuration = re.sub(r"(    server 127\.0\.0\.1:\d+;\n)+", servers, NGINX)
        configuration = configuration.replace("127.0.0.1:8000", f"127.0.0.1:{self._proxy}")
        # All clients have one address here.
        configuration = configuration.replace("$remote_addr ", "$http_x_client ")
        whole = WHOLE.format(directory=self._directory, configuration=configuration)
        (self._directory / "nginx.conf").write_text(whole, encoding="utf-8")


def find_nginx() -> str:
    """Return the path of nginx, or raise ProgramMissing."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        raise ProgramMissing("nginx is needed.")
    return found


def wait_until_ready(port: int) -> None:
    """Return when a worker, or the one behind the proxy, is ready."""
    eventually(lambda: _is_ready(port), f"port {port} is not ready")


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/internal/ready", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def eventually(condition: Callable[[], object], message: str) -> None:
    """Return when *condition* is met."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(0.05)


def run(workers: int, clients: int, rounds: int) -> Result:
    """Restart all workers under load, so many times."""
    result = Result()
    with brokers.start("redis") as broker, Site(workers, broker.url) as site:
        listeners = [Listener(site.url, f"client {number}") for number in range(clients)]
        eventually(lambda: all(one.sid for one in listeners), "a client is not in the room")
        load = Load(site.url, listeners, result)
        began = time.monotonic()
        try:
            for _ in range(rounds):
                site.restart()
                result.restarts += workers
            result.seconds = time.monotonic() - began
            eventually(lambda: all(one.sid for one in listeners), "a client is not back")
        finally:
            load.stop()
        last = max(result.said)
        eventually(lambda: all(one.heard[-1][-1:] == [last] for one in listeners), "the last word")
        answer = requests.get(f"{site.url}/members", timeout=PATIENCE).json()
        result.members, result.complete = answer["count"], answer["complete"]
        for one in listeners:
            one.close()
    _count(result, listeners)
    return result


def _count(result: Result, listeners: list[Listener]) -> None:
    said = result.said
    for one in listeners:
        heard = {number for connection in one.heard for number in connection}
        result.heard += len(heard)
        result.unheard += len({n for n in said if n >= min(heard)} - heard)
        result.lost += one.lost(said)
        result.reconnects += len(one.heard) - 1
        result.away += one.away[1:]


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    try:
        result = run(options.workers, options.clients, options.rounds)
    except (ProgramMissing, brokers.BrokerMissing) as missing:
        print(missing, file=sys.stderr)
        return 3
    print(result.as_text())
    return 0 if result.is_good(options.clients) else 1


if __name__ == "__main__":
    sys.exit(main())
