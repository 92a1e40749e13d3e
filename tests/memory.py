"""
Measures what socket requests leave in the memory of a worker.

    python -m tests.memory [--requests 100000] [--mode threading|eventlet|gevent]

A client makes requests of several kinds over one WebSocket: good ones, some that write into the
session, some that no route knows, some that are malformed. After each tenth of them the worker
says how many objects its garbage collector knows, and how much memory it has. The first tenth
is for what is made once.
"""

from __future__ import annotations

import argparse
import os

from tests.support.raw import RawClient
from tests.support.workers import cluster


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.memory", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--mode", choices=("threading", "eventlet", "gevent"), default="threading")
    options = parser.parse_args()
    os.environ["ROOMS_TEST_MODE"] = options.mode
    with (
        cluster("memory://", 1, "tests.support.requests_app") as (worker,),
        RawClient(worker.url) as client,
    ):
        print(f"{'requests':>10}{'objects':>10}{'KiB':>10}")
        for part in range(1, 11):
            make_requests(client, options.requests // 10)
            found = client.request("get", "/objects")["body"]
            made = part * options.requests // 10
            print(f"{made:>10}{found['all']:>10}{found['kilobytes']:>10}", flush=True)


def make_requests(client: RawClient, times: int) -> None:
    """Make so many requests, of four kinds in turn."""
    for number in range(0, times, 4):
        client.request("put", f"/echo/{number}?n={number}", {"n": number})
        client.request("put", "/session", {"n": number})
        client.request("get", f"/nowhere/{number}")
        client.request("put", f"//{number}")


if __name__ == "__main__":
    main()
