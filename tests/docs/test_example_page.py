"""The example's page: two tabs of a real browser, and where its Socket.IO client comes from."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from example_app import create_app
from example_app.page import CDN, CLIENT, INTEGRITY, VERSION
from example_app.workers import Worker
from tests.support.brokers import Broker
from tests.support.browser import Browser, BrowserMissing

pytestmark = pytest.mark.mode_independent

# The controls, found as people find them who cannot see them: by label and accessible name.
FIELD = "[...document.querySelectorAll('label')].find((l) => l.textContent === {}).control"
BUTTON = (
    "[...document.querySelectorAll('button')]"
    ".find((b) => b.checkVisibility() && (b.ariaLabel ?? b.textContent) === {})"
)


class Person:
    """A person with a browser tab, who sees and does things in it."""

    def __init__(self, browser: Browser, url: str, name: str) -> None:
        self.tab = browser.tab(url)
        self.fill("Your name", name)
        self.press("Connect")
        self.sees("#status", "connected")
        self.sees("#me", name)
        self.tab.until("document.querySelector('#socket-id').textContent !== ''")

    def fill(self, label: str, text: str) -> None:
        """Type into the field that has this label."""
        field = FIELD.format(json.dumps(label))
        self.tab.run(f"{field}.value = ''; {field}.focus()")
        self.tab.command("Input.insertText", text=text)

    def press(self, name: str) -> None:
        """Press the button of this name, when it is there."""
        button = BUTTON.format(json.dumps(name))
        self.tab.until(button)
        self.tab.run(f"{button}.click()")

    def joins(self, room: str) -> None:
        """Join a room, and wait until it is listed."""
        self.fill("Room to join", room)
        self.press("Join")
        self.sees("#rooms", room)

    def says(self, room: str, text: str) -> None:
        """Speak, and wait for the answer: requests of one tab may overtake each other."""
        answers = len(self.log("answer"))
        self.fill("Room to speak in", room)
        self.fill("What you say", text)
        self.press("Say it")
        self.tab.until(f"document.querySelectorAll('#log .answer').length > {answers}")

    def text(self, selector: str) -> str:
        """Return what is written somewhere."""
        return str(self.tab.run(f"document.querySelector('{selector}').textContent"))

    def sees(self, selector: str, text: str) -> None:
        """Wait until *text* is written somewhere."""
        written = f"document.querySelector('{selector}').textContent"
        self.tab.until(f"{written}.includes({json.dumps(text)})")

    def log(self, kind: str) -> list[str]:
        """Return what the tab has received of one kind."""
        lines = f"[...document.querySelectorAll('#log .{kind} span')]"
        received: list[str] = self.tab.run(f"{lines}.map((line) => line.textContent)")
        return received

    def receives(self, kind: str, text: str) -> None:
        """Wait until the tab has received *text*."""
        lines = f"[...document.querySelectorAll('#log .{kind} span')]"
        self.tab.until(f"{lines}.some((line) => line.textContent === {json.dumps(text)})")


def missing(what: str) -> NoReturn:
    """Skip at a desk; continuous integration must not be green without a browser."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(os.environ.get("ROOMS_NODE_MODULES", ""), CLIENT).is_file():
        missing("ROOMS_NODE_MODULES names no directory where npm has put socket.io-client.")
    try:
        browser = Browser()
    except BrowserMissing as error:
        missing(str(error))
    with browser:
        yield browser


@pytest.fixture
def workers(redis_broker: Broker, tmp_path: Path) -> Iterator[list[Worker]]:
    database = str(tmp_path / "people.sqlite")
    with (
        Worker(redis_broker.url, database, "secret") as one,
        Worker(redis_broker.url, database, "secret") as two,
    ):
        for worker in (one, two):
            worker.wait_until_listening()
        yield [one, two]


@pytest.fixture
def people(browser: Browser, workers: list[Worker]) -> tuple[Person, Person]:
    """Ada and Bob, on different workers."""
    return Person(browser, workers[0].url, "Ada"), Person(browser, workers[1].url, "Bob")


