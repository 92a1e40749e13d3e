"""Demonstrates Flask-Rooms with real workers and clients: step by step, then in the browser."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import tempfile
from contextlib import ExitStack
from multiprocessing.connection import Listener
from pathlib import Path
from types import FrameType

from example_app.steps import StepFailed, check, run_steps, say
from example_app.supervisor import Supervisor
from example_app.workers import Worker, WorkerFailed
from tests.support.brokers import BrokerMissing, Redis

#: Short, so that one need not wait long until a killed worker counts as gone. Seconds.
HEARTBEAT = "1.0"
#: Where only this machine reaches the controls.
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    """Run the demonstration, and return the exit status: 0 if every step succeeded."""
    options = arguments()
    signal.signal(signal.SIGTERM, end)
    try:
        with ExitStack() as stack:
            demonstrate(options, stack)
    except (StepFailed, WorkerFailed, BrokerMissing) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 128 + signal.SIGINT
    return 0


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m example_app.demo", description=__doc__)
    parser.add_argument("--workers", metavar="N", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--backend",
        metavar="URL",
        help="the URL of a broker; several workers get a Redis of their own without it",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="port of the first worker, the others follow; 0 for free ports",
    )
    parser.add_argument("--once", action="store_true", help="exit after the last step")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if options.workers > 1 and (options.backend or "").startswith("memory:"):
        parser.error(
            "memory:// connects the workers of one process only. For several workers leave "
            "--backend out, or give the URL of a broker, such as --backend redis://localhost"
        )
    return options


def end(signum: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the workers are stopped, too."""
    sys.exit(128 + signum)


def demonstrate(options: argparse.Namespace, stack: ExitStack) -> None:
    """Start everything, run the steps, and serve."""
    broker = None
    if options.backend is None and options.workers > 1:
        broker = Redis()
        stack.callback(broker.stop)
    secret_key = secrets.token_hex()
    listener = stack.enter_context(Listener(authkey=secret_key.encode()))
    workers = start(options, stack, broker, secret_key, str(listener.address))
    run_steps(workers)
    print("\nEvery step succeeded.", flush=True)
    if not options.once:
        invite(workers)
        Supervisor(listener, broker).run(workers)


def start(
    options: argparse.Namespace,
    stack: ExitStack,
    broker: Redis | None,
    secret_key: str,
    controls: str,
) -> list[Worker]:
    """Start the workers with a temporary database, and wait until they listen."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="flask-rooms-"))
    backend = broker.url if broker else options.backend or "memory://"
    config = {
        "SECRET_KEY": secret_key,
        "DATABASE": str(Path(directory, "chat.sqlite")),
        "ROOMS_BACKEND_URL": backend,
        "ROOMS_HEARTBEAT_INTERVAL": HEARTBEAT,
    }
    if options.host in LOOPBACK:
        config["CONTROLS"] = controls
    ports = [options.port and options.port + number for number in range(options.workers)]
    workers = [stack.enter_context(Worker(config, options.host, port)) for port in ports]
    noun = "worker" if options.workers == 1 else "workers"
    say(f"Starting {options.workers} {noun} on {backend}.")
    for number, worker in enumerate(workers, 1):
        worker.wait_until_listening()
        check(f"Worker {number} listens on {worker.url}", True, True)
    return workers


def invite(workers: list[Worker]) -> None:
    """Print where to go; a browser keeps one sign-in for each name of this machine."""
    urls = [worker.url for worker in workers]
    if len(urls) == 1:
        urls *= 2
    print("\nNow try it yourself: open these in two windows, and sign in as two people.")
    print("Let one of them be a moderator. Ctrl-C stops the workers.")
    for number, url in enumerate(urls):
        print(f"  {url.replace('127.0.0.1', 'localhost') if number % 2 else url}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
