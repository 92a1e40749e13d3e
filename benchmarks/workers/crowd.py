"""
Many clients in one process: they connect, all join a room and leave it at once, and go.

    python -m benchmarks.workers.crowd URL CLIENTS EVENTS

EVENTS is the JSON of two events that join and leave. For each line of standard input all clients do
that, and a line of JSON says how many have failed, and how the first has.
"""

# ruff: noqa: E402 - patched before anything else is imported
from gevent import monkey

monkey.patch_all()

import json
import sys
from functools import partial
from typing import Any

import gevent
from gevent.fileobject import FileObject
from gevent.pool import Pool

from tests.support.raw import RawClient

#: How many clients connect at once: more than a server's backlog holds would wait for TCP.
AT_ONCE = 50
#: Seconds that a client waits for an answer.
PATIENCE = 120.0


def main() -> None:
    """Do it once for each line of standard input."""
    url, count, events = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    for _ in FileObject(sys.stdin, "r"):
        clients = Pool(AT_ONCE).map(_tried(partial(RawClient, url, timeout=PATIENCE)), range(count))
        connected = [one for one in clients if isinstance(one, RawClient)]
        asked = [gevent.spawn(_tried(partial(_ask, one, events))) for one in connected]
        gevent.joinall(asked)
        for one in connected:
            one.close()
        results = [*clients, *[one.value for one in asked]]
        errors = [repr(one) for one in results if isinstance(one, Exception)]
        print(json.dumps({"failed": len(errors), "first": (errors or [""])[0]}), flush=True)


def _ask(client: RawClient, events: list[list[Any]]) -> None:
    for event in events:
        client.answer(client.ask(*event))


def _tried(function: Any) -> Any:
    """Return a function that returns the error of another one in place of raising it."""

    def tried(*_: object) -> Any:
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - each kind of failure counts
            return error

    return tried


if __name__ == "__main__":
    main()
