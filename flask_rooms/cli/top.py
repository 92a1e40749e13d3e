"""The command that shows the cluster live: top."""

from __future__ import annotations

import time
from typing import Any

import click

from flask_rooms.api.overview import overview
from flask_rooms.api.sockets import Sockets
from flask_rooms.cli.group import connect, json_option, namespace_option, rooms
from flask_rooms.cli.output import show_json, table
from flask_rooms.cluster.driver import Cluster

#: The largest rooms that are shown.
ROOMS = 10
#: What each worker has, and what it does in a second.
SIZES = ("sockets", "users", "rooms", "memberships", "outbox_bytes")
RATES = ("calls", "failed", "events", "refusals")
_HEADERS = ["WORKER", "PID", "SOCKETS", "USERS", "ROOMS", "MEMBERS", "OUTBOX"]
_HEADERS += ["CALLS/s", "FAILED/s", "EVENTS/s", "REFUSED/s"]


@rooms.command()
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many looks.")
@namespace_option
@json_option
def top(interval: float, count: int | None, namespace: str | None, as_json: bool) -> None:
    """Show the workers and the largest rooms, again and again; end it with Ctrl-C."""
    cluster, sockets = connect()
    live = Live(cluster, sockets, namespace)
    try:
        while count is None or count > 0:
            shown = live.look()
            if as_json:
                show_json(shown)
            else:
                click.clear()  # at a terminal
                click.echo("\n".join(_lines(shown)))
            count = None if count is None else count - 1
            if count != 0:
                time.sleep(interval)
    except KeyboardInterrupt:
        return


class Live:
    """
    Looks at the cluster again and again, and remembers the last look for the rates.

    Args:
        cluster: The connection to the workers.
        sockets: The calls.
        namespace: Whose rooms to show.
    """

    def __init__(self, cluster: Cluster, sockets: Sockets, namespace: str | None) -> None:
        self._cluster = cluster
        self._sockets = sockets
        self._namespace = namespace
        self._before: dict[str, dict[str, int]] = {}
        self._looked_at = 0.0

    def look(self) -> dict[str, Any]:
        """Return the workers with their numbers and rates, and the largest rooms."""
        found = overview(self._cluster)
        rooms = self._sockets.rooms(namespace=self._namespace)
        now = time.monotonic()
        workers = [
            {
                "worker": str(worker),
                "pid": worker.pid,
                **{name: numbers.get(name, 0) for name in SIZES},
                **self._rates(str(worker), numbers, now - self._looked_at),
            }
            for worker, numbers in sorted(found.workers.items())
        ]
        self._before = {str(worker): numbers for worker, numbers in found.workers.items()}
        self._looked_at = now
        largest = sorted(rooms.value.items(), key=lambda item: (-item[1], str(item[0])))[:ROOMS]
        return {
            "workers": workers,
            "rooms": {str(room): count for room, count in largest},
            "complete": found.complete,
            "missing": found.missing,
        }

    def _rates(self, worker: str, numbers: dict[str, int], seconds: float) -> dict[str, Any]:
        before = self._before.get(worker)
        if before is None:
            return {f"{name}_per_second": None for name in RATES}
        return {
            f"{name}_per_second": round(
                max(0, numbers.get(name, 0) - before.get(name, 0)) / seconds, 1
            )
            for name in RATES
        }


def _lines(shown: dict[str, Any]) -> list[str]:
    rates = [f"{name}_per_second" for name in RATES]
    columns = ["worker", "pid", *SIZES, *rates]
    rows = [
        ["-" if one[name] is None else one[name] for name in columns] for one in shown["workers"]
    ]
    lines = table(_HEADERS, rows)
    if shown["missing"]:
        lines.append(f"No answer from {', '.join(shown['missing'])}")
    rooms = [(count, room) for room, count in shown["rooms"].items()]
    return [*lines, "", *table(["MEMBERS", "ROOM"], rooms)]
