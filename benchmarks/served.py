"""
What real clients get of one worker: requests over a socket, and thousands that connect at once.

    python -m benchmarks.served [--rounds 3] [--requests 2000] [--clients 2000]

Flask-Rooms, Flask-SocketIO alone and HTTP are measured in turn, each with a worker of its own, by
the same clients. docs/performance.md explains the results.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contenders import ROOT
from benchmarks.inside import dispatch
from benchmarks.local import LocalApp
from benchmarks.table import Record, markdown, spread
from benchmarks.versions import versions
from tests.support import brokers
from tests.support.raw import RawClient
from tests.support.workers import Worker

MODES = ("threading", "eventlet", "gevent")
#: The mode whose server is compared over HTTP: werkzeug's keeps no connection open, and gevent's
#: leaves Nagle's algorithm on, which makes each answer wait for 40 ms.
OVER_HTTP = "eventlet"
#: How many requests are under way at once, in the second measurement.
WINDOW = 64
#: Processes for the clients of a crowd.
PROCESSES = 2

ASKED = ["put", {"url": "/echo", "data": {"n": 1}}]
EVENT = ["echo", {"n": 1}]
#: The modes for a crowd: a client of the threading mode takes three threads.
GREEN = ("eventlet", "gevent")
#: What each client of a crowd asks for.
JOIN_AND_LEAVE = [["join"], ["leave"]]


def main() -> None:
    """Print a line of JSON for each measurement, and the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=2000)
    options = parser.parse_args()
    _allow_files(2 * options.clients)
    print(json.dumps({"versions": versions()}), flush=True)
    records = []
    for _ in range(options.rounds):
        for mode in MODES:
            measured = [of_requests(mode, options.requests)]
            measured += [of_crowd(mode, options.clients)] if mode in GREEN else []
            print("\n".join(map(json.dumps, measured)), flush=True)
            records += measured
    print(requests_table(records), crowd_table(records), sep="\n\n")


# -- requests ---------------------------------------------------------------------------------


def of_requests(mode: str, count: int) -> Record:
    """Return how many requests, events and requests over HTTP a worker answers in a second."""
    record: Record = {"benchmark": "requests", "mode": mode, "load": os.getloadavg()[0]}
    record["dispatch"] = dispatch(LocalApp(False, 1))
    with worker(mode, rooms=True) as url, RawClient(url) as client:
        record["requests"] = _rate(count, lambda: client.answer(client.ask(*ASKED)))
        record["requests in a window"] = _rate_in_window(client, ASKED, count)
    with worker(mode, rooms=False) as url, RawClient(url) as client:
        record["events"] = _rate(count, lambda: client.answer(client.ask(*EVENT)))
        record["events in a window"] = _rate_in_window(client, EVENT, count)
    if mode == OVER_HTTP:
        with worker(mode, rooms=False) as url, _connection(url) as connection:
            record["http"] = _rate(count, lambda: _ask_over_http(connection))
    return record


