"""The example's pages in a real browser: two people on two workers that the demonstration runs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from example_app import create_app
from example_app.pages import CDN, CLIENT, INTEGRITY, VERSION
from example_app.workers import Worker
from tests.support.brokers import Broker
from tests.support.browser import Browser, Tab
from tests.support.javascript import require_npm

pytestmark = pytest.mark.mode_independent

# The controls, found as people find them who cannot see them: by label and accessible name.
FIELD = "[...document.querySelectorAll('label')].find((l) => l.textContent.trim() === {}).control"
NAME = (
    "((e) => e.ariaLabel ?? [...e.childNodes].filter((n) => !n.ariaHidden)"
    ".map((n) => n.textContent).join('').trim())"
)
BUTTON = (
    "[...document.querySelectorAll('button')]"
    f".find((b) => b.checkVisibility() && {NAME}(b) === {{}})"
)
#: Whether a page is connected, and in a room.
IN = (
    "document.querySelector('#status')?.dataset.state === 'up'"
    " && !document.querySelector('#text').disabled"
)

#: Whether something waits for the broker, as the panel shows it.
WAITING = "/ [1-9]\\d* bytes waiting/.test(document.querySelector('#workers .here').textContent)"


class Person:
    """A person with a browser tab, who sees and does things in it."""

    def __init__(self, browser: Browser, url: str, name: str, moderator: bool = False) -> None:
        self.name = name
        self.tab = browser.tab("about:blank")
        # Of an earlier test; the other person's is under the other name of this machine.
        self.tab.command("Network.deleteCookies", name="session", url=url)
        self.looks_at(1280)
        self.tab.command("Page.navigate", url=url)
        across_navigation(self.tab, "document.querySelector('#name')")
        self.fill("Your name", name)
        if moderator:
            self.tab.run(FIELD.format(json.dumps("I am a moderator")) + ".click()")
        self.press("Sign in")
        across_navigation(self.tab, IN)
        self.sees("#me", name)

    def looks_at(self, width: int, scheme: str = "light") -> None:
        """Have a window of this width in pixels, and like light or dark pages."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.tab.command("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tab.command("Emulation.setEmulatedMedia", features=[feature])

    def fill(self, label: str, text: str) -> None:
        """Type into the field that has this label."""
        field = FIELD.format(json.dumps(label))
        self.tab.run(f"{field}.value = ''; {field}.focus()")
        self.tab.command("Input.insertText", text=text)

    def press(self, name: str) -> None:
        """Press the button of this name, when it is there."""
        button = BUTTON.format(json.dumps(name))
        click = f"((b) => b && (setTimeout(() => b.click()), true))({button})"
        self.tab.until(button)
        while not self.tab.run(click):  # the list may have been shown anew meanwhile
            self.tab.until(button)

    def unfold(self, box: str) -> None:
        """Open what is folded away."""
        self.tab.run(f"document.querySelector('{box}').open = true")

    def creates(self, room: str, private: bool = False) -> None:
        """Create a room, and wait until this tab is in it."""
        self.unfold("#new-room")
        self.fill("Name of the room", room)
        if private:
            self.tab.run("document.querySelector('#private').click()")
        self.press("Create")
        self.is_in(room)

    def enters(self, room: str, button: str = "") -> None:
        """Choose a room, and wait until this tab is in it."""
        self.press(button or room)
        self.is_in(room)

    def is_in(self, room: str) -> None:
        """Wait until this tab shows a room and the person in it."""
        self.sees("#room", room)
        self.sees("#people", f"{self.name} (you)")

    def says(self, text: str) -> None:
        """Write a message and press Enter."""
        self.fill("Your message", text)
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.tab.command("Input.dispatchKeyEvent", type="keyDown", **key)
        self.tab.command("Input.dispatchKeyEvent", type="keyUp", **key)

    def sees(self, selector: str, text: str) -> None:
        """Wait until *text* is written somewhere."""
        written = f"document.querySelector('{selector}').textContent"
        self.tab.until(f"{written}.includes({json.dumps(text)})")

    def hears(self, *texts: str) -> None:
        """Wait until the room shown has exactly these messages, all of them stored."""
        items = "[...document.querySelectorAll('#messages li:not(.pending) .text')]"
        self.tab.until(
            f"{items}.map((i) => i.textContent).join() === {json.dumps(','.join(texts))}"
        )


def across_navigation(tab: Tab, condition: str) -> None:
    """Wait until a condition is met on the next page; what the old one evaluates is given up."""
    while True:
        try:
            return tab.until(condition)
        except RuntimeError as error:
            if "navigated" not in str(error) and "context" not in str(error):
                raise