def test_two_tabs_join_speak_and_leave(people: tuple[Person, Person]) -> None:
    ada, bob = people
    for person in people:
        person.joins("kitchen")
    bob.says("kitchen", "for both")
    for person in people:
        person.receives("message", "for both")

    ada.press("Leave kitchen")
    ada.receives("answer", "Left a fun room called kitchen!")
    bob.says("kitchen", "for Bob alone")
    bob.says(ada.text("#socket-id"), "fence")
    ada.receives("message", "fence")
    assert ada.log("message") == ["for both", "fence"]
    bob.receives("message", "for Bob alone")
    assert ada.text("#rooms") == ""
    assert ada.tab.errors() == bob.tab.errors() == []


def test_one_tab_bans_and_forgives_the_other(people: tuple[Person, Person]) -> None:
    ada, bob = people
    ada.joins("kitchen")
    bob.press("Ban Ada")
    bob.receives("answer", "Banned, and taken out of all rooms in 1 tab.")
    bob.says("kitchen", "not for Ada")
    bob.says(ada.text("#socket-id"), "fence")
    ada.receives("message", "fence")
    assert ada.log("message") == ["fence"]
    ada.receives("refusal", "You are banned, and in no room any more.")
    assert ada.text("#rooms") == ""
    ada.press("Join")
    ada.receives("refusal", "Ada is banned.")

    bob.press("Forgive Ada")
    bob.receives("answer", "No longer banned.")
    ada.joins("kitchen")


def test_a_tab_shows_who_holds_it(people: tuple[Person, Person]) -> None:
    workers = {person.text("#worker") for person in people}
    socket_ids = {person.text("#socket-id") for person in people}
    assert len(workers) == len(socket_ids) == 2
    assert "" not in workers | socket_ids


def test_what_people_write_is_never_taken_for_html(browser: Browser, workers: list[Worker]) -> None:
    markup = "<img src=x onerror=document.title=1>"
    person = Person(browser, workers[0].url, markup)
    person.joins(markup)
    person.says(markup, markup)
    person.receives("message", markup)
    person.sees("#people", markup)
    assert person.tab.run("document.images.length") == 0


def test_a_tab_joins_its_rooms_again_when_its_worker_comes_back(
    browser: Browser, tmp_path: Path
) -> None:
    database = str(tmp_path / "people.sqlite")
    with Worker("memory://", database, "secret") as first:
        first.wait_until_listening()
        ada = Person(browser, first.url, "Ada")
        ada.joins("kitchen")
        socket_id = ada.text("#socket-id")
    ada.sees("#status", "disconnected")
    with Worker("memory://", database, "secret", port=int(first.url.rpartition(":")[2])) as second:
        second.wait_until_listening()
        ada.tab.until("document.querySelectorAll('#log .answer').length === 2")
        assert ada.text("#socket-id") != socket_id
        ada.says("kitchen", "Is it dinner yet?")
        ada.receives("message", "Is it dinner yet?")


@pytest.mark.parametrize("installed", [True, False])
def test_the_client_comes_from_npm_or_else_from_a_cdn(installed: bool, tmp_path: Path) -> None:
    if installed:
        (tmp_path / CLIENT).parent.mkdir(parents=True)
        (tmp_path / CLIENT).write_text("the client")
    app = create_app(database=str(tmp_path / "people.sqlite"), NODE_MODULES=str(tmp_path))
    page = app.test_client().get("/").text
    own = app.test_client().get("/socket.io-client.js")
    if installed:
        assert 'src="/socket.io-client.js"' in page
        assert "https:" not in page
        assert (own.status_code, own.text) == (200, "the client")
    else:
        assert f'src="{CDN}" integrity="{INTEGRITY}" crossorigin="anonymous"' in page
        assert own.status_code == 404
    own.close()


def test_the_integrity_is_that_of_the_file_on_npm() -> None:
    client = Path(os.environ.get("ROOMS_NODE_MODULES", ""), CLIENT)
    if not client.is_file() or f"Socket.IO v{VERSION}\n" not in client.read_text("utf-8"):
        pytest.skip(f"npm has not installed socket.io-client {VERSION}.")
    digest = base64.b64encode(hashlib.sha384(client.read_bytes()).digest()).decode()
    assert f"sha384-{digest}" == INTEGRITY