def _rate(count: int, ask: Callable[[], object]) -> float:
    for _ in range(count // 10):  # which warm up
        ask()
    began = time.monotonic()
    for _ in range(count):
        ask()
    return round(count / (time.monotonic() - began), 1)


def _rate_in_window(client: RawClient, event: list[Any], count: int) -> float:
    began = time.monotonic()
    under_way = [client.ask(*event) for _ in range(WINDOW)]
    for number in range(count):
        client.answer(under_way[number])
        under_way.append(client.ask(*event))
    rate = count / (time.monotonic() - began)
    for id in under_way[count:]:
        client.answer(id)
    return round(rate, 1)


@contextmanager
def _connection(url: str) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    try:
        yield connection
    finally:
        connection.close()


def _ask_over_http(connection: http.client.HTTPConnection) -> None:
    headers = {"Content-Type": "application/json"}
    connection.request("PUT", "/echo", b'{"n":1}', headers)
    answer = connection.getresponse()
    if answer.read().strip() != b'{"n":1}' or answer.will_close:
        raise RuntimeError("The server has given another answer, or has closed the connection.")


# -- a crowd ----------------------------------------------------------------------------------


def of_crowd(mode: str, clients: int) -> Record:
    """Return how many clients a worker serves in a second that connect, join, leave and go."""
    record: Record = {"benchmark": "crowd", "mode": mode, "load": os.getloadavg()[0]}
    for name, rooms in (("ours", True), ("peer", False)):
        with worker(mode, rooms) as url, crowd(url, clients) as come_and_go:
            record[name] = come_and_go()
    with (
        brokers.start("redis") as broker,
        worker(mode, True, broker.url) as url,
        crowd(url, clients) as come_and_go,
    ):
        come_and_go()
        broker.kill()
        broker.restart()
        record["after a restart of the broker"] = come_and_go()
    return {**record, "clients": clients}


@contextmanager
def crowd(url: str, clients: int) -> Iterator[Callable[[], Record]]:
    """Run the clients; yield a function that has them all come and go, and returns how that was."""
    command = [sys.executable, "-m", "benchmarks.workers.crowd", url, str(clients // PROCESSES)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, json.dumps(JOIN_AND_LEAVE)],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]

        def come_and_go() -> Record:
            began = time.monotonic()
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            results = [json.loads(process.stdout.readline()) for process in processes]  # type: ignore[union-attr]
            rate = clients / (time.monotonic() - began)
            failed = sum(one["failed"] for one in results)
            first = next((one["first"] for one in results if one["first"]), "")
            return {"rate": round(rate, 1), "failed": failed, "first": first}

        yield come_and_go
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()


# -- what they share --------------------------------------------------------------------------


@contextmanager
def worker(mode: str, rooms: bool, backend: str = "memory://") -> Iterator[str]:
    """Run a worker in a mode, with Flask-Rooms or without; yield its URL."""
    os.environ["ROOMS_TEST_MODE"] = mode
    config = json.dumps({"rooms": rooms, "mode": mode})
    application = "benchmarks.workers.served_app"
    run = Worker(backend, "served", application, "--config", config, "--heartbeat", "2")
    try:
        run.wait_until_listening()
        yield run.url
    finally:
        run.stop()


def requests_table(records: Iterable[Record]) -> str:
    """Return the table of requests; a limit is what an event and Flask's dispatch take together."""
    head = ["", "requests", "events of Flask-SocketIO", "of the limit", "HTTP, keep-alive", "ratio"]
    rows = []
    some = [one for one in records if one["benchmark"] == "requests"]
    for mode in MODES:
        for label, end in (("one at a time", ""), (f"{WINDOW} under way", " in a window")):
            found = [one for one in some if one["mode"] == mode]
            ours, events = f"requests{end}", f"events{end}"
            http_rates = [one["http"] for one in found if "http" in one and not end]
            rows.append(
                [
                    f"{mode}, {label}",
                    f"{spread(one[ours] for one in found)} /s",
                    f"{spread(one[events] for one in found)} /s",
                    spread(one[ours] * (1 / one[events] + one["dispatch"] / 1e6) for one in found),
                    f"{spread(http_rates)} /s" if http_rates else "-",
                    spread(one[ours] / one["http"] for one in found if http_rates),
                ]
            )
    return markdown(head, rows)


def crowd_table(records: Iterable[Record]) -> str:
    """Return the table of crowds."""
    head = ["", "clients", "Flask-Rooms", "Flask-SocketIO", "ratio"]
    head += ["after a restart of Redis", "failed, of all three"]
    rows = []
    some = [one for one in records if one["benchmark"] == "crowd"]
    kinds = ("ours", "peer", "after a restart of the broker")
    for mode in GREEN:
        found = [one for one in some if one["mode"] == mode]
        rates = [[one[kind]["rate"] for one in found] for kind in kinds]
        ratios = [ours / peer for ours, peer in zip(rates[0], rates[1], strict=True)]
        failed = [str(sum(one[kind]["failed"] for one in found)) for kind in kinds]
        counts = {one["clients"] for one in found}
        shown = [f"{spread(one)} /s" for one in rates]
        row = [mode, spread(counts), *shown[:2], spread(ratios), shown[2], ", ".join(failed)]
        rows.append(row)
    return markdown(head, rows)


def _allow_files(count: int) -> None:
    """Have this process and its children keep so many files open, as far as that is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


if __name__ == "__main__":
    main()
