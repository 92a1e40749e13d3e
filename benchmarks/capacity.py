"""
What one worker and one broker hold: memory, threads and processor time, by what is connected.

    python -m benchmarks.capacity [--clients 1000] [--workers 2 8 32] [--seconds 10]

A worker of gunicorn, as docs/deploying.md starts it, gets so many WebSocket clients, each in one
room. Then workers that have nothing to do share a Redis, whose traffic is counted. Linux only.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import redis

from benchmarks.rolling import GUIDE
from flask_rooms import Rooms
from tests.support import brokers
from tests.support.apps import make_app
from tests.support.brokers import free_port
from tests.support.documents import ROOT, blocks
from tests.support.raw import RawClient

#: What takes the place of the worker class in the guide's command.
SERVERS = {"gevent": "gevent", "gthread": "gthread --threads {threads}"}
#: Seconds that anything may take.
PATIENCE = 60.0
#: Broadcasts of which the processor time is the mean.
BROADCASTS = 10


class Process:
    """
    A worker of gunicorn.

    Args:
        pid: Its process ID.
    """

    def __init__(self, pid: int) -> None:
        self._directory = Path("/proc", str(pid))

    def status(self, name: str) -> int:
        """Return a number that Linux tells: `VmRSS` in KiB, or `Threads`."""
        text = (self._directory / "status").read_text()
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        assert found is not None
        return int(found[1])

    @property
    def seconds(self) -> float:
        """Its processor time."""
        fields = (self._directory / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and print the tables of the guide."""
    options = _arguments()
    _allow_files(2 * options.clients)
    print("| server | clients | at rest | for each client | threads | a broadcast to all |")
    print("|---|---|---|---|---|---|")
    for server in SERVERS:
        print(of_server(server, options.clients), flush=True)
    print("\n| workers with nothing to do | out of Redis |\n|---|---|")
    for workers in options.workers:
        print(f"| {workers} | {of_broker(workers, options.seconds)} |", flush=True)
    print(f"\nLoad: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def of_server(server: str, clients: int) -> str:
    """Return the row of a server."""
    with ExitStack() as stack:
        broker = stack.enter_context(brokers.start("redis"))
        url, process = stack.enter_context(_serving(server, clients, broker.url))
        members = [stack.enter_context(_member(url))]  # with which the worker loads the rest
        rest = process.status("VmRSS")
        members += [stack.enter_context(_member(url)) for _ in range(clients)]
        each = (process.status("VmRSS") - rest) / clients
        threads, began = process.status("Threads"), process.seconds
        for number in range(BROADCASTS):
            urlopen(Request(f"{url}/said/{number}", method="POST"), timeout=PATIENCE).close()
            for member in members:
                _wait_for(member, number)
        milliseconds = 1000 * (process.seconds - began) / BROADCASTS
    return (
        f"| {server} | {clients:,} | {rest / 1024:.0f} MiB | {each:.0f} KiB | {threads:,} "
        f"| {milliseconds:.0f} ms |"
    )


def of_broker(workers: int, seconds: float) -> str:
    """Return how much a Redis sends to so many workers that have nothing to do."""
    with brokers.start("redis") as broker, redis.Redis.from_url(broker.url) as admin:
        clusters = []
        for number in range(workers):
            app = make_app(f"worker {number}")
            Rooms(app, backend_url=broker.url)
            clusters.append(app.extensions["rooms_parts"].cluster)
            clusters[-1].start()
        _until(lambda: all(len(cluster.peers) == workers - 1 for cluster in clusters))
        before = _sent(admin)
        time.sleep(seconds)
        rate = (_sent(admin) - before) / seconds
        for cluster in clusters:
            cluster.stop()
    return f"{rate / 1000:.1f} KB/s"


def _sent(admin: redis.Redis) -> int:
    return int(admin.info("stats")["total_net_output_bytes"])


def _member(url: str) -> RawClient:
    client = RawClient(url)
    answer = client.request("put", "/rooms/hall")
    assert answer["statusCode"] == 200, answer
    return client


def _wait_for(client: RawClient, number: int) -> None:
    while client.receive() != f'42["said",{number}]':
        pass


@contextmanager
def _serving(server: str, clients: int, broker: str) -> Iterator[tuple[str, Process]]:
    """Run a worker with the guide's command; yield its URL and its process."""
    port = free_port()
    start, *_ = blocks(GUIDE, "console")
    (command,) = re.findall(r"^\$ gunicorn (.*) app:app$", start, re.MULTILINE)
    kind = SERVERS[server].format(threads=clients + 20)
    command = command.replace("gevent", kind).replace(":8001", f":{port}")
    environment = {
        **os.environ,
        "FLASK_SECRET_KEY": "x",
        "FLASK_ROOMS_BACKEND_URL": broker,
        "PING_INTERVAL": "3600",  # the clients here answer when they are looked at
    }
    program = [sys.executable, "-m", "gunicorn", "--log-level", "critical", *shlex.split(command)]
    main = subprocess.Popen(
        [*program, "benchmarks.workers.rolling_app:app"],
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: _is_ready(url))
        children = Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text().split()
        yield url, Process(int(children[0]))
    finally:
        os.killpg(main.pid, signal.SIGKILL)
        main.wait()


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/internal/ready", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except URLError:  # it does not listen yet, or is not ready
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("The workers are not ready.")
        time.sleep(0.05)


def _allow_files(count: int) -> None:
    """Let this process, and those it starts, have so many connections, if it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(count, 1024), most), most))


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 8, 32])
    parser.add_argument("--seconds", type=float, default=10.0, help="of traffic, for each cluster")
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