@pytest.fixture(scope="module")
def urls(redis_broker: Broker) -> Iterator[list[str]]:
    """The addresses of two workers, under two names of this machine, and so with two sign-ins."""
    require_npm("socket.io-client")
    demo = subprocess.Popen(
        [sys.executable, "-m", "example_app.demo", "--workers", "2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        lines = iter(demo.stdout)
        yield [next(line.strip() for line in lines if line[:9] == "  http://") for _ in range(2)]
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.communicate()


@pytest.fixture
def people(chromium: Browser, urls: list[str]) -> Iterator[tuple[Person, Person]]:
    """Ada and Bob, on different workers; Bob is a moderator."""
    ada, bob = Person(chromium, urls[0], "Ada"), Person(chromium, urls[1], "Bob", moderator=True)
    yield ada, bob
    for person in (ada, bob):
        assert person.tab.run("[...document.querySelectorAll('.problem')].length") == 0
        person.tab.command("Page.navigate", url="about:blank")


def test_two_people_join_speak_and_leave(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("kitchen")
    ada.enters("kitchen")
    bob.sees("#people", "Ada")
    ada.fill("Your message", "Is it")
    bob.sees("#typing", "Ada is typing")
    ada.says("Is it dinner yet?")
    bob.says("Soon.")
    for person in people:
        person.hears("Is it dinner yet?", "Soon.")

    ada.press("Leave")
    ada.sees("#notice", "Left a fun room called kitchen!")
    bob.sees("#people-title", "People here: 1")
    bob.says("She is gone.")
    bob.hears("Is it dinner yet?", "Soon.", "She is gone.")
    ada.tab.until("document.querySelector('#room').textContent !== 'kitchen'")
    assert "She is gone." not in ada.tab.run("document.body.textContent")
    assert ada.tab.errors() == bob.tab.errors() == []


def test_several_tabs_of_a_person_are_one(
    people: tuple[Person, Person], chromium: Browser, urls: list[str]
) -> None:
    _, bob = people
    bob.creates("attic")
    tab = chromium.tab(urls[1])  # signed in already
    across_navigation(tab, IN)
    tab.run(BUTTON.format(json.dumps("attic")) + ".click()")
    tab.until("document.querySelector('#people-title').textContent === 'People here: 1'")
    bob.says("Hello, me.")
    tab.until("document.querySelector('#messages').textContent.includes('Hello, me.')")
    tab.command("Page.navigate", url="about:blank")


def test_a_reload_does_not_flicker(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("gallery")
    ada.enters("gallery")
    bob.sees("#people", "Ada")
    bob.tab.run(
        "window.seen = []; new MutationObserver(() => seen.push(document.querySelector('#people')"
        ".textContent)).observe(document.querySelector('#people'), {childList: true}), 0"
    )
    ada.tab.command("Page.reload")
    across_navigation(ada.tab, IN)
    ada.is_in("gallery")
    ada.says("Back again.")
    bob.hears("Back again.")
    assert [one for one in bob.tab.run("seen") if "Ada" not in one] == []
    ada.press("Leave")  # unlike a reload, it shows at once
    bob.sees("#people-title", "People here: 1")


def test_a_moderator_kicks_bans_and_forgives(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("cellar")
    ada.enters("cellar")
    bob.press("Kick Ada")
    ada.sees("#notice", "A moderator has taken you out of cellar.")
    ada.enters("cellar")
    bob.press("Ban Ada")
    bob.sees("#notice", "Ada is banned from cellar: 1 tab left.")
    bob.says("Not for Ada.")
    bob.hears("Not for Ada.")
    ada.press("cellar")
    ada.sees("#notice", "You may not join this room")
    assert "Not for Ada." not in ada.tab.run("document.body.textContent")
    bob.press("Forgive Ada")
    bob.sees("#notice", "Ada may join cellar again.")
    ada.enters("cellar")
    ada.hears("Not for Ada.")


def test_a_private_room_shows_itself_to_its_guests(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("loft", private=True)
    assert "loft" not in ada.tab.run("document.querySelector('#rooms').textContent")
    bob.fill("Invite to this private room", "Ada")
    bob.press("Invite")
    ada.enters("loft", "loft, private")
    ada.says("Nice here.")
    bob.hears("Nice here.")


def test_what_people_write_is_never_taken_for_html(people: tuple[Person, Person]) -> None:
    ada, bob = people
    markup = "<img src=x onerror=document.title=1>"
    bob.creates("scriptorium")
    ada.enters("scriptorium")
    images = bob.tab.run("document.images.length")
    ada.says(markup)
    bob.hears(markup)
    assert bob.tab.run("document.images.length") == images


def test_nothing_is_lost_when_a_worker_is_killed(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("bridge")
    ada.enters("bridge")
    ada.says("Before.")
    bob.hears("Before.")
    bob.unfold("#underneath")
    bob.tab.until("document.querySelectorAll('#workers li').length === 2")
    bob.sees("#workers", " sent, 0 bytes waiting, 0 repeated")
    bob.tab.run("document.querySelector('#workers li:not(.here) button').click()")
    ada.sees("#status", "Connection lost")
    ada.says("While away.")
    ada.sees("#messages .pending", "waiting to be sent")
    bob.says("Are you there?")
    bob.hears("Before.", "Are you there?")
    bob.sees("#people-title", "People here: 1")
    ada.sees("#status", "Connected")
    for person in people:
        person.hears("Before.", "Are you there?", "While away.")
    bob.sees("#people", "Ada")


def test_nothing_is_lost_when_the_broker_is_stopped(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("tower")
    ada.enters("tower")
    bob.unfold("#underneath")
    bob.press("Stop the broker")
    bob.sees("#broker-state", "The broker is stopped.")
    bob.says("From one side.")
    bob.hears("From one side.")
    bob.tab.until(WAITING)
    ada.says("From the other.")
    ada.hears("From the other.")
    bob.press("Start the broker")
    bob.sees("#broker-state", "The broker runs.")
    for person in people:
        person.hears("From one side.", "From the other.")
        person.sees("#people-title", "People here: 2")
    bob.tab.until(f"!{WAITING}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360], ids=["desk", "phone"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    people: tuple[Person, Person], scheme: str, width: int
) -> None:
    axe = require_npm("axe-core") / "axe-core" / "axe.min.js"
    ada, bob = people
    bob.creates(f"axe {scheme} {width}")
    ada.enters(f"axe {scheme} {width}")
    bob.says("One message.")
    bob.unfold("#underneath")
    bob.tab.until("document.querySelectorAll('#workers li').length === 2")
    bob.looks_at(width, scheme)
    bob.unfold("#people-box")
    bob.sees("#people", "Kick")
    assert findings(bob.tab, axe) == []
    assert bob.tab.run("document.documentElement.scrollWidth <= innerWidth")
    room_to_write = "document.querySelector('#text').getBoundingClientRect().width"
    assert bob.tab.run(room_to_write) > width / 3


def test_axe_finds_nothing_where_people_sign_in(chromium: Browser, urls: list[str]) -> None:
    axe = require_npm("axe-core") / "axe-core" / "axe.min.js"
    tab = chromium.tab("about:blank")
    tab.command("Network.deleteCookies", name="session", url=urls[0])
    tab.command("Page.navigate", url=urls[0])
    across_navigation(tab, "document.querySelector('#name')")
    assert findings(tab, axe) == []


def findings(tab: Tab, axe: Path) -> list[str]:
    """Return what axe-core has against a page."""
    tab.run(axe.read_text(encoding="utf-8"))
    rules = "axe.run().then((found) => found.violations.map((v) => `${v.id}: ${v.nodes[0].html}`))"
    found: list[str] = tab.run(rules)
    return found


def test_everything_is_reached_with_the_keyboard(people: tuple[Person, Person]) -> None:
    ada, bob = people
    bob.creates("study")
    ada.enters("study")
    bob.sees("#people", "Ada")
    tab = bob.tab
    tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            tab.command("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        reached.append(tab.run(f"{NAME}(document.activeElement) || document.activeElement.id"))
    named = {"Sign out", "study", "New room", "Leave", "Messages", "Send", "Kick Ada", "Ban Ada"}
    wanted = {*named, "text", "What happens underneath"}
    assert wanted <= set(reached)


def test_a_page_needs_no_other_host(people: tuple[Person, Person]) -> None:
    names = "performance.getEntriesByType('resource').map((one) => one.name)"
    loaded, origin = people[0].tab.run(names), people[0].tab.run("location.origin")
    assert f"{origin}/socket.io-client.js" in loaded
    assert [one for one in loaded if not one.startswith(origin)] == []


def test_without_a_client_the_page_says_what_to_do(chromium: Browser, tmp_path: Path) -> None:
    config = {"DATABASE": str(tmp_path / "chat.sqlite"), "NODE_MODULES": str(tmp_path)}
    with Worker(config) as worker:
        worker.wait_until_listening()
        tab = chromium.tab(worker.url)
        tab.command("Network.enable")
        tab.command("Network.setBlockedURLs", urls=[CDN])
        tab.run("fetch('/sign-in', {method: 'POST', body: new URLSearchParams({name: 'Ada'})})")
        tab.command("Page.navigate", url=worker.url)
        status = "document.querySelector('#status')?.textContent"
        across_navigation(tab, f"{status}?.includes('could not be loaded')")
        tab.command("Network.deleteCookies", name="session", url=worker.url)
        tab.command("Page.navigate", url="about:blank")


@pytest.mark.parametrize("installed", [True, False])
def test_the_client_comes_from_npm_or_else_from_a_cdn(installed: bool, tmp_path: Path) -> None:
    if installed:
        (tmp_path / CLIENT).parent.mkdir(parents=True)
        (tmp_path / CLIENT).write_text("the client")
    app = create_app(DATABASE=str(tmp_path / "chat.sqlite"), NODE_MODULES=str(tmp_path))
    browser = app.test_client()
    browser.post("/sign-in", data={"name": "Ada"})
    page, own = browser.get("/").text, browser.get("/socket.io-client.js")
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
