"""The admin page in Chromium, on two workers: what operators see and do there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.support.browser import Browser, Tab
from tests.support.clients import Client
from tests.support.javascript import require_npm
from tests.support.workers import Worker, cluster

pytestmark = pytest.mark.mode_independent

#: A name that would be HTML, has control characters, and turns the direction of what follows.
HOSTILE = "<img src=x onerror=document.title=1>\u202egnp\x1b[2J\u05d0"
SEEN = "<img src=x onerror=document.title=1>\\u{202e}gnp\\u{1b}[2J\u05d0"

FIELD = "document.querySelector('#text')"
BUTTON = "[...document.querySelectorAll('button')].find((b) => {0}(b) === {1})"
NAME = "((e) => e.ariaLabel ?? e.textContent.trim())"


class Operator:
    """An operator who has signed in on one worker, with a browser tab."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.tab = browser.tab(f"{url}/sign-in/Eve")
        self.tab.until("document.querySelectorAll('#workers tbody tr').length === 2")
        self.tab.until("document.querySelector('#rooms tbody tr')")

    def looks_at(self, width: int, scheme: str) -> None:
        """Have a window of this width in pixels, and like light or dark pages."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.tab.command("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.tab.command("Emulation.setEmulatedMedia", features=[feature])

    def press(self, name: str) -> None:
        """Press the button of this name, when it is there."""
        button = BUTTON.format(NAME, json.dumps(name))
        self.tab.until(button)
        self.tab.run(f"{button}.click()")

    def does(self, name: str) -> None:
        """Press a button that asks first, and say yes."""
        self.press(name)
        self.tab.until("document.querySelector('#confirm').open")
        self.tab.run("document.querySelector('#confirm [value=yes]').click()")

    def searches(self, text: str) -> None:
        """Search for a room, a user or a socket."""
        self.tab.run(
            "document.querySelector('#text').value = ''; document.querySelector('#text').focus()"
        )
        self.tab.command("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            self.tab.command("Input.dispatchKeyEvent", type=kind, **enter)

    def sees(self, selector: str, text: str) -> None:
        """Wait until *text* is written somewhere."""
        written = f"document.querySelector('{selector}').textContent"
        self.tab.until(f"{written}.includes({json.dumps(text)})")


@pytest.fixture(name="workers", scope="module")
def _workers(redis_broker: Broker) -> Iterator[list[Worker]]:
    with cluster(redis_broker.url, 2, "tests.support.admin_page_app") as workers:
        yield workers


@pytest.fixture(name="people")
def _people(workers: list[Worker]) -> Iterator[list[Client]]:
    """Ann and Bob, on different workers, both in the room red, and in a hostile one."""
    names = ["ann", "bob"]
    people = [
        Client(worker.url, auth={"user": name}) for worker, name in zip(workers, names, strict=True)
    ]
    for person in people:
        assert person.request("post", "/join", rooms=["red", HOSTILE])
    yield people
    for person in people:
        person.disconnect()


@pytest.fixture(name="operator")
def _operator(chromium: Browser, workers: list[Worker], people: list[Client]) -> Iterator[Operator]:
    operator = Operator(chromium, workers[0].url)
    yield operator
    assert operator.tab.errors() == []  # such as those of the Content-Security-Policy
    operator.tab.command("Page.navigate", url="about:blank")


def wait_for_page(tab: Tab, condition: str) -> None:
    """Wait until a condition is met on the next page; what the old one evaluates is given up."""
    while True:
        try:
            return tab.until(condition)
        except RuntimeError:
            continue


def test_an_operator_takes_people_out_and_disconnects_them(
    operator: Operator, people: list[Client]
) -> None:
    ann, bob = people
    operator.sees("#status", "2 workers, 2 sockets.")
    operator.sees("#rooms", "red")
    operator.press("red")
    operator.sees("#detail-title", "Room red")
    assert operator.tab.run("document.activeElement.id") == "detail-title"

    operator.does("Take out: room red, user bob")
    operator.sees("#status", "Take out: 1 changed")
    operator.tab.until("!document.querySelector('#detail-body').textContent.includes('bob')")
    operator.sees("#acts", "Eve")

    operator.searches("bo")
    operator.press("bob")
    operator.sees("#detail-title", "User bob")
    operator.does("Disconnect everywhere: user bob")
    assert bob.receive() == ["disconnect"]
    operator.sees("#acts", "user 'bob'")
    assert ann.request("get", "/id")["sid"] == ann.sid


def test_cancelling_does_nothing(operator: Operator) -> None:
    operator.press("red")
    operator.press("Take everyone out: room red")
    operator.tab.run("document.querySelector('#confirm [value=no]').click()")
    operator.searches("red")
    operator.tab.until("document.querySelector('#found td.number')?.textContent === '2'")


def test_names_are_never_taken_for_html_and_hide_nothing(operator: Operator) -> None:
    operator.sees("#rooms", SEEN)
    operator.press(SEEN)
    operator.sees("#detail-title", SEEN)
    operator.searches("<img")
    operator.sees("#found", SEEN)
    assert operator.tab.run("document.images.length") == 0
    assert operator.tab.run("document.title") == "Rooms"
    isolated = "getComputedStyle(document.querySelector('bdi')).unicodeBidi.includes('isolate')"
    assert operator.tab.run(isolated)


def test_without_the_check_a_browser_sees_nothing(chromium: Browser, workers: list[Worker]) -> None:
    tab = chromium.tab("about:blank")
    tab.command("Network.deleteCookies", name="session", url=workers[0].url)
    tab.command("Page.navigate", url=f"{workers[0].url}/admin/")
    wait_for_page(tab, "document.body.textContent.includes('error')")
    assert tab.run("document.querySelector('main')") is None


def test_an_operator_no_longer_is_told_so_and_changes_nothing(
    chromium: Browser, workers: list[Worker], people: list[Client]
) -> None:
    operator, (_, bob) = Operator(chromium, workers[0].url), people
    operator.searches("bob")
    operator.press("bob")
    operator.press("Pause")  # or its next look would tell it as well
    operator.press("Disconnect everywhere: user bob")
    operator.tab.command("Network.deleteCookies", name="session", url=workers[0].url)
    operator.tab.run("document.querySelector('#confirm [value=yes]').click()")
    operator.sees("#status", "You don't have the permission")

    assert bob.request("get", "/id")["sid"] == bob.sid
    operator.tab.command("Page.navigate", url="about:blank")


@pytest.mark.parametrize(
    ("mode", "headers"),
    [("no-cors", {}), ("cors", {"X-Flask-Rooms-Admin": "1"})],
    ids=["as a form", "as the page"],
)
def test_a_page_of_another_origin_cannot_have_an_operator_act(
    chromium: Browser,
    workers: list[Worker],
    people: list[Client],
    mode: str,
    headers: dict[str, str],
) -> None:
    """The cookies of an operator are sent along: a browser does not tell ports apart."""
    page = Operator(chromium, workers[0].url).tab
    page.command("Page.navigate", url=f"{workers[1].url}/nowhere")
    wait_for_page(page, "document.body")
    act = {"act": "disconnect", "user": "bob"}
    options = {"method": "POST", "mode": mode, "credentials": "include", "headers": headers}
    asked = json.dumps({**options, "body": json.dumps(act)})
    url = json.dumps(f"{workers[0].url}/admin/acts")
    came = page.run(f"fetch({url}, {asked}).catch((error) => error.name)")

    assert came == "TypeError"  # it may not even see that it is refused
    assert people[1].request("get", "/id")["sid"] == people[1].sid
    page.command("Page.navigate", url="about:blank")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360], ids=["desk", "phone"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    operator: Operator, scheme: str, width: int
) -> None:
    axe = require_npm("axe-core") / "axe-core" / "axe.min.js"
    operator.looks_at(width, scheme)
    operator.press("red")
    operator.sees("#detail-body", "ann")
    operator.searches("r")
    operator.sees("#found", "red")
    assert findings(operator.tab, axe) == []
    assert operator.tab.run("document.documentElement.scrollWidth <= innerWidth")


def findings(tab: Tab, axe: Path) -> list[str]:
    """Return what axe-core has against a page."""
    tab.run(axe.read_text(encoding="utf-8"))
    rules = "axe.run().then((found) => found.violations.map((v) => `${v.id}: ${v.nodes[0].html}`))"
    found: list[str] = tab.run(rules)
    return found


def test_everything_is_reached_with_the_keyboard(operator: Operator) -> None:
    operator.press("Pause")  # what is shown is not shown anew meanwhile
    operator.press("red")
    operator.sees("#detail-body", "ann")
    operator.tab.run("document.activeElement.blur()")
    reached = set()
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            operator.tab.command(
                "Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9
            )
        reached.add(
            operator.tab.run(f"{NAME}(document.activeElement) || document.activeElement.id")
        )
    wanted = {"namespace", "text", "Pause", "Search", "red", "Take everyone out: room red"}
    assert wanted | {"Take out: room red, user ann"} <= reached
