"""
Many workers in one process, which do nothing but take part in a cluster.

    python -m benchmarks.workers.peers URL COUNT

A line of standard output says that all have joined. They leave when standard input ends.
"""

from __future__ import annotations

import sys

from flask import Flask

from flask_rooms import Rooms
from flask_rooms.globals import parts_of


def main() -> None:
    """Join one after the other, as in a deployment, and stay."""
    url, count = sys.argv[1], int(sys.argv[2])
    clusters = []
    for _ in range(count):
        app = Flask(__name__)
        app.config["SECRET_KEY"] = "of the benchmarks"
        Rooms(app, backend_url=url)
        clusters.append(parts_of(app).cluster)
        clusters[-1].start()
    print("joined", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
