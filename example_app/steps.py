"""The steps of the demonstration: each prints what it does, and checks what comes of it."""

from __future__ import annotations

import queue
from contextlib import ExitStack
from typing import Any

import requests
import socketio.exceptions

from example_app.visitor import TIMEOUT, Answer, Visitor
from example_app.workers import Worker

NAMES = ("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn")
ROOM, OTHER = "hall", "yard"


class StepFailed(Exception):
    """A step of the demonstration had another result than expected."""


def run_steps(workers: list[Worker]) -> None:
    """Run all steps; the last visitor is connected to the last worker, and moderates."""
    with ExitStack() as stack:
        visitors: list[Visitor] = []
        count = max(2, len(workers))
        for number in range(count):
            name = NAMES[number] if number < len(NAMES) else f"Visitor {number + 1}"
            url = workers[number % len(workers)].url
            form = {"moderator": "yes"} if number == count - 1 else {}
            try:
                visitors.append(stack.enter_context(Visitor(name, url, **form)))
            except socketio.exceptions.ConnectionError as error:
                raise StepFailed(f"{name} cannot connect to {url}: {error}") from error
        say(" ".join(f"{v.name} connects to {v.url}." for v in visitors))
        ada, bob = visitors[0], visitors[-1]
        join(visitors)
        leave(ada, bob)
        ban(ada, bob)
        request_over_http(ada)


def join(visitors: list[Visitor]) -> None:
    """All visitors join two rooms, and one speaks in one of them."""
    say(f"Each asks to join the {ROOM} and the {OTHER}: PUT /join-fun-room, over the socket.")
    for person in visitors:
        answer = person.request("put", "/join-fun-room", roomName=ROOM)
        check(f"{person.name} is answered", answer, message(f"Joined a fun room called {ROOM}!"))
        person.request("put", "/join-fun-room", roomName=OTHER)
    speaker = visitors[-1]
    say(f"{speaker.name} says something in the {ROOM}.")
    speaker.says(ROOM, "Good morning!")
    for person in visitors:
        check(f"{person.name} hears it", hears(person), "Good morning!")


def leave(ada: Visitor, bob: Visitor) -> None:
    """A visitor leaves the room with her own socket."""
    say(f"{ada.name} asks to leave: PUT /leave-fun-room, over the socket.")
    answer = ada.request("put", "/leave-fun-room", roomName=ROOM)
    check(f"{ada.name} is answered", answer, message(f"Left a fun room called {ROOM}!"))
    say(f"{bob.name} says something in the {ROOM} again, and then in the {OTHER}.")
    speak_in_both(ada, bob, "Has she gone?")


def ban(ada: Visitor, bob: Visitor) -> None:
    """A visitor is banned from the room; another worker may hold her socket."""
    say(f"{ada.name} joins once more, and {bob.name} bans her from the worker at {bob.url}.")
    answer = ada.request("put", "/join-fun-room", roomName=ROOM)
    check(f"{ada.name} is answered", answer, message(f"Joined a fun room called {ROOM}!"))
    answer = bob.request("put", f"/rooms/{ROOM}/bans/{ada.name}")
    check(
        f"{bob.name} is answered when her worker has confirmed it",
        answer,
        message(f"{ada.name} is banned from {ROOM}: 1 tab left."),
    )
    speak_in_both(ada, bob, "And now?")
    answer = ada.request("put", "/join-fun-room", roomName=ROOM)
    refusal = "You may not join this room: it is private, or you are banned from it."
    check(f"{ada.name} cannot join again", answer, message(refusal, 403))
    answer = bob.request("delete", f"/rooms/{ROOM}/bans/{ada.name}")
    check(f"{bob.name} forgives her", answer, message(f"{ada.name} may join {ROOM} again."))


def request_over_http(ada: Visitor) -> None:
    """The route refuses the same request over HTTP."""
    say(f"The same request over plain HTTP, as curl sends it to {ada.url}:")
    check(
        "It is refused, because it comes from no socket",
        http_put(f"{ada.url}/leave-fun-room", {"roomName": ROOM}),
        message("This endpoints only supports socket requests.", 400),
    )


def speak_in_both(ada: Visitor, bob: Visitor, text: str) -> None:
    """Bob speaks in the room that Ada has left, and then in one where she still is."""
    bob.says(ROOM, text)
    bob.says(OTHER, "Well, then in here.")
    check(f"{bob.name} hears what he said in the {ROOM}", hears(bob), text)
    hears(bob)
    check(f"{ada.name} hears only what he said in the {OTHER}", hears(ada), "Well, then in here.")


def message(text: str, status: int = 200) -> Answer:
    """Return the response with this message and status."""
    return Answer(status, {"message": text})


def hears(person: Visitor) -> str:
    """Return the next text that a visitor receives."""
    try:
        return person.hears()
    except queue.Empty:
        return f"(nothing in {TIMEOUT:g} seconds)"


def http_put(url: str, data: dict[str, Any]) -> Answer:
    """Send JSON over HTTP, and return the response."""
    response = requests.put(url, json=data, timeout=TIMEOUT)
    return Answer(response.status_code, response.json())


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
