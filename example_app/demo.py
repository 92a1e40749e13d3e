"""Demonstrates Flask-Rooms with real workers and clients: step by step, then in the browser."""

from __future__ import annotations

import argparse
import json
import queue
import secrets
import signal
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import socketio.exceptions

from example_app.visitor import TIMEOUT, Answer, Visitor
from example_app.workers import Worker, WorkerFailed

NAMES = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn")
ROOM = "lobby"


class StepFailed(Exception):
    """A step of the demonstration had another result than expected."""


def main() -> int:
    """Run the demonstration, and return the exit status: 0 if every step succeeded."""
    options = arguments()
    signal.signal(signal.SIGTERM, end)
    try:
        with ExitStack() as stack:
            workers = start(options, stack)
            run_steps(workers)
            print("\nEvery step succeeded.", flush=True)
            if not options.once:
                serve(workers)
    except (StepFailed, WorkerFailed) as error:
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
    parser.add_argument("--backend", metavar="URL", default="memory://", help="backend URL")
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
    if options.workers > 1 and options.backend.startswith("memory:"):
        parser.error(
            "memory:// connects the workers of one process only. For several workers give the URL "
            "of a broker, such as --backend redis://localhost or --backend amqp://localhost"
        )
    return options


def end(signum: int, frame: FrameType | None) -> None:
    """Turn SIGTERM into an exception, so that the workers are stopped, too."""
    sys.exit(128 + signum)


def start(options: argparse.Namespace, stack: ExitStack) -> list[Worker]:
    """Start the workers with a temporary database, and wait until they listen."""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="flask-rooms-"))
    database, secret_key = str(Path(directory, "people.sqlite")), secrets.token_hex()
    ports = [options.port and options.port + number for number in range(options.workers)]
    workers = [
        stack.enter_context(Worker(options.backend, database, secret_key, options.host, port))
        for port in ports
    ]
    say(f"Starting {plural(options.workers, 'worker')} on {options.backend}.")
    for number, worker in enumerate(workers, 1):
        worker.wait_until_listening()
        check(f"Worker {number} listens on {worker.url}", True, True)
    return workers


def run_steps(workers: list[Worker]) -> None:
    """Run all steps; the last visitor is connected to the last worker."""
    with ExitStack() as stack:
        visitors = []
        for number in range(max(2, len(workers))):
            name = NAMES[number] if number < len(NAMES) else f"Visitor {number + 1}"
            worker = workers[number % len(workers)]
            try:
                visitors.append(stack.enter_context(Visitor(name, worker.url)))
            except socketio.exceptions.ConnectionError as error:
                raise StepFailed(f"{name} cannot connect to {worker.url}: {error}") from error
        say(" ".join(f"{v.name} connects to {v.url}." for v in visitors))
        ada, bob = visitors[0], visitors[-1]
        join(visitors)
        leave(ada, bob)
        ban(ada, bob)
        request_over_http(ada)


def join(visitors: list[Visitor]) -> None:
    """All visitors join a room, and one speaks in it."""
    say(f"Each of them asks to join a room called {ROOM}: PUT /join-fun-room, over the socket.")
    joined = message(200, f"Joined a fun room called {ROOM}!")
    for person in visitors:
        answer = person.request("put", "/join-fun-room", roomName=ROOM)
        check(f"{person.name} is answered", answer, joined)
    speaker = visitors[-1]
    say(f"{speaker.name} says something in the {ROOM}.")
    speak(speaker, ROOM, "Good morning!")
    for person in visitors:
        check(f"{person.name} hears it", hears(person), "Good morning!")


def leave(ada: Visitor, bob: Visitor) -> None:
    """A visitor leaves the room with her own socket."""
    say(f"{ada.name} asks to leave: PUT /leave-fun-room, over the socket.")
    answer = ada.request("put", "/leave-fun-room", roomName=ROOM)
    check(f"{ada.name} is answered", answer, message(200, f"Left a fun room called {ROOM}!"))
    say(f"{bob.name} says something in the {ROOM} again, and then whispers to {ada.name}'s socket.")
    speak(bob, ROOM, "Has she gone?")
    speak(bob, ada.socket_id, "The first was not for you.")
    check(f"{bob.name} hears what he said in the {ROOM}", hears(bob), "Has she gone?")
    check(f"{ada.name} hears nothing but the whisper", hears(ada), "The first was not for you.")


