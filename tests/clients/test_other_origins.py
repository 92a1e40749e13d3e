"""A page of another origin, in a real browser: whatever it tries at a worker, it gets nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.browser import Browser, Tab
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.mode_independent

# What a page may try. Each is a promise of what it has got.
#
# script     the packets that a script has handed to its function, by JSONP
# image      whether an image has loaded, which it tells by an event
# readable   the text of an answer, where the browser lets the page read it
# opaque     the kind of an answer that it may not read
# socket     whether a WebSocket has opened
COMMON = """(() => {
  globalThis.got = [];
  globalThis.___eio = Array(8).fill((packet) => got.push(packet));
  const loaded = (element) => new Promise((resolve) => {
    element.onload = () => resolve(["loaded", ...got]);
    element.onerror = () => resolve(["refused", ...got]);
    document.documentElement.append(element);
  });
  globalThis.script = (src) => loaded(Object.assign(document.createElement("script"), { src }));
  globalThis.image = (src) => loaded(Object.assign(document.createElement("img"), { src }));
  globalThis.readable = (url, options) =>
    fetch(url, { credentials: "include", ...options }).then((r) => r.text(), (e) => e.name);
  globalThis.opaque = (url, options) =>
    readable(url, { mode: "no-cors", ...options });
  globalThis.socket = (url) => new Promise((resolve) => {
    const it = new WebSocket(url);
    it.onopen = () => resolve("opened");
    it.onerror = () => resolve("refused");
  });
})()"""


@pytest.fixture(scope="module", name="victim")
def _victim() -> Iterator[Worker]:
    """The worker of the application, at 127.0.0.1."""
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker


@pytest.fixture(scope="module", name="other")
def _other() -> Iterator[Worker]:
    """A server of somebody else's, whose pages are of another origin."""
    with cluster("memory://", 1, "tests.support.requests_app") as (worker,):
        yield worker


@pytest.fixture(name="page", params=["127.0.0.1", "localhost"])
def _page(request: pytest.FixtureRequest, chromium: Browser, other: Worker) -> Tab:
    """A page of the same site, as a sibling's is, and one of another site."""
    tab = chromium.tab(f"{other.url.replace('127.0.0.1', request.param)}/echo")
    tab.run(COMMON)
    return tab


@pytest.fixture(name="own")
def _own(chromium: Browser, victim: Worker) -> Tab:
    """A page of the application itself."""
    tab = chromium.tab(f"{victim.url}/echo")
    tab.run(COMMON)
    return tab


def polling(worker: Worker, more: str = "") -> str:
    return f"{worker.url}/socket.io/?EIO=4&transport=polling{more}"


def connections(worker: Worker) -> Any:
    """Return how many connections a worker has."""
    with urlopen(f"{worker.url}/connections", timeout=30) as answer:
        return answer.read()


def test_a_script_of_jsonp_gives_a_page_nothing(page: Tab, victim: Worker) -> None:
    """The ID of the connection would be in it, and with that whoever has it acts as the visitor."""
    before = connections(victim)

    for index in (0, 7):
        assert page.run(f"script({polling(victim, f'&j={index}')!r})") == ["refused"]

    assert connections(victim) == before


@pytest.mark.parametrize(
    "attempt",
    [
        "script(%r)",
        "image(%r)",
        "readable(%r)",
        "readable(%r, { method: 'POST', body: '40' })",
        "opaque(%r)",
        "opaque(%r, { method: 'POST', body: '40' })",
    ],
)
def test_a_page_that_polls_gets_nothing(page: Tab, victim: Worker, attempt: str) -> None:
    """With or without an Origin, and whether or not the browser would let it read the answer."""
    before = connections(victim)

    got = page.run(attempt % polling(victim))

    assert got in (["refused"], "TypeError", "")  # "" is an answer that it may not read
    assert connections(victim) == before


def test_a_page_that_opens_a_websocket_is_refused(page: Tab, victim: Worker) -> None:
    address = polling(victim).replace("http", "ws").replace("polling", "websocket")

    assert page.run(f"socket({address!r})") == "refused"


def test_a_page_of_the_application_gets_in(own: Tab, victim: Worker) -> None:
    """By the same attempts, JSONP apart: what the others are refused for is where they are from."""
    before = connections(victim)

    assert own.run(f"readable({polling(victim)!r})").startswith('0{"sid":')
    assert own.run(f"script({polling(victim, '&j=0')!r})") == ["refused"]
    address = polling(victim).replace("http", "ws").replace("polling", "websocket")
    assert own.run(f"socket({address!r})") == "opened"

    assert connections(victim) != before