def ban(ada: Visitor, bob: Visitor) -> None:
    """A visitor is removed from the room by ID; another worker may hold her socket."""
    say(f"{ada.name} joins once more, and {bob.name} bans her from the worker at {bob.url}.")
    answer = ada.request("put", "/join-fun-room", roomName=ROOM)
    check(f"{ada.name} is answered", answer, message(200, f"Joined a fun room called {ROOM}!"))
    ada_id = next(u["id"] for u in bob.request("get", "/users").body if u["name"] == ada.name)
    answer = bob.request("put", f"/users/{ada_id}/ban")
    check(
        f"{bob.name} is answered when her worker has confirmed it",
        answer,
        message(200, "Banned, and taken out of all rooms in 1 tab."),
    )
    speak(bob, ROOM, "And now?")
    speak(bob, ada.socket_id, "Nor was this one.")
    check(f"{bob.name} hears what he says in the {ROOM}", hears(bob), "And now?")
    check(f"{ada.name} hears nothing but the whisper", hears(ada), "Nor was this one.")
    answer = ada.request("put", "/join-fun-room", roomName=ROOM)
    check(f"{ada.name} cannot join again", answer, message(403, f"{ada.name} is banned."))
    answer = bob.request("delete", f"/users/{ada_id}/ban")
    check(f"{bob.name} forgives her", answer, message(200, "No longer banned."))


def request_over_http(ada: Visitor) -> None:
    """The route refuses the same request over HTTP."""
    say(f"The same request over plain HTTP, as curl sends it to {ada.url}:")
    check(
        "It is refused, because it comes from no socket",
        http_put(f"{ada.url}/leave-fun-room", {"roomName": ROOM}),
        message(400, "This endpoints only supports socket requests."),
    )


def serve(workers: list[Worker]) -> None:
    """Serve until a worker ends or Ctrl-C is pressed."""
    print("\nNow try it yourself: open these in two tabs. Ctrl-C stops the workers.")
    for worker in workers:
        print(f"  {worker.url}", flush=True)
    ended: queue.Queue[int] = queue.Queue()
    for worker in workers:
        wait = worker.process.wait
        threading.Thread(target=lambda wait=wait: ended.put(wait()), daemon=True).start()
    ended.get()
    raise WorkerFailed("A worker has ended; its error is above.")


def message(status: int, text: str) -> Answer:
    """Return the response with this status and message."""
    return Answer(status, {"message": text})


def speak(speaker: Visitor, room: str, text: str) -> None:
    """Send a text to a room."""
    speaker.request("post", "/speak", roomName=room, text=text)


def hears(person: Visitor) -> str:
    """Return the next text that a visitor receives."""
    try:
        return person.hears()
    except queue.Empty:
        return f"(nothing in {TIMEOUT:g} seconds)"


def http_put(url: str, data: dict[str, Any]) -> Answer:
    """Send JSON over HTTP, and return the response."""
    body, headers = json.dumps(data).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return Answer(response.status, json.load(response))
    except urllib.error.HTTPError as error:
        return Answer(error.code, json.load(error))


def say(sentence: str) -> None:
    """Print the heading of a step."""
    print(f"\n{sentence}", flush=True)


def check(sentence: str, actual: object, expected: object) -> None:
    """Print the expected result with a tick; or with a cross, and raise StepFailed."""
    mark = "\N{CHECK MARK}" if actual == expected else "\N{BALLOT X}"
    print(f"  {mark} {sentence}{described(expected)}", flush=True)
    if actual != expected:
        raise StepFailed(f"Expected{described(expected)}, but got{described(actual)}")


def described(value: object) -> str:
    """Return a response or a text as the end of a sentence."""
    if isinstance(value, Answer):
        body = value.body
        text = body["message"] if isinstance(body, dict) and "message" in body else body
        return f": {value.status} {text}"
    return f": {value}" if isinstance(value, str) else ""


def plural(number: int, noun: str) -> str:
    """Return a number and a noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    sys.exit(main())
